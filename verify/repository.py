# SPDX-License-Identifier: MIT
"""git through GitPython: the objects of the user's repository, and a throw-away one in which patches apply.

Of GitPython only what leaves the user's repository alone is used: objects, and git's own commands with
literal argument lists. Patches are applied in a `Scratch` repository: an object store and an index that hold
only the files the patches touch. The user's index, HEAD, refs, stash and object store stay as they are.
"""

import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from verify.errors import ExitCode
from verify.gitcmd import OPTIONS, OWN, READING, blob_id, git_failure, require_git, scrub_environment

if TYPE_CHECKING:
    import git


@functools.cache
def _gitpython():
    """GitPython, imported when it is first needed: it takes a third of a second."""
    require_git()
    scrub_environment()  # before the import: it starts what GIT_PYTHON_GIT_EXECUTABLE names
    import git

    return git


def execute(
    arguments: list[str], *, cwd: Path, env: Mapping[str, str] = READING, stdin: bytes = b""
) -> tuple[int, bytes, str]:
    """Runs git through GitPython.

    Returns:
        Exit status, standard output to the byte, what git said.
    """
    git = _gitpython()
    scrub_environment()
    with tempfile.TemporaryFile() as stream:
        stream.write(stdin)
        stream.seek(0)
        return git.cmd.Git(cwd).execute(
            ["git", *OPTIONS, *arguments],
            istream=stream,
            env=dict(env),
            with_extended_output=True,
            with_exceptions=False,
            stdout_as_string=False,
            strip_newline_in_stdout=False,  # the last line end of a file would be lost
        )


@contextlib.contextmanager
def opened(directory: Path, env: Mapping[str, str] = READING) -> Iterator["git.Repo"]:
    """A repository whose objects are read or written by GitPython."""
    git = _gitpython()
    scrub_environment()
    repo = git.Repo(directory)
    # The directory is named: GitPython would ask from beside a bare repository.
    repo.git.update_environment(**env, GIT_DIR=os.fspath(repo.git_dir))
    try:
        yield repo
    finally:
        repo.close()


def _blob(repo: "git.Repo", identifier: str) -> bytes | None:
    from git.exc import GitError, ODBError

    try:
        stream = repo.odb.stream(bytes.fromhex(identifier))
        data = stream.read()
    except (ODBError, GitError, ValueError, OSError):
        return None
    return data if blob_id(data) == identifier else None


class Repository:
    """What git has stored of the work tree at `root`. Reads only, and fetches nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def blob(self, identifier: str) -> bytes | None:
        """The bytes of a blob, or None where the repository does not hold it."""
        with opened(self.root) as repo:
            return _blob(repo, identifier)

    def modified(self, commit: str) -> list[str]:
        """Paths that git tracks and that may differ from a commit; it believes the dates in its index."""
        names = self._lines("diff-index", "--name-only", "-z", "--no-renames", commit)
        return [os.fsdecode(name) for name in names]

    def present(self, directories: list[str]) -> list[str]:
        """Paths of all files below some directories, without those that git ignores."""
        if not directories:
            return []
        options = ("-z", "--full-name", "--cached", "--others", "--exclude-standard", "--deduplicate")
        names = self._lines("--literal-pathspecs", "ls-files", *options, "--", *directories)
        return sorted(os.fsdecode(name) for name in names)

    def _lines(self, *arguments: str) -> list[bytes]:
        status, output, reason = execute(list(arguments), cwd=self.root)
        if status:
            raise git_failure(arguments[0], self.root, reason)
        return [line for line in output.split(b"\0") if line]


def read_patch(body: bytes, directory: Path) -> list[tuple[str, str, str]]:
    """What git reads in a patch, without any tree: lines added, lines removed ("-": binary), path; in order.

    Args:
        directory: where git runs; above it no repository is looked for.

    Raises:
        ValueError: what git said about a patch that it cannot read.
    """
    env = OWN | {"GIT_CEILING_DIRECTORIES": str(directory.resolve().parent)}
    command = ["apply", "--numstat", "-z", "-p1", "--whitespace=nowarn", "-"]
    status, output, reason = execute(command, cwd=directory, env=env, stdin=body)
    if status:
        raise ValueError(reason.strip().splitlines()[0].removeprefix("error: "))
    entries = [line.split(b"\t", 2) for line in output.split(b"\0") if line]
    return [(added.decode(), removed.decode(), os.fsdecode(path)) for added, removed, path in entries]


class Scratch:
    """A bare repository in a temporary directory; use as a context manager.

    It does not borrow the user's objects (alternates): git would touch the times of those it finds there.
    """

    def __enter__(self) -> "Scratch":
        self._directory = Path(tempfile.mkdtemp(prefix="rewact-plan-"))
        repository = self._directory / "repository"
        self._env = dict(OWN)
        # --template= leaves out hooks and excludes; sha1 because the patches' blob ids are.
        self._git("init", "--quiet", "--bare", "--template=", "--object-format=sha1", str(repository))
        self._env["GIT_DIR"] = str(repository)
        self._stack = contextlib.ExitStack()
        self._repo = self._stack.enter_context(opened(repository, OWN))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        status, output, reason = execute(list(arguments), cwd=self._directory, env=self._env, stdin=stdin)
        if status:
            raise git_failure(arguments[0], self._directory, reason)
        return output

    def read_blob(self, identifier: str) -> bytes:
        data = _blob(self._repo, identifier)
        if data is None:
            raise git_failure("cat-file", self._directory, f"{identifier} was lost while planning")
        return data

    def write_blob(self, data: bytes) -> str:
        """Stores bytes as they are and returns their id."""
        from gitdb import IStream

        try:
            return self._repo.odb.store(IStream(b"blob", len(data), io.BytesIO(data))).hexsha.decode()
        except OSError as error:
            raise git_failure("hash-object", self._directory, error.strerror or str(error)) from None

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
                mode, identifier, _ = description.decode().split()
                entries[os.fsdecode(path)] = (mode, identifier)
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

    def apply(self, patch: bytes) -> str | None:
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
            "-",
        ]
        status, _, reason = execute(command, cwd=self._directory, env=self._env, stdin=patch)
        if status == 0:
            return None
        failure = git_failure("apply", self._directory, reason)
        if failure.code is ExitCode.DISK_FULL:  # says nothing about the patch
            raise failure
        return reason.strip()
