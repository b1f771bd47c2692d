# SPDX-License-Identifier: MIT
"""Writing files so that a crash leaves the old one or the new one."""

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Makes renames in a directory survive a power cut, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes, mode: int | None = None) -> None:
    """Writes a file that nobody reads yet, down to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if mode is not None:
        os.chmod(path, mode)


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file in one step."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        write_new(temporary, data)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
