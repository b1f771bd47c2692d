# SPDX-License-Identifier: MIT
"""A change of one Python file, read as edits of statements. Bytes in, edits out.

Statements are inserted between two neighbours, or replaced; the header of a definition is reworded; a
definition gets decorators, or loses some. Whatever is more than that is refused.
"""

import ast
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from verify.statements import Block, Source, Statement


class MisfitError(Exception):
    """An edit has no place in this version of the file.

    Attributes:
        reason: why, in a few words.
        scope: the definitions around it, joined by dots; empty for the module itself.
        expected: the statement it hangs on, or changes.
    """

    def __init__(
        self, reason: str, scope: Sequence[str], expected: bytes, found: Callable[[], bytes] = bytes
    ) -> None:
        super().__init__(reason)
        self.reason, self.scope = reason, ".".join(scope)
        self.expected, self._found = expected, found

    @cached_property
    def found(self) -> bytes:
        """What stands there instead, or looks most like it in that scope; empty where nothing does."""
        return self._found()


@dataclass(frozen=True)
class Edit:
    """Some statements of a block, or the header of one, that a change replaces.

    Attributes:
        block: the block before the change.
        old: what is replaced; empty for an insertion.
        header_only: of the one statement in `old` only the header.
        nodes: what comes in its place.
        lines: the lines of that, comments before them included.
        previous: the statement before it, None at the start of the block.
        following: the statement after it, None at the end of the block.
        lead: the lines between `previous` and `lines` (blank or comments).
        trail: those between `lines` and `following`.
        indent: the indentation of `lines`.
    """

    block: Block
    old: tuple[Statement, ...]
    header_only: bool
    nodes: tuple[ast.stmt, ...]
    lines: tuple[bytes, ...]
    previous: Statement | None
    following: Statement | None
    lead: tuple[bytes, ...] = ()
    trail: tuple[bytes, ...] = ()
    indent: int = 0

    @property
    def is_import(self) -> bool:
        return (
            not self.old and not self.block.scope and not self.block.path and all(map(is_import, self.nodes))
        )


@dataclass(frozen=True)
class Decoration:
    """Decorators that a definition gets, or loses.

    Attributes:
        lines: those it gets.
        above: the decorators above them, in normal form.
        below: those below them.
        gone: those it loses.
    """

    statement: Statement
    lines: tuple[bytes, ...]
    above: Sequence[str]
    below: Sequence[str]
    gone: tuple[str, ...] = ()


def read_edits(old: Source, new: Source) -> Iterator[Edit | Decoration]:
    """The edits that lead from one file to another."""
    yield from _compare(old, new, old.module, new.module)


def _compare(old: Source, new: Source, before: Block, after: Block) -> Iterator[Edit | Decoration]:
    keys = [[statement.key for statement in block.statements] for block in (before, after)]
    matcher = difflib.SequenceMatcher(None, *keys, autojunk=False)
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        gone, come = before.statements[start:end], after.statements[new_start:new_end]
        if tag == "equal" or (len(gone) == len(come) == 1 and _same_but_header(gone[0], come[0])):
            for one, other in zip(gone, come, strict=True):
                yield from _compare_statement(old, new, one, other)
            continue
        previous = before.statements[start - 1] if start else None
        following = before.statements[end] if end < len(before.statements) else None
        if gone:
            lines = new.lines[come[0].start : come[-1].end] if come else []
            yield Edit(
                before,
                tuple(gone),
                False,
                _nodes(come),
                tuple(lines),
                previous,
                following,
                indent=after.indent,
            )
        else:
            yield from _insertions(old, new, before, after, come, previous, following)


def _same_but_header(one: Statement, other: Statement) -> bool:
    """Whether two compound statements differ in their headers alone."""
    return (
        bool(one.blocks)
        and type(one.node) is type(other.node)
        and one.blocks.keys() == other.blocks.keys()
        and all(
            [ast.dump(statement.node) for statement in one.blocks[label].statements]
            == [ast.dump(statement.node) for statement in other.blocks[label].statements]
            for label in one.blocks
        )
    )


def _compare_statement(
    old: Source, new: Source, one: Statement, other: Statement
) -> Iterator[Edit | Decoration]:
    if old.whole_text(one) == new.whole_text(other):
        return
    if one.header != other.header or one.key != other.key:
        lines = tuple(new.lines[other.start : other.header_end])
        yield Edit(one.block, (one,), True, (other.node,), lines, None, None, indent=other.block.indent)
    elif one.decorators != other.decorators:
        yield from _compare_decorators(new, one, other)
    if one.blocks.keys() != other.blocks.keys():
        raise MisfitError("a branch is added or removed", one.block.scope, old.text(one))
    for label, block in one.blocks.items():
        yield from _compare(old, new, block, other.blocks[label])


def _compare_decorators(new: Source, one: Statement, other: Statement) -> Iterator[Decoration]:
    matcher = difflib.SequenceMatcher(None, one.decorators, other.decorators, autojunk=False)
    for tag, start, end, new_start, new_end in matcher.get_opcodes():
        if tag == "insert":
            nodes = other.node.decorator_list[new_start:new_end]
            lines = new.lines[nodes[0].lineno - 1 : nodes[-1].end_lineno]
            yield Decoration(one, tuple(lines), one.decorators[:start], one.decorators[start:])
        elif tag != "equal":
            gone = one.node.decorator_list[start:end]
            yield Decoration(
                one, (), one.decorators[:start], one.decorators[end:], tuple(map(ast.dump, gone))
            )


def _insertions(
    old: Source,
    new: Source,
    before: Block,
    after: Block,
    come: list[Statement],
    previous: Statement | None,
    following: Statement | None,
) -> Iterator[Edit]:
    """One edit for each run of imports or of other statements, so that imports find places of their own."""
    first = after.before(come[0])
    start = first.end if first else after.start
    last = after.after(come[-1])
    end = last.start if last else come[-1].end
    gap = old.lines[
        (previous.end if previous else before.start) : (following.start if following else before.end)
    ]
    gap = gap if following or previous is None else []
    lead = _common(gap, new.lines[start:end])
    trail = _common(gap[len(lead) :][::-1], new.lines[start + len(lead) : end][::-1])[::-1]
    at, end = start + len(lead), end - len(trail)
    runs = _runs(come)
    for number, run in enumerate(runs):
        stop = end if number == len(runs) - 1 else run[-1].end
        yield Edit(
            before, (), False, _nodes(run), tuple(new.lines[at:stop]), previous, following,
            tuple(lead), tuple(trail), after.indent,
        )  # fmt: skip
        at = stop


def _runs(statements: list[Statement]) -> list[list[Statement]]:
    runs: list[list[Statement]] = []
    for statement in statements:
        if not runs or is_import(runs[-1][-1].node) != is_import(statement.node):
            runs.append([])
        runs[-1].append(statement)
    return runs


def _common(one: Sequence[bytes], other: Sequence[bytes]) -> list[bytes]:
    size = 0
    while size < min(len(one), len(other)) and one[size] == other[size]:
        size += 1
    return list(one[:size])


def _nodes(statements: Sequence[Statement]) -> tuple[ast.stmt, ...]:
    return tuple(statement.node for statement in statements)


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)
