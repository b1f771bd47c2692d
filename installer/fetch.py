# SPDX-License-Identifier: MIT
"""Fetches a pinned LeRobot release from the package index and makes a git repository of it."""

import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from installer import console, programs
from installer.faults import explain
from installer.files import write_atomically
from installer.pythons import candidates
from installer.releases import Release
from verify.errors import ExitCode, RewactError
from verify.gitcmd import OWN, git_output, require_git
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
        if programs.answers(command):
            return command
    raise RewactError(ExitCode.INDEX, "No Python with pip was found to fetch with: install pip.")


def pinned(what: str, requirements: str, command: list[str], directory: Path, remedy: str) -> None:
    """Lets pip or uv fetch what the requirements name; their hashes are compared before anything is opened.

    Args:
        directory: for the list of the requirements.

    Raises:
        RewactError: INDEX, with the reason and the remedy.
    """
    listing = directory / "requirements.txt"
    listing.write_text(requirements)
    result = programs.run([*command, "--require-hashes", "--no-deps", "--requirement", str(listing)])
    if result.returncode:
        lines = [line for line in result.stdout.splitlines() if line.startswith("ERROR")]
        reason = lines[-1] if lines else "no reason given"
        if "DO NOT MATCH THE HASHES" in result.stdout.upper():
            reason = "the package index has it with another sha256 than was released; it was not opened"
        raise RewactError(ExitCode.INDEX, f"{what} could not be fetched ({reason}): {remedy}")


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
    if is_kept(release):
        console.step(f"LeRobot {release.version}: using {kept}")
        return kept
    console.step(f"fetching LeRobot {release.version} from the package index")
    what, remedy = (
        f"LeRobot {release.version}",
        f"check the network, or put the release's source archive at {kept}.",
    )
    with tempfile.TemporaryDirectory(prefix="rewact-fetch-") as temporary:
        # Asked for one archive, pip takes no wheel.
        command = [
            *find_pip(), "download", "--disable-pip-version-check", "--no-binary", "lerobot",
            "--ignore-requires-python", "--dest", temporary,
        ]  # fmt: skip
        requirement = f"lerobot=={release.version} --hash=sha256:{release.sha256}\n"
        pinned(what, requirement, command, Path(temporary), remedy)
        found = Path(temporary, kept.name)
        if not _holds(found, release):
            raise RewactError(ExitCode.INDEX, f"{what} was not what pip fetched, by its sha256: {remedy}")
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, found.read_bytes())
        except OSError as error:
            raise explain(error, kept, "XDG_CACHE_HOME names another place for it.") from None
    return kept


def new_clone(release: Release, target: Path) -> None:
    """Fetches a release where it has to be, and unpacks it to `target`."""
    require_git()
    unpack(archive(release), release, target)


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
        moment = 0.0
        with tarfile.open(source) as opened:
            for member in opened:
                top, _, path = member.name.partition("/")
                if top != f"lerobot-{release.version}" or not (member.isreg() or member.isdir()):
                    raise RewactError(
                        ExitCode.INDEX, f"The archive holds {member.name!r}, which no release has."
                    )
                if member.isdir():
                    continue
                check_name(path)
                destination = building / path
                destination.parent.mkdir(parents=True, exist_ok=True)
                with opened.extractfile(member) as content:
                    destination.write_bytes(content.read())
                os.chmod(destination, 0o755 if member.mode & 0o100 else 0o644)
                moment = max(moment, member.mtime)
        message = f"LeRobot {release.version} as released"
        # What was released is committed, also where LeRobot's own .gitignore names it.
        _commit(building, building / ".git", message, moment, "--force", "--", ".", ":!*.egg-info/*")
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
            _commit(directory, repository, "LeRobot as unpacked", time.time())
            os.rename(repository, directory / ".git")
    except OSError as error:
        raise explain(error, directory) from None


def _commit(directory: Path, repository: Path, message: str, moment: float, *added: str) -> None:
    """Makes the repository, with the files of `directory` as its one commit.

    Args:
        added: options of `git add --all`, which leaves out what is ignored.
    """
    # With the archive's own date and a fixed author the commit is the same on every machine.
    who = {"NAME": "rewACT-LeRobot", "EMAIL": "rewact-lerobot@localhost", "DATE": f"{int(moment)} +0000"}
    env = OWN | {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}

    init = ["init", "--quiet", "--template=", "--initial-branch=main"]
    git_output(init, cwd=repository.parent, env=env)
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "exclude").write_text(_EXCLUDES + "/.git-*/\n")
    for words in (
        ["config", "core.autocrlf", "false"],
        ["add", "--all", *added],
        ["commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", message],
    ):
        here = [f"--git-dir={repository}", f"--work-tree={directory}"]
        git_output([*here, *words], cwd=directory, env=env)
    (repository / "info" / "exclude").write_text(_EXCLUDES)
