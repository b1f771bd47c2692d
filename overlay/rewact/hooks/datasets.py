# SPDX-License-Identifier: MIT
"""What LeRobot's dataset tools call."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rewact.hooks import decorator
from rewact.keys import DAGGER_DIR, EXTENSIONS_DIR, FOREIGN_DIR, PROGRESS_FILES


@decorator
def carries_labels(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Let labels go along where a function makes one dataset out of others that have some beside them."""
    result = function(*args, **kwargs)
    arguments = inspect.signature(function).bind(*args, **kwargs).arguments
    if any(map(_has_labels, arguments.get("datasets") or [arguments["dataset"]])):
        from rewact.labels.carry import carry_made

        carry_made(function.__name__, arguments, result)
    return result


def _has_labels(dataset: Any) -> bool:
    names = (EXTENSIONS_DIR, FOREIGN_DIR, DAGGER_DIR, PROGRESS_FILES)
    return any(next(Path(dataset.root).glob(name), None) for name in names)
