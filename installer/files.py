# SPDX-License-Identifier: MIT
"""Writing files so that a crash leaves the old one or the new one, and so that sudo leaves none of root's."""

import contextlib
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


def keep_owner(path: Path, model: Path) -> None:
    """Gives a file that was just made the owner and the group of `model`, where that is allowed."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        owner = os.stat(model)
        # Never through a link: the directory is the user's, who could have put one there.
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def own_like_parent(path: Path) -> None:
    """Run with sudo, what is made in a directory of the user's is the user's."""
    if os.name != "nt" and os.geteuid() == 0:
        keep_owner(path, path.parent)


def make_directory(path: Path) -> None:
    """Makes a directory that may be there already, for the owner of the one it is in."""
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        own_like_parent(path)


def write_new(path: Path, data: bytes, mode: int | None = None) -> None:
    """Writes a file that nobody reads yet, down to the disk, for the owner of its directory."""
    # What a killed run left there is taken away first: nothing that is there is ever opened.
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    own_like_parent(path)
    if mode is not None:
        os.chmod(path, mode)


def write_atomically(path: Path, data: bytes, *, executable: bool = False) -> None:
    """Replaces a file in one step."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        write_new(temporary, data)
        if executable:
            temporary.chmod(temporary.stat().st_mode | 0o111)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
