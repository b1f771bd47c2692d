# SPDX-License-Identifier: MIT
"""The installer's record of what it wrote, kept in the repository's git directory. Read here, as input.

A git directory can come from anywhere (an archive, a volume, a share), so the record may hold anything. One
schema checks every value; what does not fit it is refused before any of it is acted on.
"""

import json
import os
import re
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.paths import check_name, read_regular

STATE_FORMAT = 1
_T = TypeVar("_T")


@dataclass(frozen=True)
class Recorded:
    """One side of a recorded file: the id of its raw bytes, and its permission bits."""

    blob: str
    mode: int

    @classmethod
    def load(cls, value: object) -> "Recorded | None":
        if value is None:
            return None
        entry = as_object(value, "blob", "mode")
        mode = entry["mode"]
        if type(mode) is not int or not 0 <= mode <= 0o7777:
            raise ValueError(f"{mode!r:.40} is not a file mode")
        return cls(as_text(entry["blob"], "[0-9a-f]{40}"), mode)

    @staticmethod
    def dump(record: "Recorded | None") -> dict | None:
        return None if record is None else {"blob": record.blob, "mode": record.mode}


@dataclass(frozen=True)
class FileRecord:
    """What was written at one path. `pristine` None: it was free; `target` None: the file was removed."""

    kind: str  # "patch" or "overlay"
    pristine: Recorded | None
    target: Recorded | None


@dataclass(frozen=True)
class State:
    """What is installed in a checkout.

    Attributes:
        fitted: the series was made for another tree, and fitted to this one.
        left_out: the optional patches that did not fit it.
        commit: HEAD at the installation; None in a repository without, and in old records.
        environment: the one that it was installed in, or None.
    """

    transaction: str
    tag: str
    fingerprint: str
    files: dict[str, FileRecord]
    directories: tuple[str, ...]
    fitted: bool = False
    commit: str | None = None
    environment: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def patched_files(self) -> dict[str, FileRecord]:
        return {path: record for path, record in self.files.items() if record.kind == "patch"}

    def dump(self) -> dict:
        return {
            "format": STATE_FORMAT,
            "transaction": self.transaction,
            "tag": self.tag,
            "fingerprint": self.fingerprint,
            "nearest": self.fitted,  # as earlier releases call it
            "left_out": list(self.left_out),
            "commit": self.commit,
            "environment": self.environment,
            "files": {
                path: {
                    "kind": record.kind,
                    "pristine": Recorded.dump(record.pristine),
                    "target": Recorded.dump(record.target),
                }
                for path, record in sorted(self.files.items())
            },
            "directories": list(self.directories),
        }

    @classmethod
    def load(cls, value: object) -> "State":
        entry = as_object(
            value, "format", "transaction", "tag", "fingerprint", "files", "directories", "nearest"
        )
        if entry["format"] != STATE_FORMAT:
            raise ValueError(f"format {entry['format']!r:.40}")
        if type(entry["nearest"]) is not bool:
            raise ValueError(f"nearest {entry['nearest']!r:.40}")
        commit, environment = entry.get("commit"), entry.get("environment")
        return cls(
            as_text(entry["transaction"], "[0-9a-f]{16}"),
            as_text(entry["tag"], r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}"),
            as_text(entry["fingerprint"], "[0-9a-f]{64}"),
            {_path(path): _file(path, file) for path, file in as_object(entry["files"]).items()},
            _paths(entry["directories"]),
            entry["nearest"],
            None if commit is None else as_text(commit, "[0-9a-f]{40}"),
            None if environment is None else as_text(environment, r"[^\0\r\n]{1,4096}"),
            tuple(as_text(name, r"[^/\0\r\n]{1,255}") for name in _list(entry.get("left_out", []))),
        )


@dataclass(frozen=True)
class Journal:
    """What a run was about to do: path, the side before and the side afterwards of every file."""

    transaction: str
    removes_state: bool
    directories: tuple[str, ...]
    changes: tuple[tuple[str, Recorded | None, Recorded | None], ...]

    def dump(self) -> dict:
        return {
            "transaction": self.transaction,
            "removes_state": self.removes_state,
            "directories": list(self.directories),
            "changes": [
                {"path": path, "old": Recorded.dump(old), "new": Recorded.dump(new)}
                for path, old, new in self.changes
            ],
        }

    @classmethod
    def load(cls, value: object) -> "Journal":
        entry = as_object(value, "transaction", "removes_state", "directories", "changes")
        if type(entry["removes_state"]) is not bool:
            raise ValueError(f"removes_state {entry['removes_state']!r:.40}")
        changes = [as_object(change, "path", "old", "new") for change in _list(entry["changes"])]
        return cls(
            as_text(entry["transaction"], "[0-9a-f]{16}"),
            entry["removes_state"],
            _paths(entry["directories"]),
            tuple(
                (_path(change["path"]), Recorded.load(change["old"]), Recorded.load(change["new"]))
                for change in changes
            ),
        )


