# SPDX-License-Identifier: MIT
"""git through GitPython: what repositories have stored, and a throw-away one in which patches apply.

Of GitPython only what leaves the user's repository alone is used: its objects. Patches are applied in a
`Scratch` repository: an object store and an index that hold only the files the patches touch. The user's
index, HEAD, refs, stash and object store stay as they are.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from verify.errors import ExitCode
from verify.gitcmd import OWN, READING, blob_id, git_failure, git_output, run_git, scrub_environment

if TYPE_CHECKING:
    import git


@contextlib.contextmanager
def opened(directory: Path, env: Mapping[str, str] = READING) -> Iterator["git.Repo"]:
    """A repository whose objects are read or written by GitPython."""
    scrub_environment()  # before the import: it starts what GIT_PYTHON_GIT_EXECUTABLE names
    import git  # here, as it takes a third of a second

    # A directory's name is what it is: GitPython would put a variable's value where it has a $.
    repo = git.Repo(directory, expand_vars=False)
    # The directory is named: GitPython would ask from beside a bare repository.
    repo.git.update_environment(**env, GIT_DIR=os.fspath(repo.git_dir))
    try:
        yield repo
    finally:
        repo.close()


def stored_blob(directory: Path, identifier: str) -> bytes | None:
    """The bytes of a blob, or None where a repository does not hold it whole. Fetches nothing."""
    with opened(directory) as repo:
        return _blob(repo, identifier)


def _blob(repo: "git.Repo", identifier: str) -> bytes | None:
    from git.exc import GitError, ODBError

    try:
        data = repo.odb.stream(bytes.fromhex(identifier)).read()
    except (ODBError, GitError, ValueError, OSError):
        return None
    return data if blob_id(data) == identifier else None


def read_patch(body: bytes, directory: Path) -> list[tuple[str, str, str]]:
    """What git reads in a patch, without any tree: lines added, lines removed ("-": binary), path; in order.

    Args:
        directory: where git runs; above it no repository is looked for.

    Raises:
        ValueError: what git said about a patch that it cannot read.
    """
    env = OWN | {"GIT_CEILING_DIRECTORIES": str(directory.resolve().parent)}
    command = ["apply", "--numstat", "-z", "-p1", "--whitespace=nowarn", "-"]
    read = run_git(command, cwd=directory, env=env, stdin=body)
    if read.returncode:
        reason = read.stderr.decode(errors="replace")
        raise ValueError(reason.strip().splitlines()[0].removeprefix("error: "))
    entries = [line.split(b"\t", 2) for line in read.stdout.split(b"\0") if line]
    return [(added.decode(), removed.decode(), os.fsdecode(path)) for added, removed, path in entries]


@contextlib.contextmanager
def scratch_repository() -> Iterator["Scratch"]:
    """Of no alternates: git would touch the times of the objects that it finds in the user's store."""
    with tempfile.TemporaryDirectory(prefix="rewact-plan-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        # --template= leaves out hooks and excludes; sha1 because the patches' blob ids are.
        words = ["init", "--quiet", "--bare", "--template=", "--object-format=sha1", name]
        git_output(words, cwd=directory, env=OWN)
        with opened(directory, OWN) as repo:
            yield Scratch(repo, directory)


class Scratch:
    """A bare repository of our own, with an index."""

    def __init__(self, repo: "git.Repo", directory: Path) -> None:
        self._repo, self._directory = repo, directory
        self._env = OWN | {"GIT_DIR": str(directory)}

    def read_blob(self, identifier: str) -> bytes:
        data = _blob(self._repo, identifier)
        if data is None:
            raise git_failure("cat-file", self._directory, f"{identifier} was lost while planning")
        return data

    def set_index(self, files: Mapping[str, tuple[str, bytes]]) -> None:
        """Makes the index hold exactly these files: path to (mode, content)."""
        from git import IndexEntry
        from git.exc import GitError
        from gitdb import IStream

        index, entries = self._repo.index, {}
        try:
            for path, (mode, data) in files.items():
                stored = self._repo.odb.store(IStream(b"blob", len(data), io.BytesIO(data)))
                entry = (int(mode, 8), stored.binsha, 0, path)
                entries[path, 0] = IndexEntry.from_base(IndexEntry(entry))
            index.entries = entries
            index.write(ignore_extension_data=True)
        except (OSError, GitError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise git_failure("update-index", self._directory, reason) from None

    def index(self) -> dict[str, tuple[str, str]]:
        """What the index holds: path to (mode, blob id).

        The paths and modes are those git would write, whatever a patch's header lines pretend.
        """
        entries = self._repo.index.entries.values()
        return {entry.path: (f"{entry.mode:o}", entry.hexsha) for entry in entries}

    def write_tree(self) -> str:
        """The id of a tree of what the index holds."""
        return self._repo.index.write_tree().hexsha

    def diff(self, old_tree: str, new_tree: str) -> bytes:
        """The patch between two trees, in the one form that our patch files have."""
        command = [
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
        ]
        return git_output([*command, old_tree, new_tree], cwd=self._directory, env=self._env)

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
        applied = run_git(command, cwd=self._directory, env=self._env, stdin=patch)
        if applied.returncode == 0:
            return None
        failure = git_failure("apply", self._directory, applied.stderr)
        if failure.code is ExitCode.DISK_FULL:  # says nothing about the patch
            raise failure
        return applied.stderr.decode(errors="replace").strip()
