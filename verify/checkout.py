# SPDX-License-Identifier: MIT
"""A LeRobot checkout as it lies on disk: where it is, what its files hold, where its record is.

The standard library alone: undo works where nothing is installed.
"""

import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id, git_output, run_git
from verify.paths import read_regular
from verify.record import Record, State


@dataclass(frozen=True)
class OnDisk:
    """A file as found: raw bytes and permission bits. `regular` is False for links, directories, devices.

    Of a link the bytes are where it leads, as git stores it.
    """

    data: bytes
    mode: int
    regular: bool = True

    @property
    def blob(self) -> str:
        return blob_id(self.data)

    @property
    def executable(self) -> bool:
        return bool(self.mode & stat.S_IXUSR)

    @property
    def crlf(self) -> bool:
        """Whether git turned every line end into CRLF when it wrote this file (core.autocrlf)."""
        return b"\r\n" in self.data and to_crlf(self.normalised) == self.data

    @property
    def normalised(self) -> bytes:
        return self.data.replace(b"\r\n", b"\n")

    @property
    def stored(self) -> bytes:
        """The bytes as git stores them."""
        return self.normalised if self.crlf else self.data


def to_crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def looks_like_lerobot(directory: Path) -> bool:
    """Whether a directory is the top of a LeRobot source tree, git or not."""
    named = re.search(r'^name\s*=\s*"lerobot"', project_file(directory), re.MULTILINE)
    return bool(named) and (directory / "src" / "lerobot" / "__init__.py").is_file()


def is_in_repository(directory: Path) -> bool:
    """Whether git finds a repository here or above, one that it refuses included."""
    result = run_git(["rev-parse", "--git-dir"], cwd=directory)
    return result.returncode == 0 or b"not a git repository" not in result.stderr


def project_file(directory: Path) -> str:
    """The text of pyproject.toml; empty where there is none that can be read."""
    try:
        return read_regular(directory / "pyproject.toml").decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


class Checkout:
    """The work tree at `root`. Opening one reads only.

    Raises:
        RewactError: NOT_LEROBOT or GIT, when `directory` is not inside a clone of LeRobot of its own.
    """

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise RewactError(ExitCode.NOT_LEROBOT, f"{directory} is not a directory: name a LeRobot clone.")
        self.root = self._top(directory.resolve())
        self.git_dir = self._ask("--absolute-git-dir")
        # In the git directory the work tree stays free of our files; a linked work tree has one of its own.
        self.record = Record(self.git_dir / "rewact")

    def _ask(self, *question: str, at: Path | None = None) -> Path:
        result = run_git(["rev-parse", *question], cwd=at or self.root)
        if result.returncode:
            raise self._refusal(at or self.root, result.stderr.decode(errors="replace").strip())
        line_end = b"\r\n" if os.name == "nt" and result.stdout.endswith(b"\r\n") else b"\n"
        return Path(os.fsdecode(result.stdout.removesuffix(line_end)))

    @staticmethod
    def _refusal(directory: Path, reason: str) -> RewactError:
        if "dubious ownership" in reason:
            return RewactError(
                ExitCode.GIT,
                f"git does not trust {directory}, which belongs to another user; if it is yours: "
                f"git config --global --add safe.directory {shlex.quote(str(directory))}",
            )
        if "not a git repository" in reason:
            if looks_like_lerobot(directory):
                what = "LeRobot, but not a git clone"
                command = f"python install.py dev {shlex.quote(str(directory))}"
                hint = f"`{command}` makes it one, with what it holds as its first commit"
            else:
                what = "not a LeRobot clone"
                hint = "git clone LeRobot, or run `install.py dev` without a path to fetch a release"
            return RewactError(ExitCode.NOT_LEROBOT, f"{directory} is {what}: {hint}.")
        return RewactError(ExitCode.GIT, f"git refuses {directory}: {reason}")

    def _top(self, directory: Path) -> Path:
        if self._ask("--is-inside-work-tree", at=directory).name != "true":
            raise RewactError(
                ExitCode.NOT_LEROBOT, f"{directory} is a repository without a work tree: clone it first."
            )
        top = self._ask("--show-toplevel", at=directory).resolve()
        if looks_like_lerobot(top):
            return top
        if looks_like_lerobot(directory):
            raise RewactError(
                ExitCode.NOT_LEROBOT,
                f"{directory} is a copy of LeRobot inside another repository ({top}), not its own clone: "
                "clone LeRobot, or run `git init` in it and commit what it holds.",
            )
        if self.head_blobs(["src/lerobot/__init__.py"], at=top):
            raise RewactError(
                ExitCode.NOT_LEROBOT,
                f"{top} is a clone of LeRobot without its src/lerobot or pyproject.toml: put them back with "
                "`git checkout -- src pyproject.toml`, or `git sparse-checkout add src tests`.",
            )
        raise RewactError(
            ExitCode.NOT_LEROBOT,
            f"{directory} is not a LeRobot clone: it has no src/lerobot and pyproject.toml of lerobot.",
        )

    @property
    def declared_version(self) -> str:
        """The version in pyproject.toml: a hint for messages, never what a patch set is chosen by."""
        found = re.search(r'^version\s*=\s*"([^"]+)"', project_file(self.root), re.MULTILINE)
        return found[1] if found else "unknown"

    def read(self, path: str) -> OnDisk | None:
        """A file of the work tree, or None where there is nothing."""
        full = self.root / path
        try:
            mode = stat.S_IMODE(os.lstat(full).st_mode)
            return OnDisk(read_regular(full), mode)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            data = os.fsencode(os.readlink(full)) if full.is_symlink() else b""
            return OnDisk(data, mode, regular=False)

    def listed(self, *words: str, at: Path | None = None) -> list[str]:
        """What a git command with -z lists.

        Raises:
            RewactError: GIT, with what git said.
        """
        output = git_output([*words], cwd=at or self.root)
        return [os.fsdecode(line) for line in output.split(b"\0") if line]

    def modified(self, commit: str = "HEAD") -> list[str]:
        """Paths that git tracks and that may differ from a commit; it believes the dates in its index."""
        return self.listed("diff-index", "--name-only", "-z", "--no-renames", commit)

    def head_blobs(self, paths: list[str], commit: str = "HEAD", at: Path | None = None) -> dict[str, str]:
        """Blob ids of the files in HEAD or another commit that are, or lie below, these paths; [] is all."""
        try:
            # A file's name may begin with a colon, which git reads as magic.
            words = ["--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths]
            lines = self.listed(*words, at=at)
        except RewactError:
            if at is None and self.commit() is not None:
                raise
            return {}
        entries = [line.split("\t", 1) for line in lines]
        return {name: description.split()[2] for description, name in entries}

    def commit(self, name: str = "HEAD") -> str | None:
        """The id of the commit that has a name, or None where there is none."""
        words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
        result = run_git(words, cwd=self.root)
        return result.stdout.decode().strip() if result.returncode == 0 else None

    @property
    def state_dir(self) -> Path:
        return self.record.directory

    def state(self) -> State | None:
        """What is installed, or None; see `Record.state`."""
        return self.record.state()

    def installed(self) -> State:
        """What is installed.

        Raises:
            RewactError: USAGE, where nothing is.
        """
        state = self.state()
        if state is None:
            command = f"python install.py dev {shlex.quote(str(self.root))}"
            raise RewactError(ExitCode.USAGE, f"{self.root} is not patched: run `{command}` first.")
        return state
