# SPDX-License-Identifier: MIT
"""What ACT's network and policy call."""

from rewact.act.extra_tokens import append_extra_tokens
from rewact.act.head import make_reward_head, read_reward
from rewact.act.loss import compute_act_loss, needs_reward_objective
from rewact.act.mixin import ACTRewardMixin

__all__ = [
    "ACTRewardMixin",
    "append_extra_tokens",
    "compute_act_loss",
    "make_reward_head",
    "needs_reward_objective",
    "read_reward",
]
