# SPDX-License-Identifier: MIT
"""Training objective of ACT with a reward head, action masks and per-sample losses.

The plain case, with no reward head, no mask and the mean over the batch, stays with `ACTPolicy.forward`.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lerobot.utils.constants import ACTION
from rewact.keys import ACTION_MASK_KEY, HELD_OUT_KEY, REWARD_KEY, REWARD_PAD_KEY, read_labels
from rewact.options.head import RewardHeadConfig


def needs_reward_objective(config: RewardHeadConfig, batch: dict[str, Tensor], reduction: str) -> bool:
    """Whether the loss is more than the plain ACT objective averaged over the batch."""
    return config.use_reward_head or reduction != "mean" or ACTION_MASK_KEY in read_labels(batch)


def compute_act_loss(
    policy, batch: dict[str, Tensor], reduction: str = "mean"
) -> tuple[Tensor, dict[str, float]]:
    """Compute L1 + KL + reward loss.

    Args:
        policy: An `ACTPolicy`.
        batch: A training batch. Of these keys only those count that are marked as labels, see `rewact.keys`.
            "reward" is a (B, T) float tensor and "reward_is_pad" a (B, T) bool tensor of steps past the end
            of the episode; without a forecast, or in evaluation, "reward" may be (B,). "action_mask" is an
            optional (B,) or (B, chunk_size) bool tensor, false where the action must not be imitated. Such
            frames still count in the reward loss. In evaluation the rewards predicted for frames with a
            "held_out_frame" are added to `policy.held_out_rewards`.
        reduction: "mean" gives a 0-d loss, "none" one of shape (B,).

    Returns:
        The loss, and Python floats for logging: "l1_loss", and where they apply "kld_loss", "reward_loss",
        "reward_mae" (of the current step) and "reward_entropy" (in nats).

    Raises:
        ValueError: If `reduction` is unknown, or the reward labels are missing in training, of the wrong
            shape or out of range.
    """
    if reduction not in ("mean", "none"):
        raise ValueError(f"`reduction` must be 'mean' or 'none'. Got {reduction!r}.")
    config = policy.config
    per_sample = reduction == "none"
    labels = read_labels(batch)
    target = _reward_target(config, labels, policy.training) if config.use_reward_head else None
    if policy.training and config.train_only_reward_head:
        (reward_logits,) = policy.model(policy.add_image_list(batch), reward_only=True)
        loss, loss_dict = _reward_loss(policy.model.reward_head, reward_logits, target, labels, per_sample)
        return config.effective_reward_loss_weight * loss, loss_dict

    actions_hat, (mu, log_sigma_x2), *reward_logits = policy.model(policy.add_image_list(batch))

    is_trained = ~batch["action_is_pad"]  # (B, S): inside the episode, and to be imitated
    if (mask := labels.get(ACTION_MASK_KEY)) is not None:
        is_trained = is_trained & mask.to(torch.bool).reshape(len(mask), -1)
    abs_err = F.l1_loss(batch[ACTION], actions_hat, reduction="none").mean(-1)  # (B, S)
    loss = l1_loss = _masked_mean(abs_err, is_trained, per_sample)
    loss_dict = {"l1_loss": l1_loss.mean().item()}

    if config.use_vae and log_sigma_x2 is not None:
        # KL divergence from the standard normal prior, see App. B of https://huggingface.co/papers/1312.6114.
        # A sample none of whose actions is imitated has nothing for the latent to explain.
        kld = (-0.5 * (1 + log_sigma_x2 - mu.pow(2) - log_sigma_x2.exp())).sum(-1)  # (B,)
        kld_loss = _masked_mean(kld.unsqueeze(-1), is_trained.any(dim=1, keepdim=True), per_sample)
        loss_dict["kld_loss"] = kld_loss.mean().item()
        loss = loss + config.kl_weight * kld_loss

    if target is not None:
        reward_loss, reward_dict = _reward_loss(
            policy.model.reward_head, reward_logits[0], target, labels, per_sample
        )
        loss = loss + config.effective_reward_loss_weight * reward_loss
        loss_dict |= reward_dict
    if HELD_OUT_KEY in labels and not policy.training:
        rewards = policy.model.reward_head.mean(reward_logits[0][:, :1])[:, 0]
        policy.held_out_rewards = [*policy.held_out_rewards, (labels[HELD_OUT_KEY], rewards)]
    return loss, loss_dict


def _masked_mean(values: Tensor, mask: Tensor, per_sample: bool) -> Tensor:
    """Mean of (B, N) values where the (B, N) mask holds, 0 where nothing is left: 0-d, or per sample (B,)."""
    dims = (1,) if per_sample else (0, 1)
    return (values * mask).sum(dims) / mask.sum(dims).clamp_min(1)


def _reward_target(config: RewardHeadConfig, labels: dict[str, Tensor], is_training: bool) -> Tensor | None:
    """(B, T) float32 labels of the steps that the head predicts, NaN at frames without one; (B, 1) in an
    evaluation that has only these, `None` in one without labels."""
    if REWARD_KEY not in labels:
        if not is_training:
            return None
        raise ValueError(
            f"The policy has a reward head but the batch has no label '{REWARD_KEY}'. Wrap the dataset with "
            "`LeRobotDatasetWithReward(dataset, policy=policy.config)` (lerobot-train does it by itself, see "
            "--dataset.reward.*), or train without the head with --policy.use_reward_head=false."
        )
    reward, n_steps = labels[REWARD_KEY], config.reward_label_horizon or 1
    if reward.ndim == 1:
        if is_training and n_steps > 1:
            raise ValueError(
                f"The batch has one '{REWARD_KEY}' per sample, from which the forecast of the next "
                f"{n_steps - 1} steps cannot learn. Wrap the dataset with "
                "`LeRobotDatasetWithReward(dataset, policy=policy.config)`, or train without the forecast "
                "with --policy.reward_forecast=false."
            )
        n_steps = 1
    target = reward.float().reshape(len(reward), -1)
    if target.shape[1] != n_steps or (n_steps > 1 and REWARD_PAD_KEY not in labels):
        raise ValueError(
            f"The reward head predicts {n_steps} step(s) but the batch has '{REWARD_KEY}' of shape "
            f"{tuple(reward.shape)} {'with' if REWARD_PAD_KEY in labels else 'without'} "
            f"'{REWARD_PAD_KEY}'. Wrap the dataset with `LeRobotDatasetWithReward(dataset, "
            "policy=policy.config)`."
        )
    if bool(((target < 0) | (target > 1)).any()):
        raise ValueError(
            f"Reward labels must lie in [0, 1]. Got values from {np.nanmin(target.cpu())} to "
            f"{np.nanmax(target.cpu())}."
        )
    return target


def _reward_loss(
    head, logits: Tensor, target: Tensor, labels: dict[str, Tensor], per_sample: bool
) -> tuple[Tensor, dict[str, float]]:
    """Loss of the current step plus, with the forecast, the mean loss of later steps inside the episode."""
    logits = logits[:, : target.shape[1]]  # one label says nothing of later steps
    is_labelled = ~target.isnan()
    target = target.nan_to_num()
    loss = head.loss(logits, target)  # (B, T)
    reward_loss = _masked_mean(loss[:, :1], is_labelled[:, :1], per_sample)
    if logits.shape[1] > 1:
        is_inside = ~labels[REWARD_PAD_KEY][:, 1:].to(torch.bool)
        reward_loss = reward_loss + _masked_mean(loss[:, 1:], is_inside & is_labelled[:, 1:], per_sample)
    current = logits[:, :1].detach()
    error = (head.mean(current) - target[:, :1]).abs()
    return reward_loss, {
        "reward_loss": reward_loss.mean().item(),
        "reward_mae": _masked_mean(error, is_labelled[:, :1], per_sample=False).item(),
        "reward_entropy": head.entropy(current).mean().item(),
    }
