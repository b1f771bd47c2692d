# SPDX-License-Identifier: MIT
"""A LeRobot checkout as it lies on disk: where it is, what its files hold, what the installer recorded."""

import json
import os
import re
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id, run_git

STATE_FORMAT = 1


@dataclass(frozen=True)
class Recorded:
    """One side of a recorded file: the id of its raw bytes, and its permission bits."""

    blob: str
    mode: int

    @classmethod
    def load(cls, value: dict | None) -> "Recorded | None":
        return None if value is None else cls(str(value["blob"]), int(value["mode"]))

    @staticmethod
    def dump(record: "Recorded | None") -> dict | None:
        return None if record is None else {"blob": record.blob, "mode": record.mode}


@dataclass(frozen=True)
class FileRecord:
    """What was written at one path. `pristine` None: it was free; `target` None: the file was removed."""

    kind: str  # "patch" or "overlay"
    pristine: Recorded | None
    target: Recorded | None


@dataclass(frozen=True)
class State:
    """The installer's record of what it wrote, kept in the repository's git directory."""

    transaction: str
    tag: str
    fingerprint: str
    files: dict[str, FileRecord]
    directories: tuple[str, ...]
    nearest: bool = False  # the tree is no supported release: the closest series was fitted to it
    commit: str | None = None  # HEAD at the installation; None in a repository without, and in old records

    @property
    def patched_files(self) -> dict[str, FileRecord]:
        return {path: record for path, record in self.files.items() if record.kind == "patch"}

    def dump(self) -> dict:
        return {
            "format": STATE_FORMAT,
            "transaction": self.transaction,
            "tag": self.tag,
            "fingerprint": self.fingerprint,
            "nearest": self.nearest,
            "commit": self.commit,
            "files": {
                path: {
                    "kind": record.kind,
                    "pristine": Recorded.dump(record.pristine),
                    "target": Recorded.dump(record.target),
                }
                for path, record in sorted(self.files.items())
            },
            "directories": list(self.directories),
        }

    @classmethod
    def load(cls, value: dict) -> "State":
        if value["format"] != STATE_FORMAT:
            raise ValueError(f"format {value['format']!r}")
        files = {
            path: FileRecord(entry["kind"], Recorded.load(entry["pristine"]), Recorded.load(entry["target"]))
            for path, entry in value["files"].items()
        }
        return cls(
            value["transaction"],
            value["tag"],
            value["fingerprint"],
            files,
            tuple(value["directories"]),
            bool(value["nearest"]),
            value.get("commit"),
        )


@dataclass(frozen=True)
class OnDisk:
    """A file as found: raw bytes and permission bits. `regular` is False for links, directories, devices."""

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


def to_crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def looks_like_lerobot(directory: Path) -> bool:
    """Whether a directory is the top of a LeRobot source tree, git or not."""
    try:
        project = (directory / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    named = re.search(r'^name\s*=\s*"lerobot"', project, re.MULTILINE)
    return bool(named) and (directory / "src" / "lerobot" / "__init__.py").is_file()


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
        self.state_dir = self.git_dir / "rewact"

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
                hint = "run `git init` in it and commit what it holds, or name a clone"
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
        raise RewactError(
            ExitCode.NOT_LEROBOT,
            f"{directory} is not a LeRobot clone: it has no src/lerobot and pyproject.toml of lerobot.",
        )

    @property
    def declared_version(self) -> str:
        """The version in pyproject.toml: a hint for messages, never what a patch set is chosen by."""
        project = (self.root / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
        found = re.search(r'^version\s*=\s*"([^"]+)"', project, re.MULTILINE)
        return found[1] if found else "unknown"

    def read(self, path: str) -> OnDisk | None:
        """A file of the work tree, or None where there is nothing."""
        full = self.root / path
        try:
            status = os.lstat(full)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return OnDisk(b"", stat.S_IMODE(status.st_mode), regular=False)
        return OnDisk(full.read_bytes(), stat.S_IMODE(status.st_mode))

    def head_blobs(self, paths: list[str], commit: str = "HEAD") -> dict[str, str]:
        """Blob ids of files in HEAD or another commit, without those it does not have."""
        return self._tree("-z", "--full-tree", commit, "--", *paths)

    def released(self, directory: str) -> dict[str, str]:
        """Blob ids of all files below a directory in HEAD."""
        return self._tree("-r", "-z", "--full-tree", "HEAD", "--", directory)

    def commit(self) -> str | None:
        """The id of HEAD's commit, or None in a repository without any."""
        result = run_git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], cwd=self.root)
        return result.stdout.decode().strip() if result.returncode == 0 else None

    def _tree(self, *arguments: str) -> dict[str, str]:
        result = run_git(["ls-tree", *arguments], cwd=self.root)
        if result.returncode and self.commit() is not None:
            raise self._refusal(self.root, result.stderr.decode(errors="replace").strip())
        found = {}
        for line in result.stdout.split(b"\0"):
            if line:
                description, name = line.split(b"\t", 1)
                found[os.fsdecode(name)] = description.decode().split()[2]
        return found

    def stored_blob(self, identifier: str) -> bytes | None:
        """A blob of the repository's object store, or None where it has none of that id."""
        result = run_git(["cat-file", "blob", identifier], cwd=self.root)
        return result.stdout if result.returncode == 0 and blob_id(result.stdout) == identifier else None

    def modified(self, commit: str) -> list[str]:
        """Paths that git tracks and that differ from a commit in the work tree, removed ones included."""
        return self._names("diff-index", "--name-only", "-z", "--no-renames", commit)

    def present(self, directories: list[str]) -> list[str]:
        """Paths of all files below some directories, without those that git ignores."""
        if not directories:
            return []
        options = ("-z", "--full-name", "--cached", "--others", "--exclude-standard", "--deduplicate")
        return sorted(self._names("--literal-pathspecs", "ls-files", *options, "--", *directories))

    def _names(self, *arguments: str) -> list[str]:
        result = run_git(list(arguments), cwd=self.root)
        if result.returncode:
            raise self._refusal(self.root, result.stderr.decode(errors="replace").strip())
        return [os.fsdecode(name) for name in result.stdout.split(b"\0") if name]

    @property
    def journal_path(self) -> Path:
        return self.state_dir / "journal.json"

    @property
    def state_path(self) -> Path:
        return self.state_dir / "state.json"

    def state(self) -> State | None:
        """What the installer recorded, or None where nothing is installed.

        Raises:
            RewactError: DAMAGED_STATE, when the record cannot be read.
        """
        try:
            text = self.state_path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return State.load(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RewactError(
                ExitCode.DAMAGED_STATE,
                f"{self.state_path} is damaged ({type(error).__name__}: {error}): delete it and run "
                "`install.py dev` again; what is already applied is recognised by content.",
            ) from None

    def kept_blob(self, identifier: str) -> bytes | None:
        """Bytes the installer kept for uninstall, or None where they are missing or changed."""
        try:
            data = (self.state_dir / "blobs" / identifier).read_bytes()
        except FileNotFoundError:
            return None
        return data if blob_id(data) == identifier else None

    def recorded_blob(self, identifier: str, path: str) -> bytes:
        """Bytes the installer kept for uninstall, of the file at `path`.

        Raises:
            RewactError: DAMAGED_STATE, when they are missing or changed.
        """
        data = self.kept_blob(identifier)
        if data is None:
            raise RewactError(
                ExitCode.DAMAGED_STATE,
                f"{self.state_dir / 'blobs' / identifier}, the kept original of {path}, is missing or "
                f"changed: restore that file with `git checkout -- {shlex.quote(path)}` and run again.",
            )
        return data
