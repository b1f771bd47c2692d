# SPDX-License-Identifier: MIT
"""Another commit checked out after the installation: what the record then tells, and what it does not."""

import pytest

from installer import patching, status, undo
from tests.install.test_transaction import called, killed_at
from tests.install.upstreams import (
    ACT,
    ACT_PATCHED_TWICE,
    PYPROJECT,
    TRAIN_PATCHED,
    UPSTREAM,
    Project,
    git,
    refused,
    snapshot,
    write,
)
from verify.checkout import Checkout, to_crlf
from verify.errors import ExitCode

ACT_PATH, TRAIN_PATH, HEAD_PATH = "src/lerobot/act.py", "src/lerobot/train.py", "src/lerobot/head.py"
SECOND = ACT.replace(b"print(1)\n", b"print(0 + 1)\n")


def commit_version(checkout: Checkout, name: str, act: bytes) -> None:
    """A branch with another ACT and without train.py; main stays checked out."""
    git(checkout.root, "checkout", "--quiet", "-b", name)
    write(checkout.root, {ACT_PATH: act, "pyproject.toml": PYPROJECT.replace(b"9.9.1", name[1:].encode())})
    git(checkout.root, "rm", "--quiet", TRAIN_PATH)
    git(checkout.root, "commit", "--quiet", "--all", "--message", name)
    git(checkout.root, "checkout", "--quiet", "main")


def check_out(checkout: Checkout, name: str, *options: str) -> None:
    git(checkout.root, "stash", *options)
    git(checkout.root, "checkout", "--quiet", name)


@pytest.fixture
def second(project: Project, checkout: Checkout) -> dict:
    """The checkout is patched, then the other version, a supported one too, is checked out."""
    project.add_patch("0001-z.patch", {ACT_PATH: SECOND}, {ACT_PATH: SECOND + b"z\n"}, tag="v9.9.2")
    commit_version(checkout, "v9.9.2", SECOND)
    git(checkout.root, "checkout", "--quiet", "v9.9.2")
    pristine = snapshot(checkout.root)
    git(checkout.root, "checkout", "--quiet", "main")
    patching.install(project.root, checkout)
    return pristine


@pytest.mark.parametrize("options", [(), ("--include-untracked",)], ids=["tracked", "all"])
def test_uninstall_after_another_version_was_checked_out(
    project: Project, checkout: Checkout, second: dict, options: tuple[str, ...]
) -> None:
    check_out(checkout, "v9.9.2", *options)
    assert status.collect(project.root, checkout)[0]["files"][TRAIN_PATH] in ("other", "pristine")
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == second and checkout.state() is None


@pytest.mark.parametrize("options", [(), ("--include-untracked",)], ids=["tracked", "all"])
def test_another_supported_version_is_patched_in_its_turn(
    project: Project, checkout: Checkout, second: dict, options: tuple[str, ...]
) -> None:
    check_out(checkout, "v9.9.2", *options)
    assert patching.install(project.root, checkout).patch_set.tag == "v9.9.2"
    assert (checkout.root / ACT_PATH).read_bytes() == SECOND + b"z\n"
    assert set(checkout.state().files) == {ACT_PATH, HEAD_PATH, "src/rewact/deep/__init__.py"}
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == second


def test_unsupported_version_checked_out_later_is_refused_or_fitted(
    project: Project, checkout: Checkout
) -> None:
    patching.install(project.root, checkout)
    git(checkout.root, "stash")
    commit = git(checkout.root, "rev-parse", "main").decode().strip()
    git(checkout.root, "checkout", "--quiet", "-b", "v9.9.7")
    write(
        checkout.root,
        {ACT_PATH: b"print(new)\n" + ACT, "pyproject.toml": PYPROJECT.replace(b"9.9.1", b"9.9.7")},
    )
    git(checkout.root, "commit", "--quiet", "--all", "--message", "moved")
    assert patching.examine(project.root, checkout.root).fits
    assert patching.install(project.root, checkout).fitted
    assert (checkout.root / ACT_PATH).read_bytes() == b"print(new)\n" + ACT_PATCHED_TWICE
    # And back again.
    git(checkout.root, "stash")
    git(checkout.root, "checkout", "--quiet", commit)
    assert not patching.install(project.root, checkout).fitted
    assert (checkout.root / TRAIN_PATH).read_bytes() == TRAIN_PATCHED


def test_series_of_its_own_takes_the_place_of_one_that_was_fitted(
    project: Project, checkout: Checkout
) -> None:
    """Whatever it makes of the files: they were refused as edits that are not ours."""
    act = b"print(new)\n" + ACT
    write(checkout.root, {ACT_PATH: act, "pyproject.toml": PYPROJECT.replace(b"9.9.1", b"9.9.7")})
    git(checkout.root, "commit", "--quiet", "--all", "--message", "moved")
    before = snapshot(checkout.root)
    assert patching.install(project.root, checkout).fitted
    project.add_patch("0001-z.patch", {ACT_PATH: act}, {ACT_PATH: act + b"z\n"}, tag="v9.9.7")
    plan = patching.install(project.root, checkout)
    assert plan.patch_set.tag == "v9.9.7" and not plan.fitted
    assert (checkout.root / ACT_PATH).read_bytes() == act + b"z\n"
    assert (checkout.root / TRAIN_PATH).read_bytes() == UPSTREAM[TRAIN_PATH]
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_another_version_checked_out_after_a_killed_run(
    project: Project, checkout: Checkout, second: dict, command: str
) -> None:
    undo.uninstall(project.root, checkout)
    steps: list[str] = []
    patching.install(project.root, checkout, steps.append)
    undo.uninstall(project.root, checkout)
    killed_at(steps.index("verify"), "install", project, checkout)
    check_out(checkout, "v9.9.2")
    called(command)(project.root, checkout)
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == second and not checkout.state_dir.exists()


