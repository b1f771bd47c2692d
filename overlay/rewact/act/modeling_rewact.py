# SPDX-License-Identifier: MIT
from lerobot.policies.act.modeling_act import ACTPolicy
from rewact.act.configuration_rewact import RewACTConfig


class RewACTPolicy(ACTPolicy):
    """ACT that returns the reward, i.e. the progress of the task, beside each action."""

    config_class = RewACTConfig
    name = "rewact"
