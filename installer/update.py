# SPDX-License-Identifier: MIT
"""`update`: brings a patched clone to another commit. All of it, or nothing.

1. The patches are taken out.
2. The user's own git goes to the other commit, with the user's configuration, hooks and credentials.
3. The patches are put in again.

Where 2 or 3 fails, git goes back and so do the patches. A run that was killed in between is finished by the
same command.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from installer import console, patching, undo
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.gitcmd import run_git, users_environment

# What git keeps in its directory while it waits for the user to go on.
_UNFINISHED = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}


def update(
    project: Path, checkout: Checkout, ref: str | None, put_in: Callable[[], object] | None = None
) -> None:
    """Goes to `ref`, or as `git pull` would to what the branch follows.

    Args:
        put_in: installs; only the patches where it is left out.

    Raises:
        RewactError: USAGE, GIT, or what `dev` says of the other commit; the clone is as it was.
    """
    put_in = put_in or (lambda: patching.install(project, checkout))
    undo.recover(checkout)
    before = _check(checkout, ref)
    installed = checkout.state() is not None
    if installed:
        undo.uninstall(project, checkout)
    try:
        _users_git(checkout, ["checkout", ref, "--"] if ref else ["pull", "--ff-only"])
        put_in()
    except BaseException as error:
        if checkout.state() is not None:
            undo.uninstall(project, checkout)
        _go_back(checkout, before)
        if installed:
            patching.install(project, checkout)
        if isinstance(error, RewactError):
            raise RewactError(
                error.code, f"{error}\nThe clone is back at {before[0] or before[1][:12]}."
            ) from None
        raise


def _check(checkout: Checkout, ref: str | None) -> tuple[str | None, str]:
    """Where HEAD is, as branch and commit, once nothing is in the way."""
    commit = checkout.commit()
    if commit is None:
        raise RewactError(ExitCode.USAGE, f"{checkout.root} has no commit to leave: use `install.py dev`.")
    for name, what in _UNFINISHED.items():
        if (checkout.git_dir / name).exists():
            raise RewactError(
                ExitCode.GIT,
                f"{checkout.root} is in the middle of a {what}: `git {what} --continue` or `--abort`, then "
                "run again.",
            )
    if ref is not None:
        known = run_git(
            ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"], cwd=checkout.root
        )
        if ref.startswith("-") or known.returncode:
            raise RewactError(
                ExitCode.USAGE, f"{checkout.root} has no commit called {ref}: `git fetch` it, then run again."
            )
    return _branch(checkout), commit


def _branch(checkout: Checkout) -> str | None:
    answer = run_git(["symbolic-ref", "--quiet", "--short", "HEAD"], cwd=checkout.root)
    return os.fsdecode(answer.stdout).strip() or None


def _users_git(checkout: Checkout, arguments: list[str]) -> None:
    console.step(f"git {' '.join(arguments).removesuffix(' --')}")
    code = subprocess.call(["git", *arguments], cwd=checkout.root, env=users_environment())
    if code:
        raise RewactError(ExitCode.GIT, f"git {arguments[0]} failed (its reason is above).")


def _go_back(checkout: Checkout, before: tuple[str | None, str]) -> None:
    branch, commit = before
    # Neither way loses an edit: both refuse where one would be lost.
    if _branch(checkout) != branch or branch is None:
        _users_git(checkout, ["checkout", "--quiet", branch or commit, "--"])
    elif checkout.commit() != commit:
        _users_git(checkout, ["reset", "--quiet", "--keep", commit])
