# SPDX-License-Identifier: MIT
"""Asking git with the standard library alone, for what has to work where nothing is installed: undo.

What git has stored is read by GitPython (`verify.repository`). Neither the user's configuration nor a leaked
variable changes a byte: nothing here runs git *inside* the user's repository, except to ask and to read.
"""

import errno
import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from verify.errors import ExitCode, RewactError

MINIMUM_GIT = (2, 39)
OPTIONS = (
    "-c", "core.fsmonitor=false",  # would start a program named in the repository's configuration
    "-c", "core.hooksPath=" + os.devnull,  # no hook of the user's runs
)  # fmt: skip
_CONFIGURATION = re.compile(
    r"GIT_CONFIG_(NOSYSTEM|PARAMETERS|COUNT|KEY_\d+|VALUE_\d+|GLOBAL|SYSTEM)", re.IGNORECASE
)
# What git is told when it only reads: no question, no lock, nothing fetched that a partial clone lacks.
READING = {
    "LC_ALL": "C",
    "LANGUAGE": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
}
# For a repository of our own: no configuration of the user's or the system's is read. HOME and
# XDG_CONFIG_HOME are where git would look for attributes and excludes of the user's.
OWN = READING | {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "0",
    "GIT_CONFIG_PARAMETERS": "",
    "GIT_ATTR_NOSYSTEM": "1",
    "HOME": os.devnull,
    "XDG_CONFIG_HOME": os.devnull,
}


def blob_id(data: bytes) -> str:
    """The id git gives to a file of these bytes (40 hexadecimal digits)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


# What is taken out of the environment and belongs to the user's own git all the same.
_USERS = re.compile(r"GIT_(SSH|ASKPASS|PROXY|SSL|HTTP|AUTHOR|COMMITTER|EDITOR|SEQUENCE_EDITOR|PAGER)\w*")
_taken: dict[str, str] = {}


def users_environment() -> dict[str, str]:
    """For git commands that the user asks for: how it connects and who commits, not which repository."""
    return _taken | os.environ


def scrub_environment() -> None:
    """Takes every variable that redirects git out of this process; configuration (safe.directory) stays.

    GitPython hands on what is in the environment, and starts what GIT_PYTHON_GIT_EXECUTABLE names.
    """
    for key in [key for key in os.environ if key.upper().startswith("GIT_")]:
        # A directory in the place of a configuration file would stop git.
        if not _CONFIGURATION.fullmatch(key) or os.path.isdir(os.environ[key]):
            value = os.environ.pop(key)
            if _USERS.fullmatch(key):
                _taken[key] = value


def run_git(
    arguments: list[str], *, cwd: Path | None = None, env: Mapping[str, str] = READING, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Runs git with a literal argument list; output is bytes, the exit status is left to the caller."""
    scrub_environment()
    try:
        return subprocess.run(
            ["git", *OPTIONS, *arguments],
            cwd=cwd,
            env={**os.environ, **env},
            input=stdin,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise RewactError(
            ExitCode.GIT,
            f"git was not found on PATH: install git {MINIMUM_GIT[0]}.{MINIMUM_GIT[1]} or newer.",
        ) from None


def git_output(
    arguments: list[str], *, cwd: Path, env: Mapping[str, str] = READING, stdin: bytes = b""
) -> bytes:
    """What git prints.

    Raises:
        RewactError: GIT or DISK_FULL, with what git said.
    """
    ended = run_git(arguments, cwd=cwd, env=env, stdin=stdin)
    if ended.returncode:
        name = next(word for word in arguments if not word.startswith("-"))
        raise git_failure(name, cwd, ended.stderr)
    return ended.stdout


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


def git_failure(command: str, where: Path, stderr: bytes | str) -> RewactError:
    """The sentence for a git command that failed in a repository of our own."""
    reason = (stderr.decode(errors="replace") if isinstance(stderr, bytes) else stderr).strip()
    if any(os.strerror(number) in reason for number in (errno.ENOSPC, errno.EDQUOT)):
        return RewactError(
            ExitCode.DISK_FULL,
            f"The disk is full: git {command} failed in {where} ({reason}). Make room and run again.",
        )
    return RewactError(ExitCode.GIT, f"git {command} failed in {where}: {reason}")
