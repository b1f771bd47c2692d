# SPDX-License-Identifier: MIT
"""One patch file: header fields and diffs, parsed strictly.

git apply skips what it does not understand and obeys any `diff` line it finds, header or not. This parser
accepts only the form our patches have, so that what is reviewed is what git applies. It never writes a patch
back: git gets the file's own bytes.

    Description: what it is for
    Upstream-Files: src/lerobot/a.py, src/lerobot/b.py
    Forwarded: no
    Drop-When: when it can be dropped
    Pre-Image: src/lerobot/a.py 0123...

    diff --git a/src/lerobot/a.py b/src/lerobot/a.py
    index 0123...<40 digits>..4567... 100644
    ...
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from verify.errors import ExitCode, RewactError
from verify.paths import check_name

REQUIRED_FIELDS = ("Description", "Upstream-Files", "Forwarded", "Drop-When")
# `Optional: yes`: for files that only some copies of a release have (release archives have few tests), or
# that its copies hold with different bytes: then one such patch for each, and the one that fits applies.
KNOWN_FIELDS = (*REQUIRED_FIELDS, "Pre-Image", "Optional")
ALLOWED_MODES = ("100644", "100755")
ABSENT = "0" * 40

_EXTENDED = re.compile(
    rb"(old mode|new mode|new file mode|deleted file mode) (\d{6})$"
    rb"|(rename from|rename to|copy from|copy to) (.+)$|(?:dis)?similarity index \d+%$"
)
_INDEX = re.compile(rb"index ([0-9a-f]{40})\.\.([0-9a-f]{40})(?: (\d{6}))?$")
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(?: (.*))?$")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b'"': b'"', b"\\": b"\\", b"a": b"\a", b"b": b"\b", b"v": b"\v",
            b"f": b"\f", b"r": b"\r"}  # fmt: skip


@dataclass(frozen=True)
class Hunk:
    """Lines as in the file, without the leading ' ', '-' or '+' and with their line ends."""

    old_start: int
    new_start: int
    section: str
    old_lines: tuple[bytes, ...]
    new_lines: tuple[bytes, ...]


@dataclass
class FileDiff:
    """What one `diff --git` section says. `old_path` or `new_path` is None for a file made or deleted."""

    old_path: str | None
    new_path: str | None
    old_id: str | None = None
    new_id: str | None = None
    modes: list[str] = field(default_factory=list)
    hunks: list[Hunk] = field(default_factory=list)
    binary: bool = False


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
        return {path for diff in self.diffs for path in (diff.old_path, diff.new_path) if path is not None}


class _RefusedError(Exception):
    """Reason and line number; `parse_patch` adds the file's name."""


def _unquote(name: bytes) -> bytes:
    """Undoes git's C-style quoting of a file name."""
    if not name.startswith(b'"'):
        return name
    if not name.endswith(b'"') or len(name) < 2:
        raise _RefusedError("a quoted file name does not end")

    def replace(match: re.Match[bytes]) -> bytes:
        text = match[1]
        if text.isdigit():
            return bytes([int(text, 8) & 255])
        if text not in _ESCAPES:
            raise _RefusedError("a quoted file name has an unknown escape")
        return _ESCAPES[text]

    return re.sub(rb"\\([0-7]{3}|.)", replace, name[1:-1], flags=re.DOTALL)


def _path(name: bytes, prefix: bytes) -> str | None:
    """The path behind a/ or b/, or None for /dev/null."""
    plain = _unquote(name.removesuffix(b"\t") if not name.startswith(b'"') else name)
    if plain == b"/dev/null":
        return None
    if not plain.startswith(prefix):
        raise _RefusedError(f"the path {os.fsdecode(plain)!r} does not start with {prefix.decode()}")
    path = os.fsdecode(plain[len(prefix) :])
    check_name(path)
    return path


def _git_line_path(line: bytes) -> str:
    """The path of `diff --git a/x b/x`; both must be the same, renames say theirs on lines of their own."""
    rest = line[len(b"diff --git ") :]
    middle = rest.find(b'" ', 1) + 1 if rest.startswith(b'"') else len(rest) // 2
    if middle <= 0 or rest[middle : middle + 1] != b" ":
        raise _RefusedError("a `diff --git` line whose two paths differ")
    old, new = _path(rest[:middle], b"a/"), _path(rest[middle + 1 :], b"b/")
    if old is None or old != new:
        raise _RefusedError("a `diff --git` line whose two paths differ")
    return old


