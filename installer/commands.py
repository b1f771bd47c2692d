# SPDX-License-Identifier: MIT
"""The commands of install.py: what each does, in order. Each returns the exit code."""

import contextlib
import json
import multiprocessing
import shlex
import subprocess
import time
from argparse import Namespace
from pathlib import Path

import installer
from installer import console, develop, patching, undo, wheel
from installer import export as exporting
from installer import status as report
from installer import update as updating
from installer.develop import Setup
from installer.environment import Environment
from installer.locate import open_checkout
from installer.releases import DEFAULT, RELEASES, find_release
from verify.drift import LABEL, describe_misfit
from verify.errors import ExitCode, RewactError
from verify.places import check_record

# Of the matrix, what is tested on the default release alone, since it does not depend on the release; and
# what of it all the same on every other.
_ONCE = (
    "tests/install",
    "tests/labels/test_completion_detector.py",
    "tests/labels/test_interpolation.py",
    "tests/labels/test_reward_metrics.py",
    "tests/labels/test_reward_video.py",
    "tests/advantages/test_bench_ablations.py",
    "tests/advantages/test_bench_command.py",
    "tests/advantages/test_bench_features.py",
    "tests/advantages/test_bench_parallel.py",
    "tests/advantages/test_bench_report.py",
    "tests/advantages/test_bench_training.py",
    "tests/advantages/test_estimate.py",
    "tests/advantages/test_file.py",
    "tests/advantages/test_frozen_values.py",
    "tests/advantages/test_recap.py",
    "tests/export/test_precision.py",
    "tests/export/test_runtime.py",
    "tests/page/test_browser.py",
    "tests/page/test_command.py",
    "tests/page/test_fit.py",
    "tests/page/test_guard.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_demo_run.py",
    "tests/e2e/test_prod.py",
    "tests/e2e/test_readme.py",
)
_EVERYWHERE = ("tests/install/test_real_patches.py",)


def _say_next(environment: Environment, *commands: str) -> None:
    """The last words of an installation: what to type now."""
    lines = [environment.activate, *commands] if environment.activate else [*commands]
    console.done("\n  ".join(["Ready. Next:", *lines]))


def dev(arguments: Namespace) -> int:
    setup = develop.dev(
        installer.PROJECT,
        arguments.checkout,
        arguments.lerobot,
        install=not arguments.no_install,
        exact=arguments.exact,
    )
    setup.checkout.record.update_path.unlink(missing_ok=True)  # an `update` that was killed is over
    if not setup.changed:
        console.done("Nothing to do: everything is in place.")
    if setup.environment is None:
        where = shlex.quote(str(setup.checkout.root))
        console.done(f"Next:\n  python install.py dev {where}    (installs it too)")
        return ExitCode.OK
    if setup.environment.reason:
        console.done(f"Installed in {setup.environment.prefix}: {setup.environment.reason}")
    script = shlex.quote(str(installer.PROJECT / "install.py"))
    _say_next(
        setup.environment,
        "lerobot-train --help    (LeRobot's commands, with rewards)",
        f"python {script} demo    (the whole job on data made here)",
    )
    return ExitCode.OK


def prod(arguments: Namespace) -> int:
    checkout = develop.open_or_fetch(installer.PROJECT, arguments.checkout, arguments.lerobot)
    undo.recover(installer.PROJECT, checkout)
    plan, _ = patching.read_plan(installer.PROJECT, checkout)
    develop.require_version(checkout, plan, arguments.lerobot)
    env, changed = wheel.install(installer.PROJECT, checkout, plan, arguments.env)
    if not changed:
        console.done("Nothing to do: everything is in place.")
    _say_next(env, "lerobot-train --help", "lerobot-eval-rewards --help")
    return ExitCode.OK


def status(arguments: Namespace) -> int:
    with console.quiet(arguments.json):
        checkout = open_checkout(arguments.checkout)
        check_record(installer.PROJECT, checkout)
        found, refusal = report.collect(installer.PROJECT, checkout)
    if arguments.json:
        console.answer(json.dumps(found, indent=2))
    else:
        report.show(found)
    return refusal


def update(arguments: Namespace) -> int:
    checkout = open_checkout(arguments.checkout)

    def put_in(install: bool) -> None:
        develop.dev(installer.PROJECT, checkout.root, None, install=install)

    updating.update(installer.PROJECT, checkout, arguments.ref, put_in)
    console.done(f"{checkout.root} is at {checkout.commit()[:12]}, patched.")
    return ExitCode.OK


def test(arguments: Namespace) -> int:
    if arguments.all:
        return _test_matrix(arguments.rest)
    return _test(_set_up(arguments), arguments.rest)


def _set_up(arguments: Namespace) -> Setup:
    if arguments.lerobot:  # another release than the one that is set up here must not take its place
        return develop.dev_apart(installer.PROJECT, find_release(arguments.lerobot))
    return develop.dev_own(installer.PROJECT)


