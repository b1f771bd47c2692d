# SPDX-License-Identifier: MIT
"""Upstream's own tests before and after: run on small made-up checkouts, compared test by test."""

import sys
from pathlib import Path

import pytest

from installer import patching
from tests.install.upstreams import (
    UPSTREAM,
    Project,
    git_snapshot,
    make_repository,
    refused,
    snapshot,
    write,
)
from verify import interpreter, report, upstream
from verify.checkout import Checkout
from verify.errors import ExitCode
from verify.parity import ParityReport
from verify.upstream import Outcome, compare_upstream_tests, covering_tests, read_results

TRAIN, TESTS = "src/lerobot/train.py", "tests/test_train.py"
TRAIN_TESTS = b"""
import pytest
from lerobot.train import train

def test_type():
    assert isinstance(train(), int)

def test_value():
    assert train() == 1

def test_wants_the_network():
    raise ConnectionError("no route to the hub")

@pytest.mark.skip(reason="no GPU")
def test_gpu():
    pass
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """An upstream with a test of the function that the project's second patch changes."""
    monkeypatch.setattr(upstream, "COVERAGE", {TRAIN: (TESTS, "tests/test_of_another_release.py")})
    monkeypatch.setattr(upstream, "_weights", lambda *_: {})
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # starts pytest faster
    return Checkout(make_repository(tmp_path / "tested", {**UPSTREAM, TESTS: TRAIN_TESTS}))


def test_every_test_is_compared(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    before = snapshot(checkout.root), git_snapshot(checkout.root)
    found = compare_upstream_tests(checkout)
    assert (snapshot(checkout.root), git_snapshot(checkout.root)) == before
    assert found.files == (TESTS,) and found.passed == 1 and found.adapted == ()
    assert list(found.not_runnable.values()) == ["ConnectionError: no route to the hub"]
    assert list(found.skipped.values()) == ["no GPU"]
    assert len(found.differences) == 1 and "test_value: passed before, failed after" in found.differences[0]
    assert "1 DIFFER" in found.verdict


def test_adapted_test_is_listed_and_runs_as_released_before(project: Project, checkout: Checkout) -> None:
    adapted = TRAIN_TESTS.replace(b"train() == 1", b"train() == 2")
    project.add_patch("0004-d.patch", {TESTS: TRAIN_TESTS}, {TESTS: adapted}, extra="Optional: yes")
    patching.install(project.root, checkout)
    found = compare_upstream_tests(checkout)
    assert found.adapted == (TESTS,) and found.differences == [] and found.passed == 2
    assert TESTS in found.verdict and "none differs" in found.verdict


def test_file_that_no_longer_imports_is_a_difference(project: Project, checkout: Checkout) -> None:
    gone = UPSTREAM[TRAIN].replace(b"2", b"1").replace(b"def train", b"def trained")
    project.add_patch("0004-d.patch", {TRAIN: UPSTREAM[TRAIN].replace(b"1", b"2")},
                      {TRAIN: gone.replace(b"1", b"2")}, pristine=UPSTREAM)  # fmt: skip
    patching.install(project.root, checkout)
    found = compare_upstream_tests(checkout)
    assert found.differences and found.passed == 0


def test_checkout_without_tests(project: Project, upstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Checkout(upstream)
    patching.install(project.root, checkout)
    found = compare_upstream_tests(checkout)
    assert found.files == () and "has none" in found.verdict


def test_unpatched_checkout_has_no_before(checkout: Checkout) -> None:
    assert "is not patched" in refused(ExitCode.USAGE, compare_upstream_tests, checkout)


def test_python_without_pytest_is_explained(project: Project, checkout: Checkout, tmp_path: Path) -> None:
    patching.install(project.root, checkout)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pytest' >&2\nexit 1\n")
    python.chmod(0o755)
    message = refused(ExitCode.CHECK_FAILED, compare_upstream_tests, checkout, str(python))
    assert "No module named pytest" in message


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("passed", "skipped", "passed before, skipped after"),
        ("failed", "passed", "failed before, passed after"),
        ("passed", None, "only before"),
        (None, "passed", "only after"),
    ],
)
def test_any_other_end_is_a_difference(before: str | None, after: str | None, word: str) -> None:
    sides = [{"t": Outcome(status)} if status else {} for status in (before, after)]
    assert word in upstream.compare(("t.py",), (), *sides).differences[0]


