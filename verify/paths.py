# SPDX-License-Identifier: MIT
"""Rules that keep every written path inside the checkout.

Two questions, asked separately: is the *name* harmless on every file system (`check_name`), and does the
path on *this* disk lead where its name says (`check_on_disk`)?
"""

import errno
import os
import re
import stat
from pathlib import Path

from verify.errors import ExitCode, RewactError

# Code points that HFS+ ignores in names, so that ".g\u200cit" opens ".git".
_IGNORED_ON_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


def _reason_against(component: str) -> str | None:
    """Why one path component is refused, or None."""
    if component in ("", ".", ".."):
        return "has an empty, '.' or '..' component"
    if any(ord(char) < 32 or char in '\\:"<>|?*\x7f' for char in component):
        return "has a character that some file systems read as a separator, a stream or a wildcard"
    plain = _IGNORED_ON_HFS.sub("", component).rstrip(" .").casefold()
    if plain == ".git" or re.fullmatch(r"git~[0-9]+", plain):
        return "names a .git directory"
    if component != component.rstrip(" ."):
        return "has a component that ends in a space or a dot"
    if _WINDOWS_DEVICES.fullmatch(plain):
        return "names a device"
    return None


# Far above any file that is read here: patches, records, sources.
_LARGEST = 16 << 20


def read_regular(path: Path, limit: int = _LARGEST) -> bytes:
    """The bytes of a regular file that is not reached through a link, at most `limit` of them.

    Raises:
        FileNotFoundError: where nothing is there.
        ValueError: saying what is there instead; a link, a device or a pipe is never opened for long.
    """
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError(f"{path} is not a regular file") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if status.st_size > limit:
            raise ValueError(f"{path} is larger than {limit >> 20} MiB")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def is_real_directory(root: Path, path: str) -> bool:
    """Whether a path below `root` is a directory that no link leads to."""
    here = root
    for component in path.split("/"):
        here = here / component
        try:
            if not stat.S_ISDIR(os.lstat(here).st_mode):
                return False
        except OSError:
            return False
    return True


def check_name(path: str) -> None:
    """Refuses a repository path (forward slashes, relative) that could lead outside the checkout.

    Raises:
        RewactError: BAD_PATCH_SET, naming the path and what is wrong with it.
    """
    for component in path.split("/"):
        reason = _reason_against(component)
        if reason:
            raise RewactError(ExitCode.BAD_PATCH_SET, f"Unsafe path {path!r}: it {reason}.")


def check_on_disk(root: Path, path: str) -> None:
    """Refuses a path whose parents on disk are links, files, other repositories, or spelled differently.

    Raises:
        RewactError: EDITED, because the checkout differs from what the release holds.
    """
    here = root
    for depth, component in enumerate(path.split("/")):
        parent, here = here, here / component
        try:
            mode = os.lstat(here).st_mode
        except FileNotFoundError:
            return
        # On a case-insensitive file system "SRC" opens "src"; the listing tells them apart.
        if component not in os.listdir(parent):
            raise RewactError(ExitCode.EDITED, f"{here} exists with other upper and lower case letters.")
        if depth == path.count("/"):
            return
        if stat.S_ISLNK(mode):
            raise RewactError(ExitCode.EDITED, f"{here} is a symbolic link: nothing is written through it.")
        if not stat.S_ISDIR(mode):
            raise RewactError(ExitCode.EDITED, f"{here} is not a directory, so {path} cannot be placed.")
        if os.path.lexists(here / ".git"):
            raise RewactError(
                ExitCode.EDITED, f"{here} is a repository of its own: nothing is written in it."
            )


def cache_directory() -> Path:
    """Where verified archives are kept for the next time, also without a network."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rewact-lerobot"
