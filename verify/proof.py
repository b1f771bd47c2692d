# SPDX-License-Identifier: MIT
"""What can be proven about a fitted tree before a byte of it is written.

1. Every changed file compiles.
2. Only our statements are new, and only those that the patch takes out are gone, each in its scope.
3. Every upstream name that our modules import exists.
4. Every call across the border binds to the signature of what it calls: ours of upstream's functions, and
   those that our patches add to upstream's files.
5. No statement of ours reads a name that nothing has bound before it.

Reads nothing but what it is given, and imports nothing of it.
"""

import ast
import builtins
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from verify.calls import misfit_of_call, misfit_of_decorator
from verify.fit import ChangeFit, Read, SeriesFit
from verify.names import Definition, Modules, absolute, bound_by, parse, running
from verify.statements import Form, Source, Statement, read_source


@dataclass(frozen=True)
class Fault:
    """One thing that does not hold. `where`: the file, and the scope in it."""

    where: str
    reason: str

    @property
    def path(self) -> str:
        return self.where.partition(", ")[0]

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def prove(fit: SeriesFit, overlay: Mapping[str, bytes], read: Read) -> list[Fault]:
    """Every fault of a fitted series; none where all of it holds.

    Args:
        overlay: the modules that are added, by their path in the checkout.
        read: the bytes of a file of the tree as it is.
    """
    faults = [fault for change in fit.changes if change.fits for fault in _only_ours(change)]

    def read_fitted(path: str) -> bytes | None:
        if path in overlay:
            return overlay[path]
        return fit.targets[path] if path in fit.targets else read(path)

    modules = Modules(read_fitted)
    for path, data in overlay.items():
        if path.endswith(".py"):
            faults += _crossings(path, parse(data), modules, "lerobot")
    for path, data in fit.targets.items():
        if data is None or not path.endswith(".py"):
            continue
        try:
            compile(data, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            faults.append(Fault(path, f"it does not compile ({error})"))
            continue
        source, forms = read_source(data), _forms_of_ours(fit, path)
        scopes = {scope for scope, _, _ in forms}
        ours = [one for one in source.statements if one.block.scope in scopes and forms & set(one.forms)]
        faults += _unbound(path, source, ours)
        faults += _crossings(path, parse(data), modules, "rewact", [statement.node for statement in ours])
    return faults


# Only our statements


def _only_ours(change: ChangeFit) -> Iterator[Fault]:
    """Whether a change makes of the tree what it makes of its release."""
    for path in change.after:
        sides = (change.change.before, change.change.after, change.before, change.after)
        old, new, tree, target = (side.get(path) for side in sides)
        if tree == target or not path.endswith(".py"):
            continue
        if None in (old, new, tree, target):
            continue
        wanted, made = _difference(old, new), _difference(tree, target)
        if wanted != made:
            (scope, key, _), count = next(iter(((made - wanted) or (wanted - made)).items()))
            verb = "adds or removes too much" if made - wanted else "does not change all"
            yield Fault(path, f"placing it {verb} in {'.'.join(scope) or 'the module'}: {key[:80]} ({count})")


@lru_cache(maxsize=1024)
def _difference(before: bytes, after: bytes) -> Counter:
    """The forms of the statements that come, and with a minus those that go."""
    old, new = (read_source(data) for data in (before, after))
    texts = [
        Counter((one.block.scope, source.text(one).strip()) for one in source.statements)
        for source in (old, new)
    ]
    # Most statements are the same on both sides, to the letter.
    changed = {text for text in texts[0].keys() | texts[1].keys() if texts[0][text] != texts[1][text]}
    sides = [
        Counter(
            form
            for one in source.statements
            if (one.block.scope, source.text(one).strip()) in changed
            for form in one.forms
        )
        for source in (old, new)
    ]
    gone, come = sides[0] - sides[1], sides[1] - sides[0]
    return come + Counter({(scope, f"-{key}", header): n for (scope, key, header), n in gone.items()})


def _forms_of_ours(fit: SeriesFit, path: str) -> set[Form]:
    """The forms of the statements that the series adds to a file."""
    ours: set[Form] = set()
    for change in fit.changes:
        before, after = change.before.get(path), change.after.get(path)
        if change.fits and after is not None and before != after:
            ours |= set(_difference(before or b"", after))
    return ours


# Names and signatures across the border


def _crossings(
    path: str, tree: ast.Module, modules: Modules, side: str, calls_in: Sequence[ast.stmt] | None = None
) -> Iterator[Fault]:
    """Imports across the border that find nothing, and calls that do not bind.

    Args:
        side: the package on the other side of the border.
        calls_in: look at the calls in these statements only.
    """
    module = path.removeprefix("src/").removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    imported: dict[str, tuple[str, str]] = {}
    for node, excused in _imports(tree):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, None, "") for alias in node.names]
        else:
            source = absolute(node, module, package=path.endswith("/__init__.py"))
            wanted = [(source, alias.name, alias.asname or alias.name) for alias in node.names]
        for source, name, known_as in wanted:
            if source.split(".")[0] != side:
                continue
            there = modules.exists(source) if name in (None, "*") else modules.defines(source, name)
            if there and name is not None:
                imported[known_as] = source, name
            elif not there and not excused:
                what = f"{name} from {source}" if name else source
                yield Fault(path, f"it imports {what}, which is not there")
    for call in _calls(tree) if calls_in is None else (call for node in calls_in for call in _calls(node)):
        definition = _meant(call.func, imported, modules)
        reason = misfit_of_call(call, definition) if definition is not None else None
        if reason is not None:
            yield Fault(path, f"line {call.lineno} calls {ast.unparse(call.func)}: {reason}")
    for node in calls_in or ():
        for decorator in getattr(node, "decorator_list", ()):
            if isinstance(decorator, ast.Attribute) and isinstance(decorator.value, ast.Name):
                source, name = imported.get(decorator.value.id, ("", ""))
                if modules.exists(f"{source}.{name}") and not modules.defines(
                    f"{source}.{name}", decorator.attr
                ):
                    yield Fault(path, f"line {node.lineno}: {source}.{name} has no {decorator.attr}")
            definition = _meant(decorator, imported, modules)
            reason = misfit_of_decorator(definition, node) if definition is not None else None
            if reason is not None:
                what = f"{ast.unparse(decorator)} cannot decorate {node.name}"
                yield Fault(path, f"line {node.lineno}: {what}: {reason}")


