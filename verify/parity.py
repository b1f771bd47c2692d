# SPDX-License-Identifier: MIT
"""Proof that a patched LeRobot is upstream's wherever the reward head is off.

The pristine tree is rebuilt in a temporary directory from the originals that the installer kept. It writes
ACT checkpoints, a dataset and configurations, and a process on each tree loads them, trains and acts with
them, and writes its own. Everything must be equal bit for bit. Reads the checkout only. Needs an environment
in which LeRobot's dependencies are installed.

    python -m verify.parity CHECKOUT
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError, last_words
from verify.interpreter import NO_LEROBOT, PROJECT, best, environment

CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info")
SMOKE_STEPS = 2


@dataclass(frozen=True)
class ParityReport:
    """What was compared, and what differed.

    Attributes:
        compared: number of equal-or-not facts (tensors, losses, actions) per case.
        differences: one line for each fact that differs; empty when the proof holds.
    """

    compared: dict[str, int]
    differences: list[str]

    @property
    def verdict(self) -> str:
        facts, cases = sum(self.compared.values()), len(self.compared)
        if self.differences:
            return f"parity BROKEN: {len(self.differences)} of {facts} facts differ in {cases} cases"
        return f"parity holds: {facts} facts equal bit for bit in {cases} cases"


def prove_parity(
    checkout: Checkout, python: str = sys.executable, cases: Iterable[str] = (), steps: int = 20
) -> ParityReport:
    """Compares the patched checkout with its own pristine state.

    Args:
        cases: of `parity_trace.CASES`; all where none is named.
        steps: of training.

    Raises:
        RewactError: when the checkout is not patched, or a tree does not run.
    """
    with tempfile.TemporaryDirectory(prefix="rewact-parity-") as temporary:
        pristine, folder = Path(temporary, "pristine"), Path(temporary, "files")
        rebuild_pristine(checkout, pristine)
        words = [str(folder), str(steps), *cases]
        before = _trace(python, pristine, words, f"{checkout.root} without the patches does not run")
        after = _trace(python, checkout.root, words, f"{checkout.root} as patched does not run")
    if before["patched"] or not after["patched"]:
        raise RewactError(
            ExitCode.CHECK_FAILED,
            "The proof did not compare a pristine tree with a patched one: check PYTHONPATH.",
        )
    return compare(before["cases"], after["cases"])


def smoke(checkout: Checkout, python: str) -> str:
    """Tries a fitted checkout, in less than a minute, before it is called installed.

    The patched scripts and our package import, an ACT with a reward head trains and acts, and one with the
    head off does what it does on the same tree without the patches.

    Args:
        python: of the environment in which it is installed.

    Returns:
        What was found, in one line.

    Raises:
        RewactError: CHECK_FAILED, with the reason.
    """
    checkout.installed()
    with tempfile.TemporaryDirectory(prefix="rewact-smoke-") as temporary:
        words = [temporary, str(SMOKE_STEPS), "reward-head"]
        _trace(python, checkout.root, words, f"{checkout.root} does not work as patched")
    parity = prove_parity(checkout, python, ["environment-state"], SMOKE_STEPS)
    if parity.differences:
        raise RewactError(
            ExitCode.CHECK_FAILED,
            f"{checkout.root} is not LeRobot's own where the head is off: {parity.differences[0]}",
        )
    facts = sum(parity.compared.values())
    return (
        f"it imports and trains {SMOKE_STEPS} steps; with the head off {facts} facts equal the tree without "
        "patches"
    )


def rebuild_pristine(checkout: Checkout, directory: Path) -> None:
    """Copies the checkout's sources as they were before the patches.

    Raises:
        RewactError: when nothing is recorded as installed, or a kept original is gone.
    """
    state = checkout.installed()
    shutil.copytree(checkout.root / "src", directory / "src", ignore=CACHES)
    for path, record in state.files.items():
        target = directory / path
        if record.pristine is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(checkout.record.recorded_blob(record.pristine.blob, path))
        else:
            target.unlink(missing_ok=True)
    for path in sorted(state.directories, reverse=True):  # those the installer made, the inner ones first
        if (directory / path).is_dir():
            (directory / path).rmdir()


def compare(before: dict, after: dict) -> ParityReport:
    """Compares two traces, which are nested dictionaries and lists of strings."""
    compared, differences = {}, []
    for case in sorted(before.keys() | after.keys()):
        left, right = dict(_facts(before.get(case))), dict(_facts(after.get(case)))
        names = sorted(left.keys() | right.keys())
        compared[case] = len(names)
        differences += [
            f"{case}: {name}: pristine {left.get(name)}, patched {right.get(name)}"
            for name in names
            if left.get(name) != right.get(name)
        ]
    return ParityReport(compared, differences)


def _facts(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _facts(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _facts(inner, f"{name}[{index}]")
    elif value is not None:
        yield name, value


def _trace(python: str, tree: Path, words: list[str], failure: str) -> dict:
    ran = subprocess.run(
        [python, "-B", "-m", "verify.parity_trace", *words],
        env=environment(tree / "src", PROJECT),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if ran.returncode:
        raise RewactError(ExitCode.CHECK_FAILED, f"{failure}: {last_words(ran)}")
    return json.loads(ran.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m verify.parity", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    try:
        checkout = Checkout(parser.parse_args().checkout)
        if (python := best(checkout.root)) is None:
            raise RewactError(ExitCode.USAGE, NO_LEROBOT)
        report = prove_parity(checkout, python)
    except RewactError as error:
        print(error, file=sys.stderr)
        return error.code
    print("\n".join([*report.differences, report.verdict]))
    return ExitCode.CHECK_FAILED if report.differences else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
