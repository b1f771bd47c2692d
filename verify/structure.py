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
from dataclasses import dataclass
from functools import partial

from verify.edits import Decoration, Edit, MisfitError, read_edits
from verify.statements import Block, Path, Scope, Source, Statement, read_source

Lines = tuple[int, int, list[bytes]]


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
    if _Placement(old, old).apply(edits) != after:
        raise MisfitError("the change is more than edits of statements")
    return _Placement(old, _source(tree, "this version")).apply(edits)


def count_anchors(before: bytes, after: bytes, tree: bytes) -> tuple[int, int]:
    """How many of the statements that say where a change goes are left in another version, and of how many.

    A place with one of two is a place still; the next commit may take it.
    """
    placement = _Placement(_source(before, "before"), _source(tree, "this version"))
    edits = read_edits(placement.old, _source(after, "after"))
    anchors = [placement.find_neighbour(anchor) for edit in edits for anchor in edit.anchors]
    return sum(isinstance(found, Statement) for found in anchors), len(anchors)


def _source(data: bytes, what: str) -> Source:
    if b"\r" in data:
        raise MisfitError(f"{what} has line ends of several kinds")
    try:
        return read_source(data)
    except (SyntaxError, ValueError) as error:
        raise MisfitError(f"{what} is not Python that this interpreter reads ({error})") from None


