# SPDX-License-Identifier: MIT
"""What the modules of a source tree define, read without importing them."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

Read = Callable[[str], bytes | None]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_TYPE_PARAMETERS = re.compile(rb"^([ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+\w+)\[[^\]\n]*\]", re.MULTILINE)
_STEPS = ast.stmt | ast.ExceptHandler | ast.match_case


@lru_cache(maxsize=2048)
def parse(data: bytes) -> ast.Module:
    """The syntax tree of a file. It is shared: nobody may change it.

    A Python before 3.12 reads newer files too, without the type parameters of their definitions.
    """
    try:
        return ast.parse(data)
    except SyntaxError:
        return ast.parse(_TYPE_PARAMETERS.sub(rb"\1", data))


class Modules:
    """The modules below `src/` of a tree, by their dotted names; each is read once.

    Args:
        read: the bytes of a file of the tree, or None where there is none.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._parsed: dict[str, tuple[ast.Module, bool] | None] = {}

    def exists(self, module: str) -> bool:
        return self._module(module) is not None

    def defines(self, module: str, name: str) -> bool:
        """Whether `from module import name` finds something; a submodule counts."""
        return self._find(module, name, frozenset()) is not None or self.exists(f"{module}.{name}")

    def definition(self, module: str, name: str) -> Definition | None:
        """The function or class behind a name, imports followed; None for anything else."""
        found = self._find(module, name, frozenset())
        return found if isinstance(found, Definition) else None

    def _module(self, module: str) -> tuple[ast.Module, bool] | None:
        """The parsed module, and whether it is a package."""
        if module not in self._parsed:
            self._parsed[module] = None
            stem = "src/" + module.replace(".", "/")
            for path, package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
                data = self._read(path)
                if data is not None:
                    self._parsed[module] = (parse(data), package)
                    break
        return self._parsed[module]

    def _find(self, module: str, name: str, seen: frozenset[tuple[str, str]]) -> ast.AST | None:
        """The statement that binds a name last in a module, followed through imports."""
        parsed = self._module(module)
        if parsed is None or (module, name) in seen:
            return None
        seen |= {(module, name)}
        found = None
        for node in running(parsed[0].body):
            if isinstance(node, ast.ImportFrom):
                source = absolute(node, module, package=parsed[1])
                for alias in node.names:
                    if alias.name == "*":
                        found = self._find(source, name, seen) or found
                    elif (alias.asname or alias.name) == name:
                        found = self._find(source, alias.name, seen) or node
            elif name in bound_by(node):
                found = node
            elif isinstance(node, ast.FunctionDef) and node.name == "__getattr__" and found is None:
                found = node.body[0]  # a module that makes its names when they are asked for
        return found


def absolute(node: ast.ImportFrom, module: str, *, package: bool) -> str:
    """The dotted name of what an import names, from within a module."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + package]
    return ".".join([*base, *([node.module] if node.module else [])])


def running(body: Sequence[ast.stmt]) -> Iterator[ast.stmt | ast.ExceptHandler]:
    """The statements that run in a scope, those in branches included, those of inner scopes not."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            yield node
        if not isinstance(node, Definition):
            waiting += reversed([child for child in ast.iter_child_nodes(node) if isinstance(child, _STEPS)])


def bound_by(node: ast.AST) -> set[str]:
    """The names that a statement itself binds in its scope; what stands in its body is not looked at."""
    if isinstance(node, Definition):
        return {node.name}
    if isinstance(node, ast.Import):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.ExceptHandler):
        return {node.name} if node.name else set()
    names: set[str] = set()
    waiting = [
        child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt | ast.ExceptHandler)
    ]
    while waiting:
        child = waiting.pop()
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            names.add(child.id)
        elif isinstance(child, ast.MatchAs | ast.MatchStar) and child.name:
            names.add(child.name)
        if isinstance(child, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda):
            continue  # names of their own
        if not isinstance(child, ast.stmt):
            waiting += ast.iter_child_nodes(child)
    return names
