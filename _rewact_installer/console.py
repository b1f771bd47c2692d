# SPDX-License-Identifier: MIT
"""What the user reads: one line a step, faults on standard error."""

import contextlib
import sys
from collections.abc import Iterator


def step(text: str) -> None:
    """Says what is being done, or was found."""
    print(f"- {text}", flush=True)


def done(text: str) -> None:
    """The last words: the result, and what to run next."""
    print(text, flush=True)


def fault(text: str) -> None:
    print(f"install.py: {text}", file=sys.stderr, flush=True)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Sends what is said to standard error, where standard output is to be read by a program."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
