# SPDX-License-Identifier: MIT
"""What ACT's network and policy call, and are decorated with."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rewact.act.extra_tokens import append_extra_tokens
from rewact.act.fast import fast_forward
from rewact.act.fast_ops import is_stock
from rewact.act.head import add_reward_head, encode_and_read_reward
from rewact.act.loss import compute_act_loss, needs_reward_objective
from rewact.act.mixin import ACTRewardMixin
from rewact.hooks import decorator

if TYPE_CHECKING:
    from torch import Tensor, nn

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


@decorator
def has_fast_path(
    forward: Callable, model: "nn.Module", batch: dict[str, "Tensor"], reward_only: bool = False
) -> tuple:
    """Let `ACT.forward` take the fast path where the configuration asks for it and the network allows it."""
    run = fast_forward if model.config.fast_path and is_stock(model) else forward
    return run(model, batch, reward_only)


@decorator
def fuses_optimizer(get_optim_params: Callable, policy: "nn.Module") -> list[dict[str, Any]]:
    """Let the fast path's optimiser update each parameter in one go."""
    groups = get_optim_params(policy)
    if policy.config.fast_path and all(p.device.type in ("cpu", "cuda") for p in policy.parameters()):
        groups = [{**group, "fused": True} for group in groups]
    return groups
