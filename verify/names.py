# SPDX-License-Identifier: MIT
"""What the modules of a source tree define, read without importing them, and whether calls bind to it."""

import ast
import inspect
from collections.abc import Callable

from verify.statements import Definition, Source, read_source

Read = Callable[[str], bytes | None]
_SEVERAL = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
# Decorators that keep a signature; what others make of it is not known.
_KEEPING = {"staticmethod", "torch.no_grad()", "torch.inference_mode()", "cache", "functools.cache"}


class Modules:
    """The modules below `src/` of a tree, by their dotted names; each is read once.

    Args:
        read: the bytes of a file of the tree, or None where there is none.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._found: dict[str, tuple[Source, bool] | None] = {}

    def exists(self, module: str) -> bool:
        return self._module(module) is not None

    def defines(self, module: str, name: str) -> bool:
        """Whether `from module import name` finds something; a submodule counts."""
        return self._find(module, name, frozenset()) is not None or self.exists(f"{module}.{name}")

    def definition(self, module: str, name: str) -> Definition | None:
        """The function or class behind a name, imports followed; None for anything else."""
        found = self._find(module, name, frozenset())
        return found if isinstance(found, Definition) else None

    def _module(self, module: str) -> tuple[Source, bool] | None:
        """The module, and whether it is a package."""
        if module not in self._found:
            stem = "src/" + module.replace(".", "/")
            package, single = self._read(f"{stem}/__init__.py"), self._read(f"{stem}.py")
            data = single if package is None else package
            self._found[module] = None if data is None else (read_source(data), package is not None)
        return self._found[module]

    def _find(self, module: str, name: str, seen: frozenset[tuple[str, str]]) -> ast.AST | None:
        """The statement that binds a name last in a module, followed through imports."""
        there = self._module(module)
        if there is None or (module, name) in seen:
            return None
        seen |= {(module, name)}
        found = None
        for statement in there[0].within(()):
            node = statement.node
            if isinstance(node, ast.ImportFrom):
                source = absolute(node, module, package=there[1])
                for alias in node.names:
                    if alias.name == "*":
                        found = self._find(source, name, seen) or found
                    elif (alias.asname or alias.name) == name:
                        found = self._find(source, alias.name, seen) or node
            elif name in statement.names.bound:
                found = node
            elif statement.key == "def __getattr__" and found is None:
                found = node.body[0]  # a module that makes its names when they are asked for
        return found


def absolute(node: ast.ImportFrom, module: str, *, package: bool) -> str:
    """The dotted name of what an import names, from within a module."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    return ".".join([*parts[: len(parts) - node.level + package], *filter(None, [node.module])])


def signature_of(arguments: ast.arguments) -> inspect.Signature:
    """Parameters as they are written; what their defaults are does not matter."""
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = len(positional) - len(arguments.defaults)
    kind = inspect.Parameter
    found = [
        kind(
            one.arg,
            kind.POSITIONAL_ONLY if number < len(arguments.posonlyargs) else kind.POSITIONAL_OR_KEYWORD,
            default=kind.empty if number < needed else None,
        )
        for number, one in enumerate(positional)
    ]
    if arguments.vararg:
        found.append(kind(arguments.vararg.arg, kind.VAR_POSITIONAL))
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(kind(one.arg, kind.KEYWORD_ONLY, default=kind.empty if default is None else None))
    if arguments.kwarg:
        found.append(kind(arguments.kwarg.arg, kind.VAR_KEYWORD))
    return inspect.Signature(found)


def misfit_of_call(call: ast.Call, definition: Definition) -> str | None:
    """Why a call does not bind, or None where it does or where only running it would tell."""
    keywords = {keyword.arg: None for keyword in call.keywords}
    if None in keywords or any(isinstance(argument, ast.Starred) for argument in call.args):
        return None
    given = list(call.args)
    if isinstance(definition, ast.ClassDef):
        made = [one for one in definition.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        if not made:
            return None
        definition, given = made[0], [None, *given]
    elif any(ast.unparse(decorator) not in _KEEPING for decorator in definition.decorator_list):
        return None
    try:
        signature_of(definition.args).bind(*given, **keywords)
    except TypeError as error:
        return str(error)
    return None


def misfit_of_decorator(decorator: Definition, decorated: Definition) -> str | None:
    """Why what a decorator returns does not take the calls of the decorated function; None if it does.

    What it returns has to name its parameters as the function does, or to pass on `*args`, and the arguments
    that it looks up by name (`inspect.signature(f).bind(...).arguments["name"]`) have to be parameters.
    """
    if not isinstance(decorator, ast.FunctionDef) or isinstance(decorated, ast.ClassDef):
        return None
    theirs = signature_of(decorated.args)
    every = {name for name, one in theirs.parameters.items() if one.kind not in _SEVERAL}
    for node in ast.walk(decorator):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="arguments"), slice=ast.Constant(value=str(name))):
                if name not in every:
                    return f"it needs the parameter {name}"
    for node in decorator.body:
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(one, ast.Call) and ast.unparse(one.func) in ("wraps", "functools.wraps")
            for one in node.decorator_list
        ):
            return _misfit_of_wrapper(node.args, decorated.args)
    return None


def _misfit_of_wrapper(ours: ast.arguments, decorated: ast.arguments) -> str | None:
    names, theirs = (
        [argument.arg for argument in (*side.posonlyargs, *side.args)] for side in (ours, decorated)
    )
    if theirs[:1] == ["self"]:
        names[:1] = ["self"] * len(names[:1])
    if names != theirs[: len(names)]:
        return f"it takes {', '.join(names)}, the function {', '.join(theirs[: len(names)]) or 'nothing'}"
    if ours.vararg is None and len(theirs) > len(names):
        return f"it does not pass on {theirs[len(names)]}"
    if ours.kwarg is None and (decorated.kwonlyargs or decorated.kwarg):
        return "it does not pass on what is given by keyword"
    return None
