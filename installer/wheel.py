# SPDX-License-Identifier: MIT
"""`prod`: a wheel of the patched tree, installed like any other package."""

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path

from installer import console, environment
from installer.environment import RUNTIME, Environment
from installer.files import write_atomically
from installer.releases import Release, find_release
from verify.checkout import Checkout
from verify.drift import LABEL
from verify.errors import ExitCode, RewactError, last_words
from verify.plan import Plan

# What the build reads besides src/; those that a checkout lacks are left out.
_BUILD_FILES = ("pyproject.toml", "setup.py", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE")

_CHECK = """
import importlib.metadata, json
import lerobot, rewact
print(json.dumps([importlib.metadata.version("lerobot"), lerobot.__file__, rewact.__file__]))
"""


def patched_tree(checkout: Checkout, plan: Plan) -> dict[str, bytes]:
    """The files a wheel is built of, as they are once the plan is carried out; the checkout stays."""
    tree = {}
    for name in _BUILD_FILES:
        if (found := checkout.read(name)) and found.regular:
            tree[name] = found.data
    for directory, directories, names in os.walk(checkout.root / "src"):
        directories[:] = sorted(
            name for name in directories if name != "__pycache__" and not name.endswith(".egg-info")
        )
        for name in sorted(names):
            path = Path(directory, name)
            if not path.is_symlink() and path.suffix != ".pyc":
                tree[path.relative_to(checkout.root).as_posix()] = path.read_bytes()
    for change in plan.changes:
        if change.new is None:
            tree.pop(change.path, None)
        elif change.path.startswith("src/") or change.path in _BUILD_FILES:
            tree[change.path] = change.new.data
    return tree


def with_version(project_file: bytes, version: str) -> bytes:
    """pyproject.toml with another version in its one version line."""
    changed, count = re.subn(rb'(?m)^version = "[^"\n]*"', b'version = "%s"' % version.encode(), project_file)
    if count != 1:
        raise RewactError(ExitCode.CHECK_FAILED, f"pyproject.toml has {count} version lines, expected one.")
    return changed


def build(tree: dict[str, bytes], release: Release, env: Environment, output: Path) -> Path:
    """Builds the wheel from a temporary copy.

    Raises:
        RewactError: INDEX, when the build failed.
    """
    with tempfile.TemporaryDirectory(prefix="rewact-wheel-") as temporary:
        copy, built = Path(temporary, "lerobot"), Path(temporary, "built")
        for path, data in tree.items():
            destination = copy / path
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(
                with_version(data, release.patched_version) if path == "pyproject.toml" else data
            )
        environment.build_wheel(env, copy, built)
        (wheel,) = built.glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        final = output / wheel.name
        write_atomically(final, wheel.read_bytes())
    return final


def _digest(tree: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, data in sorted(tree.items()):
        digest.update(b"%s\0%d\0" % (os.fsencode(path), len(data)) + data)
    return digest.hexdigest()


def install(project: Path, checkout: Checkout, plan: Plan, prefix: Path | None) -> tuple[Environment, bool]:
    """Builds and installs the wheel, and imports it from outside the checkout.

    Returns:
        The environment, and whether anything had to be done.

    Raises:
        RewactError: UNSUPPORTED_VERSION for a tree that no series was made for.
    """
    if plan.fitted:
        raise RewactError(
            ExitCode.UNSUPPORTED_VERSION,
            f"{checkout.root} (LeRobot {checkout.declared_version}) is not a LeRobot release ({LABEL}): a "
            f"wheel would bear the name of {plan.patch_set.tag}. Use `install.py dev`, or check "
            f"{plan.patch_set.tag} out.",
        )
    console.step(f"{checkout.root} is LeRobot {plan.patch_set.tag}")
    release = find_release(plan.patch_set.tag)
    env = environment.choose(release, project, prefix, name=".venv-prod")
    tree = patched_tree(checkout, plan)
    extras = ",".join(release.extras)
    note = {"wheel": release.patched_version, "tree": _digest(tree), "extras": extras}

    def install() -> None:
        console.step(f"building the wheel of LeRobot {release.patched_version}")
        wheel = build(tree, release, env, project / "dist")
        console.step(f"installing {wheel} in {env.prefix}")
        if environment.ask(env, []).version:  # also where it is called the same
            environment.pip_install(env, ["--force-reinstall", "--no-deps", str(wheel)])
        environment.pip_install(env, [f"lerobot[{extras}] @ {wheel.as_uri()}", *RUNTIME])
        check(env, checkout, release)

    requirements = [f"lerobot[{extras}]=={release.patched_version}", *RUNTIME]
    return env, environment.ensure(env, note, requirements, install)


def check(env: Environment, checkout: Checkout, release: Release) -> None:
    """Imports lerobot and rewact from an empty directory.

    Raises:
        RewactError: CHECK_FAILED, when they do not import, or come from the checkout.
    """
    with tempfile.TemporaryDirectory(prefix="rewact-check-") as elsewhere:
        result = env.run(_CHECK, Path(elsewhere))
    if result.returncode:
        raise RewactError(
            ExitCode.CHECK_FAILED,
            f"What was installed in {env.prefix} does not import: {last_words(result)}",
        )
    version, *files = json.loads(result.stdout.splitlines()[-1])  # a module may greet when imported
    inside = [file for file in files if Path(file).resolve().is_relative_to(checkout.root)]
    if version != release.patched_version or inside:
        raise RewactError(
            ExitCode.CHECK_FAILED,
            f"{env.prefix} imports LeRobot {version} from {files[0]}, not {release.patched_version}.",
        )
    console.step(f"imported lerobot {version} and rewact from {Path(files[0]).parent.parent}")
