# SPDX-License-Identifier: MIT
import math
from dataclasses import dataclass


@dataclass
class CompletionDetectorConfig:
    """When predicted rewards say that the task is done, see `rewact.CompletionDetector`.

    Raises:
        ValueError: If a value is out of its range.
    """

    # Predicted reward at which the task counts as done, in (0, 1].
    threshold: float = 0.9
    # How far below the threshold the reward has to fall to start again, at least 0.
    hysteresis: float = 0.1
    # Steps in a row at or above the threshold that it takes, at least 1.
    dwell: int = 3

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold must be in (0, 1], got {self.threshold}")
        if not 0.0 <= self.hysteresis < math.inf:
            raise ValueError(f"hysteresis must be at least 0, got {self.hysteresis}")
        if self.dwell < 1:
            raise ValueError(f"dwell must be at least 1 step, got {self.dwell}")
