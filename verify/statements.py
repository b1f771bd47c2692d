# SPDX-License-Identifier: MIT
"""A Python file as blocks of statements: what each says in normal form, and which lines it takes.

A block belongs to a scope (the definitions around it, outermost first) and lies on a path (the `if`, `for`,
`while` and so on around it within that scope). `with` and `try` are transparent: what stands in their body
is on the path of what is around them. So are the branches before an `elif`.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
Path = tuple[tuple[str, str], ...]
Form = tuple[tuple[str, ...], str, str]


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
                return _dump(target)
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
    def decorators_end(self) -> int:
        """The line of a definition's `def` or `class`, below its decorators."""
        return self.node.lineno - 1

    @property
    def header_end(self) -> int:
        """The line after its header; of a simple statement the line after its last."""
        return min((block.start for block in self.blocks.values()), default=self.end)


@dataclass(eq=False)
class Block:
    """Statements one after the other.

    Attributes:
        start: the line after the header that it belongs to.
        owner: the statement that it is within; None for the module.
    """

    scope: tuple[str, ...]
    path: Path
    start: int
    indent: int
    owner: Statement | None = None
    statements: list[Statement] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.statements[-1].end if self.statements else self.start

    def after(self, statement: Statement) -> Statement | None:
        at = self.statements.index(statement) + 1
        return self.statements[at] if at < len(self.statements) else None

    def before(self, statement: Statement) -> Statement | None:
        at = self.statements.index(statement)
        return self.statements[at - 1] if at else None


class Source:
    """A file's lines, with their ends, and its blocks."""

    def __init__(self, data: bytes) -> None:
        self.lines = split(data)
        self.blocks: list[Block] = []
        self.module = self._block(ast.parse(data).body, (), ())

    @property
    def statements(self) -> Iterator[Statement]:
        return (statement for block in self.blocks for statement in block.statements)

    def text(self, statement: Statement) -> bytes:
        """Its lines, of a compound statement those of its header."""
        return b"".join(self.lines[statement.start : statement.header_end])

    def whole_text(self, statement: Statement) -> bytes:
        return b"".join(self.lines[statement.start : statement.end])

    def _block(
        self, nodes: Sequence[ast.stmt], scope: tuple[str, ...], path: Path, owner: Statement | None = None
    ) -> Block:
        start = 0
        if owner is not None:
            start = _first_line(nodes[0])
            while _is_gap(self.lines[start - 1]):
                start -= 1
        block = Block(scope, path, start, nodes[0].col_offset if nodes else 0, owner)
        self.blocks.append(block)
        documented = not path and _is_docstring(nodes[0] if nodes else None)
        for number, node in enumerate(nodes):
            statement = Statement(
                node, _first_line(node), node.end_lineno or 0, block, documented and not number
            )
            block.statements.append(statement)
            for label, inner in _inner_blocks(node):
                if isinstance(node, _DEFINITIONS):
                    where = (*scope, node.name), ()
                elif label in _transparent_labels(node, inner):
                    where = scope, path
                else:
                    where = scope, (*path, (statement.key, label))
                statement.blocks[label] = self._block(inner, *where, statement)
        return block


@lru_cache(maxsize=1024)
def read_source(data: bytes) -> Source:
    """The blocks of a file. They are shared: nobody may change them.

    Raises:
        SyntaxError: this Python cannot parse it (ValueError for a null byte).
    """
    return Source(data)


def split(data: bytes) -> list[bytes]:
    """Lines with their ends, broken at LF only."""
    parts = data.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    return lines + [parts[-1]] if parts[-1] else lines


def _is_gap(line: bytes) -> bool:
    stripped = line.strip()
    return not stripped or stripped.startswith(b"#")


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", ())
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1


def _is_docstring(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _inner_blocks(node: ast.stmt) -> Iterator[tuple[str, Sequence[ast.stmt]]]:
    for label, name in (("body", "body"), ("else", "orelse"), ("finally", "finalbody")):
        if getattr(node, name, None):
            yield label, getattr(node, name)
    for number, handler in enumerate(getattr(node, "handlers", ())):
        caught = ast.unparse(handler.type) if handler.type else number
        yield f"except {caught}", handler.body
    for case in getattr(node, "cases", ()):
        yield f"case {ast.unparse(case.pattern)}", case.body


def _transparent_labels(node: ast.stmt, inner: Sequence[ast.stmt]) -> tuple[str, ...]:
    if isinstance(node, ast.With | ast.AsyncWith | ast.Try):
        return "body", "else"
    is_elif = (
        isinstance(node, ast.If) and isinstance(inner[0], ast.If) and inner[0].col_offset == node.col_offset
    )
    return ("else",) if is_elif else ()


def _dump(*parts: object) -> str:
    return " ".join(ast.dump(part) if isinstance(part, ast.AST) else str(part) for part in parts if part)


def _normal_form(node: ast.stmt) -> tuple[str, str]:
    """`key` and `header` of a statement."""
    kind = type(node).__name__
    match node:
        case ast.ClassDef():
            return f"class {node.name}", _dump(*node.bases, *node.keywords)
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return f"def {node.name}", _dump(kind, node.args, node.returns)
        case ast.If() | ast.While():
            return _dump(kind, node.test), ""
        case ast.For() | ast.AsyncFor():
            return _dump(kind, node.target, node.iter), ""
        case ast.With() | ast.AsyncWith():
            return _dump(kind, *node.items), ""
        case ast.Match():
            return _dump(kind, node.subject), ""
        case ast.ImportFrom():
            return f"from {'.' * node.level}{node.module or ''} import", _dump(*node.names)
        case ast.Import():
            return _dump(node), ""
    return (kind, "") if hasattr(node, "handlers") else (_dump(node), "")
