# SPDX-License-Identifier: MIT
from .configuration_actvantage import ACTvantageConfig
from .modeling_actvantage import ACTvantagePolicy
from .processor_actvantage import make_actvantage_pre_post_processors

__all__ = ["ACTvantageConfig", "ACTvantagePolicy", "make_actvantage_pre_post_processors"]
