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

from verify.fit import ChangeFit, Read, SeriesFit
from verify.names import Modules, absolute, misfit_of_call, misfit_of_decorator, signature_of
from verify.statements import Definition, Form, Scope, Source, Statement, read_source


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
            source = read_source(data)
            faults += _crossings(path, source, modules, "lerobot", source.module.statements)
    for path, data in fit.targets.items():
        if data is None or not path.endswith(".py"):
            continue
        try:
            compile(data, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            faults.append(Fault(path, f"it does not compile ({error})"))
            continue
        source, forms = read_source(data), _forms_of_ours(fit, path)
        ours = [one for one in source.statements if not forms.isdisjoint(one.forms)]
        faults += _unbound(path, source, ours)
        faults += _crossings(path, source, modules, "rewact", ours)
    return faults


# Only our statements


def _only_ours(change: ChangeFit) -> Iterator[Fault]:
    """Whether a change makes of the tree what it makes of its release."""
    for path in change.after:
        sides = (change.change.before, change.change.after, change.before, change.after)
        old, new, tree, target = (side.get(path) for side in sides)
        if tree == target or not path.endswith(".py") or None in (old, new, tree, target):
            continue
        wanted, made = _difference(old, new), _difference(tree, target)
        if wanted != made:
            (scope, key, _), count = next(iter(((made - wanted) or (wanted - made)).items()))
            verb = "adds or removes too much" if made - wanted else "does not change all"
            yield Fault(path, f"placing it {verb} in {'.'.join(scope) or 'the module'}: {key[:80]} ({count})")


@lru_cache(maxsize=1024)
def _difference(before: bytes, after: bytes) -> Counter[Form]:
    """The forms of the statements that come, and with a minus those that go."""
    old, new = (
        Counter(form for one in read_source(data).statements for form in one.forms)
        for data in (before, after)
    )
    gone = {(scope, f"-{key}", header): count for (scope, key, header), count in (old - new).items()}
    return (new - old) + Counter(gone)


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
    path: str, source: Source, modules: Modules, side: str, calls_in: Sequence[Statement]
) -> Iterator[Fault]:
    """Imports across the border that find nothing, and calls and decorators that do not bind.

    Args:
        side: the package on the other side of the border.
        calls_in: look at the calls in these statements.
    """
    imported: dict[str, tuple[str, str]] = {}
    for statement in source.statements:
        for module, name, known_as in _imports(path, statement):
            if module.split(".")[0] != side:
                continue
            there = modules.exists(module) if name in (None, "*") else modules.defines(module, name)
            if there and name is not None:
                imported[known_as] = module, name
            elif not there and not _is_excused(statement):
                what = f"{name} from {module}" if name else module
                yield Fault(path, f"it imports {what}, which is not there")

    def meant(node: ast.expr) -> Definition | None:
        """The definition across the border that `name` or `module.name` is; None for anything else."""
        match node:
            case ast.Name(id=name) if name in imported:
                return modules.definition(*imported[name])
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in imported:
                return modules.definition(".".join(imported[name]), attribute)
        return None

    for node in (statement.node for statement in calls_in):
        for call in (inner for inner in ast.walk(node) if isinstance(inner, ast.Call)):
            definition = meant(call.func)
            if definition is not None and (reason := misfit_of_call(call, definition)):
                yield Fault(path, f"line {call.lineno} calls {ast.unparse(call.func)}: {reason}")
        for decorator in getattr(node, "decorator_list", ()):
            match decorator:
                case ast.Attribute(value=ast.Name(id=known_as), attr=name) if known_as in imported:
                    module = ".".join(imported[known_as])
                    if modules.exists(module) and not modules.defines(module, name):
                        yield Fault(path, f"line {node.lineno}: {module} has no {name}")
            definition = meant(decorator)
            if definition is not None and (reason := misfit_of_decorator(definition, node)):
                what = f"{ast.unparse(decorator)} cannot decorate {node.name}"
                yield Fault(path, f"line {node.lineno}: {what}: {reason}")


def _imports(path: str, statement: Statement) -> list[tuple[str, str | None, str]]:
    """What a statement imports: module, name in it (None for the module itself), what that is called."""
    node = statement.node
    if isinstance(node, ast.Import):
        return [(alias.name, None, "") for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    here = path.removeprefix("src/").removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    source = absolute(node, here, package=path.endswith("/__init__.py"))
    return [(source, alias.name, alias.asname or alias.name) for alias in node.names]


def _is_excused(statement: Statement) -> bool:
    """Whether an import stands in a `try` that catches its failure."""
    block = statement.block
    while (owner := block.owner) is not None:
        handlers = owner.node.handlers if isinstance(owner.node, ast.Try) else ()
        caught = " ".join(ast.unparse(handler.type) for handler in handlers if handler.type)
        if block is owner.blocks["body"] and ("ImportError" in caught or "ModuleNotFoundError" in caught):
            return True
        block = owner.block
    return False


# Names that our statements read


def _unbound(path: str, source: Source, ours: Sequence[Statement]) -> Iterator[Fault]:
    known = set(dir(builtins)) | {"__file__", "__name__", "__doc__"}
    known |= {name for statement in source.within(()) for name in statement.names.bound}
    for statement in ours:
        scope = statement.block.scope
        for name in sorted(statement.names.read):
            reason = _missing(name, statement, source, known)
            if reason is not None:
                where = f"{path}, {'.'.join(scope)}" if scope else path
                yield Fault(where, f"line {statement.start + 1} reads {name}, {reason}")


def _missing(name: str, statement: Statement, source: Source, known: set[str]) -> str | None:
    """Why nothing has bound a name where a statement reads it."""
    scope = statement.block.scope
    for depth in range(len(scope), 0, -1):
        if isinstance(source.definitions[scope[:depth]], ast.ClassDef) and depth < len(scope):
            continue
        first = min(_bindings(source, scope[:depth], name), default=None)
        if first is None:
            continue
        if depth < len(scope) or first <= statement.start:
            return None
        return f"which is bound only on line {first}"
    return None if name in known else "which nothing binds"


def _bindings(source: Source, scope: Scope, name: str) -> Iterator[int]:
    """The lines on which a definition binds a name in its own scope; 0 for a parameter."""
    definition = source.definitions[scope]
    if not isinstance(definition, ast.ClassDef) and name in signature_of(definition.args).parameters:
        yield 0
    yield from (one.node.lineno for one in source.within(scope) if name in one.names.bound)
