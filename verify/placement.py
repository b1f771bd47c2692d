# SPDX-License-Identifier: MIT
"""Where the hunks of a patch fit in a file that is not the one they were made for.

No fuzz: every context line has to match. A hunk may lie elsewhere than it did, but only inside the function
it was made for: equal lines in another function would take a change "cleanly" that does not belong there.
"""

import difflib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verify.gitcmd import run_git
from verify.patch import FileDiff, sides
from verify.scope import scope_of


@dataclass(frozen=True)
class HunkFate:
    """What becomes of one hunk.

    Attributes:
        status: clean, moved, merged or conflict.
        offset: how many lines further down it lies than in the release (moved only).
        scope: the function it belongs to, with its classes, joined by dots.
        expected: the lines it was made for (conflict only).
        found: the lines that look most like them (conflict only).
    """

    number: int
    status: str
    offset: int
    scope: str
    expected: tuple[bytes, ...] = ()
    found: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Fit:
    """Fates of all hunks of a file, and its lines with all that fit applied."""

    hunks: tuple[HunkFate, ...]
    lines: list[bytes]

    @property
    def conflicts(self) -> int:
        return sum(hunk.status == "conflict" for hunk in self.hunks)


def split(data: bytes) -> list[bytes]:
    """Lines with their ends, broken at LF only."""
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return lines + [parts[-1]] if parts[-1] else lines


def apply_exactly(diff: FileDiff, before: bytes) -> bytes:
    """A diff applied to the very bytes it was made for."""
    result, rest, at = [], split(before), 0
    for hunk in diff.hunks:
        old, new = sides(hunk)
        start = max(hunk.source_start - 1, 0) if old else hunk.source_start
        result += rest[at:start] + new
        at = start + len(old)
    return b"".join(result + rest[at:])


def _positions(lines: Sequence[bytes], block: Sequence[bytes]) -> list[int]:
    size = len(block)
    return [at for at in range(len(lines) - size + 1) if tuple(lines[at : at + size]) == tuple(block)]


