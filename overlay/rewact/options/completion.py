# SPDX-License-Identifier: MIT
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewact import CompletionDetector


@dataclass
class CompletionDetectorConfig:
    """When predicted rewards say that the task is done, see `rewact.CompletionDetector`.

    Args:
        threshold: Reward at which the task counts as done, in (0, 1].
        hysteresis: How far below the threshold the reward has to fall to start again, at least 0.
        dwell: Steps in a row at or above the threshold that it takes, at least 1.
    """

    threshold: float = 0.9
    hysteresis: float = 0.1
    dwell: int = 3

    def make(self) -> "CompletionDetector":
        """Build the detector.

        Raises:
            ValueError: If a value is out of its range.
        """
        from rewact.judge.completion import CompletionDetector

        return CompletionDetector(self.threshold, self.hysteresis, self.dwell)
