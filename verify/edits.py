# SPDX-License-Identifier: MIT
"""A change of one Python file, read as edits of statements. Bytes in, edits out.

Statements are inserted between two neighbours, or replaced; the header of a definition is reworded; a
definition gets decorators, or loses some. Whatever is more than that is refused.
"""

import ast
import difflib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from verify.statements import Block, Scope, Source, Statement


class MisfitError(Exception):
    """An edit has no place in this version of the file.

    Attributes:
        reason: why, in a few words.
        scope: the definitions around it, joined by dots; empty for the module itself.
        expected: the statement it hangs on, or changes.
    """

    def __init__(
        self, reason: str, scope: Scope = (), expected: bytes = b"", found: Callable[[], bytes] = bytes
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
        new: what comes in its place.
        lines: the lines of that, comments before them included.
        header_only: of the one statement in `old` only the header.
        previous: the statement before an insertion, None at the start of the block.
        following: the statement after it, None at the end of the block.
        lead: the lines between `previous` and `lines` (blank or comments).
        trail: those between `lines` and `following`.
    """

    block: Block
    old: tuple[Statement, ...]
    new: tuple[Statement, ...]
    lines: tuple[bytes, ...]
    header_only: bool = False
    previous: Statement | None = None
    following: Statement | None = None
    lead: tuple[bytes, ...] = ()
    trail: tuple[bytes, ...] = ()

    @property
    def is_import(self) -> bool:
        in_module = not self.block.scope and not self.block.path
        return not self.old and in_module and all(one.is_import for one in self.new)

    @property
    def anchors(self) -> list[Statement]:
        """The statements that say where it goes."""
        return [*self.old] or [beside for beside in (self.previous, self.following) if beside is not None]


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
    gone: Sequence[str]

    @property
    def anchors(self) -> list[Statement]:
        return [self.statement]


def read_edits(old: Source, new: Source) -> Iterator[Edit | Decoration]:
    """The edits that lead from one file to another."""
    return _Comparison(old, new).blocks(old.module, new.module)


def _opcodes(one: Sequence[str], other: Sequence[str]) -> list[tuple[bool, slice, slice]]:
    """Runs of two sequences: whether they are equal, and where they are."""
    found = difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    return [(tag == "equal", slice(a, b), slice(c, d)) for tag, a, b, c, d in found]


@dataclass(frozen=True)
class _Comparison:
    old: Source
    new: Source

    def blocks(self, before: Block, after: Block) -> Iterator[Edit | Decoration]:
        keys = ([statement.key for statement in block.statements] for block in (before, after))
        for equal, there, here in _opcodes(*keys):
            gone, come = before.statements[there], after.statements[here]
            if equal or (len(gone) == len(come) == 1 and _same_but_header(gone[0], come[0])):
                for one, other in zip(gone, come, strict=True):
                    yield from self._statement(one, other)
            elif gone:
                lines = self.new.lines[come[0].start : come[-1].end] if come else []
                yield Edit(before, tuple(gone), tuple(come), tuple(lines))
            else:
                yield from self._insertions(before, there.start, come)

    def _statement(self, one: Statement, other: Statement) -> Iterator[Edit | Decoration]:
        if self.old.lines[one.start : one.end] == self.new.lines[other.start : other.end]:
            return
        if one.header != other.header or one.key != other.key:
            lines = self.new.lines[other.start : other.header_end]
            yield Edit(one.block, (one,), (other,), tuple(lines), header_only=True)
        else:
            yield from self._decorators(one, other)
        if one.blocks.keys() != other.blocks.keys():
            raise MisfitError("a branch is added or removed", one.block.scope, self.old.text(one))
        for label, block in one.blocks.items():
            yield from self.blocks(block, other.blocks[label])

    def _decorators(self, one: Statement, other: Statement) -> Iterator[Decoration]:
        for equal, there, here in _opcodes(one.decorators, other.decorators):
            if equal:
                continue
            come = other.node.decorator_list[here]
            lines = self.new.lines[come[0].lineno - 1 : come[-1].end_lineno] if come else ()
            above, below = one.decorators[: there.start], one.decorators[there.stop :]
            yield Decoration(one, tuple(lines), above, below, one.decorators[there])

    def _insertions(self, before: Block, at: int, come: list[Statement]) -> Iterator[Edit]:
        """One edit for each run of imports or of others, so that imports find places of their own."""
        previous = before.statements[at - 1] if at else None
        following = before.statements[at] if at < len(before.statements) else None
        first, last = come[0].beside(-1), come[-1].beside(1)
        start = first.end if first else come[0].block.start
        end = last.start if last else come[-1].end
        gap: list[bytes] = []
        if following or previous is None:
            gap = self.old.lines[
                previous.end if previous else before.start : following.start if following else before.end
            ]
        new = self.new.lines
        lead = _common(gap, new[start:end])
        trail = _common(gap[len(lead) :][::-1], new[start + len(lead) : end][::-1])[::-1]
        start, end = start + len(lead), end - len(trail)
        for _, group in itertools.groupby(come, key=lambda one: one.is_import):
            run = tuple(group)
            stop = end if run[-1] is come[-1] else run[-1].end
            yield Edit(
                before, (), run, tuple(new[start:stop]),
                previous=previous, following=following, lead=tuple(lead), trail=tuple(trail),
            )  # fmt: skip
            start = stop


def _same_but_header(one: Statement, other: Statement) -> bool:
    """Whether two compound statements differ in their headers alone."""
    inner = [
        {label: [ast.dump(inner.node) for inner in block.statements] for label, block in side.blocks.items()}
        for side in (one, other)
    ]
    return bool(one.blocks) and type(one.node) is type(other.node) and inner[0] == inner[1]


def _common(one: Sequence[bytes], other: Sequence[bytes]) -> list[bytes]:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return [line for line, _ in same]
