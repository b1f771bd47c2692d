# SPDX-License-Identifier: MIT
"""A patch's change of one file, placed by structure in another version of that file.

In the other version each of its edits finds its place by the statements beside it, in normal form and within
the same scope:

- Of n equal statements the k-th is meant only if both versions have n.
- `with` and `try` around a neighbour may come or go.
- A decorator stays on its function.
- Where no neighbour is left, what stood first in its block stands first again, and a field of a class goes
  after the last field.
- An import goes into the file's own imports, never above `__future__`.

Everything else is refused. Bytes in, bytes out; reads nothing else.
"""

import ast
import difflib
from collections.abc import Sequence
from functools import partial

from verify.edits import Decoration, Edit, MisfitError, is_import, read_edits
from verify.statements import Block, Path, Source, Statement, read_source


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
    edits = list(read_edits(old, new))
    if _apply(old, edits, old) != after:
        raise MisfitError("the change is more than edits of statements", (), b"")
    return _apply(old, edits, _source(tree, "this version"))


def count_anchors(before: bytes, after: bytes, tree: bytes) -> tuple[int, int]:
    """How many of the statements that say where a change goes are left in another version, and of how many.

    A place with one of two is a place still; the next commit may take it.
    """
    old, new, other = _source(before, "before"), _source(after, "after"), _source(tree, "this version")
    anchors = [anchor for edit in read_edits(old, new) for anchor in _anchors(edit)]
    return sum(_is_left(old, anchor, other) for anchor in anchors), len(anchors)


def _anchors(edit: Edit | Decoration) -> list[Statement]:
    if isinstance(edit, Decoration):
        return [edit.statement]
    return [*edit.old] or [beside for beside in (edit.previous, edit.following) if beside is not None]


def _is_left(old: Source, anchor: Statement, tree: Source) -> bool:
    try:
        _find(old, anchor, tree, is_neighbour=True)
    except MisfitError:
        return False
    return True


def _source(data: bytes, what: str) -> Source:
    if b"\r" in data:
        raise MisfitError(f"{what} has line ends of several kinds", (), b"")
    try:
        return read_source(data)
    except (SyntaxError, ValueError) as error:
        raise MisfitError(f"{what} is not Python that this interpreter reads ({error})", (), b"") from None


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
    raise MisfitError(reason, scope, text, lambda: _in_its_place(old, statement, tree))


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
        if neighbour is not None and is_import(neighbour.node):
            try:
                found = _find(old, neighbour, tree)
            except MisfitError:
                continue
            if (at := place_there(edit, tree, found)) >= future:
                return at, tree.module
    imports = []
    for item in top:
        if is_import(item.node):
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


def _in_its_place(old: Source, statement: Statement, tree: Source) -> bytes:
    """What stands where a statement is expected: after the one before it, else what is most alike."""
    scope, text = statement.block.scope, old.text(statement)
    before = statement.block.before(statement)
    if before is not None:
        ours, theirs = (_alike(source, scope, "key", before.key) for source in (old, tree))
        if len(ours) == len(theirs):
            there = theirs[ours.index(before)]
            following = there.block.after(there)
            if following is not None:
                return tree.text(following)
    best, most = b"", 0.4
    for block in tree.blocks:
        for statement in block.statements if block.scope == scope else ():
            other = tree.text(statement)
            ratio = difflib.SequenceMatcher(None, text.strip(), other.strip(), autojunk=False).ratio()
            if ratio > most:
                best, most = other, ratio
    return best