def _meant(node: ast.expr, imported: Mapping[str, tuple[str, str]], modules: Modules) -> Definition | None:
    """The definition across the border that `name` or `module.name` is; None for anything else."""
    if isinstance(node, ast.Name) and node.id in imported:
        return modules.definition(*imported[node.id])
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
        return modules.definition(".".join(imported[node.value.id]), node.attr)
    return None


@lru_cache(maxsize=1024)
def _imports(tree: ast.Module) -> list[tuple[ast.Import | ast.ImportFrom, bool]]:
    """The imports of a file, and whether the failure of each is caught."""
    caught: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(_catches_imports(handler) for handler in node.handlers):
            caught |= {inner for statement in node.body for inner in ast.walk(statement)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return [(node, node in caught) for node in found]


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    return handler.type is not None and any(
        name in ast.unparse(handler.type) for name in ("ImportError", "ModuleNotFoundError")
    )


@lru_cache(maxsize=1024)
def _calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


# Names that our statements read


def _unbound(path: str, source: Source, ours: Sequence[Statement]) -> Iterator[Fault]:
    top = [statement.node for statement in source.module.statements]
    known = {name for node in running(top) for name in bound_by(node)}
    known |= set(dir(builtins)) | {"__file__", "__name__", "__doc__"}
    functions = _functions(source)
    for statement in ours:
        scope = statement.block.scope
        for name in sorted(_read_by(statement.node)):
            reason = _missing(name, statement, scope, functions, known)
            if reason is not None:
                where = f"{path}, {'.'.join(scope)}" if scope else path
                yield Fault(where, f"line {statement.start + 1} reads {name}, {reason}")


def _functions(source: Source) -> dict[tuple[str, ...], ast.AST]:
    """Definitions by their qualified name."""
    return {
        (*block.scope, statement.node.name): statement.node
        for block in source.blocks
        for statement in block.statements
        if isinstance(statement.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }


def _missing(
    name: str, statement: Statement, scope: tuple[str, ...], functions: Mapping, known: set[str]
) -> str | None:
    """Why nothing has bound a name where a statement reads it."""
    for depth in range(len(scope), 0, -1):
        definition = functions.get(scope[:depth])
        if definition is None or (isinstance(definition, ast.ClassDef) and depth < len(scope)):
            continue
        bindings = _bindings(definition, name)
        if not bindings:
            continue
        if depth < len(scope) or min(bindings) <= statement.start:
            return None
        return f"which is bound only on line {min(bindings)}"
    return None if name in known else "which nothing binds"


def _bindings(definition: ast.AST, name: str) -> list[int]:
    """The lines on which a definition binds a name in its own scope; its header's for a parameter."""
    lines = []
    if not isinstance(definition, ast.ClassDef):
        arguments = definition.args
        parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        parameters += [one for one in (arguments.vararg, arguments.kwarg) if one]
        lines += [0 for one in parameters if one.arg == name]
    return lines + [node.lineno for node in running(definition.body) if name in bound_by(node)]


def _read_by(node: ast.stmt) -> set[str]:
    """The names that a statement reads when it runs; what its blocks read is theirs."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        parts: list[ast.AST] = [*node.decorator_list, *getattr(node, "bases", [])]
    else:
        parts = [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
        ]
    inner = [node for part in parts for node in ast.walk(part)]
    own = {node.arg for node in inner if isinstance(node, ast.arg)}  # a lambda's
    for node in inner:
        if isinstance(node, ast.comprehension):
            own |= {target.id for target in ast.walk(node.target) if isinstance(target, ast.Name)}
    return {node.id for node in inner if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)} - own
