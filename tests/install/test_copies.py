# SPDX-License-Identifier: MIT
"""Several copies of one release: rivals among optional patches; and an overlay with parts left out."""

from pathlib import Path

import pytest

from installer import patching, status, undo
from tests.install.test_export import run as export
from tests.install.upstreams import (
    ACT,
    ACT_PATCHED,
    PYPROJECT,
    UPSTREAM,
    Project,
    git,
    make_repository,
    snapshot,
    write,
)
from verify.checkout import Checkout
from verify.drift import Released, examine
from verify.originals import Originals
from verify.recognition import directory_reader
from verify.series import lint_patch_set, load_overlay, load_patch_set

ARCHIVE = PYPROJECT + b"# of the archive\n"
SCRIPTS = b'[project.scripts]\nx = "y:z"\n'


def patched(data: bytes) -> bytes:
    return data.replace(b'requires-python = ">=3.10"\n', b'requires-python = ">=3.10"\n' + SCRIPTS)


@pytest.fixture
def rivals(project: Project) -> Project:
    """Two more patches: pyproject.toml as the repository has it, and as the release's archive has it."""
    for name, data in (("0004-d.patch", PYPROJECT), ("0005-e.patch", ARCHIVE)):
        files = {"pyproject.toml": data}
        project.add_patch(name, files, {"pyproject.toml": patched(data)}, extra="Optional: yes")
    return project


@pytest.mark.parametrize("released", [PYPROJECT, ARCHIVE], ids=["repository", "archive"])
def test_of_rivals_the_one_made_for_this_copy_applies(
    rivals: Project, tmp_path: Path, released: bytes
) -> None:
    root = make_repository(tmp_path / "copy", {**UPSTREAM, "pyproject.toml": released})
    checkout, before = Checkout(root), snapshot(root)
    assert lint_patch_set(rivals.root / "patches/v9.9.1") == []
    patching.install(rivals.root, checkout)
    assert (root / "pyproject.toml").read_bytes() == patched(released)
    assert patching.install(rivals.root, checkout).changes == ()
    assert status.collect(rivals.root, checkout)[0]["summary"] == "applied"
    series = snapshot(rivals.root / "patches")
    assert export(rivals, checkout).kept == 5
    assert snapshot(rivals.root / "patches") == series
    undo.uninstall(rivals.root, checkout)
    assert snapshot(root) == before


def test_rivals_are_told_apart_without_a_record(rivals: Project, tmp_path: Path) -> None:
    root = make_repository(tmp_path / "copy", {**UPSTREAM, "pyproject.toml": ARCHIVE})
    checkout = Checkout(root)
    patching.install(rivals.root, checkout)
    checkout.record.state_path.unlink()
    assert patching.install(rivals.root, checkout).changes == ()
    assert status.collect(rivals.root, checkout)[0]["summary"] == "applied"


def test_committed_patched_tree_tells_which_rival_it_was_made_of(rivals: Project, tmp_path: Path) -> None:
    root = make_repository(tmp_path / "copy", {**UPSTREAM, "pyproject.toml": ARCHIVE})
    patching.install(rivals.root, Checkout(root))
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "patched")
    git(tmp_path, "clone", "--quiet", str(root), "clone")
    assert patching.install(rivals.root, Checkout(tmp_path / "clone")).changes == ()


def test_history_does_not_decide_between_rivals(rivals: Project, tmp_path: Path) -> None:
    """The clone holds the other copy's bytes too, in an older commit."""
    root = make_repository(tmp_path / "copy", {**UPSTREAM, "pyproject.toml": PYPROJECT})
    write(root, {"pyproject.toml": ARCHIVE})
    git(root, "commit", "--quiet", "--all", "--message", "later")
    patching.install(rivals.root, Checkout(root))
    assert (root / "pyproject.toml").read_bytes() == patched(ARCHIVE)


def test_file_that_no_rival_was_made_for_stays_as_it_is(rivals: Project, tmp_path: Path) -> None:
    root = make_repository(tmp_path / "copy", UPSTREAM)
    write(root, {"pyproject.toml": PYPROJECT + b"# mine\n"})
    plan = patching.install(rivals.root, Checkout(root))
    assert plan.left_out == ("0004-d.patch",)
    assert (root / "pyproject.toml").read_bytes() == PYPROJECT + b"# mine\n"


@pytest.mark.parametrize("released", [PYPROJECT, ARCHIVE], ids=["repository", "archive"])
def test_drift_names_the_rival_that_fits(rivals: Project, tmp_path: Path, released: bytes) -> None:
    write(tmp_path / "tree", {**UPSTREAM, "pyproject.toml": released})
    patch_set = load_patch_set(rivals.root / "patches/v9.9.1")
    released_files = Released(patch_set, Originals(None))
    drift = examine(released_files, {}, directory_reader(tmp_path / "tree"), "tree")
    names = [change.change.name for change in drift.fit.changes]
    assert names[-1] == ("0004-d.patch" if released == PYPROJECT else "0005-e.patch") and len(names) == 4
    assert drift.fits and drift.fit.targets["pyproject.toml"] == patched(released)


def test_pre_images_that_differ_are_a_fault_unless_both_are_optional(project: Project) -> None:
    path = "src/lerobot/act.py"
    project.add_patch(
        "0004-d.patch", {path: ACT + b"x\n"}, {path: ACT_PATCHED + b"x\n"}, extra="Optional: yes"
    )
    assert any("0004-d.patch" in fault for fault in lint_patch_set(project.root / "patches/v9.9.1"))


def test_overlay_leaves_out_what_the_release_has_no_place_for(project: Project, checkout: Checkout) -> None:
    project.add_overlay("lerobot/head_of_another.py")
    write(project.root / "patches/v9.9.1", {"without": b"# too old\nrewact/deep/\nlerobot/head.py\n"})
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert (checkout.root / "src/lerobot/head_of_another.py").is_file()
    assert not (checkout.root / "src/rewact").exists()
    assert not (checkout.root / "src/lerobot/head.py").exists()
    assert status.collect(project.root, checkout)[0]["summary"] == "applied"
    assert patching.install(project.root, checkout).changes == ()
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_upgrade_removes_what_is_left_out_now(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(project.root / "patches/v9.9.1", {"without": b"rewact/deep/\n"})
    patching.install(project.root, checkout)
    assert not (checkout.root / "src/rewact").exists()


def test_file_in_a_place_that_is_left_out_is_the_users_own(project: Project, checkout: Checkout) -> None:
    write(project.root / "patches/v9.9.1", {"without": b"lerobot/head.py\n"})
    write(checkout.root, {"src/lerobot/head.py": b"mine\n"})
    patch_set, overlay = (
        load_patch_set(project.root / "patches/v9.9.1"),
        load_overlay(project.root / "overlay"),
    )
    released = Released(patch_set, Originals(None))
    assert not examine(released, overlay, directory_reader(checkout.root), "tree").taken
    patching.install(project.root, checkout)
    assert (checkout.root / "src/lerobot/head.py").read_bytes() == b"mine\n"


@pytest.mark.parametrize("content", [b"rewact/\r\n", b"../rewact/\n", b"/etc\n", b".git/\n"])
def test_damaged_list_of_what_is_left_out(project: Project, content: bytes) -> None:
    write(project.root / "patches/v9.9.1", {"without": content})
    assert len(lint_patch_set(project.root / "patches/v9.9.1")) == 1
