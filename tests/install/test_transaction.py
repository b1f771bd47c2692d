# SPDX-License-Identifier: MIT
"""Whatever ends a run, the checkout is as before or as wanted after the next one."""

import contextlib
import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from installer import files, lock, patching, transaction, undo
from tests.install.upstreams import PROJECT, TALLY, Project, git, mounted, refused, snapshot, write
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError


class _StopError(Exception):
    pass


def copied(checkout: Checkout, name: str) -> Checkout:
    """A copy beside it."""
    return Checkout(Path(shutil.copytree(checkout.root, checkout.root.with_name(name))))


def steps_of(call) -> list[str]:
    """The names of the steps that a run goes through."""
    steps: list[str] = []
    call(steps.append)
    return steps


def called(command: str):
    """The function behind `install` or `uninstall`."""
    return undo.uninstall if command == "uninstall" else patching.install


def killed_at(step: int, command: str, project: Project, checkout: Checkout) -> None:
    """Runs a command in a process of its own that kills itself, with SIGKILL, before the given step."""
    killed_before(step, lambda on_step: called(command)(project.root, checkout, on_step))


def killed_before(step: int, call: Callable[[Callable[[str], None]], object]) -> None:
    """Likewise for whatever takes `on_step`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pytest's own threads the child uses none
        child = os.fork()
    if child == 0:
        count = itertools.count()
        with contextlib.suppress(BaseException):
            call(lambda name: next(count) == step and os.kill(os.getpid(), signal.SIGKILL))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("command", ["install", "uninstall", "upgrade"])
def test_kill_at_every_step_then_old_or_new(project: Project, checkout: Checkout, command: str) -> None:
    """Once repaired the tree is the old one, byte for byte, or the new; run again it is the new one."""
    if command != "install":
        patching.install(project.root, checkout)
    if command == "upgrade":
        project.add_overlay("lerobot/head.py", b"ours = 2\n")
        project.add_overlay("rewact/new/deeper/__init__.py")
        (project.root / "overlay/rewact/deep/__init__.py").unlink()
        project.retire("overlay/rewact/deep/__init__.py")
    verb = "uninstall" if command == "uninstall" else "install"

    reference = copied(checkout, "reference")
    old = snapshot(reference.root)
    steps = steps_of(lambda on_step: called(verb)(project.root, reference, on_step))
    new = snapshot(reference.root)
    assert len(steps) > 8 and old != new

    for number, step in enumerate(steps):
        victim = copied(checkout, f"killed-{number}")
        killed_at(number, verb, project, victim)
        undo.recover(project.root, victim)
        committed = step in ("remove journal", "remove originals")
        found = snapshot(victim.root)
        assert found == (new if committed else old), step
        TALLY["kill points"] += 1
        TALLY["new tree" if found == new else "old tree"] += 1
        called(verb)(project.root, victim)
        assert snapshot(victim.root) == new, step
        assert (victim.state() is None) == (verb == "uninstall"), step


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("step", ["replace ", "verify", "remove journal"])
def test_repair_that_ends_anywhere_is_finished_by_the_next(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Every change on the disk that the repair makes is once its last, a file half written."""
    patching.install(project.root, checkout)
    installed = snapshot(checkout.root)
    reference = copied(checkout, "reference")
    steps = steps_of(lambda on_step: undo.uninstall(project.root, reference, on_step))
    number = next(i for i, name in enumerate(steps) if name.startswith(step))
    wanted = snapshot(reference.root) if step == "remove journal" else installed
    changes = []

    def ending_at(last: int, change):
        def counted(*arguments, **options):
            changes.append(change.__name__)
            if len(changes) <= last:
                return change(*arguments, **options)
            if change is files.write_new:
                path, data, *_ = arguments
                path.write_bytes(data[: len(data) // 2])
            raise _StopError

        return counted

    broken = copied(checkout, "broken")
    killed_at(number, "uninstall", project, broken)
    last, finished = 0, False
    while not finished:
        victim = copied(broken, f"victim-{last}")
        changes.clear()
        with monkeypatch.context() as patch:
            patch.setattr(transaction, "write_new", ending_at(last, files.write_new))
            for owner, name in ((os, "replace"), (Path, "unlink"), (Path, "rmdir")):
                patch.setattr(owner, name, ending_at(last, getattr(owner, name)))
            try:
                undo.recover(project.root, victim)
                finished = True
            except _StopError:
                pass
        undo.recover(project.root, victim)
        assert snapshot(victim.root) == wanted, changes
        assert not victim.record.journal_path.exists()
        last += 1
    assert last > 3
    assert step != "verify" or {"write_new", "replace", "unlink"} <= set(changes)


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_error_at_every_step_leaves_the_old_tree_at_once(
    project: Project, checkout: Checkout, command: str
) -> None:
    if command == "uninstall":
        patching.install(project.root, checkout)
    old = snapshot(checkout.root)
    step, finished = 0, False
    while not finished:
        seen = []

        def on_step(name: str, seen=seen, step=step) -> None:
            if len(seen) == step and name not in ("remove journal", "remove originals"):
                raise _StopError
            seen.append(name)

        try:
            called(command)(project.root, checkout, on_step)
            finished = True
        except _StopError:
            assert snapshot(checkout.root) == old
            assert not checkout.record.journal_path.exists()
        step += 1
    assert step > 8


def fail_writing(monkeypatch: pytest.MonkeyPatch, number: int, name: str) -> None:
    """The second file that is staged cannot be written."""
    original, count = transaction.write_new, []

    def failing(path: Path, data: bytes, mode: int | None = None) -> None:
        count.append(path)
        if len(count) == 2:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(number, name, str(path))
        original(path, data, mode)

    monkeypatch.setattr(transaction, "write_new", failing)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, ExitCode.DISK_FULL),
        (errno.EACCES, ExitCode.NO_PERMISSION),
        (errno.EROFS, ExitCode.NO_PERMISSION),
        (errno.EIO, ExitCode.DISK_FULL),
    ],
)
def test_failed_write_restores_the_old_tree(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, number: int, code: ExitCode
) -> None:
    before = snapshot(checkout.root)
    fail_writing(monkeypatch, number, os.strerror(number))
    message = refused(code, patching.install, project.root, checkout)
    assert os.strerror(number) in message or "full" in message
    assert snapshot(checkout.root) == before
    assert not checkout.state_dir.exists()


