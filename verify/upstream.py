# SPDX-License-Identifier: MIT
"""Upstream's own tests for the files that the patches touch, before and after.

Two trees are made in a temporary directory: the checkout as it was before the patches, and as it is. The same
tests run on both, each in a process of its own, and every test has to end alike. A test that fails before any
patch (most of those want the network) proves nothing here, and is listed as not runnable with its reason.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError, last_words
from verify.interpreter import environment
from verify.parity import CACHES, rebuild_pristine

# Which of upstream's tests are about a touched file; those that a release does not have are left out.
COVERAGE = {
    "src/lerobot/policies/act/": ("tests/policies/test_policies.py", "tests/processor/test_act_processor.py"),
    "src/lerobot/policies/__init__.py": ("tests/policies/test_policies.py", "tests/test_available.py"),
    "src/lerobot/processor/converters.py": (
        "tests/processor/test_converters.py",
        "tests/processor/test_batch_conversion.py",
        "tests/processor/test_batch_processor.py",
        "tests/processor/test_pipeline.py",
        "tests/processor/test_policy_robot_bridge.py",
    ),
    "src/lerobot/configs/": (
        "tests/configs",
        "tests/jobs/test_job_config.py",
        "tests/test_cli_peft.py",
        "tests/test_yaml_policy_path.py",
    ),
    "src/lerobot/jobs/": ("tests/jobs",),
    "src/lerobot/datasets/factory.py": (
        "tests/datasets/test_datasets.py",
        "tests/datasets/test_aggregate.py",
    ),
    "src/lerobot/datasets/dataset_tools.py": ("tests/datasets/test_dataset_tools.py",),
    "src/lerobot/scripts/lerobot_train.py": (
        "tests/scripts/test_train_remote_dispatch.py",
        "tests/training",
        "tests/datasets/test_sampler.py",
    ),
    "src/lerobot/scripts/lerobot_eval.py": ("tests/envs/test_freeze_after_episode_end.py",),
    "src/lerobot/scripts/lerobot_record.py": ("tests/test_control_robot.py",),
    "src/lerobot/common/control_utils.py": ("tests/test_control_robot.py",),
    "src/lerobot/utils/control_utils.py": ("tests/test_control_robot.py",),
    "src/lerobot/rollout/": ("tests/test_rollout.py",),
    "src/lerobot/rewards/": ("tests/rewards/test_reward_model_base.py",),
    "src/lerobot/async_inference/": ("tests/async_inference",),
}

# ACT loads these weights by default. Where they were never downloaded, any of the right shapes do: both trees
# get the same.
_WEIGHTS = "hub/checkpoints/resnet18-f37072fd.pth"
_MAKE_WEIGHTS = """
import sys, torch, torchvision
torch.manual_seed(0)
torch.save(torchvision.models.resnet18(weights=None).state_dict(), sys.argv[1])
"""


@dataclass(frozen=True)
class Outcome:
    """How one test ended: passed, skipped or failed; and in one line why it did not pass."""

    status: str
    reason: str = ""


@dataclass(frozen=True)
class UpstreamReport:
    """Upstream's tests on both trees.

    Attributes:
        files: test files and directories that ran.
        adapted: test files that the patch set changes.
        passed: how many tests passed before and after.
        skipped: those skipped on both sides, with upstream's reason.
        not_runnable: those that fail before any patch, with the reason; nothing is said about them.
        differences: one line for each test that ends in another way.
    """

    files: tuple[str, ...]
    adapted: tuple[str, ...]
    passed: int
    skipped: dict[str, str]
    not_runnable: dict[str, str]
    differences: list[str]

    @property
    def verdict(self) -> str:
        if not self.files:
            return "upstream's tests: this checkout has none for the touched files"
        word = f"{len(self.differences)} DIFFER" if self.differences else "none differs"
        others = f"{len(self.skipped)} skipped, {len(self.not_runnable)} not runnable here"
        if self.adapted:
            others += f"; adapted: {', '.join(self.adapted)}"
        return f"upstream's tests: {self.passed} pass before and after, {word} ({others})"


def covering_tests(touched: Iterable[str], root: Path) -> tuple[str, ...]:
    """Upstream's tests for these files, as far as a tree has them."""
    found = [
        test
        for path in sorted(touched)
        for prefix, tests in COVERAGE.items()
        if path.startswith(prefix)
        for test in tests
        if (root / test).exists()
    ]
    return tuple(dict.fromkeys(found))


