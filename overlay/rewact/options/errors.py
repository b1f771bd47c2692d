# SPDX-License-Identifier: MIT
"""One way to tell a user what is wrong with the options or files that were given."""

import errno
import logging
import os
import sys
import traceback
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from urllib.error import URLError

from rewact.options.head import RewardHeadConfig

PACKAGE = "rewact"


def one_line(error: BaseException) -> str:
    """What an error says, on one line, with the remedy where it does not say it itself."""
    if _is_of_backbone(error):
        return (
            f"the backbone's pretrained weights cannot be downloaded ({error.reason}); "  # type: ignore[attr-defined]
            "--policy.pretrained_backbone_weights=null leaves them out"
        )
    if isinstance(error, OSError) and error.filename is not None:
        is_absent = error.errno == errno.ENOENT
        return f"{error.filename} does not exist" if is_absent else f"{error.filename}: {reason_of(error)}"
    return " ".join(str(error).split()) or repr(error)


def reason_of(error: BaseException) -> str:
    """What an error says, on one line, without the number of the system's error and the file."""
    number = getattr(error, "errno", None)
    known = os.strerror(number) if number in errno.errorcode else getattr(error, "strerror", None)
    return known or " ".join(str(error).split()) or repr(error)


def say_unread(what: str | Path, error: BaseException, form: str = "") -> str:
    """That something does not exist, or why it cannot be read (in some form)."""
    is_absent = getattr(error, "errno", None) == errno.ENOENT
    return f"{what} does not exist" if is_absent else f"{what} cannot be read{form}: {reason_of(error)}"


def is_of_network(error: BaseException) -> bool:
    """Whether the Hub could not be asked. Its client raises errors of httpx then, which are not OSErrors."""
    httpx = sys.modules.get("httpx")
    return httpx is not None and isinstance(error, httpx.HTTPError)


def say_errors_in_one_line() -> None:
    """Let LeRobot's own scripts end in one line where a mistake in our options or label files ends them.

    Only what is uncaught, and was raised by this package, ends in `error: ...`; everything else is told as
    before. draccus hides such an error behind one that names only the class which could not be made.
    """
    if getattr(sys.excepthook, "__module__", None) == __name__:
        return
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        cause = our_error(error)
        if cause is None:
            before(kind, error, trace)
        else:
            print(f"error: {cause}", file=sys.stderr)

    sys.excepthook = told


def our_error(error: BaseException) -> str | None:
    """What the error at the root says, if this package raised it, or a value of ours that cannot be."""
    ours = {"reward", *(option.name for option in fields(RewardHeadConfig))}
    while True:
        key_path = getattr(error, "key_path", ())  # of draccus, for what it could not read
        if ours & {*key_path}:
            return f"--{'.'.join(key_path)}: {' '.join(error.message.split())}"
        if error.__cause__ is None or _is_ours(error):
            break
        error = error.__cause__
    return one_line(error) if _is_ours(error) or _is_of_backbone(error) else None


def _is_ours(error: BaseException) -> bool:
    modules = _modules(error)
    return isinstance(error, (ValueError, OSError)) and modules[-1:] == [PACKAGE]


def _is_of_backbone(error: BaseException) -> bool:
    """Whether torchvision could not download what `--policy.pretrained_backbone_weights` names."""
    return isinstance(error, URLError) and "torchvision" in _modules(error)


def _modules(error: BaseException) -> list[str]:
    """The packages that an error passed, where it was raised last."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return [frame.f_globals.get("__name__", "").split(".")[0] for frame in frames]


class _OneLine(logging.Filter):
    """Shortens LeRobot's warning of a torchcodec that cannot be loaded, and tells it once."""

    told = False

    def filter(self, record: logging.LogRecord) -> bool:
        if "'torchcodec' is installed but cannot be loaded" not in str(record.msg):
            return True
        if self.told or {"-h", "--help"} & set(sys.argv):
            return False
        self.told = True
        record.msg = (
            "torchcodec cannot be loaded, as FFmpeg's libraries are missing (apt-get install ffmpeg); "
            "videos are decoded by pyav"
        )
        return True


def shorten_torchcodec_warning() -> None:
    """Make one line of the 200 that LeRobot logs where FFmpeg is not installed."""
    logger = logging.getLogger("lerobot.utils.import_utils")
    if not any(isinstance(known, _OneLine) for known in logger.filters):
        logger.addFilter(_OneLine())
