# SPDX-License-Identifier: MIT
"""What the modules of a source tree define, read without importing them, and whether calls bind to it."""

import ast
import copy
import inspect
from collections.abc import Callable

from verify.statements import Definition, Source, read_source

Read = Callable[[str], bytes | None]
_SEVERAL = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
_BY_KEYWORD = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD
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
    default, bare = ast.Constant(None), copy.copy(arguments)
    bare.defaults = [default] * len(arguments.defaults)
    bare.kw_defaults = [one and default for one in arguments.kw_defaults]
    function = ast.fix_missing_locations(ast.Expression(ast.Lambda(bare, default)))
    return inspect.signature(eval(compile(function, "<signature>", "eval")))  # a lambda that holds no code


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
    """Why a hook does not take the calls of the function that it decorates; None if it does.

    It is called with that function and its arguments (`rewact.hooks.decorator`). It has to name them as the
    function does, or to pass on `*args`, and those that it looks up by name
    (`inspect.signature(f).bind(...).arguments["name"]`) have to be parameters.
    """
    if not isinstance(decorator, ast.FunctionDef) or isinstance(decorated, ast.ClassDef):
        return None
    if "decorator" not in map(ast.unparse, decorator.decorator_list):
        return None
    parameters = signature_of(decorated.args).parameters.values()
    every = {one.name for one in parameters if one.kind not in _SEVERAL}
    for node in ast.walk(decorator):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="arguments"), slice=ast.Constant(value=str(name))):
                if name not in every:
                    return f"it needs the parameter {name}"
    ours = decorator.args
    _, *names = [argument.arg for argument in (*ours.posonlyargs, *ours.args)]
    theirs = [one.name for one in parameters if one.kind in _POSITIONAL]
    if theirs[:1] == ["self"]:
        names[:1] = ["self"] * len(names[:1])
    if names != theirs[: len(names)]:
        return f"it takes {', '.join(names)}, the function {', '.join(theirs[: len(names)]) or 'nothing'}"
    if ours.vararg is None and len(theirs) > len(names):
        return f"it does not pass on {theirs[len(names)]}"
    if ours.kwarg is None and any(one.kind in _BY_KEYWORD for one in parameters):
        return "it does not pass on what is given by keyword"
    return None
