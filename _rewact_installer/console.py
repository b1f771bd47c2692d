# SPDX-License-Identifier: MIT
"""What the user reads: one line a step, faults on standard error."""

import sys


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