class _Reader:
    """A cursor over the lines of a patch."""

    def __init__(self, data: bytes) -> None:
        self.lines = data.split(b"\n")
        if self.lines and self.lines[-1] == b"":
            self.lines.pop()
        self.at = 0

    @property
    def line(self) -> bytes | None:
        return self.lines[self.at] if self.at < len(self.lines) else None

    def header(self) -> tuple[dict[str, str], dict[str, str]]:
        fields: dict[str, str] = {}
        pre_images: dict[str, str] = {}
        key = ""
        while self.line is not None and not self.line.startswith(b"diff --git "):
            text = self.line.decode("utf-8")
            if text.startswith((" ", "\t")) and key:
                fields[key] += "\n" + text.strip()
            elif text:
                key, colon, value = text.partition(":")
                value = value.strip()
                if not colon or key not in KNOWN_FIELDS:
                    raise _RefusedError(f"the header line {text!r} is none of {', '.join(KNOWN_FIELDS)}")
                if key == "Pre-Image":
                    path, _, identifier = value.rpartition(" ")
                    if not re.fullmatch("[0-9a-f]{40}", identifier) or path in pre_images:
                        raise _RefusedError(f"the header line {text!r} is not `Pre-Image: <path> <blob id>`")
                    check_name(path)
                    pre_images[path] = identifier
                    key = ""
                elif key in fields:
                    raise _RefusedError(f"the header field {key} appears twice")
                else:
                    fields[key] = value
            self.at += 1
        return fields, pre_images

    def diffs(self) -> list[FileDiff]:
        result = []
        while self.line is not None:
            result.append(self._diff())
        return result

    def _diff(self) -> FileDiff:
        line = self.line
        if line is None or not line.startswith(b"diff --git "):
            raise _RefusedError("a line that belongs to no diff")
        path = self._git_line_path_or_rename(line)
        self.at += 1
        diff = FileDiff(path, path)
        while self.line is not None:
            if extended := _EXTENDED.match(self.line):
                kind, mode, rename, name = extended.groups()
                if mode:
                    diff.modes.append(mode.decode())
                if kind == b"new file mode":
                    diff.old_path = None
                elif kind == b"deleted file mode":
                    diff.new_path = None
                elif rename in (b"rename from", b"copy from"):
                    diff.old_path = _path(b"a/" + _unquote(name), b"a/")
                elif rename:
                    diff.new_path = _path(b"b/" + _unquote(name), b"b/")
            elif index := _INDEX.match(self.line):
                diff.old_id, diff.new_id = index[1].decode(), index[2].decode()
                if index[3]:
                    diff.modes.append(index[3].decode())
            else:
                break
            self.at += 1
        self._body(diff)
        return diff

    def _git_line_path_or_rename(self, line: bytes) -> str | None:
        following = self.lines[self.at + 1 : self.at + 6]
        if any(other.startswith((b"rename from ", b"copy from ")) for other in following):
            return None  # said by the rename lines, checked against the index afterwards
        return _git_line_path(line)

    def _body(self, diff: FileDiff) -> None:
        if self.line == b"GIT binary patch":
            diff.binary = True
            self.at += 1
            while self.line is not None and not self.line.startswith(b"diff --git "):
                if not re.fullmatch(rb"(literal|delta) \d+|[A-Za-z][!-~]+|", self.line):
                    raise _RefusedError("a line that is no part of a binary patch")
                self.at += 1
            return
        if self.line is not None and self.line.startswith(b"--- "):
            if _path(self.line[4:], b"a/") != diff.old_path:
                raise _RefusedError("a `---` line that names another file")
            self.at += 1
            if self.line is None or not self.line.startswith(b"+++ "):
                raise _RefusedError("a `---` line without its `+++`")
            if _path(self.line[4:], b"b/") != diff.new_path:
                raise _RefusedError("a `+++` line that names another file")
            self.at += 1
            while self.line is not None and self.line.startswith(b"@@ "):
                diff.hunks.append(self._hunk())
            if not diff.hunks:
                raise _RefusedError("a diff without hunks")

    def _hunk(self) -> Hunk:
        match = _HUNK.match(self.line or b"")
        if match is None:
            raise _RefusedError("a hunk header that cannot be read")
        self.at += 1
        left = {b"-": int(match[2] or 1), b"+": int(match[4] or 1)}
        old: list[bytes] = []
        new: list[bytes] = []
        while left[b"-"] or left[b"+"]:
            line = self.line
            if line is None:
                raise _RefusedError("a hunk that ends too early")
            sign, text = line[:1], line[1:] + b"\n"
            if sign not in (b" ", b"-", b"+"):
                raise _RefusedError("a hunk with fewer lines than its header says")
            for side, lines in ((b"-", old), (b"+", new)):
                if sign in (b" ", side):
                    lines.append(text)
                    left[side] -= 1
                    if left[side] < 0:
                        raise _RefusedError("a hunk with other lines than its header says")
            self.at += 1
            if self.line is not None and self.line.startswith(b"\\ "):
                for side, lines in ((b"-", old), (b"+", new)):
                    if sign in (b" ", side):
                        lines[-1] = lines[-1][:-1]
                self.at += 1
        section = (match[5] or b"").decode(errors="replace")
        return Hunk(int(match[1]), int(match[3]), section, tuple(old), tuple(new))


