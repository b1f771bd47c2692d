# SPDX-License-Identifier: MIT
"""install.py as a user runs it: arguments, what is found without them, messages and exit codes."""

import errno
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import install
import installer
from installer import commands, console, status
from tests.install.upstreams import (
    ACT_PATCHED_TWICE,
    PROJECT,
    TRAIN_PATCHED,
    UPSTREAM,
    Project,
    git,
    make_repository,
    mounted,
    snapshot,
    write,
)
from verify.checkout import Checkout
from verify.errors import ExitCode


def path_with(directory: Path, *programs: str) -> str:
    """A PATH that holds only these programs, none of them git unless said."""
    directory.mkdir(exist_ok=True)
    for program in programs:
        (directory / program).symlink_to(subprocess.check_output(["which", program], text=True).strip())
    return str(directory)


def fake(directory: Path, name: str, script: str) -> str:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)
    return str(directory)


def test_help_names_every_command_and_exit_code() -> None:
    text = subprocess.check_output([sys.executable, str(PROJECT / "install.py"), "--help"], text=True)
    for name in ("dev", "prod", "test", "demo", "status", "uninstall"):
        assert name in text
    words = " ".join(text.split())
    for code in ExitCode:
        if code not in (ExitCode.INTERNAL, ExitCode.OK):
            assert f"{code.value} " in words


