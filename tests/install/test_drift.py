# SPDX-License-Identifier: MIT
"""`drift` and `--nearest`: how the patches fare on trees they were not made for."""

import json
from pathlib import Path

import pytest

from installer import patching, undo
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
    refused,
    snapshot,
    write,
)
from verify.checkout import Checkout, to_crlf
from verify.drift import Drift
from verify.errors import ExitCode
from verify.gitcmd import blob_id

ACT_PATH, TRAIN_PATH = "src/lerobot/act.py", "src/lerobot/train.py"


@pytest.fixture(autouse=True)
def shipped_pre_images(project: Project) -> None:
    """What the releases' files were, beside the patches."""
    files = {blob_id(UPSTREAM[path]): UPSTREAM[path] for path in (ACT_PATH, TRAIN_PATH)}
    write(project.root / "patches" / "pre-images", files)


def tree(tmp_path: Path, name: str = "tree", **changed: bytes | None) -> Path:
    """A repository of another version; `act` and `train` name the files."""
    files = {**UPSTREAM, "pyproject.toml": PYPROJECT.replace(b"9.9.1", b"9.9.7")}
    for key, data in changed.items():
        files[f"src/lerobot/{key}.py"] = data
    return make_repository(tmp_path / name, {path: data for path, data in files.items() if data is not None})


def statuses(drift: Drift) -> list[str]:
    return [patch.status for patch in drift.patches]


def test_pristine_tree_is_clean(project: Project, upstream: Path) -> None:
    assert statuses(patching.examine(project.root, upstream)) == ["clean", "clean", "clean"]


