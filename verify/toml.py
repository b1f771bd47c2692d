# SPDX-License-Identifier: MIT
"""Keys added to a table of a TOML file, in another version of that file. Bytes in, bytes out."""

import difflib
import re

from verify.edits import MisfitError

_TABLE = re.compile(rb"\s*\[+([^\[\]]+)\]+\s*(?:#.*)?\n?")
_KEY = re.compile(rb"""\s*("[^"]*"|'[^']*'|[\w.-]+)\s*=""")


def place_in_toml(before: bytes, after: bytes, tree: bytes) -> bytes:
    """Adds to `tree` the keys that lead from `before` to `after`, each to its table.

    Raises:
        MisfitError: the change is more than keys of one line added to tables, a table is not there, or it
            has such a key already.
    """
    old, new, lines = (data.splitlines(keepends=True) for data in (before, after, tree))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, start, _, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            continue
        added = new[new_start:new_end]
        table = _table_at(new, new_start)
        if tag != "insert" or not all(_KEY.match(line) for line in added):
            raise MisfitError("the change is more than keys added to a table", (table,), b"".join(added))
        at = _place(lines, table, added, old[start - 1] if start else b"")
        lines[at:at] = added
    return b"".join(lines)


def _table_at(lines: list[bytes], index: int) -> str:
    """The table that a line lies in; empty for the keys before the first."""
    for line in reversed(lines[:index]):
        if match := _TABLE.fullmatch(line):
            return match[1].decode(errors="replace").strip()
    return ""


def _place(lines: list[bytes], table: str, added: list[bytes], neighbour: bytes) -> int:
    """Below the line that the keys stood below, else at the end of the table."""
    within = [at for at in range(len(lines)) if _table_at(lines, at) == table and _KEY.match(lines[at])]
    if not within:
        raise MisfitError("the table is not there, or is empty", (table,), b"".join(added))
    taken = {_KEY.match(lines[at])[1].strip(b"\"'") for at in within}
    for line in added:
        if _KEY.match(line)[1].strip(b"\"'") in taken:
            raise MisfitError("the table has this key already", (table,), line)
    beside = [at for at in within if lines[at] == neighbour]
    if len(beside) == 1:
        return beside[0] + 1
    end = next((at for at in range(within[-1], len(lines)) if _TABLE.fullmatch(lines[at])), len(lines))
    while not lines[end - 1].strip() or lines[end - 1].lstrip().startswith(b"#"):
        end -= 1  # what is written above the next table belongs to it
    return end