def test_full_disk_while_the_journal_is_written(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(checkout.root)

    def full(path: Path, data: bytes, mode: int | None = None) -> None:
        if path.name.startswith("journal"):
            path.write_bytes(b"{")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return original(path, data, mode)

    original = files.write_new
    monkeypatch.setattr(files, "write_new", full)
    refused(ExitCode.DISK_FULL, patching.install, project.root, checkout)
    assert snapshot(checkout.root) == before and not checkout.state_dir.exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tiny file system")
def test_really_full_disk(project: Project, upstream: Path, tmp_path: Path) -> None:
    mount = tmp_path / "tiny"
    with mounted(mount, "-t", "tmpfs", "-o", "size=1m", "none"):
        subprocess.run(["cp", "-a", f"{upstream}/.", mount], check=True)
        project.add_overlay("rewact/large.py", b"# padding\n" * 200_000)
        checkout = Checkout(mount)
        before = snapshot(mount)
        refused(ExitCode.DISK_FULL, patching.install, project.root, checkout)
        assert snapshot(mount) == before and not checkout.state_dir.exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a read-only file system")
def test_really_read_only_checkout(project: Project, upstream: Path, tmp_path: Path) -> None:
    mount = tmp_path / "frozen"
    with mounted(mount, "-o", "bind,ro", upstream):
        message = refused(ExitCode.NO_PERMISSION, patching.install, project.root, Checkout(mount))
        assert str(mount) in message


def test_edit_between_kill_and_next_run_is_kept(project: Project, checkout: Checkout) -> None:
    steps = steps_of(lambda on_step: patching.install(project.root, checkout, on_step))
    undo.uninstall(project.root, checkout)
    killed_at(steps.index("verify"), "install", project, checkout)
    write(checkout.root, {"src/lerobot/act.py": b"mine\n"})
    message = refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert "src/lerobot/act.py" in message and "interrupted" in message
    assert (checkout.root / "src/lerobot/act.py").read_bytes() == b"mine\n"


def test_edit_while_the_installer_runs_is_kept(project: Project, checkout: Checkout) -> None:
    before = snapshot(checkout.root)

    def on_step(name: str) -> None:
        if name == "replace src/lerobot/train.py":
            write(checkout.root, {"src/lerobot/train.py": b"mine\n"})

    # The edit is kept, so the way back cannot be completed: the run says so and the next one finishes it.
    refused(ExitCode.EDITED, patching.install, project.root, checkout, on_step)
    assert (checkout.root / "src/lerobot/train.py").read_bytes() == b"mine\n"
    write(checkout.root, {"src/lerobot/train.py": before["src/lerobot/train.py"][1]})
    undo.recover(project.root, checkout)
    assert snapshot(checkout.root) == before


@pytest.mark.parametrize("how", ["checkout", "stash"])
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_files_put_back_with_git_after_a_killed_upgrade(
    project: Project, checkout: Checkout, how: str, command: str
) -> None:
    """The remedy that the message names: the release's files are neither those before nor those after."""
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    series = project.series("v9.9.1")
    series.write_text(series.read_text().replace("0003-c.patch\n", ""))
    project.patch_path("0003-c.patch").unlink()
    reference = copied(checkout, "reference")
    steps = steps_of(lambda on_step: patching.install(project.root, reference, on_step))
    killed_at(steps.index("verify"), "install", project, checkout)
    with open(checkout.root / "src/lerobot/act.py", "ab") as file:
        file.write(b"mine\n")
    assert "git checkout" in refused(ExitCode.EDITED, patching.install, project.root, checkout)
    git(checkout.root, *(["stash"] if how == "stash" else ["checkout", "--", "src/lerobot/act.py"]))
    called(command)(project.root, checkout)
    assert snapshot(checkout.root) == (before if command == "uninstall" else snapshot(reference.root))


def test_run_that_is_killed_while_another_waits_for_the_lock(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the other looked at the record first there was no journal."""
    before = snapshot(checkout.root)
    steps = steps_of(lambda on_step: patching.install(project.root, checkout, on_step))
    after = snapshot(checkout.root)
    undo.uninstall(project.root, checkout)
    check = undo.check_record

    def killed_after_the_check(*arguments: object) -> None:
        check(*arguments)
        monkeypatch.setattr(undo, "check_record", check)
        killed_at(steps.index("replace src/lerobot/act.py"), "install", project, checkout)

    monkeypatch.setattr(undo, "check_record", killed_after_the_check)
    patching.install(project.root, checkout)
    assert snapshot(checkout.root) == after
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before


@pytest.mark.parametrize(
    "text",
    [
        b'{"transaction": "12',
        b'{"transaction": "0123456789abcdef", "removes_state": false, "changes": []}',
        b"[]",
        b'{"transaction": "0123456789abcdef", "removes_state": false, "changes": [1], "directories": []}',
        b'{"transaction": "0123456789abcdef", "removes_state": false, "changes": [], "directories": [1]}',
    ],
)
def test_damaged_journal_is_diagnosed(project: Project, checkout: Checkout, text: bytes) -> None:
    checkout.state_dir.mkdir()
    checkout.record.journal_path.write_bytes(text)
    message = refused(ExitCode.DAMAGED_STATE, patching.install, project.root, checkout)
    assert str(checkout.record.journal_path) in message


def test_hostile_journal_removes_no_directory_outside(
    project: Project, checkout: Checkout, tmp_path: Path
) -> None:
    checkout.state_dir.mkdir()
    (tmp_path / "empty").mkdir()
    checkout.record.journal_path.write_text(
        '{"transaction": "0123456789abcdef", "removes_state": false, "directories": ["../empty"],'
        ' "changes": []}'
    )
    refused(ExitCode.DAMAGED_STATE, patching.install, project.root, checkout)
    assert (tmp_path / "empty").is_dir()


def test_hostile_journal_writes_nothing_outside(project: Project, checkout: Checkout, tmp_path: Path) -> None:
    checkout.state_dir.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"safe")
    checkout.record.journal_path.write_text(
        '{"transaction": "0123456789abcdef", "removes_state": false, "directories": [],'
        ' "changes": [{"path": "../victim", "old": null, "new": null}]}'
    )
    with pytest.raises(RewactError):
        patching.install(project.root, checkout)
    assert victim.read_bytes() == b"safe"


def test_concurrent_run_is_refused_and_names_the_holder(project: Project, checkout: Checkout) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom installer import lock\n"
        "with lock.hold(Path(sys.argv[2])):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", program, str(PROJECT), str(checkout.state_dir)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        before = snapshot(checkout.root)
        message = refused(ExitCode.BUSY, patching.install, project.root, checkout)
        assert str(holder.pid) in message
        assert snapshot(checkout.root) == before
        holder.stdin.close()
    patching.install(project.root, checkout)


def test_holder_is_named_where_the_lock_moves_the_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows: msvcrt locks the byte at the file's position, and os.pwrite is missing."""
    locked = set()

    def locking(descriptor: int, mode: int, count: int) -> None:
        byte = os.lseek(descriptor, 0, os.SEEK_CUR)
        if byte in locked:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        locked.add(byte)

    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)
    monkeypatch.delattr(os, "pwrite", raising=False)
    with lock.hold(tmp_path / "state"):
        assert f"process {os.getpid()} on " in refused(ExitCode.BUSY, lock.hold(tmp_path / "state").__enter__)


def test_lock_is_free_after_its_holder_was_killed(project: Project, checkout: Checkout) -> None:
    killed_at(3, "install", project, checkout)
    with lock.hold(checkout.state_dir):
        pass
    patching.install(project.root, checkout)


@pytest.mark.parametrize("where", ["parent", "target"])
def test_link_slipped_in_while_the_installer_runs(
    project: Project, checkout: Checkout, tmp_path: Path, where: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    before = snapshot(outside)

    def on_step(name: str) -> None:
        if name == "stage src/rewact/deep/__init__.py":
            directory = checkout.root / "src/rewact/deep"
            if where == "parent":
                directory.rmdir()
                directory.symlink_to(outside)
            else:
                (directory / "__init__.py").symlink_to(outside / "written.py")

    refused(ExitCode.EDITED, patching.install, project.root, checkout, on_step)
    assert snapshot(outside) == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_run_as_root_leaves_no_file_of_roots(
    project: Project, upstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo python install.py dev`: what is written in the user's checkout is the user's."""
    subprocess.run(["chown", "-R", "65534:65534", str(upstream)], check=True)
    monkeypatch.setenv("SUDO_UID", "65534")  # git trusts whom sudo was called by
    checkout = Checkout(upstream)

    def owners() -> dict[Path, int]:
        return {path: path.lstat().st_uid for path in upstream.rglob("*") if path.lstat().st_uid != 65534}

    assert patching.install(project.root, checkout).changes and owners() == {}
    assert checkout.record.state_path.exists() and list(checkout.state_dir.glob("blobs/*"))
    with lock.hold(checkout.state_dir):
        assert owners() == {}
    undo.uninstall(project.root, checkout)
    assert owners() == {}


def test_old_files_are_not_said_to_be_back_where_they_are_not(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_writing(monkeypatch, errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(found: Checkout) -> None:
        if found.record.journal_path.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(transaction, "recover", fail)
        message = refused(ExitCode.DISK_FULL, patching.install, project.root, checkout)
    assert "are back" not in message and "next run" in message


@pytest.mark.parametrize(("number", "busy"), [(errno.EWOULDBLOCK, True), (errno.ENOLCK, False)])
def test_file_system_without_locks_is_not_another_run(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, number: int, busy: bool
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "flock", fail)
        code = ExitCode.BUSY if busy else ExitCode.DISK_FULL
        message = refused(code, patching.install, project.root, checkout)
    assert ("Another run" in message) == busy and ("cannot be locked" in message) != busy
    assert busy or not checkout.state_dir.exists()
