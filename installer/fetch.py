# SPDX-License-Identifier: MIT
"""Fetches a pinned LeRobot release from the package index and makes a git repository of it."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from installer import console, programs
from installer.faults import explain
from installer.files import write_atomically
from installer.pythons import candidates
from installer.releases import Release
from verify.errors import ExitCode, RewactError
from verify.gitcmd import OWN, git_output
from verify.paths import cache_directory, check_name

# Build products and caches: never part of the first commit, never shown by `git status`.
_EXCLUDES = "*.egg-info/\n__pycache__/\n*.py[cod]\nbuild/\n.venv/\noutputs/\n"


def _holds(path: Path, release: Release) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == release.sha256
    except OSError:
        return False


def find_pip() -> list[str]:
    for executable in (Path(sys.executable), *candidates((3, 10))):
        command = [str(executable), "-m", "pip"]
        try:
            if subprocess.run([*command, "--version"], capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            continue
    raise RewactError(ExitCode.INDEX, "No Python with pip was found to fetch with: install pip.")


def _kept(release: Release) -> Path:
    return cache_directory() / f"lerobot-{release.version}.tar.gz"


def is_kept(release: Release) -> bool:
    """Whether the release's archive needs no fetching."""
    return _holds(_kept(release), release)


def archive(release: Release) -> Path:
    """The release's source archive: from the cache, else from the package index, its checksum verified.

    Raises:
        RewactError: INDEX, when it cannot be fetched or is not what was released.
    """
    kept = _kept(release)
    if _holds(kept, release):
        console.step(f"LeRobot {release.version}: using {kept}")
        return kept
    console.step(f"fetching LeRobot {release.version} from the package index")
    with tempfile.TemporaryDirectory(prefix="rewact-fetch-") as temporary:
        requirement = Path(temporary, "requirement.txt")
        requirement.write_text(f"lerobot=={release.version} --hash=sha256:{release.sha256}\n")
        # pip compares the hash before it looks into the archive; asked for one archive, it takes no wheel.
        command = [
            *find_pip(), "download", "--disable-pip-version-check", "--require-hashes",
            "--no-deps", "--no-binary", "lerobot", "--ignore-requires-python", "--dest", temporary,
            "--requirement", str(requirement),
        ]  # fmt: skip
        result = programs.run(command)
        found = Path(temporary, kept.name)
        if result.returncode or not _holds(found, release):
            raise _failure(release, kept, result.stdout)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, found.read_bytes())
        except OSError as error:
            raise explain(error, kept, "XDG_CACHE_HOME names another place for it.") from None
    return kept


def _failure(release: Release, kept: Path, reason: str) -> RewactError:
    if "DO NOT MATCH THE HASHES" in reason.upper():
        return RewactError(
            ExitCode.INDEX,
            f"The archive of LeRobot {release.version} on the package index has another sha256 than the "
            f"release ({release.sha256}): it was not opened.",
        )
    lines = [line for line in reason.splitlines() if line.startswith("ERROR")] or ["no reason given"]
    return RewactError(
        ExitCode.INDEX,
        f"LeRobot {release.version} could not be fetched ({lines[-1]}), and {kept} does not hold it: "
        "check the network, or put the release's source archive there.",
    )


def _members(opened: tarfile.TarFile, prefix: str) -> list[tuple[tarfile.TarInfo, str]]:
    """Regular files and their paths below the archive's one directory; anything else refuses the archive."""
    found = []
    for member in opened.getmembers():
        top, _, path = member.name.partition("/")
        if top != prefix or not (member.isreg() or member.isdir()):
            raise RewactError(ExitCode.INDEX, f"The archive holds {member.name!r}, which no release has.")
        if member.isreg():
            check_name(path)
            found.append((member, path))
    return found


def unpack(source: Path, release: Release, target: Path) -> None:
    """Unpacks an archive to `target`, a new git repository with the pristine release as its first commit.

    Raises:
        RewactError: INDEX for a hostile archive, NO_PERMISSION where `target` cannot be made, BUSY where
            another run has made it.
    """
    console.step(f"unpacking it to {target}, a git repository that begins with the pristine release")
    try:
        building = Path(tempfile.mkdtemp(prefix=".lerobot-", dir=target.parent))
    except OSError as error:
        raise RewactError(
            ExitCode.NO_PERMISSION,
            f"{target.parent} cannot be written ({error.strerror}): run from elsewhere.",
        ) from None
    try:
        os.chmod(building, 0o755)
        paths = []
        with tarfile.open(source) as opened:
            members = _members(opened, f"lerobot-{release.version}")
            for member, path in members:
                destination = building / path
                destination.parent.mkdir(parents=True, exist_ok=True)
                with opened.extractfile(member) as content, open(destination, "wb") as file:
                    shutil.copyfileobj(content, file)
                os.chmod(destination, 0o755 if member.mode & 0o100 else 0o644)
                if not any(part.endswith(".egg-info") for part in PurePosixPath(path).parts):
                    paths.append(path)
            moment = max(member.mtime for member, _ in members)
        _commit(building, building / ".git", paths, f"LeRobot {release.version} as released", moment)
        try:
            os.rename(building, target)
        except OSError:
            if not target.exists():
                raise
            raise RewactError(
                ExitCode.BUSY, f"{target} was made by another run in the meantime: run again to use it."
            ) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def make_repository(directory: Path) -> None:
    """Makes a git repository of an unpacked archive of LeRobot, with what it holds as its first commit.

    The user's files stay as they are; what LeRobot's own .gitignore names is left out of the commit.
    """
    console.step(f"{directory} is an archive of LeRobot: making it a git repository with one commit")
    try:
        with tempfile.TemporaryDirectory(prefix=".git-", dir=directory) as building:
            repository = Path(building, ".git")
            _commit(directory, repository, None, "LeRobot as unpacked", time.time())
            os.rename(repository, directory / ".git")
    except OSError as error:
        raise explain(error, directory) from None


def _commit(directory: Path, repository: Path, paths: list[str] | None, message: str, moment: float) -> None:
    """Makes the repository, with the files of `directory` as its one commit.

    Args:
        paths: of the files; None: all but those that are ignored.
    """
    # With the archive's own date and a fixed author the commit is the same on every machine.
    who = {"NAME": "rewACT-LeRobot", "EMAIL": "rewact-lerobot@localhost", "DATE": f"{int(moment)} +0000"}
    env = OWN | {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
    _git(repository.parent, env, "init", "--quiet", "--template=", "--initial-branch=main")
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "exclude").write_text(_EXCLUDES + "/.git-*/\n")
    here = [f"--git-dir={repository}", f"--work-tree={directory}"]
    _git(directory, env, *here, "config", "core.autocrlf", "false")
    if paths is None:
        _git(directory, env, *here, "add", "--all")
    else:
        listing = b"\0".join(os.fsencode(path) for path in paths)
        options = ("--force", "--pathspec-from-file=-", "--pathspec-file-nul")
        _git(directory, env, *here, "add", *options, stdin=listing)
    _git(directory, env, *here, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", message)
    (repository / "info" / "exclude").write_text(_EXCLUDES)


def _git(cwd: Path, env: Mapping[str, str], *arguments: str, stdin: bytes = b"") -> None:
    git_output(list(arguments), cwd=cwd, env=env, stdin=stdin)
