# SPDX-License-Identifier: MIT
"""`export`: the series made again from a checkout, byte for byte, and the edits as one more patch."""

import json
import os
import shutil
from pathlib import Path

import pytest

from installer import export as exporting
from installer import patching, undo
from installer.export import Export, export
from tests.install.upstreams import (
    ACT,
    ACT_PATCHED_TWICE,
    PYPROJECT,
    TRAIN_PATCHED,
    UPSTREAM,
    Project,
    git,
    git_snapshot,
    make_repository,
    make_repository_without_commits,
    refused,
    snapshot,
    write,
)
from verify.checkout import Checkout, to_crlf
from verify.errors import ExitCode
from verify.gitcmd import blob_id
from verify.patch import parse_patch
from verify.series import lint_patch_set

ACT_PATH, TRAIN_PATH, OTHER = "src/lerobot/act.py", "src/lerobot/train.py", "src/lerobot/other.py"


def with_history(root: Path, files: dict[str, bytes]) -> Path:
    """A clone of another version; the release is the commit before."""
    make_repository(root, UPSTREAM)
    write(root, files)
    git(root, "commit", "--quiet", "--all", "--message", "another version")
    return root


def run(project: Project, checkout: Checkout, name: str = "my-edit") -> Export:
    return export(project.root, checkout, name=name, description="what it is for")


