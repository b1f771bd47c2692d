# SPDX-License-Identifier: MIT
"""What LeRobot's converters between batches and transitions are decorated with."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from rewact.keys import extract_labels


def keeps_labels(extract: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable:
    """Let the marked labels of a batch survive its conversion to a transition, which drops unknown keys."""

    @wraps(extract)
    def extract_with_labels(batch: dict[str, Any]) -> dict[str, Any]:
        return {**extract(batch), **extract_labels(batch)}

    return extract_with_labels


def takes_action_and_reward(convert: Callable) -> Callable:
    """Let a postprocessor take `(action, reward)`, as `select_action` returns it, and drop the reward."""

    @wraps(convert)
    def convert_action(action: Any) -> Any:
        return convert(action[0] if isinstance(action, tuple) else action)

    return convert_action
