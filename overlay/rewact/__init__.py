# SPDX-License-Identifier: MIT
"""Reward prediction for LeRobot, in a few names.

>>> import rewact
>>> rewact.KeypointReward(1.0, frame_index=42)
KeypointReward(reward=1.0, frame_index=42, timestamp=None)

The names are imported when they are first used, so that ``import rewact`` itself is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewact.judge.completion import CompletionDetector
    from rewact.judge.score import score
    from rewact.labels import KeypointReward, LeRobotDatasetWithReward, set_outcomes
    from rewact.policy import load, make_rewact_policy

__version__ = "1.0.0"

__all__ = [
    "CompletionDetector",
    "KeypointReward",
    "LeRobotDatasetWithReward",
    "__version__",
    "load",
    "make_rewact_policy",
    "score",
    "set_outcomes",
]

_HOMES = {
    "CompletionDetector": "rewact.judge.completion",
    "KeypointReward": "rewact.labels",
    "LeRobotDatasetWithReward": "rewact.labels",
    "load": "rewact.policy",
    "make_rewact_policy": "rewact.policy",
    "score": "rewact.judge.score",
    "set_outcomes": "rewact.labels",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