def _leading_context(old: Sequence[bytes], new: Sequence[bytes]) -> int:
    count = 0
    for ours, theirs in zip(old, new, strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def fit(diff: FileDiff, before: bytes, after: bytes, tree: bytes) -> Fit:
    """Places every hunk of a diff in another version of the file.

    Args:
        before: the bytes the diff was made from.
        after: the bytes it makes of them.
        tree: the other version.
    """
    lines = split(tree)
    fates = []
    shift = floor = 0  # lines the hunks so far lie further down; nothing may land above the last one
    expected_lines = split(after)
    for number, hunk in enumerate(diff.hunks, start=1):
        old, new = sides(hunk)
        lead = _leading_context(old, new)
        scope = scope_of(expected_lines, hunk.target_start - 1 + lead)
        name = ".".join(scope)
        wanted = max(hunk.target_start - 1, 0) + shift
        place = _choose(lines, old, new, lead, scope, wanted, floor)
        if place is not None:
            lines[place : place + len(old)] = new
            offset = place - max(hunk.target_start - 1, 0)
            fates.append(HunkFate(number, "moved" if offset else "clean", offset, name))
            shift, floor = offset, place + len(new)
            continue
        there = _choose(lines, new, new, lead, scope, wanted, floor)
        if there is not None:
            fates.append(HunkFate(number, "merged", 0, name))
            shift = there - max(hunk.target_start - 1, 0)
            floor = there + len(new)
            continue
        found = _most_alike(lines, old)
        fates.append(HunkFate(number, "conflict", 0, name, tuple(old), found))
    return Fit(tuple(fates), lines)


def _choose(
    lines: Sequence[bytes],
    block: Sequence[bytes],
    result: Sequence[bytes],
    lead: int,
    scope: tuple[str, ...],
    wanted: int,
    floor: int,
) -> int | None:
    """The one place for a block inside its function; None where there is none, or more than one."""
    places = []
    for at in _positions(lines, block):
        if at >= floor:
            changed = [*lines[:at], *result, *lines[at + len(block) :]]
            if scope_of(changed, at + lead) == scope:
                places.append(at)
    if wanted in places:
        return wanted
    return places[0] if len(places) == 1 else None


def _most_alike(lines: Sequence[bytes], block: Sequence[bytes]) -> tuple[bytes, ...]:
    """The stretch of a file that shares most lines with a block, in order."""
    best, best_score = 0, (0, 0)
    for at in range(max(len(lines) - len(block), 0) + 1):
        window = lines[at : at + len(block)]
        shared = sum(line in window for line in block if line.strip())
        # Of windows that share as much the one with most lines in place: it shows the line that differs.
        score = shared, sum(ours == theirs for ours, theirs in zip(block, window, strict=False))
        if shared and score > best_score:
            best, best_score = at, score
    return tuple(lines[best : best + len(block)]) if best_score > (0, 0) else ()


def merge(before: bytes, after: bytes, tree: bytes) -> bytes | None:
    """Three-way merge of a change into another version of the file.

    Lines that only import something more are merged by themselves: it does not matter where among the imports
    of a module they stand, and its neighbours there change often.

    Returns:
        The merged bytes; None for a conflict, or when a change did not land in the function it was made for.
    """
    rest, imports = _without_new_imports(split(before), split(after))
    merged = _merge_file(before, rest, tree)
    if merged is None:
        return None
    for line in imports:
        merged = _with_import(merged, line)
        if merged is None:
            return None
    return merged if _changes(before, after) == _changes(tree, merged) else None


def _merge_file(before: bytes, after: bytes, tree: bytes) -> bytes | None:
    with tempfile.TemporaryDirectory(prefix="rewact-merge-") as temporary:
        paths = [Path(temporary, name) for name in ("tree", "before", "after")]
        for path, data in zip(paths, (tree, before, after), strict=True):
            path.write_bytes(data)
        # -p prints instead of writing; it needs no repository.
        result = run_git(["merge-file", "-p", "--quiet", *map(str, paths)], cwd=Path(temporary))
    return None if result.returncode else result.stdout


# An import at the top of a module, whole in one line.
_IMPORT = re.compile(rb"(?:from|import) [\w.]+(?: import [\w., ]+)?\n")


def _without_new_imports(before: list[bytes], after: list[bytes]) -> tuple[bytes, list[bytes]]:
    """`after` without the imports that were inserted, and these."""
    rest, imports = [], []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, _, _, start, end in matcher.get_opcodes():
        new = after[start:end]
        if tag == "insert" and all(map(_IMPORT.fullmatch, new)):
            imports += new
        else:
            rest += new
    return b"".join(rest), imports


def _with_import(data: bytes, line: bytes) -> bytes | None:
    """Inserts an import before the first of its kind that sorts after it, else after the last import.

    Returns:
        None for a file without imports.
    """
    lines = split(data)
    kind = line.split(b".")[0]  # `from lerobot`: a block of imports keeps to itself
    top = [at for at, other in enumerate(lines) if _IMPORT.fullmatch(other)]
    if not top:
        return None
    after = [at for at in top if lines[at].startswith(kind) and lines[at] > line]
    at = after[0] if after else top[-1] + 1
    return b"".join([*lines[:at], line, *lines[at:]])


def _changes(before: bytes, after: bytes) -> list[tuple]:
    """What was added and removed in which function, blank lines aside."""
    old, new = split(before), split(after)
    found = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        added = tuple(line for line in new[new_start:new_end] if line.strip())
        removed = tuple(line for line in old[old_start:old_end] if line.strip())
        if tag == "insert" and all(map(_IMPORT.fullmatch, added)):
            found += [((), (line,), ()) for line in added]
        elif tag != "equal" and (added or removed):
            found.append((scope_of(new, new_start), added, removed))
    return sorted(found)
