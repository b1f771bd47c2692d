# SPDX-License-Identifier: MIT
"""A trained reward head as one of LeRobot's reward models (LeRobot 0.6 and later)."""

from rewact.reward_model.configuration_rewact import RewACTHeadConfig
from rewact.reward_model.modeling_rewact import RewACTHeadRewardModel
from rewact.reward_model.processor_rewact import make_rewact_pre_post_processors

__all__ = ["RewACTHeadConfig", "RewACTHeadRewardModel", "make_rewact_pre_post_processors"]