def test_starts_with_the_standard_library_alone() -> None:
    """-S: no site-packages; -E: no variables."""
    command = [sys.executable, "-S", "-E", str(PROJECT / "install.py"), "status", "/nowhere"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == ExitCode.NOT_LEROBOT and "Traceback" not in result.stderr


def test_older_python_reads_a_sentence() -> None:
    start = (
        "import runpy, sys; sys.version_info = (3, 9, 1); runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    command = [sys.executable, "-c", start, str(PROJECT / "install.py")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == ExitCode.NO_PYTHON and "3.10" in result.stderr


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.EACCES, ExitCode.NO_PERMISSION, "permissions"),
        (errno.ENOSPC, ExitCode.DISK_FULL, "disk is full"),
        (errno.ENOENT, ExitCode.DISK_FULL, "act.py does not exist."),
        (errno.EIO, ExitCode.DISK_FULL, "failed (Input/output error)"),
        (errno.ENAMETOOLONG, ExitCode.DISK_FULL, "failed (File name too long)"),
    ],
)
def test_what_the_system_refuses_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    number: int,
    code: ExitCode,
    words: str,
) -> None:
    def fail(_: object) -> None:
        raise OSError(number, os.strerror(number), "/somewhere/act.py")

    monkeypatch.setattr(commands, "status", fail)
    assert install.main(["status"]) == code
    said = capsys.readouterr().err
    assert "/somewhere/act.py" in said and words in said and ("is full" in said) == (number == errno.ENOSPC)


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict"])
def test_names_that_the_terminal_cannot_show(
    run_install, project: Project, upstream: Path, tmp_path: Path, encoding: str
) -> None:
    clone = upstream.rename(tmp_path / os.fsdecode(b"l\xc3\xa9\xff"))
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    result = run_install(project, "dev", "--no-install", str(clone), env=env)
    assert result.returncode == 0, result.stderr
    assert "\\udcff" in result.stdout
    (clone / "src/lerobot/act.py").write_bytes(b"mine\n")
    result = run_install(project, "uninstall", str(clone), env=env)
    assert result.returncode == ExitCode.EDITED and "\\udcff" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_log_on_a_full_disk_does_not_stop_the_work(project: Project, upstream: Path) -> None:
    start = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import install; "
        "import installer; installer.PROJECT = Path(sys.argv[2]); "
        "sys.exit(install.main(sys.argv[3:]))"
    )

    clone = upstream.rename(upstream.with_name(os.fsdecode(b"l\xff")))

    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-S", "-c", start, str(PROJECT), str(project.root), *words, str(clone)]
        with open("/dev/full", "w") as full:
            return subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)

    result = run("dev", "--no-install")
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert (clone / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED
    result = run("status", "--json")  # half an answer is none
    assert result.returncode == ExitCode.DISK_FULL and "standard output" in result.stderr


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a tiny file system")
def test_full_temporary_directory(run_install, project: Project, upstream: Path, tmp_path: Path) -> None:
    large = os.urandom(200_000)
    project.add_patch("0004-d.patch", {"src/lerobot/large.bin": large}, {"src/lerobot/large.bin": b"x"})
    write(upstream, {"src/lerobot/large.bin": large})
    before = snapshot(upstream)
    mount = tmp_path / "tiny"
    with mounted(mount, "-t", "tmpfs", "-o", "size=100k", "none"):
        result = run_install(project, "dev", "--no-install", str(upstream), env={"TMPDIR": str(mount)})
    assert result.returncode == ExitCode.DISK_FULL and "Make room" in result.stderr
    assert snapshot(upstream) == before


def test_wrong_arguments(run_install, project: Project) -> None:
    for words in ([], ["fly"], ["status", "--loud"], ["dev", "a", "b"]):
        assert run_install(project, *words).returncode == ExitCode.USAGE


def test_dev_status_uninstall(run_install, project: Project, upstream: Path) -> None:
    before = snapshot(upstream)
    first = run_install(project, "dev", "--no-install", str(upstream))
    assert first.returncode == 0, first.stderr
    assert "3 patches applied, 4 files written" in first.stdout and "Next" in first.stdout
    assert (upstream / "src/lerobot/act.py").read_bytes() == ACT_PATCHED_TWICE

    second = run_install(project, "dev", "--no-install", str(upstream))
    assert second.returncode == 0 and "nothing changed" in second.stdout

    report = json.loads(run_install(project, "status", str(upstream), "--json").stdout)
    assert report["lerobot"] == "v9.9.1" and report["summary"] == "applied"
    assert set(report["files"].values()) == {"applied"} and len(report["files"]) == 4
    assert "applied   src/lerobot/act.py" in run_install(project, "status", str(upstream)).stdout

    assert run_install(project, "uninstall", str(upstream)).returncode == 0
    assert snapshot(upstream) == before
    report = json.loads(run_install(project, "status", str(upstream), "--json").stdout)
    assert report["summary"] == "not installed" and set(report["files"].values()) == {"pristine"}


def test_status_is_short_where_all_is_alike(capsys: pytest.CaptureFixture) -> None:
    """163 lines stood between what was found and the environment; LeRobot 0.6.2 was called v0.6.1."""
    ours = ["src/rewact/a.py", "src/rewact/deep/b.py"]
    found = {"checkout": "clone", "lerobot": "v9.9.1", "fitted": True, "left_out": [], "summary": "applied"}
    found |= {
        "message": None,
        "environment": None,
        "files": dict.fromkeys(["pyproject.toml", *ours], "applied"),
    }
    status.show(found)
    printed = capsys.readouterr().out
    assert "clone: LeRobot near v9.9.1, fitted, not released\n" in printed and "(3 applied)" in printed
    assert "applied   src/rewact/ (2 files)\n" in printed and not any(path in printed for path in ours)
    found["files"][ours[1]] = "edited"
    status.show(found)
    printed = capsys.readouterr().out
    assert all(path in printed for path in ours)


JOURNAL = '{"transaction": "0123456789abcdef", "removes_state": false, "directories": [], "changes": []}'


@pytest.mark.parametrize(
    ("change", "summary"),
    [
        (lambda project, root: write(root, {"src/lerobot/act.py": b"mine\n"}), "mixed"),
        (lambda project, root: (root / "src/lerobot/head.py").unlink(), "mixed"),
        (lambda project, root: project.add_overlay("lerobot/head.py", b"ours = 2\n"), "outdated"),
        (lambda project, root: (root / ".git/rewact/journal.json").write_text(JOURNAL), "interrupted"),
    ],
)
def test_status_says_what_is_wrong(
    run_install, project: Project, upstream: Path, change, summary: str
) -> None:
    run_install(project, "dev", "--no-install", str(upstream))
    change(project, upstream)
    before = snapshot(upstream)
    result = run_install(project, "status", str(upstream), "--json")
    assert json.loads(result.stdout)["summary"] == summary
    assert snapshot(upstream) == before


def test_status_of_an_unsupported_tree(run_install, project: Project, tmp_path: Path) -> None:
    files = {**UPSTREAM, "src/lerobot/act.py": b"other\n", "src/lerobot/train.py": b"other\n"}
    root = make_repository(tmp_path / "unknown", files)
    report = json.loads(run_install(project, "status", str(root), "--json").stdout)
    assert report["summary"] == "unsupported" and "v9.9.1" in report["message"]


@pytest.mark.parametrize("place", ["inside", "deep inside", "beside", "above", "next to install.py"])
def test_finds_the_clone_it_stands_in_or_beside(
    run_install, project: Project, upstream: Path, tmp_path: Path, place: str
) -> None:
    clone = upstream.rename((project.root if place == "next to install.py" else tmp_path) / "lerobot")
    (tmp_path / "else" / "where").mkdir(parents=True)
    cwd = {
        "inside": clone,
        "deep inside": clone / "src" / "lerobot",
        "beside": tmp_path / "else",
        "above": tmp_path,
        "next to install.py": tmp_path / "else" / "where",
    }[place]
    result = run_install(project, "dev", "--no-install", cwd=cwd)
    assert result.returncode == 0, result.stderr
    assert str(clone) in result.stdout
    assert (clone / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED


@pytest.mark.parametrize("kind", ["missing", "no repository", "other"])
def test_not_a_lerobot_clone(run_install, project: Project, tmp_path: Path, kind: str) -> None:
    place = tmp_path / kind
    if kind == "no repository":
        write(place, UPSTREAM)
    elif kind == "other":
        make_repository(place, {"readme": b"x\n"})
    commands = [["uninstall"], ["status"]]  # of an archive, these make no repository
    for command in [*commands, *([] if kind == "no repository" else [["dev", "--no-install"], ["prod"]])]:
        result = run_install(project, *command, str(place))
        assert result.returncode == ExitCode.NOT_LEROBOT
        assert str(place) in result.stderr and len(result.stderr.splitlines()) == 1


def test_uninstall_and_status_fetch_nothing(run_install, project: Project, tmp_path: Path) -> None:
    for command in ("uninstall", "status"):
        result = run_install(project, command, cwd=tmp_path)
        assert result.returncode == ExitCode.NOT_LEROBOT and "name one" in result.stderr


def test_no_git(run_install, project: Project, upstream: Path, tmp_path: Path) -> None:
    before = snapshot(upstream)
    result = run_install(
        project, "dev", "--no-install", str(upstream), env={"PATH": path_with(tmp_path / "bin")}
    )
    assert result.returncode == ExitCode.GIT and "install git 2.39" in result.stderr
    assert snapshot(upstream) == before


@pytest.mark.parametrize("answer", ["git version 2.38.9", "git version 1.8.3.1", "gitte 7"])
def test_git_too_old(run_install, project: Project, upstream: Path, tmp_path: Path, answer: str) -> None:
    before = snapshot(upstream)
    path = fake(tmp_path / "bin", "git", f"echo {answer}")
    result = run_install(
        project, "dev", "--no-install", str(upstream), env={"PATH": f"{path}:{os.environ['PATH']}"}
    )
    assert result.returncode == ExitCode.GIT and len(result.stderr.splitlines()) == 1
    assert snapshot(upstream) == before


@pytest.mark.parametrize(
    "answer", ["git version 2.39.0", "git version 2.50.1 (Apple Git-155)", "git version 3.0.0.rc1"]
)
def test_git_new_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str) -> None:
    from verify.gitcmd import require_git

    monkeypatch.setenv("PATH", fake(tmp_path / "bin", "git", f"echo '{answer}'"))
    assert require_git() in answer


def test_unknown_version_to_fetch(run_install, project: Project) -> None:
    result = run_install(project, "dev", "--no-install", "--lerobot", "0.1.0")
    assert result.returncode == ExitCode.UNSUPPORTED_VERSION and "0.6.1" in result.stderr


def test_edited_file(run_install, project: Project, upstream: Path) -> None:
    write(upstream, {"src/lerobot/act.py": b"mine\n"})
    result = run_install(project, "dev", "--no-install", str(upstream))
    assert result.returncode == ExitCode.EDITED and "src/lerobot/act.py" in result.stderr


def test_damaged_patch(run_install, project: Project, upstream: Path) -> None:
    project.patch_path().write_bytes(b"")
    result = run_install(project, "dev", "--no-install", str(upstream))
    assert result.returncode == ExitCode.BAD_PATCH_SET and "0001-a.patch" in result.stderr


def test_supported_exit_codes_are_distinct() -> None:
    assert len({int(code) for code in ExitCode}) == len(list(ExitCode))


def test_interrupt_is_no_traceback(run_install, project: Project, upstream: Path, tmp_path: Path) -> None:
    """Ctrl-C while git runs."""
    path = fake(tmp_path / "bin", "git", "kill -INT $PPID; sleep 5")
    result = run_install(
        project, "dev", "--no-install", str(upstream), env={"PATH": f"{path}:{os.environ['PATH']}"}
    )
    assert result.returncode == ExitCode.INTERRUPTED and "Traceback" not in result.stderr


def test_clone_in_a_directory_with_spaces(
    run_install, project: Project, upstream: Path, tmp_path: Path
) -> None:
    clone = upstream.rename(tmp_path / "my löro bot")
    assert run_install(project, "dev", "--no-install", str(clone)).returncode == 0
    assert git(clone, "status", "--porcelain")
    result = run_install(project, "dev", "--no-install", str(clone))
    assert f"install.py dev '{clone}'" in result.stdout


def test_listener_that_goes_away_does_not_stop_the_work(project: Project, upstream: Path) -> None:
    """`install.py dev | head -1`"""
    start = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import install; "
        "import installer; installer.PROJECT = Path(sys.argv[2]); "
        "sys.exit(install.main(sys.argv[3:]))"
    )
    words = [
        sys.executable,
        "-S",
        "-c",
        start,
        str(PROJECT),
        str(project.root),
        "dev",
        "--no-install",
        str(upstream),
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0 and b"Traceback" not in errors
    assert (upstream / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED


def test_status_for_programs_is_json_and_nothing_else(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """What is said while it is found out is no part of the answer."""
    collect = commands.report.collect

    def saying(*arguments: object) -> tuple[dict, ExitCode]:
        console.step("using an archive")
        return collect(*arguments)

    monkeypatch.setattr(installer, "PROJECT", project.root)
    monkeypatch.setattr(commands.report, "collect", saying)
    assert commands.status(Namespace(checkout=checkout.root, json=True)) == ExitCode.OK
    said = capsys.readouterr()
    assert json.loads(said.out)["summary"] == "not installed" and "using an archive" in said.err
