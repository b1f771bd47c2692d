# SPDX-License-Identifier: MIT
"""What the user reads: one line a step, faults on standard error."""

import contextlib
import io
import os
import sys
from pathlib import Path

from installer.faults import explain


def accept_any_name() -> None:
    """File names that the terminal's encoding lacks are shown escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (closed when the process ends)
    accept_any_name()


def done(text: str) -> None:
    """The last words: the result, and what to run next."""
    try:
        print(text, flush=True)
    except OSError:
        # Whoever listened has gone (`| head`), or the log's disk is full: the work goes on.
        _drop_output()


def step(text: str) -> None:
    """Says what is being done, or was found."""
    done(f"- {text}")


def answer(text: str) -> None:
    """What a program asked for: it is said whole, or the command fails."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _drop_output()  # whoever asked has heard enough (`| head`)
    except OSError as error:
        _drop_output()
        raise explain(error, Path("standard output")) from None


def fault(text: str) -> None:
    print(f"install.py: {text}", file=sys.stderr, flush=True)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """The count and its noun; `nouns` where it does not just take an s."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def quiet(json: bool) -> contextlib.AbstractContextManager:
    """Sends what is said to standard error, where a program reads JSON from standard output."""
    return contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext()
