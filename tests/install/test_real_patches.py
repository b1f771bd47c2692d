# SPDX-License-Identifier: MIT
"""The project's own patch sets, on the LeRobot that this test session has installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from installer import locate, patching, undo, wheel
from installer.export import export
from installer.releases import find_release
from tests.install.upstreams import PROJECT, git, git_snapshot, snapshot
from verify.checkout import Checkout
from verify.drift import Released, examine
from verify.originals import Originals
from verify.paths import cache_directory
from verify.recognition import directory_reader
from verify.series import load_overlay, load_patch_sets

# As it is outside these tests, which look at no cache of the developer's.
CACHE = cache_directory()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, without our edits, of the LeRobot that is installed editable."""
    installed = locate.editable_install()
    if installed is None:
        pytest.skip("no editable LeRobot: `python install.py test` installs one")
    clone = tmp_path_factory.mktemp("real") / "lerobot"
    git(clone.parent, "clone", "--quiet", "--shared", str(installed), str(clone))
    return clone


def test_install_again_and_uninstall_on_the_real_release(pristine: Path) -> None:
    checkout = Checkout(pristine)
    before, repository = snapshot(pristine), git_snapshot(pristine)
    plan = patching.install(PROJECT, checkout)
    assert plan.changes and (pristine / "src/rewact/__init__.py").exists()
    assert patching.install(PROJECT, checkout).changes == ()
    assert snapshot(pristine) != before
    undo.uninstall(PROJECT, checkout)
    assert snapshot(pristine) == before and git_snapshot(pristine) == repository


def test_patched_python_files_compile(pristine: Path) -> None:
    plan = patching.read_plan(PROJECT, Checkout(pristine))[0]
    for change in plan.changes:
        if change.path.endswith(".py"):
            compile(change.new.data, change.path, "exec")


def test_wheel_is_built_of_the_patched_tree_while_the_checkout_stays(pristine: Path) -> None:
    checkout = Checkout(pristine)
    before = snapshot(pristine)
    plan = patching.read_plan(PROJECT, checkout)[0]
    tree = wheel.patched_tree(checkout, plan)
    assert snapshot(pristine) == before
    assert all(
        tree[change.path] == change.new.data for change in plan.changes if change.path.startswith("src/")
    )
    release = find_release(plan.patch_set.tag)
    assert f'version = "{release.patched_version}"'.encode() in wheel.with_version(
        tree["pyproject.toml"], release.patched_version
    )


def test_export_of_the_real_series_is_byte_identical(pristine: Path, tmp_path: Path) -> None:
    for name in ("patches", "overlay"):
        shutil.copytree(PROJECT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    before = snapshot(tmp_path / "patches")
    checkout = Checkout(pristine)
    patching.install(tmp_path, checkout)
    made = export(tmp_path, checkout, name="edits", description="none")
    assert (made.rewritten, made.dropped, made.added) == ((), (), None)
    assert snapshot(tmp_path / "patches") == before
    undo.uninstall(tmp_path, checkout)


def test_every_series_stays_small() -> None:
    """Logic belongs into the overlay: a patch adds calls, all of them less than 500 lines."""
    for tag, patch_set in load_patch_sets(PROJECT / "patches").items():
        assert sum(diff.hunks.added for patch in patch_set.patches for diff in patch.diffs) < 500, tag


def test_verify_reports_on_the_real_release(pristine: Path) -> None:
    before = snapshot(pristine), git_snapshot(pristine)
    command = [sys.executable, "-m", "verify", str(pristine), "--json"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    report = json.loads(result.stdout)
    assert result.returncode == 0 and report["sound"] and report["verdict"].startswith("SOUND")
    assert set(report["checkout"]["files"].values()) == {"pristine"}
    assert (snapshot(pristine), git_snapshot(pristine)) == before


def test_the_series_of_other_releases_are_placed_or_say_why_not(pristine: Path) -> None:
    """What the archives in the cache give; LeRobot's main is `.ci/upstream`'s business."""

    def archive(tag: str) -> Path | None:
        path = CACHE / f"lerobot-{tag.removeprefix('v')}.tar.gz"
        return path if path.is_file() else None

    checkout = Checkout(pristine)
    installed = patching.read_plan(PROJECT, checkout)[0].patch_set.tag
    overlay, read = load_overlay(PROJECT / "overlay"), directory_reader(pristine)
    others = [
        patch_set
        for tag, patch_set in load_patch_sets(PROJECT / "patches").items()
        if tag != installed and archive(tag) is not None
    ]
    if not others:
        pytest.skip("no archive of another release is in the cache")
    for patch_set in others:
        drift = examine(Released(patch_set, Originals(None, archive)), overlay, read, installed)
        assert any(change.status == "moved" for change in drift.fit.changes), patch_set.tag
        for change in drift.fit.changes:
            assert all(file.fits or file.reason for file in change.files), change.change.name


def test_the_series_is_proven_on_its_own_release(pristine: Path) -> None:
    """Each name that the overlay imports is there, and each call binds, as on any tree that is fitted."""
    overlay, read = load_overlay(PROJECT / "overlay"), directory_reader(pristine)
    patch_set = patching.read_plan(PROJECT, Checkout(pristine))[0].patch_set
    drift = examine(Released(patch_set, Originals(None)), overlay, read, str(pristine))
    assert drift.fits and [str(fault) for fault in drift.faults] == []
