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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

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
        entry = asdict(self)
        # `nearest`: as earlier releases call it
        return {"format": STATE_FORMAT, "nearest": entry.pop("fitted"), **entry}

    @classmethod
    def load(cls, value: object) -> "State":
        entry = checked(value, _STATE)
        del entry["format"]
        return cls(fitted=entry.pop("nearest"), **entry | {"left_out": entry["left_out"] or ()})


@dataclass(frozen=True)
class Journal:
    """What a run was about to do: path, the side before and the side afterwards of every file."""

    transaction: str
    removes_state: bool
    directories: tuple[str, ...]
    changes: tuple[tuple[str, Recorded | None, Recorded | None], ...]

    def dump(self) -> dict:
        entry = asdict(self)
        changes = [dict(zip(("path", "old", "new"), change, strict=True)) for change in entry["changes"]]
        return entry | {"changes": changes}

    @classmethod
    def load(cls, value: object) -> "Journal":
        entry = checked(value, _JOURNAL)
        return cls(**entry | {"changes": tuple(tuple(change.values()) for change in entry["changes"])})


def checked(value: object, schema: object) -> Any:
    """A value of a JSON file, as a schema has it.

    Args:
        schema: a pattern for text, a type, a range of numbers, `[of each entry]`, `{key: of its value}` (one
            with "?" may be missing, and is None then), or a function that checks and returns it.

    Raises:
        ValueError: it does not fit.
    """
    match schema:
        case str() if isinstance(value, str) and re.fullmatch(schema, value):
            return value
        case type() if type(value) is schema:
            return value
        case range() if type(value) is int and value in schema:
            return value
        case [of_each] if isinstance(value, list):
            return tuple(checked(entry, of_each) for entry in value)
        case dict() if isinstance(value, dict):
            found = {}
            for name, inner in schema.items():
                key = name.removesuffix("?")
                if key == name and key not in value:
                    raise ValueError(f"{key} is missing")
                absent = key != name and value.get(key) is None
                found[key] = None if absent else checked(value[key], inner)
            return found
        case str() | type() | range() | list() | dict():
            raise ValueError(f"{value!r:.40} is not as expected")
    return schema(value)


def _side(value: object) -> Recorded | None:
    return None if value is None else Recorded(**checked(value, {"blob": _BLOB, "mode": range(0o10000)}))


def _path(value: object) -> str:
    path = checked(value, r"[\s\S]{1,4096}")
    try:
        check_name(path)
    except RewactError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return path


def _files(value: object) -> dict[str, FileRecord]:
    entries = checked(value, dict)
    return {_path(path): _file(path, entry) for path, entry in entries.items()}


def _file(path: str, value: object) -> FileRecord:
    record = FileRecord(**checked(value, {"kind": "patch|overlay", "pristine": _side, "target": _side}))
    if record.kind == "overlay" and record.pristine is not None or record.pristine is record.target is None:
        raise ValueError(f"{path!r} has sides that {record.kind} files do not have")
    if record.pristine is None and not path.startswith(("src/", "tests/")):
        raise ValueError(f"{path!r} is not a place where install.py makes files")
    return record


_TRANSACTION, _BLOB = "[0-9a-f]{16}", "[0-9a-f]{40}"
_STATE = {
    "format": range(STATE_FORMAT, STATE_FORMAT + 1),
    "transaction": _TRANSACTION,
    "tag": r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}",
    "fingerprint": "[0-9a-f]{64}",
    "files": _files,
    "directories": [_path],
    "nearest": bool,
    "commit?": _BLOB,
    "environment?": r"[^\0\r\n]{1,4096}",
    "left_out?": [r"[^/\0\r\n]{1,255}"],
}
_JOURNAL = {
    "transaction": _TRANSACTION,
    "removes_state": bool,
    "directories": [_path],
    "changes": [{"path": _path, "old": _side, "new": _side}],
}


def _checked(path: Path, is_kind: Callable[[int], bool], kind: str) -> Path:
    """A part of the record, which is of its kind or not there: no link, pipe or device."""
    if os.path.lexists(path) and not is_kind(os.lstat(path).st_mode):
        raise RewactError(
            ExitCode.DAMAGED_STATE, f"{path} is not a {kind}, which install.py makes there: remove it."
        )
    return path


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
            if os.path.lexists(_checked(path, stat.S_ISREG, "regular file")):
                os.close(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)))

    @property
    def directory(self) -> Path:
        return _checked(self._directory, stat.S_ISDIR, "directory")

    @property
    def blobs(self) -> Path:
        """Where originals are kept for undo, each named by its blob id."""
        return _checked(self.directory / "blobs", stat.S_ISDIR, "directory")

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
