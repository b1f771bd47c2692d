# SPDX-License-Identifier: MIT
"""Telling from predicted rewards when a task is done."""

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


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
        if not 0.0 < threshold <= 1.0:
            raise ValueError(f"threshold must be in (0, 1], got {threshold}")
        if not 0.0 <= hysteresis < math.inf:
            raise ValueError(f"hysteresis must be at least 0, got {hysteresis}")
        if dwell < 1:
            raise ValueError(f"dwell must be at least 1 step, got {dwell}")
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