def as_object(value: object, *keys: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.40} is not an object")
    if lacking := [key for key in keys if key not in value]:
        raise ValueError(f"{lacking[0]} is missing")
    return value


def _list(value: object) -> list:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.40} is not a list")
    return value


def as_text(value: object, pattern: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ValueError(f"{value!r:.40} is not as expected")
    return value


def _path(value: object) -> str:
    path = as_text(value, r"[\s\S]{1,4096}")
    try:
        check_name(path)
    except RewactError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return path


def _paths(value: object) -> tuple[str, ...]:
    return tuple(_path(path) for path in _list(value))


def _file(path: str, value: object) -> FileRecord:
    entry = as_object(value, "kind", "pristine", "target")
    kind = as_text(entry["kind"], "patch|overlay")
    record = FileRecord(kind, Recorded.load(entry["pristine"]), Recorded.load(entry["target"]))
    if kind == "overlay" and record.pristine is not None or record.pristine is record.target is None:
        raise ValueError(f"{path!r} has sides that {kind} files do not have")
    if record.pristine is None and not path.startswith(("src/", "tests/")):
        raise ValueError(f"{path!r} is not a place where install.py makes files")
    return record


def checked_directory(path: Path) -> Path:
    """A directory of the record: a real one, or not there.

    Raises:
        RewactError: DAMAGED_STATE for a link or anything else in its place.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return path
    if not stat.S_ISDIR(mode):
        raise RewactError(
            ExitCode.DAMAGED_STATE,
            f"{path} is not a directory but a link or a file, which install.py never makes: remove it and "
            "run again.",
        )
    return path


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise RewactError(
            ExitCode.DAMAGED_STATE,
            f"{path} is not a regular file, which install.py makes there: remove it.",
        )
    os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)))


def read_json(path: Path, load: Callable[[object], _T], remedy: str) -> _T | None:
    """A file of the record, checked; None where there is none.

    Raises:
        RewactError: DAMAGED_STATE, with the remedy.
    """
    try:
        return load(json.loads(read_regular(path)))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path} ")
        raise RewactError(ExitCode.DAMAGED_STATE, f"{path} is damaged ({reason}): {remedy}") from None


class Record:
    """The record of one checkout, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def check(self) -> None:
        """Looks at every part of it, also at those that are not needed now.

        Raises:
            RewactError: DAMAGED_STATE for anything but a regular file or a directory in its place.
            OSError: where a part cannot be read.
        """
        for directory in (self.directory, self.blobs):
            if directory.exists():
                os.listdir(directory)
        for path in (self.state_path, self.journal_path, self.update_path, self.lock_path):
            if os.path.lexists(path):
                _check_regular(path)

    @property
    def directory(self) -> Path:
        return checked_directory(self._directory)

    @property
    def blobs(self) -> Path:
        """Where originals are kept for undo, each named by its blob id."""
        return checked_directory(self.directory / "blobs")

    @property
    def state_path(self) -> Path:
        return self.directory / "state.json"

    @property
    def journal_path(self) -> Path:
        return self.directory / "journal.json"

    @property
    def update_path(self) -> Path:
        """Where the clone was, while `update` brings it to another commit."""
        return self.directory / "update.json"

    @property
    def lock_path(self) -> Path:
        return self.directory / "lock"

    def state(self) -> State | None:
        """What is installed, or None where nothing is.

        Raises:
            RewactError: DAMAGED_STATE, when the record cannot be read.
        """
        return read_json(
            self.state_path,
            State.load,
            "delete it and run `install.py dev` again; what is already applied is recognised by content.",
        )

    def journal(self) -> Journal | None:
        """What an interrupted run was about to do, or None.

        Raises:
            RewactError: DAMAGED_STATE, when the journal cannot be read.
        """
        return read_json(
            self.journal_path,
            Journal.load,
            "compare the checkout with `git status`, then delete that file.",
        )

    def kept_blob(self, identifier: str) -> bytes | None:
        """Bytes kept for undo, or None where they are missing or changed."""
        try:
            data = read_regular(self.blobs / identifier)
        except (FileNotFoundError, ValueError):
            return None
        return data if blob_id(data) == identifier else None

    def recorded_blob(self, identifier: str, path: str) -> bytes:
        """Bytes kept for undo, of the file at `path`.

        Raises:
            RewactError: DAMAGED_STATE, when they are missing or changed.
        """
        data = self.kept_blob(identifier)
        if data is None:
            raise RewactError(
                ExitCode.DAMAGED_STATE,
                f"{self.blobs / identifier}, the kept original of {path}, is missing or changed: "
                f"restore that file with `git checkout -- {shlex.quote(path)}` and run again.",
            )
        return data