def compare_upstream_tests(checkout: Checkout, python: str = sys.executable) -> UpstreamReport:
    """Runs upstream's tests on the checkout as it is and as it was; writes only in a temporary directory.

    Raises:
        RewactError: when the checkout is not patched, or pytest does not run.
    """
    state = checkout.installed()
    files = covering_tests(state.patched_files, checkout.root)
    adapted = tuple(sorted(path for path in state.patched_files if path.startswith("tests/")))
    if not files:
        return UpstreamReport((), adapted, 0, {}, {}, [])
    with tempfile.TemporaryDirectory(prefix="rewact-upstream-") as temporary:
        trees = [Path(temporary, name) for name in ("before", "after")]
        for tree in trees:
            copy_tests(checkout, tree)
        rebuild_pristine(checkout, trees[0])
        shutil.copytree(checkout.root / "src", trees[1] / "src", ignore=CACHES)
        weights = _weights(python, Path(temporary))
        before, after = (run_tests(python, tree, files, weights) for tree in trees)
    return compare(files, adapted, before, after)


def copy_tests(checkout: Checkout, tree: Path) -> None:
    """Copies what upstream's tests need besides the sources."""
    tree.mkdir()
    shutil.copytree(checkout.root / "tests", tree / "tests", ignore=CACHES)
    for name in ("pyproject.toml", "README.md"):
        if (checkout.root / name).is_file():
            shutil.copyfile(checkout.root / name, tree / name)


def _weights(python: str, directory: Path) -> dict[str, str]:
    """The variables under which ACT's backbone finds weights without a network."""
    home = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache" / "torch")
    if (home / _WEIGHTS).is_file():
        return {}
    target = directory / "torch" / _WEIGHTS
    target.parent.mkdir(parents=True)
    made = subprocess.run([python, "-c", _MAKE_WEIGHTS, str(target)], capture_output=True, check=False)
    return {"TORCH_HOME": str(directory / "torch")} if made.returncode == 0 else {}


def run_tests(
    python: str, tree: Path, files: Iterable[str], variables: Mapping[str, str]
) -> dict[str, Outcome]:
    """Runs tests of a tree and reads how each ended.

    Raises:
        RewactError: CHECK_FAILED, when pytest did not come to its end.
    """
    results = tree / "results.xml"
    command = [
        python, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors",
        f"--junitxml={results}", *files,
    ]  # fmt: skip
    env = {**environment(tree / "src"), **variables}
    ran = subprocess.run(
        command, cwd=tree, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    # 1: some failed; 2: some could not be collected; 5: nothing was selected.
    if ran.returncode not in (0, 1, 2, 5) or not results.is_file():
        raise RewactError(ExitCode.CHECK_FAILED, f"Upstream's tests could not run: {last_words(ran)}")
    return read_results(results)


def read_results(path: Path) -> dict[str, Outcome]:
    """Outcomes by test, from pytest's JUnit file."""
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        outcome = Outcome("passed")
        for kind in ("skipped", "failure", "error"):
            if (element := case.find(kind)) is not None:
                outcome = Outcome("skipped" if kind == "skipped" else "failed", _reason(element))
        # A test whose teardown fails is listed twice: what went wrong counts.
        if name not in found or found[name].status == "passed":
            found[name] = outcome
    return found


def _reason(element: ElementTree.Element) -> str:
    """In one line: what went wrong, at most 160 characters of it."""
    text = element.get("message") or ""
    if text == "collection skipped" and element.text:  # of a whole file: (file, line, "Skipped: why")
        text = str(ast.literal_eval(element.text)[-1]).removeprefix("Skipped: ")
    if element.tag == "error" and element.text:  # a file that cannot be imported says why at its end
        text = [line for line in element.text.splitlines() if line.startswith("E ")][-1:] or [text]
        text = text[0].removeprefix("E ").strip()
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return first if len(first) <= 160 else first[:157] + "..."


def compare(
    files: tuple[str, ...],
    adapted: tuple[str, ...],
    before: Mapping[str, Outcome],
    after: Mapping[str, Outcome],
) -> UpstreamReport:
    """What the outcomes on both trees say."""
    passed, skipped, not_runnable, differences = 0, {}, {}, []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            differences.append(f"{name}: only {'after' if old is None else 'before'} the patches")
        elif old.status != new.status:
            reason = f" ({new.reason or old.reason})" if new.reason or old.reason else ""
            differences.append(f"{name}: {old.status} before, {new.status} after{reason}")
        elif old.status == "failed":
            not_runnable[name] = old.reason
        elif old.status == "skipped":
            skipped[name] = old.reason
        else:
            passed += 1
    return UpstreamReport(files, adapted, passed, skipped, not_runnable, differences)
