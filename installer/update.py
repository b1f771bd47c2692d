# SPDX-License-Identifier: MIT
"""`update`: brings a patched clone to another commit. All of it, or nothing.

1. The patches are taken out.
2. The user's own git goes to the other commit, with the user's configuration, hooks and credentials.
3. The patches are put in again.

Where 2 or 3 fails, git goes back and so do the patches. A run that was killed in between is finished by the
same command.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from installer import console, patching, undo
from installer.files import write_atomically
from installer.transaction import OnStep, ignore_step
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.gitcmd import run_git, users_environment
from verify.record import checked, read_json
from verify.standing import is_blob

# What git keeps in its directory while it waits for the user to go on.
_UNFINISHED = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}


@dataclass(frozen=True)
class Before:
    """Where a clone was. It is noted beside the record until the run ends, for a run after a kill.

    Attributes:
        branch: None for a detached HEAD.
        patched: whether the patches were in.
        installed: whether they were installed in an environment, too.
    """

    branch: str | None
    commit: str
    patched: bool
    installed: bool

    @classmethod
    def load(cls, value: object) -> "Before":
        fields = {"branch": _branch_name, "commit": "[0-9a-f]{40}", "patched": bool, "installed": bool}
        return cls(**checked(value, fields))


def _branch_name(value: object) -> str | None:
    return None if value is None else checked(value, r"[^-\s\0][^\s\0]{0,254}")


def update(
    project: Path,
    checkout: Checkout,
    ref: str | None,
    put_in: Callable[[bool], object] | None = None,
    on_step: OnStep = ignore_step,
) -> None:
    """Goes to `ref`, or as `git pull` would to what the branch follows.

    Args:
        put_in: installs, in an environment if it is told so; only the patches where it is left out.
        on_step: as in `transaction.run`.

    Raises:
        RewactError: USAGE, GIT, or what `dev` says of the other commit; the clone is as it was.
    """

    def put_back() -> None:
        patching.install(project, checkout, on_step)

    undo.recover(project, checkout)
    killed = checkout.state() is None and os.path.lexists(checkout.record.update_path)
    before = _check(checkout, ref)
    _note(checkout, before)
    try:
        if killed and before.patched:
            target = checkout.commit(ref or "@{upstream}")
            _take_back_half_a_checkout(checkout, before.commit if checkout.commit() == target else target)
        if checkout.state() is not None:
            undo.uninstall(project, checkout, on_step)
        on_step("git")
        _users_git(checkout, ["checkout", ref, "--"] if ref else ["pull", "--ff-only"])
        on_step("put in")
        put_in(before.installed) if put_in else put_back()
        _note(checkout, None)
    except BaseException as error:
        _note(checkout, before)
        moved = checkout.commit() != before.commit or _branch(checkout) != before.branch
        if moved:
            if checkout.state() is not None:
                undo.uninstall(project, checkout, on_step)
            on_step("go back")
            _go_back(checkout, before)
        on_step("put back")
        if before.patched and checkout.state() is None:
            put_back()
        _note(checkout, None)
        if isinstance(error, RewactError):
            where = f"back at {before.branch or before.commit[:12]}" if moved else "as it was"
            raise RewactError(error.code, f"{error}\nThe clone is {where}.") from None
        raise


def _check(checkout: Checkout, ref: str | None) -> Before:
    """Where the clone is, once nothing is in the way; after a kill, where the killed run began."""
    commit = checkout.commit()
    if commit is None:
        raise RewactError(ExitCode.USAGE, f"{checkout.root} has no commit to leave: use `install.py dev`.")
    lock = checkout.git_dir / "index.lock"
    if lock.exists():
        raise RewactError(
            ExitCode.GIT,
            f"{lock} is there: git is at work, or was killed. Where no git runs, delete it, then run again.",
        )
    for name, what in _UNFINISHED.items():
        if (checkout.git_dir / name).exists():
            raise RewactError(
                ExitCode.GIT,
                f"{checkout.root} is in the middle of a {what}: `git {what} --continue` or `--abort`, then "
                "run again.",
            )
    branch = _branch(checkout)
    followed = branch and run_git(["config", f"branch.{branch}.merge"], cwd=checkout.root).stdout
    if ref is None and not followed:
        where = f"its branch {branch} follows none of a remote" if branch else "no branch is checked out"
        raise RewactError(
            ExitCode.USAGE,
            f"{checkout.root} has nothing to pull, as {where}: name where to go, for example "
            "`install.py update main`.",
        )
    target = checkout.commit(ref or "@{upstream}")
    if ref is not None and (ref.startswith("-") or target is None):
        raise RewactError(
            ExitCode.USAGE, f"{checkout.root} has no commit called {ref}: `git fetch` it, then run again."
        )
    state = checkout.state()
    noted = read_json(checkout.record.update_path, Before.load, "delete it and run again.")
    # A kill left it: the clone is where that run began, or where it was to go, and nobody has moved it since.
    if noted is not None and commit in (noted.commit, target):
        return noted
    return Before(branch, commit, state is not None, bool(state and state.environment))


def _take_back_half_a_checkout(checkout: Checkout, target: str | None) -> None:
    """Puts back what git wrote of `target` before it was killed; HEAD and the index are the old ones then.

    No edit is lost: only files that are exactly as `target` has them are put back, or removed.
    """
    if target is None:
        return
    changed = checkout.modified()
    others = checkout.listed("ls-files", "-z", "--others", "--exclude-standard")
    wanted = checkout.head_blobs([], target)  # of all: a command line has no room for any number of names
    written = [
        path
        for path in (*changed, *others)
        if is_blob(found := checkout.read(path), wanted.get(path))
        or (found is not None and found.blob == wanted.get(path))  # a link
    ]
    if back := [path for path in written if path in changed]:
        words = ["--literal-pathspecs", "checkout", "HEAD", "--pathspec-from-file=-", "--pathspec-file-nul"]
        names = b"".join(os.fsencode(path) + b"\0" for path in back)
        subprocess.run(["git", *words], cwd=checkout.root, env=users_environment(), input=names, check=False)
    for path in written:
        if path not in changed:
            (checkout.root / path).unlink()


def _note(checkout: Checkout, before: Before | None) -> None:
    with undo.locked(checkout):
        if before is None:
            checkout.record.update_path.unlink(missing_ok=True)
        else:
            write_atomically(checkout.record.update_path, json.dumps(asdict(before)).encode())


def _branch(checkout: Checkout) -> str | None:
    answer = run_git(["symbolic-ref", "--quiet", "--short", "HEAD"], cwd=checkout.root)
    return os.fsdecode(answer.stdout).strip() or None


def _users_git(checkout: Checkout, arguments: list[str]) -> None:
    console.step(f"git {' '.join(arguments).removesuffix(' --')}")
    code = subprocess.call(["git", *arguments], cwd=checkout.root, env=users_environment())
    if code:
        raise RewactError(ExitCode.GIT, f"git {arguments[0]} failed (its reason is above).")


def _go_back(checkout: Checkout, before: Before) -> None:
    # Neither way loses an edit: both refuse where one would be lost.
    if _branch(checkout) != before.branch or before.branch is None:
        _users_git(checkout, ["checkout", "--quiet", before.branch or before.commit, "--"])
    elif checkout.commit() != before.commit:
        _users_git(checkout, ["reset", "--quiet", "--keep", before.commit])
