# SPDX-License-Identifier: MIT
"""Which function or class a line belongs to, by indentation: for every Python's syntax, and for TOML."""

import re
from collections.abc import Sequence

_PYTHON = re.compile(rb"([ \t]*)(?:async[ \t]+def|def|class)[ \t]+(\w+)")
_TABLE = re.compile(rb"\[+([^\]]+)\]")


def scope_of(lines: Sequence[bytes], index: int) -> tuple[str, ...]:
    """The names of the definitions around a line, outermost first; () for the module itself.

    A blank line belongs to what the next line that is not blank belongs to.
    """
    while index < len(lines) and not lines[index].strip():
        index += 1
    if index >= len(lines):
        return ()
    names: list[str] = []
    limit = _indentation(lines[index])
    for line in reversed(lines[:index]):
        if not limit:
            break
        match = _PYTHON.match(line)
        if match and len(match[1]) < limit:
            names.insert(0, match[2].decode(errors="replace"))
            limit = len(match[1])
    if not names:
        return _table_of(lines, index)
    return tuple(names)


def _indentation(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" \t"))


def _table_of(lines: Sequence[bytes], index: int) -> tuple[str, ...]:
    """The TOML table a line lies in; Python files have no lines that begin like one."""
    for line in reversed(lines[: index + 1]):
        if match := _TABLE.fullmatch(line.strip()):
            return (match[1].decode(errors="replace"),)
    return ()
