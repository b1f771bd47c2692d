# SPDX-License-Identifier: MIT
"""One run at a time for each checkout, and for each environment that is being made."""

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from installer.files import make_directory, own_like_parent
from verify.errors import ExitCode, RewactError
from verify.paths import read_regular

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

# Far behind the text that says who holds the lock: Windows also keeps others from reading what is locked.
_LOCKED_BYTE = 1 << 20
_OPEN_FLAGS = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def _try_lock(descriptor: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise  # no other run, but a file system without locks
    return True


@contextlib.contextmanager
def hold(directory: Path, what: str = "this checkout") -> Iterator[None]:
    """Holds the lock file in `directory`, which is made when missing and removed again when left empty.

    The system drops the lock when the process ends, however it ends.

    Args:
        what: what is locked, for messages.

    Raises:
        RewactError: BUSY, saying who holds it.
        OSError: also for a link, a pipe or a device in its place.
    """
    path = directory / "lock"
    while True:
        try:
            make_directory(directory)
            descriptor = os.open(path, _OPEN_FLAGS | os.O_CREAT, 0o666)
            own_like_parent(path)
        except FileNotFoundError:
            if not directory.parent.is_dir():
                raise
            continue  # the last holder removed the directory in between
        try:
            locked = _try_lock(descriptor)
        except OSError as error:
            _release(path, descriptor)
            raise RewactError(
                ExitCode.DISK_FULL,
                f"{path} cannot be locked ({error.strerror}), so that two runs could meet: move {what} "
                "to a file system with locks, for example a local disk.",
            ) from None
        if not locked:
            os.close(descriptor)
            raise RewactError(
                ExitCode.BUSY,
                f"Another run is at work on {what} ({_holder(path) or 'just begun'}): wait for it to end.",
            )
        if _is_still(path, descriptor):
            break
        os.close(descriptor)
    try:
        command = " ".join(Path(word).name for word in sys.argv[:2])
        text = (
            f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%H:%M:%S')}: {command}\n"
        )
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)  # on Windows the lock left it at the locked byte
        os.write(descriptor, text.encode())
        yield
    finally:
        _release(path, descriptor)


def is_held(directory: Path) -> bool:
    """Whether another run holds the lock; nothing is made or written."""
    try:
        descriptor = os.open(directory / "lock", _OPEN_FLAGS)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor)
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        return read_regular(path).decode(errors="replace").strip()[:200]
    except (OSError, ValueError):
        return ""


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is the one at `path`, not one removed by its last holder."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _release(path: Path, descriptor: int) -> None:
    if fcntl is not None and all(entry.name == "lock" for entry in os.scandir(path.parent)):
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    os.close(descriptor)
