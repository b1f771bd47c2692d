# SPDX-License-Identifier: MIT
"""What is the user's stays the user's: data, outputs, environments, whatever command runs."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import install
import installer
from installer import export, patching, status, undo
from installer.update import update
from tests.install.upstreams import ACT, PYPROJECT, UPSTREAM, Project, git, refused, snapshot, write
from verify.checkout import Checkout
from verify.errors import ExitCode
from verify.gitcmd import scrub_environment, users_environment

ACT_PATH, TRAIN_PATH = "src/lerobot/act.py", "src/lerobot/train.py"
THEIRS = {
    "data/pusht/episode.parquet": b"\0\1\2",
    "outputs/train/checkpoint.safetensors": b"weights",
    ".venv/bin/python": b"#!/bin/sh\n",
    "lerobot-notes.txt": b"untracked\n",
    "src/lerobot/mine.py": b"mine = True\n",
    "src/rewact/deep/notes.txt": b"in a directory of ours\n",
}


@pytest.fixture
def clone(project: Project, checkout: Checkout) -> Checkout:
    """A clone with data, outputs, an environment and files of the user's, ignored ones and others."""
    project.add_patch("0001-z.patch", {ACT_PATH: ACT + b"y\n"}, {ACT_PATH: ACT + b"z\n"}, tag="v9.9.2")
    git(checkout.root, "checkout", "--quiet", "-b", "v9.9.2")
    write(checkout.root, {ACT_PATH: ACT + b"y\n", "pyproject.toml": PYPROJECT.replace(b"9.9.1", b"9.9.2")})
    git(checkout.root, "commit", "--quiet", "--all", "--message", "next")
    git(checkout.root, "checkout", "--quiet", "main")
    write(checkout.root, THEIRS | {".git/info/exclude": b"data/\noutputs/\n.venv/\n"})
    return checkout


def test_every_command_leaves_the_users_files(project: Project, clone: Checkout) -> None:
    def theirs() -> dict[str, bytes]:
        return {path: (clone.root / path).read_bytes() for path in THEIRS}

    for call in (
        lambda: patching.install(project.root, clone),
        lambda: status.collect(project.root, clone),
        lambda: export.export(project.root, clone, name="edits", description="x"),
        lambda: update(project.root, clone, "v9.9.2"),
        lambda: update(project.root, clone, "main"),
        lambda: undo.uninstall(project.root, clone),
    ):
        call()
        assert theirs() == THEIRS
    assert git(clone.root, "stash", "list") == b""


def test_missing_file_is_not_told_as_an_edit(project: Project, checkout: Checkout) -> None:
    """As a sparse checkout leaves it."""
    (checkout.root / TRAIN_PATH).unlink()
    message = refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert f"missing in {checkout.root}: {TRAIN_PATH}" in message and "sparse-checkout" in message
    assert "edits" not in message and "stash" not in message
    git(checkout.root, "checkout", "--", TRAIN_PATH)
    patching.install(project.root, checkout)


@pytest.mark.parametrize("tagged", [False, True])
def test_only_tags_that_the_clone_has_are_advised(project: Project, checkout: Checkout, tagged: bool) -> None:
    if tagged:
        git(checkout.root, "tag", "v9.9.1")
    write(checkout.root, {ACT_PATH: b"x\n", TRAIN_PATH: b"x\n", "pyproject.toml": b'name = "lerobot"\n'})
    git(checkout.root, "commit", "--quiet", "--all", "--message", "another")
    message = refused(
        ExitCode.UNSUPPORTED_VERSION, lambda: patching.install(project.root, checkout, exact=True)
    )
    assert ("git checkout v9.9.1" in message) == tagged


