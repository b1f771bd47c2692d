# SPDX-License-Identifier: MIT
"""`update`: a patched clone at another commit, all of it or nothing."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from installer import patching, status, undo
from installer.transaction import OnStep, ignore_step
from installer.update import update
from tests.install.test_transaction import copied, killed_before, steps_of
from tests.install.upstreams import ACT, PYPROJECT, TALLY, UPSTREAM, Project, git, refused, snapshot, write
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.standing import file_states

ACT_PATH, TRAIN_PATH = "src/lerobot/act.py", "src/lerobot/train.py"
SECOND = ACT.replace(b"print(1)\n", b"print(first)\n")


@pytest.fixture
def patched(project: Project, checkout: Checkout) -> Checkout:
    """A patched clone with two more branches: a supported release, and a version that no series fits."""
    project.add_patch("0001-z.patch", {ACT_PATH: SECOND}, {ACT_PATH: SECOND + b"z\n"}, tag="v9.9.2")
    for name, act in (("v9.9.2", SECOND), ("strange", b"nothing alike\n")):
        git(checkout.root, "checkout", "--quiet", "-b", name, "main")
        version = b"9.9.2" if name == "v9.9.2" else b"8.0"
        write(checkout.root, {ACT_PATH: act, "pyproject.toml": PYPROJECT.replace(b"9.9.1", version)})
        git(checkout.root, "commit", "--quiet", "--all", "--message", name)
    git(checkout.root, "checkout", "--quiet", "main")
    patching.install(project.root, checkout)
    return checkout


def test_goes_to_another_release_and_back(project: Project, patched: Checkout) -> None:
    before = snapshot(patched.root)
    update(project.root, patched, "v9.9.2")
    assert (patched.root / ACT_PATH).read_bytes() == SECOND + b"z\n" and patched.state().tag == "v9.9.2"
    assert git(patched.root, "branch", "--show-current") == b"v9.9.2\n"
    update(project.root, patched, "main")
    assert snapshot(patched.root) == before and patched.state().tag == "v9.9.1"


def test_comes_back_where_the_patches_do_not_fit(project: Project, patched: Checkout) -> None:
    before = snapshot(patched.root)
    with pytest.raises(Exception, match="back at main"):
        update(project.root, patched, "strange")
    assert snapshot(patched.root) == before and patched.state().tag == "v9.9.1"
    assert git(patched.root, "branch", "--show-current") == b"main\n"


def test_comes_back_where_git_refuses(project: Project, patched: Checkout) -> None:
    """An edit that the checkout would overwrite: git says so, and nothing is lost."""
    git(patched.root, "checkout", "--quiet", "-b", "other", "main")
    git(patched.root, "checkout", "--quiet", "main")
    write(patched.root, {"pyproject.toml": PYPROJECT + b"# mine\n"})
    before = snapshot(patched.root)
    assert "as it was" in refused(ExitCode.GIT, update, project.root, patched, "v9.9.2")
    assert snapshot(patched.root) == before and patched.state().tag == "v9.9.1"


def test_unknown_commit_is_refused_before_anything_is_done(project: Project, patched: Checkout) -> None:
    before = snapshot(patched.root)
    for ref in ("nowhere", "--orphan"):
        assert ref in refused(ExitCode.USAGE, update, project.root, patched, ref)
    assert snapshot(patched.root) == before


def test_pulls_what_the_branch_follows(project: Project, upstream: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", str(upstream), str(tmp_path / "clone"))
    clone = Checkout(tmp_path / "clone")
    patching.install(project.root, clone)
    write(upstream, {"README.md": b"news\n"})
    git(upstream, "commit", "--quiet", "--all", "--message", "news")
    update(project.root, clone, None)
    assert (clone.root / "README.md").read_bytes() == b"news\n" and clone.state().tag == "v9.9.1"
    write(upstream, {ACT_PATH: b"nothing alike\n", "pyproject.toml": PYPROJECT.replace(b"9.9.1", b"8.0")})
    git(upstream, "commit", "--quiet", "--all", "--message", "strange")
    before = snapshot(clone.root), git(clone.root, "rev-parse", "HEAD")
    with pytest.raises(Exception, match="back at main"):
        update(project.root, clone, None)
    assert (snapshot(clone.root), git(clone.root, "rev-parse", "HEAD")) == before


@pytest.mark.parametrize("detached", [False, True])
def test_nothing_to_pull_is_said_before_anything_is_done(
    project: Project, patched: Checkout, detached: bool
) -> None:
    if detached:
        git(patched.root, "checkout", "--quiet", "--detach")
    before, steps = snapshot(patched.root), []
    message = refused(ExitCode.USAGE, update, project.root, patched, None, None, steps.append)
    assert ("no branch" in message) == detached and "update main" in message
    assert snapshot(patched.root) == before and steps == []


@pytest.mark.parametrize("name", ["rebase-merge", "MERGE_HEAD"])
def test_waits_for_an_unfinished_rebase_or_merge(project: Project, patched: Checkout, name: str) -> None:
    (patched.git_dir / name).mkdir()
    assert "--abort" in refused(ExitCode.GIT, update, project.root, patched, "v9.9.2")
    assert (patched.root / TRAIN_PATH).read_bytes() != UPSTREAM[TRAIN_PATH]


def test_the_users_own_hooks_run(project: Project, patched: Checkout, tmp_path: Path) -> None:
    hook = patched.git_dir / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    update(project.root, patched, "v9.9.2")
    assert (tmp_path / "ran").exists() or os.name == "nt"


def test_comes_back_where_the_installation_fails(project: Project, patched: Checkout) -> None:
    """The patches fit, but what was installed does not work, or there is no network."""
    before = snapshot(patched.root)

    def put_in(install: bool) -> None:
        assert not install
        patching.install(project.root, patched)
        raise RewactError(ExitCode.INDEX, "offline")

    def call() -> None:
        update(project.root, patched, "v9.9.2", put_in)

    assert "back at main" in refused(ExitCode.INDEX, call)
    assert snapshot(patched.root) == before and patched.state().tag == "v9.9.1"


SIGKILL = pytest.mark.skipif(os.name == "nt", reason="SIGKILL")


@SIGKILL
@pytest.mark.parametrize("ref", ["v9.9.2", "strange"])
def test_kill_at_every_step_then_old_or_new(project: Project, patched: Checkout, ref: str) -> None:
    """Run again it arrives, or is back where the first run began; no file is a mixture in between."""

    def call(checkout: Checkout, on_step: OnStep = ignore_step) -> None:
        with contextlib.suppress(RewactError):
            update(project.root, checkout, ref, on_step=on_step)

    def found(checkout: Checkout) -> tuple:
        state = checkout.state()
        return snapshot(checkout.root), git(checkout.root, "branch", "--show-current"), state and state.tag

    reference = copied(patched, "reference")
    steps = steps_of(lambda on_step: call(reference, on_step))
    wanted = found(reference)
    assert len(steps) > 20 and wanted[2] == ("v9.9.2" if ref == "v9.9.2" else "v9.9.1")
    assert (found(patched) == wanted) == (ref == "strange")
    # Of steps that do the same to one file after the other, the first.
    kinds = [step.split()[0] for step in steps]
    for number in [at for at, kind in enumerate(kinds) if kind not in kinds[at - 1 : at]]:
        step = steps[number]
        victim = copied(patched, f"killed-{number}")
        killed_before(number, lambda on_step, victim=victim: call(victim, on_step))
        undo.recover(project.root, victim)
        state = victim.state()
        assert state is None or set(file_states(victim, state).values()) == {"applied"}, step
        assert state is not None or git(victim.root, "status", "--porcelain") == b"", step
        call(victim)
        assert found(victim) == wanted, step
        TALLY["kill points"] += 1
        TALLY["new tree" if ref == "v9.9.2" else "old tree"] += 1


@SIGKILL
def test_comes_back_where_the_installation_fails_after_a_kill_in_it(
    project: Project, patched: Checkout
) -> None:
    """The patches are in: where the first run began was forgotten."""
    before = snapshot(patched.root)

    def put_in(install: bool) -> None:
        patching.install(project.root, patched)
        raise RewactError(ExitCode.CHECK_FAILED, "it does not work.")

    def killed(install: bool) -> None:
        patching.install(project.root, patched)
        os.kill(os.getpid(), signal.SIGKILL)

    killed_before(-1, lambda on_step: update(project.root, patched, "v9.9.2", killed, on_step))
    assert patched.state().tag == "v9.9.2"
    message = refused(ExitCode.CHECK_FAILED, update, project.root, patched, "v9.9.2", put_in)
    assert "back at main" in message
    assert snapshot(patched.root) == before and patched.state().tag == "v9.9.1"


@SIGKILL
def test_git_that_was_killed_halfway_is_taken_back(project: Project, patched: Checkout) -> None:
    """Files of both commits, the old index: git would take them for edits. What is the user's stays."""
    new = {"src/lerobot/new.py": b"new = 1\n", "README.md": b"another robot\n"}
    git(patched.root, "stash", "--quiet", "--include-untracked")
    git(patched.root, "checkout", "--quiet", "v9.9.2")
    write(patched.root, new)
    git(patched.root, "rm", "--quiet", "data/keep.bin")
    git(patched.root, "add", "--all")
    git(patched.root, "commit", "--quiet", "--message", "more")
    git(patched.root, "checkout", "--quiet", "main")
    git(patched.root, "stash", "pop", "--quiet")

    steps = steps_of(lambda on_step: update(project.root, copied(patched, "copy"), "v9.9.2", on_step=on_step))
    killed_before(
        steps.index("git"), lambda on_step: update(project.root, patched, "v9.9.2", on_step=on_step)
    )
    write(patched.root, {**new, ACT_PATH: SECOND, "src/mine.py": b"mine\n", ":(icase)mine": b"mine\n"})
    (patched.root / "data/keep.bin").unlink()
    assert (patched.state_dir / "update.json").exists() and patched.state() is None
    assert status.collect(project.root, patched)[0]["summary"] == "interrupted"
    (patched.git_dir / "index.lock").touch()
    assert "index.lock" in refused(ExitCode.GIT, update, project.root, patched, "v9.9.2")
    (patched.git_dir / "index.lock").unlink()
    update(project.root, patched, "v9.9.2")
    assert patched.state().tag == "v9.9.2" and (patched.root / ACT_PATH).read_bytes() == SECOND + b"z\n"
    assert (patched.root / "src/mine.py").read_bytes() == b"mine\n"
    assert (patched.root / "README.md").read_bytes() == b"another robot\n"
    assert not (patched.root / "data/keep.bin").exists()
