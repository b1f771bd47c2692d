# SPDX-License-Identifier: MIT
"""Whether calls and decorators, as they are written, bind to the signatures of what they call."""

import ast

from verify.names import Definition


def misfit_of_call(call: ast.Call, definition: Definition) -> str | None:
    """Why a call does not bind, or None where it does or where only running it would tell."""
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return None
    keywords = [keyword.arg for keyword in call.keywords]
    signature = _signature(definition)
    if signature is None or None in keywords:
        return None
    names, required, positional_only, keyword_only, required_keywords, open_ended, any_keyword = signature
    if len(call.args) > len(names) and not open_ended:
        return f"it takes {len(names)} positional arguments, not {len(call.args)}"
    given = set(names[: len(call.args)])
    for keyword in keywords:
        known = keyword in names[positional_only:] or keyword in keyword_only
        if keyword in given:
            return f"it gets {keyword} twice"
        if not known and not any_keyword:
            return f"it has no parameter {keyword}"
    missing = [name for name in (*required, *required_keywords) if name not in given and name not in keywords]
    return f"it needs {', '.join(missing)}" if missing else None


def misfit_of_decorator(decorator: Definition, decorated: Definition) -> str | None:
    """Why what a decorator returns does not take the calls of the decorated function; None if it does.

    What it returns has to name its parameters as the function does, or to pass on `*args`, and the arguments
    that it looks up by name (`inspect.signature(f).bind(...).arguments["name"]`) have to be parameters.
    """
    if not isinstance(decorator, ast.FunctionDef) or isinstance(decorated, ast.ClassDef):
        return None
    theirs = [argument.arg for argument in (*decorated.args.posonlyargs, *decorated.args.args)]
    every = {*theirs, *(argument.arg for argument in decorated.args.kwonlyargs)}
    for node in ast.walk(decorator):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute):
            name = node.slice.value if isinstance(node.slice, ast.Constant) else None
            if node.value.attr == "arguments" and isinstance(name, str) and name not in every:
                return f"it needs the parameter {name}"
    for node in decorator.body:
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(one, ast.Call) and ast.unparse(one.func) in ("wraps", "functools.wraps")
            for one in node.decorator_list
        ):
            return _misfit_of_wrapper(node.args, theirs, decorated.args)
    return None


def _misfit_of_wrapper(ours: ast.arguments, theirs: list[str], decorated: ast.arguments) -> str | None:
    names = [argument.arg for argument in (*ours.posonlyargs, *ours.args)]
    if theirs[:1] == ["self"]:
        names[:1] = ["self"] * len(names[:1])
    if names != theirs[: len(names)]:
        return f"it takes {', '.join(names)}, the function {', '.join(theirs[: len(names)]) or 'nothing'}"
    if ours.vararg is None and len(theirs) > len(names):
        return f"it does not pass on {theirs[len(names)]}"
    if ours.kwarg is None and (decorated.kwonlyargs or decorated.kwarg):
        return "it does not pass on what is given by keyword"
    return None


def _signature(definition: Definition):
    """The parameters of a function, or of a class's own `__init__`; None where they are not written down."""
    if isinstance(definition, ast.ClassDef):
        for node in definition.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                return _parameters(node.args, skip=1)
        return None
    # What a decorator makes of a signature is not known, but for those that keep it.
    kept = {"staticmethod", "torch.no_grad()", "torch.inference_mode()", "cache", "functools.cache"}
    if any(ast.unparse(decorator) not in kept for decorator in definition.decorator_list):
        return None
    return _parameters(definition.args, skip=0)


def _parameters(arguments: ast.arguments, *, skip: int):
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)][skip:]
    required = positional[: max(len(positional) - len(arguments.defaults), 0)]
    keyword_only = [argument.arg for argument in arguments.kwonlyargs]
    needed = [
        argument.arg
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    positional_only = max(len(arguments.posonlyargs) - skip, 0)
    return (
        positional, required, positional_only, keyword_only, needed,
        arguments.vararg is not None, arguments.kwarg is not None,
    )  # fmt: skip
