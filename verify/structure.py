# SPDX-License-Identifier: MIT
"""A patch's change of one file, placed by structure in another version of that file.

The change is read as edits of statements: some inserted between two neighbours, some replaced, some headers
of definitions reworded. In the other version each edit finds its place by those neighbours, in normal form
and within the same scope:

- Of n equal statements the k-th is meant only if both versions have n.
- `with` and `try` around a neighbour may come or go.
- Where no neighbour is left, what stood first in its block stands first again, and a field of a class goes
  after the last field.
- An import goes into the file's own imports, never above `__future__`.

Everything else is refused. Bytes in, bytes out; reads nothing else.
"""

import ast
import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from verify.statements import Block, Path, Source, Statement, read_source


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
            not self.old and not self.block.scope and not self.block.path and all(map(_imports, self.nodes))
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


def place(before: bytes, after: bytes, tree: bytes) -> bytes:
    """Makes in `tree` the change that leads from `before` to `after`.

    Args:
        before: the file that the change was made for.
        after: that file, changed.
        tree: another version of it.

    Raises:
        MisfitError: some edit has no place there, or the change is more than edits of statements.
    """
    old, new = _source(before, "the file it was made for"), _source(after, "the changed file")
    edits = list(_read_edits(old, new))
    if _apply(old, edits, old) != after:
        raise MisfitError("the change is more than edits of statements", (), b"")
    return _apply(old, edits, _source(tree, "this version"))


def _source(data: bytes, what: str) -> Source:
    if b"\r" in data:
        raise MisfitError(f"{what} has line ends of several kinds", (), b"")
    try:
        return read_source(data)
    except (SyntaxError, ValueError) as error:
        raise MisfitError(f"{what} is not Python that this interpreter reads ({error})", (), b"") from None


# Reading a change


def _read_edits(old: Source, new: Source) -> Iterator[Edit | Decoration]:
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
        if not runs or _imports(runs[-1][-1].node) != _imports(statement.node):
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


