# SPDX-License-Identifier: MIT
"""Sentences and exit codes for what the system refuses."""

import errno
from pathlib import Path

from verify.errors import ExitCode, RewactError


def explain(error: OSError, where: Path | None = None, after: str = "") -> RewactError:
    """The sentence for a failed read or write.

    Args:
        where: what was worked on, for errors that name no file.
        after: a sentence on what it left behind.
    """
    place = error.filename or where or "A file"
    reason = error.strerror or str(error)
    after = after and f" {after}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RewactError(
            ExitCode.DISK_FULL, f"The disk is full ({place}: {reason}).{after} Make room and run again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RewactError(
            ExitCode.NO_PERMISSION,
            f"{place} cannot be read or written ({reason}).{after} "
            "Change its permissions, or run as its owner.",
        )
    if error.errno == errno.ENOENT:
        return RewactError(ExitCode.DISK_FULL, f"{place} does not exist.{after} See to that and run again.")
    return RewactError(
        ExitCode.DISK_FULL, f"Reading or writing {place} failed ({reason}).{after} See to that and run again."
    )