def run(project: Project, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(installer, "PROJECT", project.root)
    return install.main(list(words))


def test_archive_becomes_a_repository(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As GitHub's zip, or a release unpacked by hand."""
    archive = tmp_path / "lerobot-main"
    write(archive, UPSTREAM | {".gitignore": b"outputs/\n", "outputs/x": b"big"})
    (archive / "src/lerobot/train.py").chmod(0o755)
    before = snapshot(archive)
    assert run(project, monkeypatch, "dev", "--no-install", str(archive)) == 0, capsys.readouterr()
    tracked = git(archive, "ls-files").decode().split()
    assert ACT_PATH in tracked and "outputs/x" not in tracked and not list(archive.glob(".git-*"))
    assert git(archive, "rev-list", "--count", "HEAD") == b"1\n"
    assert b"worktree" not in (archive / ".git/config").read_bytes()
    assert run(project, monkeypatch, "uninstall", str(archive)) == 0
    assert snapshot(archive) == before


def test_status_exits_as_dev_would(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = ("status", "--json", str(checkout.root))
    assert run(project, monkeypatch, *words) == 0
    patching.install(project.root, checkout)
    assert run(project, monkeypatch, *words) == 0
    write(checkout.root, {ACT_PATH: b"mine\n"})
    assert run(project, monkeypatch, *words) == ExitCode.EDITED
    assert json.loads(capsys.readouterr().out.splitlines()[-1] and "{}") == {}
    with undo.locked(checkout):
        assert run(project, monkeypatch, *words) == ExitCode.BUSY
    checkout.record.state_path.write_bytes(b"{}")
    assert run(project, monkeypatch, *words) == ExitCode.DAMAGED_STATE


def test_copied_clone_has_no_edited_links(project: Project, checkout: Checkout, tmp_path: Path) -> None:
    """A copy has other dates than its index says: a link was called an edit."""
    (checkout.root / "link").symlink_to("README.md")
    git(checkout.root, "add", "link")
    git(checkout.root, "commit", "--quiet", "--message", "link")
    subprocess.run(["cp", "-r", str(checkout.root), str(tmp_path / "copy")], check=True)
    copy = Checkout(tmp_path / "copy")
    patching.install(project.root, copy)
    os.utime(copy.root / "link", (1, 1), follow_symlinks=False)
    assert export.export(project.root, copy, name="edits", description="x").added is None
    (copy.root / "link").unlink()
    (copy.root / "link").symlink_to(TRAIN_PATH)
    refused(ExitCode.EDITED, export_edits, project, copy)


def export_edits(project: Project, checkout: Checkout) -> None:
    export.export(project.root, checkout, name="edits", description="x")


@pytest.mark.parametrize(
    "options", [{"PYTHONSAFEPATH": "1"}, ["-I"], ["-OO"], ["-P"]], ids=lambda options: str(options)
)
def test_any_way_of_starting_python(options: dict | list, upstream: Path, tmp_path: Path) -> None:
    import sys

    flags, env = (options, {}) if isinstance(options, list) else ([], options)
    if flags == ["-P"] and sys.version_info < (3, 11):
        pytest.skip("Python 3.11 has -P")
    command = [sys.executable, *flags, str(installer.PROJECT / "install.py"), "status", str(upstream)]
    result = subprocess.run(command, cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True)
    assert (
        "Traceback" not in result.stderr
        and "not installed" in result.stdout + result.stderr
        or result.returncode
    )
    assert "Traceback" not in result.stderr


def test_status_of_a_partial_clone_fetches_nothing(
    project: Project, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remote of a clone may run a program: reading asks nobody."""
    git(upstream, "config", "uploadpack.allowFilter", "true")
    write(upstream, {ACT_PATH: ACT + b"later\n"})
    git(upstream, "commit", "--quiet", "--all", "--message", "later")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", f"file://{upstream}", str(tmp_path / "partial"))
    partial = Checkout(tmp_path / "partial")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
    program.chmod(0o755)
    git(partial.root, "config", "remote.origin.url", "ssh://nowhere/x")
    git(partial.root, "config", "core.sshCommand", str(program))
    status.collect(project.root, partial)
    assert not (tmp_path / "ran").exists()


def test_what_the_user_told_git_reaches_the_users_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -i key")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    scrub_environment()
    assert "GIT_DIR" not in users_environment() and "GIT_SSH_COMMAND" not in os.environ
    assert users_environment()["GIT_SSH_COMMAND"] == "ssh -i key"


def test_sparse_checkout_without_the_sources_is_told_as_one(project: Project, checkout: Checkout) -> None:
    git(checkout.root, "update-index", "--refresh")  # a copy: git leaves files of other dates alone
    git(checkout.root, "sparse-checkout", "set", "data")
    message = refused(ExitCode.NOT_LEROBOT, Checkout, checkout.root)
    assert "sparse-checkout add src" in message