def test_patched_tree_is_read_as_it_was_before(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    drift = patching.examine(project.root, checkout.root)
    assert statuses(drift) == ["clean", "clean", "clean"] and drift.fits


def test_tree_without_a_repository(project: Project, tmp_path: Path) -> None:
    write(tmp_path / "archive", UPSTREAM)
    assert statuses(patching.examine(project.root, tmp_path / "archive")) == ["clean", "clean", "clean"]


def test_tree_without_a_repository_with_crlf(run_install, project: Project, tmp_path: Path) -> None:
    write(tmp_path / "archive", {path: to_crlf(data) for path, data in UPSTREAM.items()})
    assert statuses(patching.examine(project.root, tmp_path / "archive")) == ["clean", "clean", "clean"]
    result = run_install(project, "drift", str(tmp_path / "archive"))
    assert result.returncode == 0 and "git init" in result.stdout and "dev --nearest" not in result.stdout


def test_moved_merged_conflict_and_gone(project: Project, tmp_path: Path) -> None:
    moved = tree(tmp_path, "moved", act=b"# new\n" + ACT)
    assert statuses(patching.examine(project.root, moved)) == ["moved", "clean", "moved"]
    merged = tree(tmp_path, "merged", train=TRAIN_PATCHED)
    assert statuses(patching.examine(project.root, merged)) == ["clean", "merged", "clean"]
    conflict = tree(tmp_path, "conflict", act=ACT.replace(b"line 10\n", b"line ten\n"))
    drift = patching.examine(project.root, conflict)
    # The third was made for a file that the first had made a line longer.
    assert statuses(drift) == ["conflict", "clean", "moved"] and not drift.fits
    gone = patching.examine(project.root, tree(tmp_path, "gone", train=None))
    assert statuses(gone) == ["clean", "gone", "clean"] and not gone.fits


def test_every_failing_patch_is_reported(project: Project, tmp_path: Path) -> None:
    act = ACT.replace(b"line 10\n", b"line ten\n").replace(b"line 20\n", b"line 2O\n")
    assert statuses(patching.examine(project.root, tree(tmp_path, act=act, train=None))) == [
        "conflict",
        "gone",
        "conflict",
    ]


def test_drift_writes_nothing(project: Project, upstream: Path) -> None:
    before = snapshot(upstream), git_snapshot(upstream), sorted((upstream / ".git").rglob("*"))
    patching.examine(project.root, upstream)
    assert (snapshot(upstream), git_snapshot(upstream), sorted((upstream / ".git").rglob("*"))) == before


def test_closest_series_is_taken(project: Project, tmp_path: Path) -> None:
    other = ACT.replace(b"line 1\n", b"first line\n")
    project.add_patch("0001-z.patch", {ACT_PATH: other}, {ACT_PATH: other + b"z\n"}, tag="v9.9.2")
    write(project.root / "patches" / "pre-images", {blob_id(other): other})
    assert patching.examine(project.root, tree(tmp_path, "one")).tag == "v9.9.2"
    clean = patching.examine(project.root, tree(tmp_path, "two", act=ACT.replace(b"line 28\n", b"x\n")))
    assert clean.tag == "v9.9.1"


def test_drift_command_prints_text_and_json(run_install, project: Project, tmp_path: Path) -> None:
    moved = tree(tmp_path, "moved", act=b"# new\n" + ACT)
    result = run_install(project, "drift", str(moved))
    assert result.returncode == 0 and "moved    0001-a.patch" in result.stdout and "+1 lines" in result.stdout
    report = json.loads(run_install(project, "drift", str(moved), "--json").stdout)
    assert report["fits"] and [patch["status"] for patch in report["patches"]] == ["moved", "clean", "moved"]
    assert report["patches"][0]["files"][0]["hunks"][0]["offset"] == 1


def test_conflict_names_patch_file_hunk_lines_and_next_command(
    run_install, project: Project, tmp_path: Path
) -> None:
    conflict = tree(tmp_path, "conflict", act=ACT.replace(b"line 10\n", b"line ten\n"))
    result = run_install(project, "drift", str(conflict))
    assert result.returncode == ExitCode.CONFLICT
    for words in ("0001-a.patch", ACT_PATH, "hunk 1", "| line 10", "| line ten", "Next: "):
        assert words in result.stderr, words
    result = run_install(project, "drift", str(conflict), "--json")
    report = json.loads(result.stdout)
    hunk = report["patches"][0]["files"][0]["hunks"][0]
    assert result.returncode == ExitCode.CONFLICT and not report["fits"]
    assert "line 10\n" in hunk["expected"] and "line ten\n" in hunk["found"]


def test_merged_patch_is_told_to_be_dropped(run_install, project: Project, tmp_path: Path) -> None:
    result = run_install(project, "drift", str(tree(tmp_path, train=TRAIN_PATCHED)))
    assert result.returncode == 0 and "merged   0002-b.patch (upstream has it: drop it)" in result.stdout


def test_drift_of_what_is_no_lerobot(run_install, project: Project, tmp_path: Path) -> None:
    assert run_install(project, "drift", str(tmp_path)).returncode == ExitCode.NOT_LEROBOT


def test_missing_or_damaged_pre_image(project: Project, tmp_path: Path) -> None:
    other = tree(tmp_path, act=b"# new\n" + ACT)
    path = project.root / "patches/pre-images" / blob_id(ACT)
    path.write_bytes(b"x")
    assert "damaged" in refused(ExitCode.BAD_PATCH_SET, patching.examine, project.root, other)
    path.unlink()
    assert "missing" in refused(ExitCode.BAD_PATCH_SET, patching.examine, project.root, other)


UNLISTED = {"act": b"# new\n" + ACT, "train": UPSTREAM[TRAIN_PATH] + b"more = 1\n"}


def test_unlisted_tree_is_refused_without_nearest(project: Project, tmp_path: Path) -> None:
    root = tree(tmp_path, **UNLISTED)
    before = snapshot(root)
    refused(ExitCode.UNSUPPORTED_VERSION, patching.install, project.root, Checkout(root))
    assert snapshot(root) == before


def test_nearest_installs_labelled_and_uninstalls_exactly(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkout = Checkout(tree(tmp_path, **UNLISTED))
    before = snapshot(checkout.root)
    plan = patching.install(project.root, checkout, nearest=True)
    assert plan.nearest and checkout.state().nearest
    said = capsys.readouterr().out
    assert "no supported release" in said and "+1 lines" in said
    assert (checkout.root / ACT_PATH).read_bytes() == b"# new\n" + ACT_PATCHED_TWICE
    assert (checkout.root / TRAIN_PATH).read_bytes() == TRAIN_PATCHED + b"more = 1\n"
    after = snapshot(checkout.root)
    for nearest in (True, False):  # once chosen it stays chosen
        assert patching.install(project.root, checkout, nearest=nearest).changes == ()
    assert snapshot(checkout.root) == after
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_nearest_refuses_on_conflict(run_install, project: Project, tmp_path: Path) -> None:
    root = tree(tmp_path, act=ACT.replace(b"line 10\n", b"line ten\n"))
    before = snapshot(root)
    result = run_install(project, "dev", "--no-install", "--nearest", str(root))
    assert result.returncode == ExitCode.CONFLICT and "0001-a.patch" in result.stderr
    assert snapshot(root) == before and not (root / ".git/rewact").exists()


def test_nearest_refuses_where_the_overlay_has_no_room(project: Project, tmp_path: Path) -> None:
    root = tree(tmp_path, head=b"upstream's own\n", **UNLISTED)
    message = refused(ExitCode.CONFLICT, lambda: patching.install(project.root, Checkout(root), nearest=True))
    assert "src/lerobot/head.py" in message
    assert (root / "src/lerobot/head.py").read_bytes() == b"upstream's own\n"


def test_edit_after_a_nearest_install_is_refused(project: Project, tmp_path: Path) -> None:
    checkout = Checkout(tree(tmp_path, **UNLISTED))
    patching.install(project.root, checkout, nearest=True)
    with open(checkout.root / ACT_PATH, "ab") as file:
        file.write(b"mine\n")
    for call in (patching.install, undo.uninstall):
        assert ACT_PATH in refused(ExitCode.EDITED, call, project.root, checkout)


def test_three_way_placement_is_labelled(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Context two lines from the change is different upstream: no hunk fits, the merge does."""
    checkout = Checkout(tree(tmp_path, act=ACT.replace(b"line 8\n", b"line eight\n")))
    patching.install(project.root, checkout, nearest=True)
    assert "three-way merge" in capsys.readouterr().out
    assert (checkout.root / ACT_PATH).read_bytes() == ACT_PATCHED_TWICE.replace(b"line 8\n", b"line eight\n")


def test_supported_release_needs_no_nearest(project: Project, checkout: Checkout) -> None:
    assert not patching.install(project.root, checkout, nearest=True).nearest


def test_checkout_that_moved_to_another_commit_is_read_as_it_is_now(project: Project, tmp_path: Path) -> None:
    """The record of the earlier commit's files says nothing about these."""
    checkout = Checkout(tree(tmp_path, **UNLISTED))
    patching.install(project.root, checkout, nearest=True)
    git(checkout.root, "checkout", "--", ".")
    write(checkout.root, {ACT_PATH: ACT.replace(b"line 10\n", b"line ten\n"), TRAIN_PATH: b"other\n"})
    assert statuses(patching.examine(project.root, checkout.root)) == ["conflict", "conflict", "moved"]
