# SPDX-License-Identifier: MIT
"""What LeRobot's converters between batches and transitions are decorated with."""

from collections.abc import Callable
from typing import Any

from rewact.hooks import decorator
from rewact.keys import extract_labels


@decorator
def keeps_labels(extract: Callable, batch: dict[str, Any]) -> dict[str, Any]:
    """Let the marked labels of a batch survive its conversion to a transition, which drops unknown keys."""
    return {**extract(batch), **extract_labels(batch)}


@decorator
def takes_action_and_reward(convert: Callable, action: Any) -> Any:
    """Let a postprocessor take `(action, reward)`, as `select_action` returns it, and drop the reward."""
    return convert(action[0] if isinstance(action, tuple) else action)