def test_test_whose_teardown_fails_has_failed(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(
        '<testsuites><testsuite><testcase classname="a" name="b"/>'
        '<testcase classname="a" name="b"><error message="boom"/></testcase></testsuite></testsuites>'
    )
    assert read_results(tmp_path / "results.xml") == {"a::b": Outcome("failed", "boom")}


def test_file_that_is_skipped_as_a_whole_says_why(tmp_path: Path) -> None:
    """As pytest writes it, when a module calls importorskip."""
    (tmp_path / "test_a.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    found = upstream.run_tests(sys.executable, tmp_path, ["test_a.py"], {})
    assert [(end.status, end.reason) for end in found.values()] == [
        ("skipped", "could not import 'no_such_module': No module named 'no_such_module'")
    ]


def test_every_touched_module_has_its_tests(tmp_path: Path) -> None:
    """The table names them for each release; examples and packaging have no tests upstream."""
    from verify.series import load_patch_sets

    for tests in upstream.COVERAGE.values():
        for test in tests:
            write(tmp_path, {f"{test}/__init__.py" if "." not in test else test: b""})
    for tag, patch_set in load_patch_sets(interpreter.PROJECT / "patches").items():
        for path in patch_set.pre_images:
            if (
                path.startswith("src/") and path != "src/lerobot/rl/eval_policy.py"
            ):  # upstream has no test of it
                assert covering_tests([path], tmp_path), (tag, path)


@pytest.fixture(autouse=True)
def this_python_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "best", lambda _: sys.executable)


def collect(project: Project, checkout: Checkout) -> dict:
    return report.collect(project.root, checkout.root, proofs=True)


@pytest.mark.parametrize("differences", [[], ["case: loss: pristine 1, patched 2"]])
def test_report_has_all_proofs_and_one_verdict(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, differences: list[str]
) -> None:
    monkeypatch.setattr(report, "prove_parity", lambda *_: ParityReport({"case": 3}, differences))
    adapted = TRAIN_TESTS.replace(b"train() == 1", b"train() == 2")
    project.add_patch("0004-d.patch", {TESTS: TRAIN_TESTS}, {TESTS: adapted}, extra="Optional: yes")
    patching.install(project.root, checkout)
    found = collect(project, checkout)
    text = report.show(found)
    assert found["sound"] is not bool(differences)
    assert found["verdict"].startswith("NOT SOUND" if differences else "SOUND")
    assert text.splitlines()[-1] == found["verdict"] and "\n" not in found["verdict"]
    assert found["parity"]["verdict"] in found["verdict"]
    assert found["upstream_tests"]["verdict"] in found["verdict"]
    for words in (
        "adapted tests/test_train.py",
        "no route to the hub",
        "no GPU",
        "applied   src/lerobot/act.py",
    ):
        assert words in text
    assert all(difference in text for difference in differences)


def test_upstream_test_that_ends_otherwise_is_not_sound(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "prove_parity", lambda *_: ParityReport({"case": 3}, []))
    patching.install(project.root, checkout)
    found = collect(project, checkout)
    assert not found["sound"] and "test_value: passed before, failed after" in report.show(found)


def test_proofs_that_were_not_run_are_told(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collect(project, checkout)
    assert found["sound"] and "no proofs were run" in found["verdict"]
    patching.install(project.root, checkout)
    monkeypatch.setattr(report, "best", lambda _: None)
    found = collect(project, checkout)
    assert (
        found["parity"] is None and "install.py dev" in found["not_run"] and "no proofs" in found["verdict"]
    )


def test_edit_of_another_policy_is_told_and_no_fault_of_ours(project: Project, tmp_path: Path) -> None:
    path = "src/lerobot/policies/other/modeling_other.py"
    root = make_repository(tmp_path / "policies", {**UPSTREAM, path: b"x = 1\n"})
    checkout = Checkout(root)
    patching.install(project.root, checkout)
    found = report.collect(project.root, root)
    assert found["checkout"]["other_policies"] == {"files": 1, "changed": []}
    write(root, {path: b"x = 2\n"})
    found = report.collect(project.root, root)
    assert found["sound"] and f"edited, not by the installer: {path}" in report.show(found)


@pytest.mark.parametrize(
    ("here", "others", "chosen"),
    [
        ("/clone", [], 0),
        ("", ["/clone"], 1),
        ("", ["/other"], 0),
        (None, [None, "", "/clone"], 3),
        (None, [None, ""], 2),
        (None, [None], None),
    ],
)
def test_the_python_that_serves_best(
    monkeypatch: pytest.MonkeyPatch, here: str | None, others: list, chosen: int | None
) -> None:
    pythons = [Path(sys.executable), *(Path(f"/env{number}/bin/python") for number in range(len(others)))]
    answers = dict(zip(pythons[1:], others, strict=True))
    monkeypatch.setattr(interpreter, "source_here", lambda: here)
    monkeypatch.setattr(interpreter, "environments", lambda: iter(pythons[1:]))
    monkeypatch.setattr(interpreter, "source_of", answers.get)
    assert interpreter.best(Path("/clone")) == (None if chosen is None else str(pythons[chosen]))


def test_asking_a_python_runs_it(tmp_path: Path) -> None:
    assert interpreter.source_of(Path(sys.executable)) == interpreter.source_here()
    assert interpreter.source_of(tmp_path / "none") is None