def _check(fields: dict[str, str], pre_images: dict[str, str], diffs: list[FileDiff]) -> None:
    """What must hold between header and diffs."""
    for name in REQUIRED_FIELDS:
        if not fields.get(name):
            raise _RefusedError(f"the header field {name} is missing")
    if not diffs:
        raise _RefusedError("there is no diff in it")
    touched = [path for diff in diffs for path in {diff.old_path, diff.new_path} if path is not None]
    for path in touched:
        if touched.count(path) > 1:
            raise _RefusedError(f"{path} is changed by two diffs of the same patch")
    declared = [path.strip() for path in fields["Upstream-Files"].replace("\n", " ").split(",")]
    if sorted(declared) != sorted(touched):
        raise _RefusedError(
            f"Upstream-Files names {', '.join(declared)}, the diffs touch {', '.join(touched)}"
        )
    missing = {diff.old_path for diff in diffs if diff.old_path} - set(pre_images)
    if missing or set(pre_images) - set(touched):
        wrong = ", ".join(sorted(missing or set(pre_images) - set(touched)))
        raise _RefusedError(f"Pre-Image lines and touched files differ: {wrong}")
    for diff in diffs:
        bad = [mode for mode in diff.modes if mode not in ALLOWED_MODES]
        if bad:
            raise _RefusedError(f"the mode {bad[0]} is not allowed, only {' and '.join(ALLOWED_MODES)}")
        if (diff.hunks or diff.binary) and diff.new_id is None:
            raise _RefusedError("an `index` line with full blob ids is missing (git diff --full-index)")


def parse_patch(path: Path) -> Patch:
    """Reads and checks one patch file.

    Raises:
        RewactError: BAD_PATCH_SET, naming the file, the line and what is wrong.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RewactError(ExitCode.BAD_PATCH_SET, f"{path} is listed in series but missing.") from None
    reader = _Reader(data)
    try:
        if not data.strip():
            raise _RefusedError("the file is empty")
        if not data.endswith(b"\n"):
            raise _RefusedError("the file does not end with a line end: it was cut off")
        if reader.lines[0].endswith(b"\r"):
            raise _RefusedError("the file has CRLF line ends: something converted it")
        fields, pre_images = reader.header()
        first_diff = reader.at
        diffs = reader.diffs()
        reader.at = first_diff
        _check(fields, pre_images, diffs)
    except UnicodeDecodeError:
        raise RewactError(
            ExitCode.BAD_PATCH_SET, f"{path}, line {reader.at + 1}: the header is not UTF-8."
        ) from None
    except (_RefusedError, RewactError) as error:
        reason = str(error).rstrip(".")
        raise RewactError(
            ExitCode.BAD_PATCH_SET, f"{path}, line {reader.at + 1}: {reason}. Restore it from the repository."
        ) from None
    return Patch(path.name, data, fields, pre_images, tuple(diffs))
