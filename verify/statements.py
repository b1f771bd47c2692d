# SPDX-License-Identifier: MIT
"""A Python file as blocks of statements: what each says in normal form, which lines it takes, which names it
reads and binds.

A block belongs to a scope (the definitions around it, outermost first) and lies on a path (the `if`, `for`,
`while` and so on around it within that scope). `with` and `try` are transparent: what stands in their body
is on the path of what is around them. So are the branches before an `elif`.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Scope = tuple[str, ...]
Path = tuple[tuple[str, str], ...]
Form = tuple[Scope, str, str]
_TYPE_PARAMETERS = re.compile(rb"^([ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+\w+)\[[^\]\n]*\]", re.MULTILINE)


@dataclass(eq=False)
class Statement:
    """One statement of a file.

    Attributes:
        start: its first line, decorators included; from 0.
        end: the line after its last.
        is_docstring: it is that of its scope.
        blocks: the blocks within it, by label.
    """

    node: ast.stmt
    start: int
    end: int
    block: "Block"
    is_docstring: bool = False
    blocks: dict[str, "Block"] = field(default_factory=dict)

    @cached_property
    def _form(self) -> tuple[str, str]:
        return ("docstring", "") if self.is_docstring else _normal_form(self.node)

    @property
    def key(self) -> str:
        """Its normal form; of a definition its kind and name, of an import its module, else of a compound
        statement its first line."""
        return self._form[0]

    @property
    def header(self) -> str:
        """What `key` leaves out of a definition's or an import's normal form."""
        return self._form[1]

    @cached_property
    def target(self) -> str:
        """What it assigns to, in normal form; empty for all but a single assignment."""
        match self.node:
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
                return ast.dump(target)
        return ""

    @cached_property
    def decorators(self) -> list[str]:
        """The normal forms of its decorators."""
        return [ast.dump(decorator) for decorator in getattr(self.node, "decorator_list", ())]

    @property
    def forms(self) -> list[Form]:
        """Its scope and normal form, and those of its decorators."""
        scope, (key, header) = self.block.scope, self._form
        return [(scope, key, header), *((scope, f"{key} is decorated", form) for form in self.decorators)]

    @property
    def header_end(self) -> int:
        """The line after its header; of a simple statement the line after its last."""
        return min((block.start for block in self.blocks.values()), default=self.end)

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, ast.Import | ast.ImportFrom)

    @cached_property
    def names(self) -> "Names":
        return Names(self.node)

    def beside(self, step: int) -> "Statement | None":
        """The statement of its block that comes so many after it."""
        at = self.block.statements.index(self) + step
        return self.block.statements[at] if 0 <= at < len(self.block.statements) else None


@dataclass(eq=False)
class Block:
    """Statements one after the other.

    Attributes:
        start: the line after the header that it belongs to.
        owner: the statement that it is within; None for the module.
    """

    scope: Scope
    path: Path
    start: int
    indent: int
    owner: Statement | None = None
    statements: list[Statement] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.statements[-1].end if self.statements else self.start


class Source:
    """A file's lines, with their ends, and its blocks."""

    def __init__(self, data: bytes) -> None:
        self.lines = data.splitlines(keepends=True)
        self.blocks: list[Block] = []
        self.module = self._block(_parse(data).body, (), ())

    @cached_property
    def statements(self) -> list[Statement]:
        """All of them, in the file's order."""
        found = [statement for block in self.blocks for statement in block.statements]
        return sorted(found, key=lambda statement: statement.start)

    @cached_property
    def _scopes(self) -> dict[Scope, list[Statement]]:
        found: dict[Scope, list[Statement]] = {}
        for statement in self.statements:
            found.setdefault(statement.block.scope, []).append(statement)
        return found

    def within(self, scope: Scope) -> list[Statement]:
        """The statements of a scope in the file's order, those in branches included."""
        return self._scopes.get(scope, [])

    @cached_property
    def definitions(self) -> dict[Scope, Definition]:
        """Functions and classes by the scope that they make."""
        return {
            (*one.block.scope, one.node.name): one.node
            for one in self.statements
            if isinstance(one.node, Definition)
        }

    def text(self, statement: Statement) -> bytes:
        """Its lines, of a compound statement those of its header."""
        return b"".join(self.lines[statement.start : statement.header_end])

    def _block(
        self, nodes: Sequence[ast.stmt], scope: Scope, path: Path, owner: Statement | None = None
    ) -> Block:
        start = 0
        if owner is not None:
            start = _first_line(nodes[0])
            while is_gap(self.lines[start - 1]):
                start -= 1
        block = Block(scope, path, start, nodes[0].col_offset if nodes else 0, owner)
        self.blocks.append(block)
        for number, node in enumerate(nodes):
            is_docstring = not path and not number and _is_text(node)
            statement = Statement(node, _first_line(node), node.end_lineno or 0, block, is_docstring)
            block.statements.append(statement)
            for label, inner in _inner_blocks(node):
                if isinstance(node, Definition):
                    where = (*scope, node.name), ()
                elif _is_transparent(node, label, inner):
                    where = scope, path
                else:
                    where = scope, (*path, (statement.key, label))
                statement.blocks[label] = self._block(inner, *where, statement)
        return block