def test_round_trip_is_byte_identical(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    before = snapshot(project.root / "patches")
    made = run(project, checkout)
    assert snapshot(project.root / "patches") == before
    assert (made.kept, made.rewritten, made.dropped, made.added) == (3, (), (), None)


def test_series_written_from_its_steps_alone_is_the_same(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when no patch may keep its bytes: git makes the same diffs again."""
    patching.install(project.root, checkout)
    before = snapshot(project.root / "patches")
    monkeypatch.setattr(exporting, "_is_made_for", lambda *_: False)
    assert len(run(project, checkout).rewritten) == 3
    assert snapshot(project.root / "patches") == before


def test_optional_patch_for_files_that_are_not_here_stays(project: Project, checkout: Checkout) -> None:
    path = "tests/test_act.py"
    project.add_patch("0004-d.patch", {path: b"old\n"}, {path: b"new\n"}, extra="Optional: yes")
    patching.install(project.root, checkout)
    before = snapshot(project.root / "patches")
    assert run(project, checkout).kept == 4
    assert snapshot(project.root / "patches") == before


def test_export_where_nothing_is_installed(project: Project, checkout: Checkout) -> None:
    assert "install.py dev" in refused(ExitCode.USAGE, run, project, checkout)


def test_export_does_not_touch_the_checkout(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {OTHER: b"edited = 1\n"})
    before = snapshot(checkout.root), git_snapshot(checkout.root)
    run(project, checkout)
    assert (snapshot(checkout.root), git_snapshot(checkout.root)) == before


def test_edits_become_one_more_patch(project: Project, checkout: Checkout) -> None:
    """In a file that two patches touch, in one that none touches, and a file removed."""
    pristine = snapshot(checkout.root)
    patching.install(project.root, checkout)
    write(checkout.root, {ACT_PATH: ACT_PATCHED_TWICE + b"edit\n", OTHER: b"edited = 1\n"})
    (checkout.root / "README.md").unlink()
    edited = snapshot(checkout.root)
    made = run(project, checkout)
    assert made.added == "0004-my-edit.patch" and made.kept == 3
    patch = parse_patch(project.patch_path(made.added))
    assert patch.paths == {ACT_PATH, OTHER, "README.md"} and patch.fields["Description"] == "what it is for"
    assert patch.pre_images[ACT_PATH] == blob_id(ACT) and patch.pre_images[OTHER] == blob_id(UPSTREAM[OTHER])
    assert lint_patch_set(project.root / "patches/v9.9.1") == []

    assert patching.install(project.root, checkout).changes == ()
    assert snapshot(checkout.root) == edited
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == pristine
    patching.install(project.root, checkout)
    assert snapshot(checkout.root) == edited


def test_edited_overlay_file_is_copied_back(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {"src/lerobot/head.py": b"edited = 1\n"})
    before = snapshot(project.root / "patches")
    made = run(project, checkout)
    assert made.added is None and made.copied == ("lerobot/head.py",)
    assert (project.root / "overlay/lerobot/head.py").read_bytes() == b"edited = 1\n"
    assert snapshot(project.root / "patches") == before
    assert patching.install(project.root, checkout).changes == ()
    assert run(project, checkout).copied == ()


def test_new_file_in_a_directory_of_the_overlay_is_copied_back(project: Project, checkout: Checkout) -> None:
    """One beside upstream's files may be anybody's, and so may a link."""
    patching.install(project.root, checkout)
    write(checkout.root, {"src/rewact/deep/new.py": b"new = 1\n", "src/lerobot/mine.py": b"mine\n"})
    (checkout.root / "src/rewact/deep/link.py").symlink_to("new.py")
    assert run(project, checkout).copied == ("rewact/deep/new.py",)
    assert (project.root / "overlay/rewact/deep/new.py").read_bytes() == b"new = 1\n"


def test_new_package_in_the_overlay_is_copied_back_without_what_git_ignores(
    project: Project, checkout: Checkout
) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {
        ".gitignore": b"*.swp\n",
        "src/rewact/new/inner/__init__.py": b"new = 1\n",
        "src/rewact/new/inner/run.sh": b"#!/bin/sh\n",
        "src/rewact/deep/.new.py.swp": b"half an edit",
        "src/rewact/deep/__pycache__/new.cpython-312.pyc": b"compiled",
    })  # fmt: skip
    (checkout.root / "src/rewact/new/inner/run.sh").chmod(0o755)
    (checkout.root / "src/rewact/elsewhere").symlink_to(checkout.root / "data")
    made = run(project, checkout)
    assert made.copied == ("rewact/new/inner/__init__.py", "rewact/new/inner/run.sh") and made.added is None
    assert os.name == "nt" or os.access(project.root / "overlay/rewact/new/inner/run.sh", os.X_OK)
    # One that git was told of belongs there as well, and not into a patch.
    write(checkout.root, {"src/rewact/deep/later.py": b"later = 1\n"})
    git(checkout.root, "add", "src/rewact/deep/later.py")
    made = run(project, checkout)
    assert made.copied == ("rewact/deep/later.py",) and made.added is None


def test_committed_edits_are_exported(project: Project, checkout: Checkout) -> None:
    """Also where the patches were brought up to date since; in a record of old HEAD is all there is."""
    patching.install(project.root, checkout)
    write(checkout.root, {OTHER: b"edited = 1\n", ACT_PATH: ACT_PATCHED_TWICE + b"edit\n"})
    git(checkout.root, "add", "--all")
    git(checkout.root, "commit", "--quiet", "--message", "mine")
    copy = Project(Path(shutil.copytree(project.root, project.root.with_name("copy"))))
    made = run(project, checkout)
    assert parse_patch(project.patch_path(made.added)).paths == {ACT_PATH, OTHER} and made.copied == ()
    assert patching.install(project.root, checkout).changes == ()
    record = json.loads(checkout.record.state_path.read_bytes())
    assert record.pop("commit") == git(checkout.root, "rev-parse", "HEAD~1").decode().strip()
    checkout.record.state_path.write_text(json.dumps(record))
    assert parse_patch(copy.patch_path(run(copy, checkout).added)).paths == {ACT_PATH}


def test_export_from_a_repository_without_commits(project: Project, tmp_path: Path) -> None:
    root = make_repository_without_commits(tmp_path / "fresh")
    patching.install(project.root, Checkout(root))
    write(root, {OTHER: b"edited = 1\n"})
    before = snapshot(project.root)
    assert "no commit" in refused(ExitCode.USAGE, run, project, Checkout(root))
    assert snapshot(project.root) == before


def test_export_where_git_fails(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    record = json.loads(checkout.record.state_path.read_bytes())
    checkout.record.state_path.write_text(json.dumps(record | {"commit": "1" * 40}))
    refused(ExitCode.GIT, run, project, checkout)


def test_overlay_that_is_newer_than_the_checkout_stays(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    project.add_overlay("lerobot/head.py", b"ours = 2\n")
    assert run(project, checkout).copied == ()
    assert (project.root / "overlay/lerobot/head.py").read_bytes() == b"ours = 2\n"


def test_overlay_file_changed_on_both_sides_refuses(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    project.add_overlay("lerobot/head.py", b"ours = 2\n")
    write(checkout.root, {"src/lerobot/head.py": b"edited = 1\n", OTHER: b"edited = 1\n"})
    before = snapshot(project.root)
    assert "overlay/lerobot/head.py" in refused(ExitCode.EDITED, run, project, checkout)
    assert snapshot(project.root) == before


def test_edits_in_a_crlf_checkout_are_exported_with_lf(project: Project, checkout: Checkout) -> None:
    for path in (ACT_PATH, TRAIN_PATH):
        write(checkout.root, {path: to_crlf(UPSTREAM[path])})
    patching.install(project.root, checkout)
    write(checkout.root, {TRAIN_PATH: to_crlf(TRAIN_PATCHED + b"edit = 1\n")})
    made = run(project, checkout)
    assert made.added and b"\r" not in project.patch_path(made.added).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="no executable bit on Windows")
def test_edit_of_an_executable_file_keeps_its_mode(project: Project, tmp_path: Path) -> None:
    root = tmp_path / "tools"
    make_repository(root, UPSTREAM)
    (root / OTHER).chmod(0o755)
    checkout = Checkout(root)
    patching.install(project.root, checkout)
    write(root, {OTHER: b"#!/bin/sh\n"})
    made = run(project, checkout)
    assert parse_patch(project.patch_path(made.added)).diffs[0].modes == ("100755",)
    patching.install(project.root, checkout)
    assert os.access(root / OTHER, os.X_OK)


def test_fitted_tree_gets_a_series_of_its_own(project: Project, tmp_path: Path) -> None:
    """One patch as before, one moved, one merged upstream and so left out."""
    files = {**UPSTREAM, "pyproject.toml": PYPROJECT.replace(b"9.9.1", b"9.9.7"), TRAIN_PATH: TRAIN_PATCHED}
    files[ACT_PATH] = b"print(new)\n" + ACT
    checkout = Checkout(with_history(tmp_path / "newer", files))
    patching.install(project.root, checkout)
    old = snapshot(project.root / "patches/v9.9.1")
    made = run(project, checkout)
    assert made.directory.name == "v9.9.7"
    assert made.rewritten == ("0001-a.patch", "0003-c.patch") and made.dropped == ("0002-b.patch",)
    assert snapshot(project.root / "patches/v9.9.1") == old
    # And on from there, without taking it out in between.
    assert "install.py dev" in refused(ExitCode.EDITED, run, project, checkout)
    plan = patching.install(project.root, checkout)
    assert plan.patch_set.tag == "v9.9.7" and not plan.fitted and plan.changes == ()
    write(checkout.root, {OTHER: b"edited = 1\n"})
    assert (made := run(project, checkout)).added == "0004-my-edit.patch" and made.kept == 2
    undo.uninstall(project.root, checkout)
    plan = patching.install(project.root, checkout)
    assert plan.patch_set.tag == "v9.9.7" and not plan.fitted
    assert (checkout.root / ACT_PATH).read_bytes() == b"print(new)\n" + ACT_PATCHED_TWICE


def test_patch_of_which_upstream_has_one_file_keeps_the_other(project: Project, tmp_path: Path) -> None:
    merged, ours = {OTHER: b"untouched = False\n"}, {"README.md": b"a robot with rewards\n"}
    project.add_patch("0004-two.patch", UPSTREAM, merged | ours)
    files = {**UPSTREAM, "pyproject.toml": PYPROJECT.replace(b"9.9.1", b"9.9.7"), **merged}
    files[ACT_PATH] = b"print(new)\n" + ACT
    checkout = Checkout(with_history(tmp_path / "newer", files))
    patching.install(project.root, checkout)
    assert "0004-two.patch" in run(project, checkout).rewritten
    made = parse_patch(project.patch_path("0004-two.patch", tag="v9.9.7"))
    assert [diff.path for diff in made.diffs] == ["README.md"]


def test_tree_that_claims_a_listed_version_is_refused(project: Project, tmp_path: Path) -> None:
    checkout = Checkout(with_history(tmp_path / "claims", {ACT_PATH: b"print(new)\n" + ACT}))
    patching.install(project.root, checkout)
    before = snapshot(project.root)
    assert "v9.9.1" in refused(ExitCode.EDITED, run, project, checkout)
    assert snapshot(project.root) == before


@pytest.mark.parametrize("name", ["", "../x", "a b", "Upper", "a/b", "-a", "a--b", "é"])
def test_names_that_are_no_file_names_are_refused(project: Project, checkout: Checkout, name: str) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {OTHER: b"edited = 1\n"})
    before = snapshot(project.root)
    refused(ExitCode.USAGE, run, project, checkout, name)
    assert snapshot(project.root) == before


@pytest.mark.parametrize("failing", ["write_new", "load_patch_set", "second rename"])
def test_old_set_stays_until_the_new_one_is_complete(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {OTHER: b"edited = 1\n"})
    before = snapshot(project.root / "patches/v9.9.1")
    rename = os.rename

    def fail(*_: object) -> None:
        raise OSError("no more room")

    def fail_for_new(source: Path, target: Path) -> None:
        return fail() if str(source).endswith(".new") else rename(source, target)

    with monkeypatch.context() as patch:
        if failing == "second rename":
            patch.setattr(exporting.os, "rename", fail_for_new)
        else:
            patch.setattr(exporting, failing, fail)
        with pytest.raises(OSError, match="no more room"):
            run(project, checkout)
    assert snapshot(project.root / "patches/v9.9.1") == before
    assert sorted(path.name for path in (project.root / "patches").glob(".*")) == []


def test_export_killed_between_its_two_renames_is_repaired(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    patches = project.root / "patches"
    before = snapshot(patches)
    (patches / "v9.9.1").rename(patches / ".v9.9.1.old")
    exporting.finish_swap(patches)
    assert snapshot(patches) == before


@pytest.mark.parametrize("command", ["export", "status", "dev"])
def test_killed_export_is_repaired_by_whatever_runs_next(
    run_install, project: Project, upstream: Path, command: str
) -> None:
    options = ["--no-install"] if command == "dev" else []
    run_install(project, "dev", "--no-install", str(upstream))
    patches = project.root / "patches"
    before = snapshot(patches)
    (patches / "v9.9.1").rename(patches / ".v9.9.1.old")
    result = run_install(project, command, *options, str(upstream))
    assert result.returncode == 0, result.stderr
    assert snapshot(patches) == before


def test_record_of_a_release_that_has_no_patches_here(run_install, project: Project, upstream: Path) -> None:
    """It was installed by another copy of this project."""
    act = UPSTREAM[ACT_PATH] + b"more\n"
    project.add_patch("0001-z.patch", {ACT_PATH: act}, {ACT_PATH: act + b"z\n"}, tag="v9.9.2")
    run_install(project, "dev", "--no-install", str(upstream))
    shutil.rmtree(project.root / "patches/v9.9.1")
    project.retire(ACT_PATH, "src/lerobot/train.py")
    result = run_install(project, "export", str(upstream))
    assert result.returncode == ExitCode.UNSUPPORTED_VERSION and "v9.9.1" in result.stderr
    assert "Traceback" not in result.stderr
    result = run_install(project, "status", str(upstream))
    assert result.returncode == ExitCode.UNSUPPORTED_VERSION and "outdated" in result.stdout
    write(upstream, {ACT_PATH: act})
    result = run_install(project, "status", str(upstream))
    assert "v9.9.2" in result.stdout


def test_export_command(run_install, project: Project, upstream: Path) -> None:
    run_install(project, "dev", "--no-install", str(upstream))
    result = run_install(project, "export", str(upstream))
    assert result.returncode == 0 and "byte for byte as before" in result.stdout
    write(upstream, {"src/lerobot/head.py": b"edited = 1\n"})
    result = run_install(project, "export", str(upstream))
    assert "overlay/lerobot/head.py" in result.stdout and "Nothing was edited" not in result.stdout
    (upstream / "src/lerobot/head.py").unlink()
    result = run_install(project, "export", str(upstream))
    assert "deleted in the checkout" in result.stdout and "Nothing was edited" not in result.stdout
    write(upstream, {OTHER: b"edited = 1\n"})
    result = run_install(project, "export", str(upstream), "--name", "other")
    assert result.returncode == 0 and "0004-other.patch" in result.stdout
    assert "v9.9.1 once it has an entry in installer/releases.py" in result.stdout