def test_uncommitted_edit_is_never_taken_for_another_version(
    project: Project, checkout: Checkout, second: dict
) -> None:
    check_out(checkout, "v9.9.2")
    write(checkout.root, {ACT_PATH: SECOND + b"mine\n"})
    assert ACT_PATH in refused(ExitCode.EDITED, undo.uninstall, project.root, checkout)
    refused(ExitCode.EDITED, patching.install, project.root, checkout)
    git(checkout.root, "checkout", "--", ACT_PATH)
    write(checkout.root, {HEAD_PATH: b"mine\n"})
    assert HEAD_PATH in refused(ExitCode.EDITED, undo.uninstall, project.root, checkout)
    assert (checkout.root / HEAD_PATH).read_bytes() == b"mine\n"


def test_committed_edit_of_a_patched_tree_is_no_other_version(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {ACT_PATH: ACT_PATCHED_TWICE + b"mine\n"})
    git(checkout.root, "commit", "--quiet", "--message", "mine", ACT_PATH)
    before = snapshot(checkout.root)
    for call in (patching.install, undo.uninstall):
        assert ACT_PATH in refused(ExitCode.EDITED, call, project.root, checkout)
    assert snapshot(checkout.root) == before


def test_file_removed_by_hand_is_no_other_version(project: Project, checkout: Checkout, second: dict) -> None:
    check_out(checkout, "v9.9.2")
    (checkout.root / ACT_PATH).unlink()
    assert ACT_PATH in refused(ExitCode.EDITED, undo.uninstall, project.root, checkout)


@pytest.mark.parametrize(("before", "after"), [(bytes, to_crlf), (to_crlf, bytes)], ids=["to crlf", "to lf"])
@pytest.mark.parametrize("patched", [False, True])
def test_line_ends_converted_after_the_installation(
    project: Project, checkout: Checkout, before, after, patched: bool
) -> None:
    """`git config core.autocrlf` and a fresh checkout of everything, or a conversion of what is patched."""
    released = {path: UPSTREAM[path] for path in (ACT_PATH, TRAIN_PATH)}
    write(checkout.root, {path: before(data) for path, data in released.items()})
    patching.install(project.root, checkout)
    wanted = {ACT_PATH: ACT_PATCHED_TWICE, TRAIN_PATH: TRAIN_PATCHED}

    def convert() -> None:
        files = wanted if patched else released
        write(checkout.root, {path: after(data) for path, data in files.items()})

    def holds(files: dict[str, bytes]) -> bool:
        return all((checkout.root / path).read_bytes() == after(data) for path, data in files.items())

    convert()
    patching.install(project.root, checkout)
    assert holds(wanted)
    convert()
    undo.uninstall(project.root, checkout)
    assert holds(released) and not (checkout.root / HEAD_PATH).exists()


def test_file_of_ours_with_other_line_ends_is_not_removed(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {HEAD_PATH: b"ours = 1\r\n"})
    assert HEAD_PATH in refused(ExitCode.EDITED, undo.uninstall, project.root, checkout)
    assert (checkout.root / HEAD_PATH).read_bytes() == b"ours = 1\r\n"


@pytest.fixture
def two_branches(project: Project, checkout: Checkout, second: dict) -> dict:
    """Patched and committed on one branch, then on the other; the first is checked out again."""
    git(checkout.root, "add", "--all", "--force", "src")
    git(checkout.root, "commit", "--quiet", "--message", "patched")
    git(checkout.root, "checkout", "--quiet", "v9.9.2")
    patching.install(project.root, checkout)
    git(checkout.root, "add", "--all", "--force", "src")
    git(checkout.root, "commit", "--quiet", "--message", "patched too")
    git(checkout.root, "checkout", "--quiet", "main")
    return snapshot(checkout.root)


def test_content_decides_between_two_patched_branches(
    project: Project, checkout: Checkout, two_branches: dict
) -> None:
    """The record tells of the other branch: "mixed, edited" was said, and no command went on."""
    report, _ = status.collect(project.root, checkout)
    assert (report["lerobot"], set(report["files"].values())) == ("v9.9.1", {"applied"})
    assert patching.install(project.root, checkout).patch_set.tag == "v9.9.1"
    assert snapshot(checkout.root) == two_branches and checkout.state().tag == "v9.9.1"
    undo.uninstall(project.root, checkout)
    assert (checkout.root / ACT_PATH).read_bytes() == ACT and not (checkout.root / HEAD_PATH).exists()


def test_uninstall_on_the_branch_that_the_record_does_not_tell_of(
    project: Project, checkout: Checkout, two_branches: dict
) -> None:
    undo.uninstall(project.root, checkout)
    assert (checkout.root / ACT_PATH).read_bytes() == ACT and not (checkout.root / HEAD_PATH).exists()
    assert (checkout.root / TRAIN_PATH).read_bytes() == UPSTREAM[TRAIN_PATH]