@dataclass(frozen=True)
class _Placement:
    """Finds in a tree what an old version of the file has."""

    old: Source
    tree: Source

    def apply(self, edits: Sequence[Edit | Decoration]) -> bytes:
        changes = [
            self._decorate(edit) if isinstance(edit, Decoration) else self._locate(edit) for edit in edits
        ]
        lines, at = [], 0
        for start, end, new in sorted(changes, key=lambda change: change[:2]):
            if start < at:
                raise MisfitError("two edits meet in one place", expected=b"".join(new))
            lines += [*self.tree.lines[at:start], *new]
            at = end
        return b"".join([*lines, *self.tree.lines[at:]])

    def _misfit(self, reason: str, statement: Statement, found: Statement) -> MisfitError:
        return MisfitError(
            reason, statement.block.scope, self.old.text(statement), partial(self.tree.text, found)
        )

    def _locate(self, edit: Edit) -> Lines:
        """The lines of the tree that an edit replaces, from and to, and what comes there."""
        if not edit.old:
            at, block = self._import_place(edit) if edit.is_import else self._gap(edit)
            return at, at, _indented(edit, block)
        there = [self._find(statement) for statement in edit.old]
        block = there[0].block
        at = block.statements.index(there[0])
        if block.statements[at : at + len(there)] != there:
            raise self._misfit("statements stand apart", edit.old[0], there[-1])
        for one, found in zip(edit.old, there, strict=True):
            same = (
                (one.header, one.decorators) == (found.header, found.decorators)
                if edit.header_only
                else ast.dump(one.node) == ast.dump(found.node)
            )
            if not same:
                raise self._misfit("it reads otherwise", one, found)
        end = there[0].header_end if edit.header_only else there[-1].end
        return there[0].start, end, _indented(edit, block)

    def _decorate(self, edit: Decoration) -> Lines:
        """As `_locate`: beside the nearest decorator that is left, else directly above the definition."""
        found = self._find(edit.statement)
        nodes, forms = found.node.decorator_list, found.decorators
        lines = _shifted(edit.lines, found.block.indent - edit.statement.block.indent)
        if edit.gone:
            at = [number for number, form in enumerate(forms) if form in edit.gone]
            if len(at) != len(edit.gone) or at[-1] - at[0] != len(at) - 1:
                raise self._misfit("it reads otherwise", edit.statement, found)
            return nodes[at[0]].lineno - 1, nodes[at[-1]].end_lineno, lines
        at = found.node.lineno - 1
        for form in (*edit.below[::-1], *edit.above):  # the last that is left counts
            if forms.count(form) == 1:
                node = nodes[forms.index(form)]
                at = node.end_lineno if form in edit.above else node.lineno - 1
        return at, at, lines

    def _find(self, statement: Statement, *, is_neighbour: bool = False) -> Statement:
        """The statement of the tree that is meant by one of the old file.

        Args:
            is_neighbour: it only says where: what it assigns may be another value now.

        Raises:
            MisfitError: none is, or it cannot be told which.
        """
        scope = statement.block.scope
        ours, theirs = self._alike(scope, "key", statement.key)
        if is_neighbour and statement.target and not theirs:  # something else is assigned there now
            ours, theirs = self._alike(scope, "target", statement.target)
        reason = f"it is there {len(theirs)} times, not {len(ours)}" if theirs else "it is not there"
        if len(ours) == len(theirs):
            found = theirs[ours.index(statement)]
            if _is_within(statement.block.path, found.block.path):
                return found
            reason = "a condition is around it that was not"
        raise MisfitError(reason, scope, self.old.text(statement), partial(self._in_its_place, statement))

    def _alike(self, scope: Scope, aspect: str, form: str) -> list[list[Statement]]:
        """The statements of a scope whose `key`, or `target`, is that: the old file's, and the tree's."""
        return [
            [one for one in source.within(scope) if getattr(one, aspect) == form]
            for source in (self.old, self.tree)
        ]

    def find_neighbour(self, statement: Statement | None) -> Statement | MisfitError | None:
        """The statement of the tree that is meant, or why there is none; None for None."""
        try:
            return None if statement is None else self._find(statement, is_neighbour=True)
        except MisfitError as error:
            return error

    def _gap(self, edit: Edit) -> tuple[int, Block]:
        """The line before which an insertion goes, and the block it becomes a part of."""
        found = [self.find_neighbour(one) for one in (edit.previous, edit.following)]
        previous, following = (one if isinstance(one, Statement) else None for one in found)
        if previous and following and previous.start > following.start:
            raise self._misfit("its neighbours changed places", edit.previous, following)
        if previous and following:  # one may be inside a `with` or `try` now: beside that
            previous = _around(previous, following.block) or previous
        if previous:
            return self._after(edit, previous), previous.block
        block = self._block(edit)
        if edit.previous is None and block is not None:
            return block.start + self._size_of_lead(edit, block.start), block
        if following:
            return self._before(edit, following), following.block
        fields = [one for one in block.statements if isinstance(one.node, ast.AnnAssign)] if block else []
        if fields and edit.block.scope and all(isinstance(one.node, ast.AnnAssign) for one in edit.new):
            return fields[-1].end, fields[-1].block
        raise next(one for one in found if isinstance(one, MisfitError))

    def _block(self, edit: Edit) -> Block | None:
        """The block of the tree that is where the edit's is in the old file."""
        where = edit.block.scope, edit.block.path
        return next((block for block in self.tree.blocks if (block.scope, block.path) == where), None)

    def _size_of_lead(self, edit: Edit, at: int) -> int:
        size = len(edit.lead)
        return size if tuple(self.tree.lines[at : at + size]) == edit.lead else 0

    def _after(self, edit: Edit, previous: Statement) -> int:
        return previous.end + (self._size_of_lead(edit, previous.end) if previous.beside(1) else 0)

    def _before(self, edit: Edit, following: Statement) -> int:
        before, at = following.beside(-1), following.start
        floor = before.end if before else following.block.start
        if edit.trail and tuple(self.tree.lines[max(floor, at - len(edit.trail)) : at]) == edit.trail:
            return at - len(edit.trail)
        while at > floor and self.tree.lines[at - 1].strip().startswith(b"#"):
            at -= 1  # comments go with the statement below them
        return at

    def _import_place(self, edit: Edit) -> tuple[int, Block]:
        """Beside the import it stood beside, else after the last of the file's imports."""
        module = self.tree.module
        top = module.statements
        future = max((item.end for item in top if item.key == "from __future__ import"), default=0)
        for neighbour, place_there in ((edit.previous, self._after), (edit.following, self._before)):
            if neighbour is not None and neighbour.is_import:
                try:
                    at = place_there(edit, self._find(neighbour))
                except MisfitError:
                    continue
                if at >= future:
                    return at, module
        imports = []
        for item in top:
            if item.is_import:
                imports.append(item)
            elif not (item.is_docstring or isinstance(item.node, ast.If | ast.Try | ast.With)):
                break
        if imports:
            return imports[-1].end, module
        if top:
            return (top[0].end if top[0].is_docstring else top[0].start), module
        return len(self.tree.lines), module

    def _in_its_place(self, statement: Statement) -> bytes:
        """What stands where a statement is expected: after the one before it, else what is most alike."""
        scope, before = statement.block.scope, statement.beside(-1)
        if before is not None:
            ours, theirs = self._alike(scope, "key", before.key)
            following = theirs[ours.index(before)].beside(1) if len(ours) == len(theirs) else None
            if following is not None:
                return self.tree.text(following)
        others = [self.tree.text(one) for one in self.tree.within(scope)]
        alike = difflib.get_close_matches(self.old.text(statement), others, n=1, cutoff=0.4)
        return alike[0] if alike else b""


def _is_within(path: Path, other: Path) -> bool:
    """Whether `other` has no kind of statement around it that `path` does not have.

    Conditions may be reworded or go; what ran always may not come to run only sometimes.
    """
    steps = iter([(step.partition(" ")[0], label) for step, label in path])
    return all((step.partition(" ")[0], label) in steps for step, label in other)


def _around(statement: Statement, block: Block) -> Statement | None:
    """The statement of a block that another one is, or is within."""
    while statement.block is not block:
        if statement.block.owner is None:
            return None
        statement = statement.block.owner
    return statement


def _indented(edit: Edit, block: Block) -> list[bytes]:
    """The lines of an edit, indented as the block is that they go into."""
    return _shifted(edit.lines, block.indent - edit.new[0].block.indent) if edit.new else []


def _shifted(lines: Sequence[bytes], shift: int) -> list[bytes]:
    if shift >= 0:
        return [b" " * shift + line if line.strip() else line for line in lines]
    return [line[-shift:] if not line[:-shift].strip() else line for line in lines]
