# SPDX-License-Identifier: MIT
"""Running git so that neither the user's configuration nor the environment changes a byte.

Nothing here runs git *inside* the user's repository, except to ask where it is and to read objects. Patches
are applied in a `Scratch` repository of our own: a throw-away object store and index that hold only the files
the patches touch. The user's index, HEAD, refs, stash and object store stay as they are.
"""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from verify.errors import ExitCode, RewactError

MINIMUM_GIT = (2, 39)


def blob_id(data: bytes) -> str:
    """The id git gives to a file of these bytes (40 hexadecimal digits)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _user_environment() -> dict[str, str]:
    """For questions about the user's repository: with the configuration that trusts it (safe.directory)."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if re.fullmatch(r"GIT_CONFIG_(NOSYSTEM|PARAMETERS|COUNT|KEY_\d+|VALUE_\d+)", key)
        or (key in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM") and not os.path.isdir(value))
    }
    return _scrubbed_environment() | kept


def _scrubbed_environment() -> dict[str, str]:
    """The environment without anything that redirects git or translates its messages."""
    env = {key: value for key, value in os.environ.items() if not key.upper().startswith("GIT_")}
    env.pop("LANGUAGE", None)
    return env | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}


def repository_environment() -> dict[str, str]:
    """For a repository of our own: no configuration of the user's or the system's is read."""
    return _scrubbed_environment() | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        # Where git would look for attributes and excludes of the user's.
        "HOME": os.devnull,
        "XDG_CONFIG_HOME": os.devnull,
    }


def run_git(
    arguments: list[str],
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Runs git with a literal argument list; output is bytes, the exit status is left to the caller."""
    command = [
        "git",
        "-c", "core.fsmonitor=false",  # would start a program named in the repository's configuration
        "-c", "core.hooksPath=" + os.devnull,  # no hook of the user's runs
        *arguments,
    ]  # fmt: skip
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=env or _user_environment(),
            input=stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise RewactError(
            ExitCode.GIT,
            f"git was not found on PATH: install git {MINIMUM_GIT[0]}.{MINIMUM_GIT[1]} or newer.",
        ) from None


def require_git() -> str:
    """Returns git's version, or raises when git is missing or too old."""
    output = run_git(["version"]).stdout.decode(errors="replace")
    match = re.search(r"(\d+)\.(\d+)[\w.]*", output)
    if match is None:
        raise RewactError(
            ExitCode.GIT, f"`git version` answered {output.strip()!r}: this git cannot be used."
        )
    if (int(match[1]), int(match[2])) < MINIMUM_GIT:
        wanted = ".".join(map(str, MINIMUM_GIT))
        raise RewactError(ExitCode.GIT, f"git {match[0]} is too old: install git {wanted} or newer.")
    return match[0]


def git_failure(command: str, where: Path, stderr: bytes) -> RewactError:
    """The sentence for a git command that failed in a repository of our own."""
    reason = stderr.decode(errors="replace").strip()
    if any(os.strerror(number) in reason for number in (errno.ENOSPC, errno.EDQUOT)):
        return RewactError(
            ExitCode.DISK_FULL,
            f"The disk is full: git {command} failed in {where} ({reason}). Make room and run again.",
        )
    return RewactError(ExitCode.GIT, f"git {command} failed in {where}: {reason}")


class Scratch:
    """A bare repository in a temporary directory; use as a context manager.

    It does not borrow the user's objects (alternates): git would touch the times of those it finds there.
    """

    def __enter__(self) -> "Scratch":
        self._directory = Path(tempfile.mkdtemp(prefix="rewact-plan-"))
        repository = self._directory / "repository"
        self._env = repository_environment()
        # --template= leaves out hooks and excludes; sha1 because the patches' blob ids are.
        self._git("init", "--quiet", "--bare", "--template=", "--object-format=sha1", str(repository))
        self._env["GIT_DIR"] = str(repository)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)

    def _git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        result = run_git(list(arguments), cwd=self._directory, env=self._env, stdin=stdin)
        if result.returncode:
            raise git_failure(arguments[0], self._directory, result.stderr)
        return result.stdout

    def read_blob(self, identifier: str) -> bytes | None:
        """The bytes of a blob, or None where the store does not have it whole."""
        result = run_git(["cat-file", "blob", identifier], cwd=self._directory, env=self._env)
        return result.stdout if result.returncode == 0 and blob_id(result.stdout) == identifier else None

    def write_blob(self, data: bytes) -> str:
        """Stores bytes as they are and returns their id."""
        return self._git("hash-object", "-w", "--no-filters", "--stdin", stdin=data).decode().strip()

    def set_index(self, entries: dict[str, tuple[str, str]]) -> None:
        """Makes the index hold exactly these files: path to (mode, blob id)."""
        self._git("read-tree", "--empty")
        lines = b"".join(
            b"%s %s\t%s\0" % (mode.encode(), identifier.encode(), os.fsencode(path))
            for path, (mode, identifier) in entries.items()
        )
        self._git("update-index", "-z", "--index-info", stdin=lines)

    def index(self) -> dict[str, tuple[str, str]]:
        """What the index holds: path to (mode, blob id).

        The paths and modes are those git would write, whatever a patch's header lines pretend.
        """
        entries = {}
        for line in self._git("ls-files", "--stage", "-z").split(b"\0"):
            if line:
                description, path = line.split(b"\t", 1)
                mode, identifier, stage = description.decode().split()
                entries[os.fsdecode(path)] = (mode if stage == "0" else "conflict", identifier)
        return entries

    def write_tree(self) -> str:
        """The id of a tree of what the index holds."""
        return self._git("write-tree").decode().strip()

    def diff(self, old_tree: str, new_tree: str) -> bytes:
        """The patch between two trees, in the one form that our patch files have."""
        return self._git(
            "diff-tree",
            "-r",
            "--patch",
            "--full-index",  # blob ids in full: they are what is checked
            "--binary",
            "--unified=3",
            "--no-renames",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--diff-algorithm=myers",
            "--indent-heuristic",
            "--src-prefix=a/",
            "--dst-prefix=b/",
            old_tree,
            new_tree,
        )

    def apply(self, patch: bytes, *, three_way: bool = False) -> str | None:
        """Applies one patch to the index: all of it, or nothing.

        Returns:
            None when it applied, else what git said.
        """
        command = [
            "apply",
            "--cached",  # the index only: no file is touched
            "--whitespace=nowarn",  # apply.whitespace=fix would change bytes silently
            "--no-ignore-whitespace",  # apply.ignoreWhitespace would let context match loosely
            "-p1",  # a/ and b/, whatever diff.noprefix says
            *(["--3way"] if three_way else []),
            "-",
        ]
        result = run_git(command, cwd=self._directory, env=self._env, stdin=patch)
        if result.returncode == 0:
            return None
        failure = git_failure("apply", self._directory, result.stderr)
        if failure.code is ExitCode.DISK_FULL:  # says nothing about the patch
            raise failure
        return result.stderr.decode(errors="replace").strip()
