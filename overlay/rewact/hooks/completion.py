# SPDX-License-Identifier: MIT
"""Ending an episode once the policy predicts that the task is done (`stop_on_completion`)."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewact.hooks.predicted_reward import PREDICTED_REWARD, STOPPED_AT_STEP

logger = logging.getLogger(__name__)

# Strategies of `lerobot-rollout` whose episodes end; the others go on until a person ends them.
EPISODIC_STRATEGIES = ("base", "episodic")


def set_stop_on_completion(policy: Any, cfg: Any) -> None:
    """Let the episodes of a policy end where it predicts completion, if the configuration asks for it.

    Args:
        policy: The policy to be rolled out.
        cfg: Configuration with `stop_on_completion` and a `CompletionDetectorConfig` as
            `completion_detector`.

    Raises:
        ValueError: If the policy predicts no reward, or the detector's values are out of range.
    """
    policy.completion_detector = None
    if not cfg.stop_on_completion:
        return
    cfg.completion_detector.make()
    if not getattr(policy.config, "use_reward_head", False):
        raise ValueError(
            f"`stop_on_completion` needs a policy that predicts the reward. This `{policy.config.type}` has "
            "no reward head: train one with --policy.use_reward_head=true, or leave the option off."
        )
    policy.completion_detector = cfg.completion_detector


def check_rollout_config(cfg: Any) -> None:
    """Check that a robot rollout can end where the policy predicts completion, if it is asked to.

    Raises:
        ValueError: If the strategy has no episodes, or the inference engine hands out no rewards.
    """
    if not cfg.stop_on_completion:
        return
    if cfg.strategy.type not in EPISODIC_STRATEGIES:
        raise ValueError(
            f"`stop_on_completion` ends an episode, and --strategy.type={cfg.strategy.type} has none. "
            f"Use one of {EPISODIC_STRATEGIES}."
        )
    if cfg.inference.type != "sync":
        raise ValueError(
            "`stop_on_completion` needs the reward of each step, which "
            f"--inference.type={cfg.inference.type} does not give. Use --inference.type=sync."
        )


class CompletionWatch:
    """Follows the predicted rewards of one rollout, and does nothing unless `set_stop_on_completion` said so.

    Attributes:
        stopped_at: (B,) int64 step, from 0, at which each environment was stopped, -1 where it was not.
    """

    def __init__(self, policy: Any):
        cfg = getattr(policy, "completion_detector", None)
        self._detector = None if cfg is None else cfg.make()
        self._step = 0
        self.stopped_at: np.ndarray | None = None

    def stops(self, predicted_reward: Tensor | None, done: np.ndarray) -> np.ndarray:
        """Take in the rewards of a step.

        Args:
            predicted_reward: (B,) rewards that the policy returned beside this step's actions.
            done: (B,) bool, environments whose episode has already ended.

        Returns:
            (B,) bool, environments whose episode ends with this step because the task is predicted to be
            done.
        """
        if self._detector is None:
            return np.zeros_like(done)
        if self.stopped_at is None:
            self.stopped_at = np.full(len(done), -1)
        stops = self._detector(predicted_reward).cpu().numpy() & ~done
        self.stopped_at[stops] = self._step
        self._step += 1
        return stops

    def reached(self, observation: Mapping[str, Any]) -> bool:
        """Whether the robot's task is predicted to be done, by the reward that its telemetry shows.

        Args:
            observation: The processed observation of this tick. One without a predicted reward, where an
                interpolated action was sent, counts for nothing.
        """
        if self._detector is None or PREDICTED_REWARD not in observation:
            return False
        reward = observation[PREDICTED_REWARD]
        reached = bool(self.stops(torch.tensor([reward]), np.array([False]))[0])
        if reached:
            logger.info("Stopped on completion: predicted reward %.2f at step %d", reward, self._step - 1)
        return reached

    def add_to(self, rollout_data: dict[str, Any]) -> None:
        """Add the steps to the data of a rollout, and let nothing that came after a stop count.

        Args:
            rollout_data: (B, T) "reward" and "success" of a batched rollout. Modified in place.
        """
        if self.stopped_at is None:
            return
        stopped_at = torch.from_numpy(self.stopped_at)
        rollout_data[STOPPED_AT_STEP] = stopped_at
        steps = torch.arange(rollout_data["success"].shape[1])
        is_after = (stopped_at >= 0)[:, None] & (steps > stopped_at[:, None])
        for key in ("reward", "success"):
            rollout_data[key] = rollout_data[key].masked_fill(is_after, 0)
