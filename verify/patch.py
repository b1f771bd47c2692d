# SPDX-License-Identifier: MIT
"""One patch file: its header, which is ours, and its diffs, read by unidiff and by git.

git apply skips what it does not understand and obeys any `diff` line it finds, header or not; unidiff reads
garbage without a word. So a patch is read only where both read the same and no line is left over: paths are
those that git reads, hunks are unidiff's. Nothing is written back: git gets the file's own bytes.

    Description: what it is for
    Upstream-Files: src/lerobot/a.py, src/lerobot/b.py
    Forwarded: no
    Drop-When: when it can be dropped
    Pre-Image: src/lerobot/a.py 0123...

    diff --git a/src/lerobot/a.py b/src/lerobot/a.py
    index 0123...<40 digits>..4567... 100644
    ...
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import unidiff
from unidiff.constants import DEV_NULL, LINE_TYPE_EMPTY

from verify.errors import ExitCode, RewactError
from verify.paths import check_name, read_regular
from verify.repository import read_patch

REQUIRED_FIELDS = ("Description", "Upstream-Files", "Forwarded", "Drop-When")
# `Optional: yes`: for files that only some copies of a release have (release archives have few tests), or
# that its copies hold with different bytes: then one such patch for each, and the one that fits applies.
KNOWN_FIELDS = (*REQUIRED_FIELDS, "Pre-Image", "Optional")
ALLOWED_MODES = ("100644", "100755")
ABSENT = "0" * 40

_INDEX = re.compile(r"index ([0-9a-f]{40})\.\.([0-9a-f]{40})(?: \d{6})?\n")
_EXTENDED = re.compile(r"(old mode|new mode|new file mode|deleted file mode) \d{6}\n")
_BINARY = re.compile(r"GIT binary patch|(literal|delta) \d+|[A-Za-z][!-~]+|")


@dataclass(frozen=True)
class FileDiff:
    """What a patch does to one file.

    Attributes:
        path: as git reads it.
        old_id: the blob before; ABSENT for a file that is made, None where only the mode changes.
        new_id: the blob afterwards, likewise.
        modes: before and after where both are named and differ, else the one; () where none is named.
        hunks: unidiff's, as text in which every character stands for one byte.
    """

    path: str
    old_id: str | None
    new_id: str | None
    modes: tuple[str, ...]
    hunks: unidiff.PatchedFile
    binary: bool

    @property
    def old_path(self) -> str | None:
        """None for a file that is made."""
        return None if self.hunks.source_file == DEV_NULL else self.path

    @property
    def new_path(self) -> str | None:
        """None for a file that is deleted."""
        return None if self.hunks.target_file == DEV_NULL else self.path


@dataclass(frozen=True)
class Patch:
    name: str
    data: bytes
    fields: dict[str, str]
    pre_images: dict[str, str]
    diffs: tuple[FileDiff, ...]

    @property
    def optional(self) -> bool:
        return self.fields.get("Optional") == "yes"

    @property
    def paths(self) -> set[str]:
        """Every path the patch reads or writes."""
        return {diff.path for diff in self.diffs}


class _RefusedError(Exception):
    """Why a patch is refused, and the line; `parse_patch` adds the file's name."""

    def __init__(self, reason: str, line: int = 1) -> None:
        super().__init__(reason)
        self.line = line


