# SPDX-License-Identifier: MIT
"""What ACT's network and policy call."""

from rewact.act.extra_tokens import append_extra_tokens
from rewact.act.fast import fuses_optimizer, has_fast_path
from rewact.act.head import add_reward_head, encode_and_read_reward
from rewact.act.loss import compute_act_loss, needs_reward_objective
from rewact.act.mixin import ACTRewardMixin

__all__ = [
    "ACTRewardMixin",
    "add_reward_head",
    "append_extra_tokens",
    "compute_act_loss",
    "encode_and_read_reward",
    "fuses_optimizer",
    "has_fast_path",
    "needs_reward_objective",
]
