# SPDX-License-Identifier: MIT
"""Trees that no series was made for: `drift` says how the patches fare, `dev` fits them or refuses."""

import json
import sys
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
    archive_release,
    git,
    git_snapshot,
    make_repository,
    refused,
    snapshot,
    write,
)
from verify import history
from verify.checkout import Checkout, to_crlf
from verify.drift import LABEL, Drift
from verify.errors import ExitCode

ACT_PATH, TRAIN_PATH = "src/lerobot/act.py", "src/lerobot/train.py"


def tree(tmp_path: Path, name: str = "tree", **changed: bytes | None) -> Path:
    """A clone of another version, the release in its history; `act` and `train` name the files."""
    root = make_repository(tmp_path / name, UPSTREAM)
    files = {"pyproject.toml": PYPROJECT.replace(b"9.9.1", b"9.9.7")}
    files |= {f"src/lerobot/{key}.py": data for key, data in changed.items()}
    write(root, {path: data for path, data in files.items() if data is not None})
    for path, data in files.items():
        if data is None:
            (root / path).unlink()
    git(root, "add", "--all", "--force")
    git(root, "commit", "--quiet", "--message", "another version")
    return root


def statuses(drift: Drift) -> list[str]:
    return [change.status for change in drift.fit.changes]


# Both neighbours of what 0001-a.patch inserts are others.
MISFIT = ACT.replace(b"print(10)\nprint(11)\n", b"print(5 + 5)\nprint(5 + 6)\n")


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
    assert result.returncode == 0 and "git init" in result.stdout and "install.py dev" not in result.stdout


def test_moved_merged_conflict_and_gone(project: Project, tmp_path: Path) -> None:
    moved = tree(tmp_path, "moved", act=b"print(new)\n" + ACT)
    assert statuses(patching.examine(project.root, moved)) == ["moved", "clean", "moved"]
    merged = tree(tmp_path, "merged", train=TRAIN_PATCHED)
    assert statuses(patching.examine(project.root, merged)) == ["clean", "merged", "clean"]
    drift = patching.examine(project.root, tree(tmp_path, "conflict", act=MISFIT))
    assert statuses(drift) == ["conflict", "clean", "moved"] and not drift.fits
    gone = patching.examine(project.root, tree(tmp_path, "gone", train=None))
    assert statuses(gone) == ["clean", "gone", "clean"] and not gone.fits


def test_every_failing_patch_is_reported(project: Project, tmp_path: Path) -> None:
    act = MISFIT.replace(b"print(20)\n", b"print(21 - 1)\n")
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
    other = ACT.replace(b"print(1)\n", b"print(0 + 1)\n")
    project.add_patch("0001-z.patch", {ACT_PATH: other}, {ACT_PATH: other + b"print(0)\n"}, tag="v9.9.2")
    assert patching.examine(project.root, tree(tmp_path, "one", act=other)).tag == "v9.9.2"
    assert patching.examine(project.root, tree(tmp_path, "two")).tag == "v9.9.1"
    # Of the one that shares most files with the tree a patch does not fit; of the other all do.
    root = tree(tmp_path, "three", act=other, train=None)
    git(root, "checkout", "--quiet", "HEAD~1", "--", TRAIN_PATH)
    assert patching.examine(project.root, root).tag == "v9.9.2"


def test_drift_command_prints_text_and_json(run_install, project: Project, tmp_path: Path) -> None:
    moved = tree(tmp_path, "moved", act=b"print(new)\n" + ACT)
    result = run_install(project, "drift", str(moved))
    assert result.returncode == 0 and LABEL in result.stdout
    assert "moved    0001-a.patch (2 of 2 anchors left)" in result.stdout
    report = json.loads(run_install(project, "drift", str(moved), "--json").stdout)
    assert report["fits"] and [patch["status"] for patch in report["patches"]] == ["moved", "clean", "moved"]


def test_conflict_names_patch_file_statement_and_next_step(
    run_install, project: Project, tmp_path: Path
) -> None:
    conflict = tree(tmp_path, "conflict", act=MISFIT)
    result = run_install(project, "drift", str(conflict))
    assert result.returncode == ExitCode.CONFLICT
    for words in (
        "0001-a.patch",
        ACT_PATH,
        "expected\n    | print(10)",
        "found\n    | print(5 + 5)",
        "Next: ",
    ):
        assert words in result.stderr, words
    result = run_install(project, "drift", str(conflict), "--json")
    report = json.loads(result.stdout)
    assert result.returncode == ExitCode.CONFLICT and not report["fits"]
    assert report["patches"][0]["files"][0]["expected"] == "print(10)\n"


def test_merged_patch_is_told_to_be_dropped(run_install, project: Project, tmp_path: Path) -> None:
    result = run_install(project, "drift", str(tree(tmp_path, train=TRAIN_PATCHED)))
    assert result.returncode == 0 and "merged   0002-b.patch (upstream has it: drop it)" in result.stdout


