# SPDX-License-Identifier: MIT
"""What the training script calls once it has computed the loss of the held-out episodes."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


def log_held_out_reward(
    policy: "nn.Module", dataset: Any, accelerator: "Accelerator", step: int, wandb_logger: Any
) -> None:
    """Log how good the rewards are that a policy, maybe wrapped for training, predicted for held-out frames,
    if it predicts any. All processes of a run call this; the main one logs."""
    if getattr(dataset, "trained_on", None) is None or not dataset.with_rewards:
        return
    from accelerate.utils import gather_object

    from rewact.act.mixin import ACTRewardMixin
    from rewact.judge.controls import held_out_metrics

    act = next(module for module in policy.modules() if isinstance(module, ACTRewardMixin))
    read, act.held_out_rewards = act.held_out_rewards, ()
    pairs = gather_object(
        [pair for frames, rewards in read for pair in zip(frames.tolist(), rewards.tolist(), strict=True)]
    )
    # Processes share the frames evenly, and so may have read the first ones twice.
    if not pairs or not accelerator.is_main_process:
        return
    metrics = held_out_metrics(dataset.labels, dict(pairs), dataset.trained_on)
    logging.info(f"step {step}: " + " ".join(f"{name}={value:.4f}" for name, value in metrics.items()))
    if wandb_logger:
        wandb_logger.log_dict(metrics, step=step, mode="eval")