def _imports(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


# Finding its place


def _apply(old: Source, edits: Sequence[Edit | Decoration], tree: Source) -> bytes:
    changes = [
        _decorate(old, edit, tree) if isinstance(edit, Decoration) else _locate(old, edit, tree)
        for edit in edits
    ]
    lines, at = [], 0
    for start, end, new in sorted(changes, key=lambda change: change[:2]):
        if start < at:
            raise MisfitError("two edits meet in one place", (), b"".join(new))
        lines += [*tree.lines[at:start], *new]
        at = end
    return b"".join([*lines, *tree.lines[at:]])


def _locate(old: Source, edit: Edit, tree: Source) -> tuple[int, int, list[bytes]]:
    """The lines of the tree that an edit replaces, from and to, and what comes there."""
    if edit.old:
        there = [_find(old, statement, tree) for statement in edit.old]
        block = there[0].block
        at = block.statements.index(there[0])
        if block.statements[at : at + len(there)] != there:
            raise MisfitError(
                "statements stand apart", block.scope, old.text(edit.old[0]), lambda: tree.text(there[-1])
            )
        for statement, found in zip(edit.old, there, strict=True):
            if not _equal(statement, found, edit.header_only):
                raise MisfitError(
                    "it reads otherwise", edit.block.scope, old.text(statement), partial(tree.text, found)
                )
        end = there[0].header_end if edit.header_only else there[-1].end
        return there[0].start, end, _indented(edit, block)
    at, block = _import_place(old, edit, tree) if edit.is_import else _gap(old, edit, tree)
    return at, at, _indented(edit, block)


def _decorate(old: Source, edit: Decoration, tree: Source) -> tuple[int, int, list[bytes]]:
    """As `_locate`: beside the nearest decorator that is left, else directly above the definition."""
    found = _find(old, edit.statement, tree)
    nodes = found.node.decorator_list
    lines = _shifted(edit.lines, found.block.indent - edit.statement.block.indent)
    if edit.gone:
        at = [number for number, form in enumerate(found.decorators) if form in edit.gone]
        if len(at) != len(edit.gone) or at[-1] - at[0] != len(at) - 1:
            raise MisfitError(
                "it reads otherwise", found.block.scope, old.text(edit.statement), partial(tree.text, found)
            )
        return nodes[at[0]].lineno - 1, nodes[at[-1]].end_lineno, lines
    for beside, above in [(form, True) for form in edit.above[::-1]] + [(form, False) for form in edit.below]:
        if found.decorators.count(beside) == 1:
            node = nodes[found.decorators.index(beside)]
            at = node.end_lineno if above else node.lineno - 1
            return at, at, lines
    return found.decorators_end, found.decorators_end, lines


def _equal(one: Statement, other: Statement, header_only: bool) -> bool:
    if header_only:
        return one.header == other.header and one.decorators == other.decorators
    return ast.dump(one.node) == ast.dump(other.node)


def _find(old: Source, statement: Statement, tree: Source, *, is_neighbour: bool = False) -> Statement:
    """The statement of the tree that is meant by one of the old file.

    Args:
        is_neighbour: it only says where: what it assigns may be another value now.

    Raises:
        MisfitError: none is, or it cannot be told which.
    """
    scope = statement.block.scope
    ours, theirs = (_alike(source, scope, "key", statement.key) for source in (old, tree))
    if is_neighbour and statement.target and not theirs:  # something else is assigned there now
        ours, theirs = (_alike(source, scope, "target", statement.target) for source in (old, tree))
    reason = f"it is there {len(theirs)} times, not {len(ours)}" if theirs else "it is not there"
    if len(ours) == len(theirs):
        found = theirs[ours.index(statement)]
        if _is_within(statement.block.path, found.block.path):
            return found
        reason = "a condition is around it that was not"
    text = old.text(statement)
    raise MisfitError(reason, scope, text, lambda: _most_alike(tree, scope, text))


def _alike(source: Source, scope: tuple[str, ...], aspect: str, form: str) -> list[Statement]:
    """The statements of a scope whose `key`, or `target`, is that, in the file's order."""
    found = [
        statement
        for block in source.blocks
        if block.scope == scope
        for statement in block.statements
        if getattr(statement, aspect) == form
    ]
    return sorted(found, key=lambda statement: statement.start)


def _is_within(path: Path, other: Path) -> bool:
    """Whether `other` has no kind of statement around it that `path` does not have.

    Conditions may be reworded or go; what ran always may not come to run only sometimes.
    """
    steps = iter([(step.partition(" ")[0], label) for step, label in path])
    return all((step.partition(" ")[0], label) in steps for step, label in other)


def _gap(old: Source, edit: Edit, tree: Source) -> tuple[int, Block]:
    """The line before which an insertion goes, and the block it becomes a part of."""
    found: list[Statement | None] = []
    misfit = None
    for neighbour in (edit.previous, edit.following):
        try:
            found.append(_find(old, neighbour, tree, is_neighbour=True) if neighbour else None)
        except MisfitError as error:
            found.append(None)
            misfit = misfit or error
    previous, following = found
    if previous and following and previous.start > following.start:
        raise MisfitError(
            "its neighbours changed places",
            edit.block.scope,
            old.text(edit.previous),
            partial(tree.text, following),
        )
    if previous and following:  # one may be inside a `with` or `try` now: beside that
        previous = _around(previous, following.block) or previous
    if previous:
        return _after(edit, tree, previous), previous.block
    if edit.previous is None:
        block = _block(edit, tree)
        if block is not None:
            lead = (
                edit.lead
                if tuple(tree.lines[block.start : block.start + len(edit.lead)]) == edit.lead
                else ()
            )
            return block.start + len(lead), block
    if following:
        return _before(edit, tree, following), following.block
    fields = _last_field(edit, tree)
    if fields is not None:
        return fields.end, fields.block
    assert misfit is not None
    raise misfit


def _around(statement: Statement, block: Block) -> Statement | None:
    """The statement of a block that another one is, or is within."""
    while statement.block is not block:
        if statement.block.owner is None:
            return None
        statement = statement.block.owner
    return statement


def _after(edit: Edit, tree: Source, previous: Statement) -> int:
    next_one = previous.block.after(previous)
    gap = tree.lines[previous.end : next_one.start if next_one else previous.end]
    return previous.end + (len(edit.lead) if tuple(gap[: len(edit.lead)]) == edit.lead else 0)


def _before(edit: Edit, tree: Source, following: Statement) -> int:
    before = following.block.before(following)
    at = following.start
    floor = before.end if before else following.block.start
    if edit.trail and tuple(tree.lines[max(floor, at - len(edit.trail)) : at]) == edit.trail:
        return at - len(edit.trail)
    while at > floor and tree.lines[at - 1].strip().startswith(b"#"):
        at -= 1  # comments go with the statement below them
    return at


def _block(edit: Edit, tree: Source) -> Block | None:
    blocks = [
        block for block in tree.blocks if (block.scope, block.path) == (edit.block.scope, edit.block.path)
    ]
    return blocks[0] if blocks else None


def _last_field(edit: Edit, tree: Source) -> Statement | None:
    """The last field of the class that fields are inserted in."""
    if not edit.block.scope or not all(isinstance(node, ast.AnnAssign) for node in edit.nodes):
        return None
    block = _block(edit, tree)
    fields = [item for item in block.statements if isinstance(item.node, ast.AnnAssign)] if block else []
    return fields[-1] if fields else None


def _import_place(old: Source, edit: Edit, tree: Source) -> tuple[int, Block]:
    """Beside the import it stood beside, else after the last of the file's imports."""
    top = tree.module.statements
    future = max((item.end for item in top if item.key == "from __future__ import"), default=0)
    for neighbour, place_there in ((edit.previous, _after), (edit.following, _before)):
        if neighbour is not None and _imports(neighbour.node):
            try:
                found = _find(old, neighbour, tree)
            except MisfitError:
                continue
            if (at := place_there(edit, tree, found)) >= future:
                return at, tree.module
    imports = []
    for item in top:
        if _imports(item.node):
            imports.append(item)
        elif not (item.key == "docstring" or isinstance(item.node, ast.If | ast.Try | ast.With)):
            break
    if imports:
        return imports[-1].end, tree.module
    if top:
        return (top[0].end if top[0].key == "docstring" else top[0].start), tree.module
    return len(tree.lines), tree.module


def _indented(edit: Edit, block: Block) -> list[bytes]:
    """The lines of an edit, indented as the block is that they go into."""
    return _shifted(edit.lines, block.indent - edit.indent)


def _shifted(lines: Sequence[bytes], shift: int) -> list[bytes]:
    if shift >= 0:
        return [b" " * shift + line if line.strip() else line for line in lines]
    return [line[-shift:] if not line[:-shift].strip() else line for line in lines]


def _most_alike(tree: Source, scope: tuple[str, ...], text: bytes) -> bytes:
    """The statement of a scope that shares most with a text."""
    best, most = b"", 0.4
    for block in tree.blocks:
        for statement in block.statements if block.scope == scope else ():
            other = tree.text(statement)
            ratio = difflib.SequenceMatcher(None, text.strip(), other.strip(), autojunk=False).ratio()
            if ratio > most:
                best, most = other, ratio
    return best
