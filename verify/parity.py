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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError, last_words
from verify.interpreter import PROJECT, environment


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
    checkout: Checkout, python: str = sys.executable, cases: Iterable[str] = (), steps: int | None = None
) -> ParityReport:
    """Compares the patched checkout with its own pristine state.

    Args:
        cases: of `parity_trace.CASES`; all where none is named.
        steps: of training; None for as many as the whole proof takes.

    Raises:
        RewactError: when the checkout is not patched, or a tree does not run.
    """
    with tempfile.TemporaryDirectory(prefix="rewact-parity-") as temporary:
        pristine = Path(temporary) / "pristine"
        rebuild_pristine(checkout, pristine)
        checkpoints = Path(temporary) / "checkpoints"
        words = [*([f"--steps={steps}"] if steps is not None else []), str(checkpoints), *cases]
        trees = {"without the patches": pristine, "as patched": checkout.root}
        before, after = (
            _trace(python, tree / "src", Path(temporary), [*create, *words], f"{checkout.root} {how}")
            for (how, tree), create in zip(trees.items(), (["--create"], []), strict=True)
        )
    if before["patched"] or not after["patched"]:
        raise RewactError(
            ExitCode.CHECK_FAILED,
            "The proof did not compare a pristine tree with a patched one: check PYTHONPATH.",
        )
    return compare(before["cases"], after["cases"])


def rebuild_pristine(checkout: Checkout, directory: Path) -> None:
    """Copies the checkout's sources as they were before the patches.

    Raises:
        RewactError: when nothing is recorded as installed, or a kept original is gone.
    """
    state = checkout.installed()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(checkout.root / "src", directory / "src", ignore=ignore)
    for path, record in state.files.items():
        if record.pristine is not None:
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(checkout.record.recorded_blob(record.pristine.blob, path))
        else:
            (directory / path).unlink(missing_ok=True)
    for path in sorted(state.directories, reverse=True):  # those the installer made, the inner ones first
        if (directory / path).is_dir():
            (directory / path).rmdir()


def compare(before: dict, after: dict) -> ParityReport:
    """Compares two traces, which are nested dictionaries and lists of strings."""
    compared, differences = {}, []
    for case in sorted(before.keys() | after.keys()):
        left, right = dict(_facts(before.get(case))), dict(_facts(after.get(case)))
        compared[case] = len(left.keys() | right.keys())
        differences += [
            f"{case}: {name}: pristine {left.get(name)}, patched {right.get(name)}"
            for name in sorted(left.keys() | right.keys())
            if left.get(name) != right.get(name)
        ]
    return ParityReport(compared, differences)


def _facts(value: object, name: str = ""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _facts(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _facts(inner, f"{name}[{index}]")
    elif value is not None:
        yield name, value


def _trace(python: str, source: Path, directory: Path, arguments: Iterable[str], what: str) -> dict:
    command = [python, "-B", "-m", "verify.parity_trace", *arguments]
    env = environment(source, PROJECT)
    result = subprocess.run(command, env=env, cwd=directory, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RewactError(ExitCode.CHECK_FAILED, f"{what} does not run: {last_words(result)}")
    return json.loads(result.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m verify.parity", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    arguments = parser.parse_args()
    try:
        report = prove_parity(Checkout(arguments.checkout))
    except RewactError as error:
        print(error, file=sys.stderr)
        return error.code
    for difference in report.differences:
        print(difference)
    print(report.verdict)
    return ExitCode.CHECK_FAILED if report.differences else ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
