# SPDX-License-Identifier: MIT
"""The one exception users see, and the exit codes of install.py and `python -m verify`."""

import subprocess
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns. `test` and `demo` pass on the exit code of the program they run."""

    OK = 0
    INTERNAL = 1  # a mistake of ours: the traceback is shown
    USAGE = 2  # argparse
    NOT_LEROBOT = 3  # CHECKOUT is not a LeRobot git clone
    UNSUPPORTED_VERSION = 4  # a LeRobot, but none that a patch set is made for
    EDITED = 5  # a file that would be written or removed holds someone's edits
    BAD_PATCH_SET = 6  # a patch, the series or the overlay is missing, damaged or hostile
    NO_PERMISSION = 7  # the checkout or the environment cannot be written
    GIT = 8  # no git, too old, or it refuses this repository
    NO_PYTHON = 9  # no Python that fits this LeRobot
    INDEX = 10  # the package index: no network, wrong checksum, failed install
    DISK_FULL = 11  # or it fails in another way
    BUSY = 12  # another run holds the lock
    DAMAGED_STATE = 13  # the installer's own records cannot be read
    CHECK_FAILED = 14  # what was installed does not import, or a verification does not hold
    CONFLICT = 15  # a patch does not fit this tree
    INTERRUPTED = 130  # Ctrl-C


class RewactError(Exception):
    """A failure explained in one sentence that names the file, the value and the remedy."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def last_words(ended: "subprocess.CompletedProcess[str]") -> str:
    """Why a program failed: the last line that it wrote."""
    lines = (ended.stderr or "").strip().splitlines() or (ended.stdout or "").strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
