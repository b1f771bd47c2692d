# SPDX-License-Identifier: MIT
"""Telling from predicted rewards when a task is done, and ending an episode there (`stop_on_completion`)."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rewact.options.completion import CompletionDetectorConfig
from rewact.options.head import has_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

logger = logging.getLogger(__name__)


class CompletionDetector:
    """Says "done" once the predicted reward has stayed high for long enough.

    One detector follows all environments of a batch, each on its own. An environment is done from the
    ``dwell``-th step in a row at which its reward is at least ``threshold``, and stays done until its reward
    falls below ``threshold - hysteresis``; noise around the threshold does not make it flicker.

    Args:
        threshold: Reward at which the task counts as done, in (0, 1].
        hysteresis: How far below the threshold the reward has to fall to start again, at least 0.
        dwell: Steps in a row at or above the threshold that it takes, at least 1.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> detector = CompletionDetector(threshold=0.9, hysteresis=0.1, dwell=2)
        >>> [bool(detector(reward)) for reward in (0.5, 0.95, 0.93, 0.85, 0.7)]
        [False, False, True, True, False]
    """

    def __init__(self, threshold: float = 0.9, hysteresis: float = 0.1, dwell: int = 3):
        CompletionDetectorConfig(threshold, hysteresis, dwell)  # refuses what is out of range
        self.threshold = threshold
        self.hysteresis = hysteresis
        self.dwell = dwell
        self.reset()

    def reset(self) -> None:
        """Forget the past; call at the start of an episode. The batch may have another size afterwards."""
        self._steps_above: Tensor | None = None
        self._done: Tensor | None = None

    def __call__(self, reward: "Tensor | Sequence[float] | float") -> "Tensor":
        """Take in the rewards of one step.

        Args:
            reward: Predicted rewards, ``(B,)``, or a single number.

        Returns:
            bool ``(B,)`` on the device of ``reward``: which environments are done. A single number gives a
            scalar tensor.

        Raises:
            ValueError: if a reward is NaN, or the batch size changed without :meth:`reset`.
        """
        reward = torch.as_tensor(reward, dtype=torch.float32).detach()
        if reward.ndim > 1:
            raise ValueError(
                f"expected one reward per environment, got a tensor of shape {tuple(reward.shape)}"
            )
        if reward.isnan().any():
            raise ValueError(f"a predicted reward is NaN: {reward.tolist()}")
        if self._steps_above is None:
            self._steps_above = torch.zeros_like(reward, dtype=torch.int64)
            self._done = torch.zeros_like(reward, dtype=torch.bool)
        elif self._steps_above.shape != reward.shape:
            raise ValueError(
                f"the batch changed from {tuple(self._steps_above.shape)} to {tuple(reward.shape)}; "
                "call reset() between episodes"
            )
        above = reward >= self.threshold
        self._steps_above = torch.where(above, self._steps_above + 1, 0)
        stays = self._done & (reward >= self.threshold - self.hysteresis)
        self._done = stays | (self._steps_above >= self.dwell)
        return self._done.clone()


class CompletionWatch:
    """Follows one rollout of a policy, and says where its episodes end on completion.

    A policy with `stop_on_completion` reads its reward from every observation: a forecast never decides.
    Without the option nothing ever stops.

    Args:
        policy: The policy that is rolled out.

    Attributes:
        stopped_at: (B,) int64 step, from 0, at which each environment was stopped, -1 where it was not;
            `None` without the option and before the first step.

    Raises:
        ValueError: If the policy must stop on completion, and predicts no reward.
    """

    def __init__(self, policy: Any):
        self._detector = None
        self._step = 0
        self.stopped_at: np.ndarray | None = None
        if not has_on(policy, "stop_on_completion"):
            return
        self._detector = CompletionDetector(**asdict(policy.config.completion_detector))
        logger.info(
            "Stopping on completion: the reward is read from every observation, one pass of the network at "
            "each step instead of one every %d steps",
            policy.config.n_action_steps,
        )

    def reset(self) -> None:
        """Forget the past; call at the start of an episode."""
        if self._detector is not None:
            self._detector.reset()
        self._step, self.stopped_at = 0, None

    def stops(self, predicted_reward: "Tensor | None", done: np.ndarray) -> np.ndarray:
        """Take in the rewards of a step.

        Args:
            predicted_reward: (B,) readings of the observations that this step's actions answer.
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
