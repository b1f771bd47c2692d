# SPDX-License-Identifier: MIT
"""What LeRobot's patched lines call: decorators at its definitions, and the names that its registries import.

Nothing here imports more than LeRobot has imported already, until one of our policies or options is used.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any


def decorator(call: Callable) -> Callable[[Callable], Callable]:
    """Make a decorator of what is to be called instead, with the decorated function before its arguments."""

    @wraps(call)
    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            return call(function, *args, **kwargs)

        # LeRobot's reader of command lines looks for the function's parameters, and does not unwrap it.
        decorated.__signature__ = signature(function)
        return decorated

    return decorate