@lru_cache(maxsize=2048)
def read_source(data: bytes) -> Source:
    """The blocks of a file. They are shared: nobody may change them.

    Raises:
        SyntaxError: this Python cannot parse it (ValueError for a null byte).
    """
    return Source(data)


class Names(ast.NodeVisitor):
    """The names that a statement itself reads and binds; what stands in its blocks is not looked at."""

    def __init__(self, node: ast.AST) -> None:
        self.read: set[str] = set()
        self.bound: set[str] = set()
        parts = ast.iter_child_nodes(node)
        if isinstance(node, Definition):
            self.bound.add(node.name)
            parts = (*node.decorator_list, *getattr(node, "bases", ()))
        for part in parts:
            if not isinstance(part, ast.stmt):
                self.visit(part)

    def visit_Name(self, node: ast.Name) -> None:  # noqa: N802 - as ast calls it; so below
        (self.bound if isinstance(node.ctx, ast.Store) else self.read).add(node.id)

    def visit_arg(self, node: ast.arg) -> None:
        self.bound.add(node.arg)

    def visit_alias(self, node: ast.alias) -> None:
        self.bound.add(node.asname or node.name.split(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:  # noqa: N802
        self.bound |= {node.name} if node.name else set()

    def visit_match_case(self, node: ast.match_case) -> None:
        self.bound |= {one.name for one in ast.walk(node.pattern) if getattr(one, "name", None)}

    def visit_ListComp(self, node: ast.expr) -> None:  # noqa: N802
        """A comprehension, or a lambda, has names of its own."""
        inner = Names(node)
        self.read |= inner.read - inner.bound

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_Lambda = visit_ListComp  # noqa: N815


def _parse(data: bytes) -> ast.Module:
    """A Python before 3.12 reads newer files too, without the type parameters of their definitions."""
    try:
        return ast.parse(data)
    except SyntaxError:
        return ast.parse(_TYPE_PARAMETERS.sub(rb"\1", data))


def is_gap(line: bytes) -> bool:
    """Whether a line is blank or a comment."""
    stripped = line.strip()
    return not stripped or stripped.startswith(b"#")


def _first_line(node: ast.stmt) -> int:
    return min(one.lineno for one in (node, *getattr(node, "decorator_list", ()))) - 1


def _is_text(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def _inner_blocks(node: ast.stmt) -> Iterator[tuple[str, Sequence[ast.stmt]]]:
    for label, name in (("body", "body"), ("else", "orelse"), ("finally", "finalbody")):
        if getattr(node, name, None):
            yield label, getattr(node, name)
    for number, handler in enumerate(getattr(node, "handlers", ())):
        caught = ast.unparse(handler.type) if handler.type else number
        yield f"except {caught}", handler.body
    for case in getattr(node, "cases", ()):
        yield f"case {ast.unparse(case.pattern)}", case.body


def _is_transparent(node: ast.stmt, label: str, inner: Sequence[ast.stmt]) -> bool:
    if isinstance(node, ast.With | ast.AsyncWith | ast.Try):
        return label in ("body", "else")
    is_elif = isinstance(inner[0], ast.If) and inner[0].col_offset == node.col_offset
    return isinstance(node, ast.If) and label == "else" and is_elif


def _normal_form(node: ast.stmt) -> tuple[str, str]:
    """`key` and `header` of a statement."""
    # A definition's decorators have forms of their own, and so has what stands in blocks.
    apart = {"body", "orelse", "finalbody", "handlers", "cases", "decorator_list", "name"}
    if isinstance(node, ast.ImportFrom):
        return f"from {'.' * node.level}{node.module or ''} import", " ".join(map(ast.dump, node.names))
    if not (hasattr(node, "body") or hasattr(node, "cases")):
        return ast.dump(node), ""
    parts = [getattr(node, name) for name in node._fields if name not in apart]
    parts = [one for part in parts if part for one in (part if isinstance(part, list) else [part])]
    form = " ".join([type(node).__name__, *(ast.dump(one) for one in parts if isinstance(one, ast.AST))])
    if isinstance(node, Definition):
        return f"{'class' if isinstance(node, ast.ClassDef) else 'def'} {node.name}", form
    return form, ""
