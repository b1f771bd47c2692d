# SPDX-License-Identifier: MIT
"""Small made-up upstreams in real git repositories, and made-up projects that patch them."""

import io
import os
import stat
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id

PROJECT = Path(__file__).resolve().parents[2]

# What the tests of kills and of hostile patches have tried, told at the end of the run.
TALLY: Counter[str] = Counter()

PYPROJECT = b'[project]\nname = "lerobot"\nversion = "9.9.1"\nrequires-python = ">=3.10"\n'
ACT = b"".join(b"print(%d)\n" % number for number in range(1, 31))
UPSTREAM = {
    "pyproject.toml": PYPROJECT,
    "README.md": b"a robot\n",
    "src/lerobot/__init__.py": b"",
    "src/lerobot/act.py": ACT,
    "src/lerobot/train.py": b"def train():\n    return 1\n",
    "src/lerobot/other.py": b"untouched = True\n",
    "data/keep.bin": bytes(range(256)),
}


def git(directory: Path, *arguments: str, **options) -> bytes:
    """Runs git for a test, as a user without any configuration."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "Test", f"GIT_{role}_EMAIL": "test@localhost"}
    return subprocess.run(
        ["git", *arguments], cwd=directory, env=env, check=True, capture_output=True, **options
    ).stdout


def write(root: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def make_repository(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    write(root, files)
    git(root, "add", "--all", "--force")
    git(root, "commit", "--quiet", "--message", "upstream")
    return root


def make_repository_without_commits(root: Path) -> Path:
    """LeRobot's files in a repository that `git init` made, and no more."""
    root.mkdir()
    git(root, "init", "--quiet")
    write(root, UPSTREAM)
    return root


def archive_release(cache: Path) -> Path:
    """Puts the source archive of the made-up release into a cache, as fetching it does."""
    archive = cache / "rewact-lerobot" / "lerobot-9.9.1.tar.gz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as made:
        for path, data in UPSTREAM.items():
            member = tarfile.TarInfo(f"lerobot-9.9.1/{path}")
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return archive


@contextmanager
def mounted(mount: Path, *arguments: str | Path) -> Iterator[None]:
    """Something mounted at a directory, which is made; the test is skipped where nobody may mount."""
    mount.mkdir()
    if subprocess.run(["mount", *arguments, mount], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield
    finally:
        subprocess.run(["umount", mount], check=True)


def snapshot(root: Path) -> dict[str, tuple]:
    """Every path below `root` but .git, with type, mode and content: equal means nothing changed."""
    result = {}
    for directory, directories, names in os.walk(root):
        if ".git" in directories and Path(directory) == root:
            directories.remove(".git")
        for name in directories + names:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            content = (
                path.read_bytes() if stat.S_ISREG(mode) else os.readlink(path) if path.is_symlink() else b""
            )
            result[path.relative_to(root).as_posix()] = (mode, content)
    return result


def git_snapshot(root: Path) -> tuple:
    """What git holds: index bytes, HEAD, refs, stash and every object's name."""
    directory = root / ".git"
    objects = sorted(path.name for path in (directory / "objects").rglob("*"))
    refs = git(root, "for-each-ref") + (directory / "HEAD").read_bytes()
    return (directory / "index").read_bytes(), refs, objects


class Project:
    """A directory with patches/ and overlay/, as the real one has."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def series(self, tag: str) -> Path:
        return self.root / "patches" / tag / "series"

    def patch_path(self, name: str = "0001-a.patch", tag: str = "v9.9.1") -> Path:
        return self.root / "patches" / tag / name

    def add_patch(
        self,
        name: str,
        before: dict[str, bytes],
        after: dict[str, bytes | None],
        *,
        tag: str = "v9.9.1",
        pristine: dict[str, bytes] | None = None,
        modes: dict[str, int] | None = None,
        extra: str = "",
        options: tuple[str, ...] = ("--no-renames",),
    ) -> Path:
        """Makes a patch with git from two sets of files and appends it to the series.

        Args:
            after: only the files that change; None removes one.
            pristine: the release's bytes, where an earlier patch changed `before` already.
        """
        scratch = make_repository(self.root / "scratch" / tag / name, before)
        for path, data in after.items():
            if data is None:
                (scratch / path).unlink()
            else:
                write(scratch, {path: data})
        for path, mode in (modes or {}).items():
            (scratch / path).chmod(mode)
        git(scratch, "add", "--all", "--force")
        diff = git(scratch, "diff", "--cached", "--full-index", "--binary", *options)
        touched = sorted({*after, *(modes or {})})
        released = {**before, **(pristine or {})}
        header = [
            f"Description: {name}",
            f"Upstream-Files: {', '.join(touched)}",
            "Forwarded: not-needed",
            "Drop-When: never",
            *(f"Pre-Image: {path} {blob_id(released[path])}" for path in touched if path in released),
            *([extra] if extra else []),
            "",
            "",
        ]
        return self.add_raw(name, "\n".join(header).encode() + diff, tag=tag)

    def add_raw(self, name: str, data: bytes, *, tag: str = "v9.9.1") -> Path:
        path = self.patch_path(name, tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        with open(self.series(tag), "a") as file:
            file.write(f"{name}\n")
        return path

    def retire(self, *names: str) -> None:
        """Lists what an earlier version of this project wrote."""
        with open(self.root / "patches" / "former", "a") as file:
            file.writelines(f"{name}\n" for name in names)

    def add_overlay(self, path: str, data: bytes = b"ours = 1\n") -> Path:
        target = self.root / "overlay" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return target


ACT_PATCHED = ACT.replace(b"print(10)\n", b"print(10)\nprint(None)\n")
ACT_PATCHED_TWICE = ACT_PATCHED.replace(b"print(20)\n", b"print(2 * 10)\n")
TRAIN_PATCHED = UPSTREAM["src/lerobot/train.py"].replace(b"1", b"2")


def refused(code: ExitCode, call, *arguments) -> str:
    """Calls what must be refused with this code, and returns the sentence."""
    with pytest.raises(RewactError) as caught:
        call(*arguments)
    assert caught.value.code is code
    return str(caught.value)
