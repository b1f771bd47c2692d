# SPDX-License-Identifier: MIT
"""Installing and uninstalling: what is written, what is kept, what is refused."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from installer import patching, status, undo
from tests.install.upstreams import (
    ACT,
    ACT_PATCHED_TWICE,
    TRAIN_PATCHED,
    UPSTREAM,
    Project,
    archive_release,
    git,
    git_snapshot,
    make_repository,
    make_repository_without_commits,
    refused,
    snapshot,
    write,
)
from verify.checkout import Checkout, to_crlf
from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.patch import parse_patch
from verify.standing import file_states


def test_install_writes_patched_files_and_overlay(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    root = checkout.root
    assert (root / "src/lerobot/act.py").read_bytes() == ACT_PATCHED_TWICE
    assert (root / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED
    assert (root / "src/lerobot/head.py").read_bytes() == b"ours = 1\n"
    assert (root / "src/rewact/deep/__init__.py").read_bytes() == b"deep = 1\n"


def test_uninstall_restores_exact_bytes_and_modes(project: Project, checkout: Checkout) -> None:
    (checkout.root / "src/lerobot/act.py").chmod(0o640)
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert snapshot(checkout.root)["src/lerobot/act.py"][0] & 0o777 == 0o640
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before
    assert not checkout.state_dir.exists()


def test_git_index_head_refs_and_objects_are_not_touched(project: Project, checkout: Checkout) -> None:
    before = git_snapshot(checkout.root)
    patching.install(project.root, checkout)
    undo.uninstall(project.root, checkout)
    assert git_snapshot(checkout.root) == before


def test_planning_changes_nothing(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root), git_snapshot(checkout.root), sorted(checkout.git_dir.rglob("*"))
    patching.read_plan(project.root, checkout)
    assert (
        snapshot(checkout.root),
        git_snapshot(checkout.root),
        sorted(checkout.git_dir.rglob("*")),
    ) == before


def test_second_install_changes_nothing(project: Project, checkout: Checkout) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in checkout.root.rglob("*") if path.is_file()}

    patching.install(project.root, checkout)
    before = times()
    assert patching.install(project.root, checkout).changes == ()
    assert times() == before


def test_user_edited_target_is_refused_and_named(project: Project, checkout: Checkout) -> None:
    write(checkout.root, {"src/lerobot/train.py": b"mine\n"})
    before = snapshot(checkout.root)
    message = refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert "src/lerobot/train.py" in message and "act.py" not in message
    assert snapshot(checkout.root) == before and not checkout.state_dir.exists()


def test_edit_after_install_is_refused_and_named(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(
        checkout.root, {"src/lerobot/act.py": ACT_PATCHED_TWICE + b"mine\n", "src/lerobot/head.py": b"mine\n"}
    )
    before = snapshot(checkout.root)
    for call in (patching.install, undo.uninstall):
        message = refused(ExitCode.EDITED, call, project.root, checkout)
        assert (
            "src/lerobot/act.py" in message and "src/lerobot/head.py" in message and "train.py" not in message
        )
        assert snapshot(checkout.root) == before


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_remedy_for_an_edit_works(project: Project, checkout: Checkout, command: str) -> None:
    """Of a patched file and of one that git does not know; a stash would take the patch along."""
    patching.install(project.root, checkout)
    after = snapshot(checkout.root)
    write(checkout.root, {"src/lerobot/act.py": b"mine\n", "src/lerobot/head.py": b"mine\n"})
    call = undo.uninstall if command == "uninstall" else patching.install
    message = refused(ExitCode.EDITED, call, project.root, checkout)
    assert "git checkout -- <file>" in message and "export" in message and "stash" not in message
    git(checkout.root, "checkout", "--", "src/lerobot/act.py")
    (checkout.root / "src/lerobot/head.py").unlink()
    call(project.root, checkout)
    assert command == "uninstall" or snapshot(checkout.root) == after


def test_remedy_for_a_lost_original_works(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    after = snapshot(checkout.root)
    (checkout.state_dir / "blobs" / blob_id(ACT)).unlink()
    message = refused(ExitCode.DAMAGED_STATE, undo.uninstall, project.root, checkout)
    assert "`git checkout -- src/lerobot/act.py`" in message
    git(checkout.root, "checkout", "--", "src/lerobot/act.py")
    patching.install(project.root, checkout)
    assert snapshot(checkout.root) == after
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_missing_target_is_refused_and_named(project: Project, checkout: Checkout) -> None:
    (checkout.root / "src/lerobot/train.py").unlink()
    message = refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert "src/lerobot/train.py" in message


def test_unrelated_edits_survive(project: Project, checkout: Checkout) -> None:
    edits = {"src/lerobot/other.py": b"mine\n", "notes.txt": b"mine\n", "data/keep.bin": b"mine\0"}
    write(checkout.root, edits)
    (checkout.root / "outputs").mkdir()
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert all((checkout.root / path).read_bytes() == data for path, data in edits.items())
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_staged_edits_and_stash_survive(project: Project, checkout: Checkout) -> None:
    write(checkout.root, {"src/lerobot/other.py": b"stashed\n"})
    git(checkout.root, "stash")
    write(checkout.root, {"src/lerobot/other.py": b"staged\n"})
    git(checkout.root, "add", "src/lerobot/other.py")
    before = git_snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert git_snapshot(checkout.root) == before


def test_overlay_never_overwrites_a_differing_file(project: Project, checkout: Checkout) -> None:
    write(checkout.root, {"src/lerobot/head.py": b"mine\n"})
    message = refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert "src/lerobot/head.py" in message
    assert (checkout.root / "src/lerobot/head.py").read_bytes() == b"mine\n"


def test_overlay_never_overwrites_an_ignored_file(project: Project, checkout: Checkout) -> None:
    write(checkout.root, {".gitignore": b"head.py\n", "src/lerobot/head.py": b"mine\n"})
    refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert (checkout.root / "src/lerobot/head.py").read_bytes() == b"mine\n"


def test_overlay_target_that_is_a_link_is_refused(
    project: Project, checkout: Checkout, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.py"
    outside.write_bytes(b"ours = 1\n")
    (checkout.root / "src/lerobot/head.py").symlink_to(outside)
    refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert outside.read_bytes() == b"ours = 1\n"


def test_uninstall_keeps_files_of_the_users_in_our_directories(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {"src/rewact/deep/mine.py": b"mine\n"})
    undo.uninstall(project.root, checkout)
    assert (checkout.root / "src/rewact/deep/mine.py").read_bytes() == b"mine\n"
    assert not (checkout.root / "src/rewact/deep/__init__.py").exists()


def test_uninstall_takes_bytecode_of_our_modules_along(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    write(checkout.root, {"src/rewact/deep/__pycache__/__init__.cpython-312.pyc": b"compiled"})
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_uninstall_where_nothing_is_installed_changes_nothing(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root)
    assert undo.uninstall(project.root, checkout) == 0
    assert snapshot(checkout.root) == before and not checkout.state_dir.exists()


def test_uninstall_after_some_files_were_restored_by_hand(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    git(checkout.root, "checkout", "--", "src/lerobot/act.py")
    (checkout.root / "src/lerobot/head.py").unlink()
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_install_after_some_files_were_restored_by_hand(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    after = snapshot(checkout.root)
    git(checkout.root, "checkout", "--", "src/lerobot/act.py")
    (checkout.root / "src/lerobot/head.py").unlink()
    patching.install(project.root, checkout)
    assert snapshot(checkout.root) == after


def test_newer_patch_set_upgrades_in_place(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    train = "src/lerobot/train.py"
    shutil.rmtree(project.root / "patches")
    newer = ACT.replace(b"print(15)\n", b"line fifteen\n")
    project.add_patch("0001-new.patch", {"src/lerobot/act.py": ACT}, {"src/lerobot/act.py": newer})
    (project.root / "overlay/lerobot/head.py").unlink()
    project.retire(train, "overlay/lerobot/head.py")
    project.add_overlay("rewact/deep/__init__.py", b"deep = 2\n")
    project.add_overlay("rewact/later.py")

    patching.install(project.root, checkout)
    assert (checkout.root / "src/lerobot/act.py").read_bytes() == newer
    assert (checkout.root / train).read_bytes() == UPSTREAM[train]
    assert not (checkout.root / "src/lerobot/head.py").exists()
    assert (checkout.root / "src/rewact/deep/__init__.py").read_bytes() == b"deep = 2\n"
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_lost_record_is_rebuilt_from_content(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    after = snapshot(checkout.root)
    shutil.rmtree(checkout.state_dir)
    assert patching.install(project.root, checkout).changes == ()
    assert snapshot(checkout.root) == after
    undo.uninstall(project.root, checkout)
    left = snapshot(checkout.root)
    assert {path: value for path, value in left.items() if value[1]} == {
        path: value for path, value in before.items() if value[1]
    }


@pytest.mark.parametrize("how", ["lost", "committed", "cloned", "partly restored"])
def test_uninstall_and_status_without_a_record(
    project: Project, checkout: Checkout, tmp_path: Path, how: str
) -> None:
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    shutil.rmtree(checkout.state_dir)
    if how == "partly restored":
        git(checkout.root, "checkout", "--", "src/lerobot/act.py")
    if how in ("committed", "cloned"):
        git(checkout.root, "add", "--all")
        git(checkout.root, "commit", "--quiet", "--message", "patched")
    if how == "cloned":
        git(tmp_path, "clone", "--quiet", str(checkout.root), "clone")
        checkout = Checkout(tmp_path / "clone")
    report, _ = status.collect(project.root, checkout)
    assert report["lerobot"] == "v9.9.1" and report["summary"] == "unrecorded" and "dev" in report["message"]
    assert report["files"]["src/lerobot/train.py"] == report["files"]["src/lerobot/head.py"] == "applied"
    assert undo.uninstall(project.root, checkout) > 0
    left = snapshot(checkout.root)
    if how in ("committed", "cloned"):  # the directory is in HEAD: not for us to remove
        left = {path: value for path, value in left.items() if not path.startswith("src/rewact")}
    assert left == before and checkout.state() is None


def test_committed_patched_tree_without_history_is_recognised(
    project: Project, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patching.install(project.root, checkout)
    files = {path: data for path, (_, data) in snapshot(checkout.root).items() if data}
    files["src/lerobot/__init__.py"] = b""
    copy = Checkout(make_repository(tmp_path / "copy", files))
    pristine = ("src/lerobot/act.py", "src/lerobot/train.py")
    message = refused(ExitCode.EDITED, undo.uninstall, project.root, copy)
    assert "no record" in message and all(path in message for path in pristine)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive_release(tmp_path / "cache")
    assert patching.install(project.root, copy).changes == ()
    undo.uninstall(project.root, copy)
    assert all((copy.root / path).read_bytes() == UPSTREAM[path] for path in pristine)


def test_edited_tree_without_a_record_is_refused_at_uninstall(
    run_install, project: Project, checkout: Checkout
) -> None:
    patching.install(project.root, checkout)
    shutil.rmtree(checkout.state_dir)
    write(checkout.root, {"src/lerobot/act.py": ACT_PATCHED_TWICE + b"mine\n"})
    before = snapshot(checkout.root)
    result = run_install(project, "uninstall", str(checkout.root))
    assert result.returncode == ExitCode.EDITED and "src/lerobot/head.py" in result.stderr
    assert "own again" not in result.stdout and snapshot(checkout.root) == before


@pytest.mark.parametrize(
    "content", [b"", b'{"format": 1, "fil', b"[]", b'{"format": 99}', b"\xff\xfe", b"{}"]
)
def test_damaged_state_is_diagnosed(project: Project, checkout: Checkout, content: bytes) -> None:
    patching.install(project.root, checkout)
    checkout.record.state_path.write_bytes(content)
    before = snapshot(checkout.root)
    for call in (patching.install, undo.uninstall):
        message = refused(ExitCode.DAMAGED_STATE, call, project.root, checkout)
        assert str(checkout.record.state_path) in message and "delete it" in message
    assert snapshot(checkout.root) == before


def test_state_of_every_file(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    state = checkout.state()
    assert set(file_states(checkout, state).values()) == {"applied"}
    git(checkout.root, "checkout", "--", "src/lerobot/act.py")
    write(checkout.root, {"src/lerobot/train.py": b"mine\n"})
    (checkout.root / "src/lerobot/head.py").unlink()
    assert file_states(checkout, state) == {
        "src/lerobot/act.py": "pristine",
        "src/lerobot/train.py": "edited",
        "src/lerobot/head.py": "missing",
        "src/rewact/deep/__init__.py": "applied",
    }


def test_unknown_version_names_the_supported_ones(project: Project, tmp_path: Path) -> None:
    files = {**UPSTREAM, "src/lerobot/act.py": b"other\n", "src/lerobot/train.py": b"other\n"}
    root = make_repository(tmp_path / "unknown", files)
    before = snapshot(root)
    message = refused(ExitCode.UNSUPPORTED_VERSION, patching.install, project.root, Checkout(root))
    assert "v9.9.1" in message
    assert snapshot(root) == before and not (root / ".git/rewact").exists()


def test_version_is_chosen_by_content_not_by_tag_or_declaration(project: Project, tmp_path: Path) -> None:
    act = "src/lerobot/act.py"
    other = ACT.replace(b"print(1)\n", b"print(0 + 1)\n")
    project.add_patch("0001-z.patch", {act: other}, {act: other + b"z\n"}, tag="v9.9.2")
    root = make_repository(tmp_path / "second", {**UPSTREAM, act: other})
    git(root, "tag", "v9.9.1")
    assert patching.install(project.root, Checkout(root)).patch_set.tag == "v9.9.2"
    assert (root / act).read_bytes() == other + b"z\n"


def test_released_version_with_committed_edits_is_refused_and_named(project: Project, tmp_path: Path) -> None:
    root = make_repository(tmp_path / "edited", {**UPSTREAM, "src/lerobot/train.py": b"committed\n"})
    message = refused(ExitCode.EDITED, patching.install, project.root, Checkout(root))
    assert "src/lerobot/train.py" in message


def test_optional_patch_is_left_out_where_its_file_is_missing(project: Project, checkout: Checkout) -> None:
    path = "tests/test_act.py"
    project.add_patch("0004-d.patch", {path: b"old\n"}, {path: b"new\n"}, extra="Optional: yes")
    patching.install(project.root, checkout)
    assert not (checkout.root / path).exists()
    undo.uninstall(project.root, checkout)
    write(checkout.root, {path: b"old\n"})
    patching.install(project.root, checkout)
    assert (checkout.root / path).read_bytes() == b"new\n"


def test_crlf_checkout_stays_crlf(project: Project, checkout: Checkout) -> None:
    for path in ("src/lerobot/act.py", "src/lerobot/train.py"):
        write(checkout.root, {path: to_crlf(UPSTREAM[path])})
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert (checkout.root / "src/lerobot/act.py").read_bytes() == to_crlf(ACT_PATCHED_TWICE)
    assert patching.install(project.root, checkout).changes == ()
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_mixed_line_ends_are_edits(project: Project, checkout: Checkout) -> None:
    write(checkout.root, {"src/lerobot/act.py": ACT.replace(b"print(3)\n", b"line 3\r\n")})
    refused(ExitCode.EDITED, patching.install, project.root, checkout)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"a\r\nb\r\n", b"a\r\nc\r\n", id="crlf in the release itself"),
        pytest.param(b"a\nb", b"a\nc", id="no final newline"),
        pytest.param(b"a\nb", b"a\nb\n", id="final newline added"),
        pytest.param(b"a\0b\n", b"a\0c\xff\n", id="binary"),
        pytest.param("é\n".encode("latin-1"), "è\n".encode("latin-1"), id="not utf-8"),
        pytest.param(b"a\n", b"", id="emptied"),
    ],
)
def test_contents_survive_byte_for_byte(
    project: Project, checkout: Checkout, before: bytes, after: bytes
) -> None:
    path = "src/lerobot/special"
    write(checkout.root, {path: before})
    project.add_patch("0004-d.patch", {path: before}, {path: after})
    patching.install(project.root, checkout)
    assert (checkout.root / path).read_bytes() == after
    undo.uninstall(project.root, checkout)
    assert (checkout.root / path).read_bytes() == before


@pytest.mark.parametrize("name", ["ünïcode.py", "with space.py", 'quote".py' if os.name != "nt" else "q.py"])
def test_unusual_names(project: Project, checkout: Checkout, name: str) -> None:
    path = f"src/lerobot/{name}"
    write(checkout.root, {path: b"old\n"})
    if '"' in name:  # no file system of Windows can hold it, so no patch may name it
        with pytest.raises(RewactError):
            project.add_patch("0004-d.patch", {path: b"old\n"}, {path: b"new\n"})
            patching.install(project.root, checkout)
        return
    project.add_patch("0004-d.patch", {path: b"old\n"}, {path: b"new\n"})
    patching.install(project.root, checkout)
    assert (checkout.root / path).read_bytes() == b"new\n"


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_name_that_is_not_utf8(project: Project, checkout: Checkout) -> None:
    path = os.fsdecode(b"src/lerobot/caf\xe9.py")
    write(checkout.root, {path: b"old\n"})
    project.add_overlay(os.fsdecode(b"lerobot/th\xe9.py"))
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert (checkout.root / os.fsdecode(b"src/lerobot/th\xe9.py")).exists()
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


@pytest.mark.skipif(os.name == "nt", reason="no executable bit on Windows")
def test_executable_bit_is_set_and_taken_back(project: Project, checkout: Checkout) -> None:
    path = "src/lerobot/other.py"
    project.add_patch("0004-d.patch", {path: UPSTREAM[path]}, {path: b"#!\n"}, modes={path: 0o755})
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert os.access(checkout.root / path, os.X_OK)
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_file_removed_and_file_added_by_a_patch(project: Project, checkout: Checkout) -> None:
    old, new = "src/lerobot/other.py", "src/lerobot/renamed.py"
    project.add_patch(
        "0004-d.patch",
        {old: UPSTREAM[old] * 9},
        {old: None, new: UPSTREAM[old] * 9},
        options=("--no-renames",),
    )
    write(checkout.root, {old: UPSTREAM[old] * 9})
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert not (checkout.root / old).exists() and (checkout.root / new).exists()
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_renamed_file(project: Project, checkout: Checkout) -> None:
    """A patch says a rename as a removal and an addition: of rename lines, git believes what they say."""
    old, new, data = "src/lerobot/other.py", "src/lerobot/renamed.py", UPSTREAM["src/lerobot/other.py"] * 9
    write(checkout.root, {old: data})
    change = {old: data}, {old: None, new: data + b"more\n"}
    path = project.add_patch("0004-d.patch", *change, options=("--find-renames",))
    assert "differ" in refused(ExitCode.BAD_PATCH_SET, parse_patch, path)
    path.write_bytes(project.add_patch("0005-d.patch", *change).read_bytes())
    project.patch_path("0005-d.patch").unlink()
    project.series("v9.9.1").write_text("0001-a.patch\n0002-b.patch\n0003-c.patch\n0004-d.patch\n")
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert not (checkout.root / old).exists() and (checkout.root / new).read_bytes() == data + b"more\n"
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_linked_worktree_has_a_record_of_its_own(
    project: Project, checkout: Checkout, tmp_path: Path
) -> None:
    git(checkout.root, "worktree", "add", "--quiet", str(tmp_path / "linked"))
    linked = Checkout(tmp_path / "linked")
    patching.install(project.root, linked)
    assert linked.state() is not None and checkout.state() is None
    patching.install(project.root, checkout)
    undo.uninstall(project.root, linked)
    assert checkout.state() is not None


def test_shallow_clone(project: Project, checkout: Checkout, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{checkout.root}", "shallow")
    patching.install(project.root, Checkout(tmp_path / "shallow"))
    assert (tmp_path / "shallow/src/lerobot/train.py").read_bytes() == TRAIN_PATCHED


def test_repository_without_history(project: Project, tmp_path: Path) -> None:
    root = make_repository_without_commits(tmp_path / "fresh")
    patching.install(project.root, Checkout(root))
    assert (root / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED


def test_subdirectory_stands_for_its_clone(checkout: Checkout) -> None:
    assert Checkout(checkout.root / "src/lerobot").root == checkout.root


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_directory_that_ends_in_a_carriage_return(project: Project, upstream: Path) -> None:
    root = upstream.rename(upstream.with_name("lerobot\r"))
    patching.install(project.root, Checkout(root))
    assert (root / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED


def test_copy_inside_another_repository_is_refused(project: Project, tmp_path: Path) -> None:
    outer = make_repository(tmp_path / "outer", {"readme": b"x\n"})
    write(outer / "lerobot", UPSTREAM)
    message = refused(ExitCode.NOT_LEROBOT, Checkout, outer / "lerobot")
    assert str(outer) in message


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "other", "bare", "archive"])
def test_what_is_not_a_lerobot_clone(tmp_path: Path, upstream: Path, kind: str) -> None:
    place = tmp_path / kind
    if kind == "file":
        place.write_bytes(b"")
    elif kind == "empty":
        place.mkdir()
    elif kind == "other":
        make_repository(place, {"readme": b"x\n"})
    elif kind == "bare":
        git(tmp_path, "clone", "--quiet", "--bare", str(upstream), "bare")
    elif kind == "archive":
        write(place, UPSTREAM)
    message = refused(ExitCode.NOT_LEROBOT, Checkout, place)
    assert str(place) in message and (f"install.py dev {place}` makes" in message) == (kind == "archive")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_repository_of_another_user_is_refused_with_the_remedy(upstream: Path) -> None:
    subprocess.run(["chown", "-R", "12345", str(upstream)], check=True)
    assert "safe.directory" in refused(ExitCode.GIT, Checkout, upstream)
