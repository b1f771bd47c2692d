# SPDX-License-Identifier: MIT
"""The policy types that LeRobot registers at import."""

from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.configuration_rewact import RewACTConfig
from rewact.values.configuration_values import ValuesConfig

__all__ = ["ACTvantageConfig", "RewACTConfig", "ValuesConfig"]
