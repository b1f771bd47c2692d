# SPDX-License-Identifier: MIT
"""The reward model type that LeRobot registers at import, from release 0.6 on."""

from rewact.reward_model.configuration_rewact import RewACTHeadConfig

__all__ = ["RewACTHeadConfig"]