def test_drift_of_what_is_no_lerobot(run_install, project: Project, tmp_path: Path) -> None:
    assert run_install(project, "drift", str(tmp_path)).returncode == ExitCode.NOT_LEROBOT


UNLISTED = {"act": b"print(new)\n" + ACT, "train": UPSTREAM[TRAIN_PATH] + b"more = 1\n"}


def shallow(root: Path) -> Path:
    """A clone without the history in which the release is."""
    clone = root.with_name(f"{root.name}-shallow")
    git(root.parent, "clone", "--quiet", "--depth=1", f"file://{root}", str(clone))
    return clone


@pytest.mark.parametrize("damage", [None, b"no archive", "cut off"])
def test_a_clone_without_the_release_takes_its_files_from_the_archive(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | str | None
) -> None:
    root = shallow(tree(tmp_path, **UNLISTED))
    assert "git fetch origin tag v9.9.1" in refused(
        ExitCode.UNSUPPORTED_VERSION, patching.examine, project.root, root
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = archive_release(tmp_path / "cache")
    if damage is not None:
        archive.write_bytes(archive.read_bytes()[:200] if damage == "cut off" else damage)
        refused(ExitCode.UNSUPPORTED_VERSION, patching.examine, project.root, root)
    else:
        assert statuses(patching.examine(project.root, root)) == ["moved", "moved", "moved"]


def test_unlisted_tree_is_refused_where_it_has_to_be_exact(
    run_install, project: Project, tmp_path: Path
) -> None:
    root = tree(tmp_path, **UNLISTED)
    before = snapshot(root)
    result = run_install(project, "dev", "--no-install", "--exact", str(root))
    assert result.returncode == ExitCode.UNSUPPORTED_VERSION and snapshot(root) == before


def test_fitted_install_is_labelled_and_uninstalls_exactly(
    run_install, project: Project, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkout = Checkout(tree(tmp_path, **UNLISTED))
    before = snapshot(checkout.root)
    plan = patching.install(project.root, checkout)
    assert plan.fitted and checkout.state().fitted and LABEL in capsys.readouterr().out
    assert (checkout.root / ACT_PATH).read_bytes() == b"print(new)\n" + ACT_PATCHED_TWICE
    assert (checkout.root / TRAIN_PATH).read_bytes() == TRAIN_PATCHED + b"more = 1\n"
    after = snapshot(checkout.root)
    assert patching.install(project.root, checkout).changes == () and snapshot(checkout.root) == after
    assert f"LeRobot near v9.9.1, {LABEL}" in run_install(project, "status", str(checkout.root)).stdout
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_edits_beside_our_hooks_stay_and_come_back(project: Project, checkout: Checkout) -> None:
    """Committed ones of a fork, and those of a work tree."""
    edited = ACT.replace(b"print(9)\nprint(10)\n", b"print(mine)\nprint(10)\n")
    for commit in (False, True):
        write(checkout.root, {ACT_PATH: edited})
        if commit:
            git(checkout.root, "commit", "--quiet", "--all", "--message", "mine")
        before = snapshot(checkout.root)
        assert patching.install(project.root, checkout).fitted
        assert (checkout.root / ACT_PATH).read_bytes() == edited.replace(
            b"print(10)\n", b"print(10)\nprint(None)\n"
        ).replace(b"print(20)", b"print(2 * 10)")
        undo.uninstall(project.root, checkout)
        assert snapshot(checkout.root) == before


def test_what_collides_with_edits_is_refused(run_install, project: Project, checkout: Checkout) -> None:
    write(checkout.root, {ACT_PATH: ACT.replace(b"print(20)\n", b"print(mine)\n")})
    before = snapshot(checkout.root)
    result = run_install(project, "dev", "--no-install", str(checkout.root))
    assert result.returncode == ExitCode.EDITED
    assert "0003-c.patch" in result.stderr and "| print(mine)" in result.stderr
    assert snapshot(checkout.root) == before and not (checkout.root / ".git/rewact").exists()


def test_optional_patch_that_does_not_fit_is_left_out_with_a_line(
    run_install, project: Project, tmp_path: Path
) -> None:
    other = "src/lerobot/other.py"
    files = {other: UPSTREAM[other]}
    project.add_patch("0004-d.patch", files, {other: b"untouched = ours\n"}, extra="Optional: yes")
    root = tree(tmp_path, other=b"touched = True\n", **UNLISTED)
    result = run_install(project, "dev", "--no-install", str(root))
    line = f"left out: 0004-d.patch (optional): {other}: it is not there: untouched = True"
    assert result.returncode == 0 and line in result.stdout
    assert "3 patches applied" in result.stdout
    assert "left out  0004-d.patch (optional)" in run_install(project, "status", str(root)).stdout
    report = json.loads(run_install(project, "status", "--json", str(root)).stdout)
    assert report["fitted"] and report["left_out"] == ["0004-d.patch"]


def test_optional_patch_that_is_not_proven_is_left_out(project: Project, tmp_path: Path) -> None:
    path, before = "src/lerobot/loop.py", b"def loop(policy):\n    step()\n"
    after = before.replace(b"step()\n", b"step()\n    print(policy)\n")
    project.add_patch("0004-d.patch", {path: before}, {path: after}, extra="Optional: yes")
    root = make_repository(tmp_path / "tree", {**UPSTREAM, path: before})
    write(root, {path: before.replace(b"policy", b"robot"), ACT_PATH: b"print(new)\n" + ACT})
    drift = patching.examine(project.root, root)
    assert drift.fits and [change.change.name for change in drift.fit.left_out] == ["0004-d.patch"]
    assert "reads policy, which nothing binds" in drift.fit.left_out[0].files[0].reason


def test_what_is_not_proven_is_refused(project: Project, tmp_path: Path) -> None:
    """The overlay needs a name that this version does not have."""
    project.add_overlay("rewact/needs.py", b"from lerobot.other import untouched\n")
    root = tree(tmp_path, other=b"renamed = True\n", **UNLISTED)
    before = snapshot(root)
    message = refused(ExitCode.CONFLICT, patching.install, project.root, Checkout(root))
    assert "src/rewact/needs.py: it imports untouched from lerobot.other" in message
    assert snapshot(root) == before


def test_fitting_refuses_where_the_overlay_has_no_room(project: Project, tmp_path: Path) -> None:
    root = tree(tmp_path, head=b"theirs = 1\n", **UNLISTED)
    message = refused(ExitCode.CONFLICT, patching.install, project.root, Checkout(root))
    assert "src/lerobot/head.py" in message
    assert (root / "src/lerobot/head.py").read_bytes() == b"theirs = 1\n"


def test_edit_after_a_fitted_install_is_refused(project: Project, tmp_path: Path) -> None:
    checkout = Checkout(tree(tmp_path, **UNLISTED))
    patching.install(project.root, checkout)
    with open(checkout.root / ACT_PATH, "ab") as file:
        file.write(b"mine\n")
    for call in (patching.install, undo.uninstall):
        assert ACT_PATH in refused(ExitCode.EDITED, call, project.root, checkout)


def test_release_is_not_fitted(project: Project, checkout: Checkout) -> None:
    assert not patching.install(project.root, checkout).fitted


def test_checkout_that_moved_to_another_commit_is_read_as_it_is_now(project: Project, tmp_path: Path) -> None:
    """The record of the earlier commit's files says nothing about these."""
    checkout = Checkout(tree(tmp_path, **UNLISTED))
    patching.install(project.root, checkout)
    git(checkout.root, "checkout", "--", ".")
    write(checkout.root, {ACT_PATH: MISFIT, TRAIN_PATH: b"other\n"})
    assert statuses(patching.examine(project.root, checkout.root)) == ["conflict", "conflict", "moved"]


def test_exact_refuses_what_was_fitted_and_keeps_its_edits(project: Project, checkout: Checkout) -> None:
    """It took the release's file for the original: a fork's edits were lost at uninstall."""
    write(checkout.root, {ACT_PATH: b"# mine\n" + ACT})
    before = snapshot(checkout.root)
    assert patching.install(project.root, checkout).fitted
    fitted = snapshot(checkout.root)

    def exact() -> None:
        patching.install(project.root, checkout, exact=True)

    assert LABEL in refused(ExitCode.UNSUPPORTED_VERSION, exact)
    # Nor does a record that says nothing of it (of an earlier release) let the file be replaced.
    record = json.loads(checkout.record.state_path.read_bytes())
    checkout.record.state_path.write_text(json.dumps(record | {"nearest": False, "fingerprint": "0" * 64}))
    assert ACT_PATH in refused(ExitCode.EDITED, exact)
    checkout.record.state_path.write_text(json.dumps(record))
    assert snapshot(checkout.root) == fitted
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


def test_what_a_history_cannot_draw_is_said_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    picture = str(tmp_path / "absent/fitting.png")
    monkeypatch.setattr(sys, "argv", ["drift", "--history", str(tmp_path), "a..b", "--plot", picture])
    monkeypatch.setattr(history, "examine_history", lambda *_: pytest.fail("it was read"))
    for is_there, words in (
        (True, f"there is no folder {tmp_path / 'absent'}"),
        (None, "--plot needs matplotlib"),
    ):
        monkeypatch.setattr(history, "find_spec", lambda _, is_there=is_there: is_there)
        with pytest.raises(SystemExit, match="2"):
            history.main()
        assert words in capsys.readouterr().err
