# SPDX-License-Identifier: MIT
from .configuration_rewact import RewACTConfig
from .modeling_rewact import RewACTPolicy
from .processor_rewact import make_rewact_pre_post_processors

__all__ = ["RewACTConfig", "RewACTPolicy", "make_rewact_pre_post_processors"]