def _test_matrix(rest: list[str]) -> int:
    """The tests on every supported release, one after the other, whatever comes of those before.

    While the first is tested the others are set up.

    Returns:
        The first exit code that is not 0, or 0.
    """
    ends = {}
    ahead = multiprocessing.Process(target=_set_up_ahead, daemon=True)
    for release in RELEASES:
        console.step(f"testing LeRobot {release.version}")
        start = time.monotonic()
        if ahead.pid is not None:
            ahead.join()
        try:
            setup = develop.dev_apart(installer.PROJECT, release)
            if release is DEFAULT:
                ahead.start()
            code = _test(setup, rest, whole=release is DEFAULT)
        except RewactError as error:
            console.fault(str(error))
            code = int(error.code)
        ends[release.version] = (code, time.monotonic() - start)
    for version, (code, seconds) in ends.items():
        end = "passed" if code == 0 else f"FAILED (exit code {code})"
        console.done(f"LeRobot {version}: {end} after {seconds / 60:.1f} min")
    return next((code for code, _ in ends.values() if code), ExitCode.OK)


def _set_up_ahead() -> None:
    """Sets up all releases but the first, in silence: what was said is said when it is their turn."""
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        for release in RELEASES[1:]:
            with contextlib.suppress(RewactError, OSError):
                develop.dev_apart(installer.PROJECT, release)


def _test(setup: Setup, rest: list[str], *, whole: bool = True) -> int:
    """Runs pytest, on all tests or those that `rest` names.

    Args:
        whole: also the tests that have nothing to do with which LeRobot it is.
    """
    chosen = any((installer.PROJECT / word.split("::")[0]).exists() for word in rest)
    return _run(setup, ["-m", "pytest", *([] if chosen or whole else _tests_of_a_release()), *rest])


def _tests_of_a_release() -> list[str]:
    there = (installer.PROJECT / "tests").glob("*/test_*.py")
    # The slow ones last, so that what is broken shows early.
    rooms = sorted(
        {f"tests/{path.parent.name}" for path in there}, key=lambda room: (room == "tests/e2e", room)
    )
    ignored = [f"--ignore={path}" for path in _ONCE if path not in rooms]
    return [*_EVERYWHERE, *(room for room in rooms if room not in _ONCE), *ignored]


def drift(arguments: Namespace) -> int:
    tree = arguments.checkout
    with console.quiet(arguments.json):
        found = patching.examine(installer.PROJECT, tree if tree is not None else open_checkout(None).root)
    if arguments.json:
        console.answer(json.dumps(found.as_json(), indent=2))
        return ExitCode.OK if found.fits else ExitCode.CONFLICT
    console.done(f"{found.tree}, against the series for {found.tag}:")
    patching.show_drift(found)
    if not found.fits:
        raise RewactError(ExitCode.CONFLICT, describe_misfit(found))
    if not (Path(found.tree) / ".git").exists():
        console.done(f"It fits. Next: make {found.tree} a repository (git init, and commit what it holds)")
        return ExitCode.OK
    console.done(f"It fits ({LABEL}). Next:\n  python install.py dev {shlex.quote(found.tree)}")
    return ExitCode.OK


def export(arguments: Namespace) -> int:
    checkout = open_checkout(arguments.checkout)
    undo.recover(installer.PROJECT, checkout)
    made = exporting.export(
        installer.PROJECT, checkout, name=arguments.name, description=arguments.description
    )
    console.step(f"{made.directory}: {console.plural(made.kept, 'patch', 'patches')} as before")
    if made.since:
        console.step(f"edits are what changed since the commit it was installed on, {made.since[:12]}")
    for name in made.rewritten:
        console.step(f"{name}: remade for this tree")
    for name in made.dropped:
        console.step(f"{name}: left out, this tree has its changes")
    for path in made.copied:
        console.step(f"overlay/{path}: copied from the checkout")
    for path in made.missing:
        console.step(f"overlay/{path}: deleted in the checkout; to drop it, delete it in overlay/ too")
    if made.added:
        console.step(f"{made.added}: the edits; fill in its header")
    if made.directory.name not in {release.tag for release in RELEASES}:
        console.step(
            f"`dev` installs {made.directory.name} once it has an entry in installer/releases.py; "
            "until then `dev --no-install` patches it"
        )
    if not (made.added or made.rewritten or made.dropped or made.copied or made.missing):
        console.done("Nothing was edited: the series is byte for byte as before.")
    return ExitCode.OK


def demo(arguments: Namespace) -> int:
    setup = _set_up(arguments)
    # In full: the user's directory is not the one it is run from.
    output = (arguments.output_dir or installer.PROJECT / "outputs" / "demo").absolute()
    code = _run(setup, ["-m", "verify.demo", f"--output-dir={output}", *arguments.rest])
    if code == ExitCode.OK and setup.environment.activate:
        console.done(
            f"LeRobot's commands are found once its environment is active:\n  {setup.environment.activate}"
        )
    return code


def _run(setup: Setup, words: list[str]) -> int:
    """Runs Python in the environment, as if it was activated, from the project's directory."""
    env = setup.environment
    console.step(f"running python {' '.join(words)}")
    return subprocess.call([str(env.python.executable), *words], cwd=installer.PROJECT, env=env.variables())
