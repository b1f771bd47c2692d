# SPDX-License-Identifier: MIT
"""What LeRobot's dataset tools call."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rewact.keys import DAGGER_DIR, EXTENSIONS_DIR, FOREIGN_DIR, PROGRESS_FILES


def carries_labels(function: Callable) -> Callable:
    """Decorate a function that makes one dataset out of others: labels beside these go along."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def carrying(*args, **kwargs):
        result = function(*args, **kwargs)
        arguments = signature.bind(*args, **kwargs).arguments
        if any(map(_has_labels, arguments.get("datasets") or [arguments["dataset"]])):
            from rewact.labels.carry import carry_made

            carry_made(function.__name__, arguments, result)
        return result

    return carrying


def _has_labels(dataset: Any) -> bool:
    names = (EXTENSIONS_DIR, FOREIGN_DIR, DAGGER_DIR, PROGRESS_FILES)
    return any(next(Path(dataset.root).glob(name), None) for name in names)