def _header(lines: Sequence[bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """The fields, and the pre-images."""
    try:
        text = b"\n".join(lines).decode("utf-8")
    except UnicodeDecodeError:
        raise _RefusedError("the header is not UTF-8") from None
    fields: dict[str, str] = {}
    pre_images: dict[str, str] = {}
    number = 1
    for entry in re.split(r"\n(?![ \t])", text):  # with the lines that continue it
        key, colon, value = entry.partition(":")
        value = "\n".join(line.strip() for line in value.split("\n")).strip()
        if entry and (not colon or key not in KNOWN_FIELDS):
            known = ", ".join(KNOWN_FIELDS)
            raise _RefusedError(f"the header line {entry[:200]!r} is unknown; the fields are {known}", number)
        if key == "Pre-Image":
            path, _, identifier = value.rpartition(" ")
            if not re.fullmatch("[0-9a-f]{40}", identifier) or path in pre_images:
                raise _RefusedError(f"{key}: {value[:200]!r} is not `<path> <blob id>`", number)
            check_name(path)
            pre_images[path] = identifier
        elif key in fields:
            raise _RefusedError(f"the header field {key} appears twice", number)
        elif key:
            fields[key] = value
        number += 1 + entry.count("\n")
    return fields, pre_images


def _diffs(lines: Sequence[bytes], first: int, directory: Path) -> tuple[FileDiff, ...]:
    """The diffs, where git and unidiff read the same and no line is left over."""
    # As latin-1 every byte is one character; given line by line, unidiff takes nothing but LF for a line end.
    text = [line.decode("latin-1") + "\n" for line in lines[first:]]
    try:
        files = unidiff.PatchSet(text)
        read = read_patch(b"".join(line + b"\n" for line in lines[first:]), directory)
    except (unidiff.UnidiffParseError, ValueError) as error:
        raise _RefusedError(
            f"a diff or hunk that cannot be read: {str(error).strip()[:200]}", first + 1
        ) from None
    if len(files) != len(read):
        raise _RefusedError(f"git reads {len(read)} diffs where {len(files)} stand", first + 1)
    ends = [file.diff_line_no for file in files[1:]] + [len(text) + 1]
    return tuple(
        _diff(file, text[file.diff_line_no - 1 : end - 1], entry, first + file.diff_line_no)
        for file, entry, end in zip(files, read, ends, strict=True)
    )


def _diff(file: unidiff.PatchedFile, text: list[str], read: tuple[str, str, str], line: int) -> FileDiff:
    added, removed, path = read
    check_name(path)
    info, binary = list(file.patch_info or []), added == "-"
    if not info or not info[0].startswith("diff --git "):
        raise _RefusedError("a line that belongs to no diff", line)
    _check_names(file, info[0], text[len(info) :], line)
    if bad := [other for other in info[1:] if not (_EXTENDED.fullmatch(other) or _INDEX.fullmatch(other))]:
        raise _RefusedError(f"the line {bad[0].strip()[:200]!r} is not one of a diff without renames", line)
    used = len(info) + 2 * bool(file) + sum(1 + len(hunk) for hunk in file)
    rest = text[used:]
    blank = any(part.line_type == LINE_TYPE_EMPTY for hunk in file for part in hunk)
    if blank or any(not (binary and _BINARY.fullmatch(other.rstrip("\n"))) for other in rest):
        raise _RefusedError("a line that belongs to no diff", line + min(used, len(text)))
    if not binary and (added, removed) != (str(file.added), str(file.removed)):
        raise _RefusedError(f"git reads other hunks of {path} than stand there", line)
    index = next(filter(None, map(_INDEX.fullmatch, info)), None)
    if index is None and (file or binary):
        raise _RefusedError("an `index` line with full blob ids is missing (git diff --full-index)", line)
    modes = [mode for mode in (file.source_mode, file.target_mode) if mode is not None]
    if bad := [mode for mode in modes if mode not in ALLOWED_MODES]:
        raise _RefusedError(f"the mode {bad[0]} is not allowed, only {' and '.join(ALLOWED_MODES)}", line)
    old, new = index.groups() if index else (None, None)
    return FileDiff(path, old, new, tuple(dict.fromkeys(modes)), file, binary)


def _check_names(file: unidiff.PatchedFile, first: str, rest: list[str], line: int) -> None:
    """`diff --git`, `---` and `+++` lines must name one file, behind a/ and b/: git believes the last two."""
    named = file.target_file if file.source_file == DEV_NULL else file.source_file
    quote = '"' if named.startswith('"') else ""
    name = named.strip('"')[2:]
    old, new = (f"{quote}{prefix}/{name}{quote}" for prefix in "ab")
    if first != f"diff --git {old} {new}\n":
        raise _RefusedError("a `diff --git` line whose two paths differ", line)
    old = DEV_NULL if file.source_file == DEV_NULL else old
    new = DEV_NULL if file.target_file == DEV_NULL else new
    if file and [part.rstrip("\t\n") for part in rest[:2]] != [f"--- {old}", f"+++ {new}"]:
        raise _RefusedError("a `---` or `+++` line that names another file", line)


def _check(fields: dict[str, str], pre_images: dict[str, str], diffs: Sequence[FileDiff]) -> None:
    """What must hold between header and diffs."""
    for name in REQUIRED_FIELDS:
        if not fields.get(name):
            raise _RefusedError(f"the header field {name} is missing")
    if not diffs:
        raise _RefusedError("it has no diff")
    touched = Counter(diff.path for diff in diffs)
    path, count = touched.most_common(1)[0]
    if count > 1:
        raise _RefusedError(f"{path} is changed by two diffs of the same patch")
    declared = Counter(path.strip() for path in fields["Upstream-Files"].replace("\n", " ").split(","))
    if declared != touched:
        other = sorted((declared - touched) | (touched - declared))
        raise _RefusedError(f"Upstream-Files and the diffs differ in {', '.join(other[:5])}")
    missing = {diff.path for diff in diffs if diff.old_path} - pre_images.keys()
    if wrong := sorted(missing or pre_images.keys() - touched.keys()):
        raise _RefusedError(f"Pre-Image lines and touched files differ: {', '.join(wrong[:5])}")


def parse_patch(path: Path) -> Patch:
    """Reads and checks one patch file.

    Raises:
        RewactError: BAD_PATCH_SET, naming the file, the line and what is wrong.
    """
    try:
        data = read_regular(path)
        if not data.strip():
            raise _RefusedError("the file is empty")
        if not data.endswith(b"\n"):
            raise _RefusedError("the file does not end with a line end: it was cut off")
        lines = data.split(b"\n")[:-1]
        if lines[0].endswith(b"\r"):
            raise _RefusedError("the file has CRLF line ends: something converted it")
        starts = (number for number, line in enumerate(lines) if line.startswith(b"diff --git "))
        first = next(starts, len(lines))
        fields, pre_images = _header(lines[:first])
        diffs = _diffs(lines, first, path.parent) if first < len(lines) else ()
        _check(fields, pre_images, diffs)
    except FileNotFoundError:
        raise RewactError(ExitCode.BAD_PATCH_SET, f"{path} is listed in series but missing.") from None
    except (_RefusedError, RewactError, ValueError) as error:
        line = error.line if isinstance(error, _RefusedError) else 1
        raise RewactError(
            ExitCode.BAD_PATCH_SET,
            f"{path}, line {line}: {str(error).rstrip('.')}. Restore it from the repository.",
        ) from None
    return Patch(path.name, data, fields, pre_images, diffs)
