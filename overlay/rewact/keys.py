# SPDX-License-Identifier: MIT
"""The labels in a batch that processors hand through beside the policy's inputs."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

# Ours, then those of RECAP.
LABEL_KEYS = frozenset(
    ("reward", "advantage", "action_mask", "mc_return", "is_terminal", "next.success", "intervention")
)


def extract_labels(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a batch that are labels.

    A transition is no batch, but LeRobot's pipelines take one for it. Its keys are members of an enumeration
    that equal their names, `"reward"` among them: the reward of an environment's step, which is no label.
    """
    return {key: value for key, value in batch.items() if key in LABEL_KEYS and not isinstance(key, Enum)}
