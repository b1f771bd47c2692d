# SPDX-License-Identifier: MIT
"""`uninstall`: puts every file back. Where a record says what was written, the standard library does it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import installer
from installer import console, lock, transaction
from installer.faults import explain
from installer.transaction import OnStep
from verify.checkout import Checkout
from verify.errors import ExitCode
from verify.record import State
from verify.standing import plan_removal


@contextlib.contextmanager
def locked(checkout: Checkout) -> Iterator[None]:
    """Holds the checkout's lock; a file system that cannot be written is explained."""
    try:
        with lock.hold(checkout.state_dir):
            yield
    except OSError as error:
        raise explain(error, checkout.root) from error


def recover(checkout: Checkout) -> None:
    """Repairs what an interrupted run left, if any; says so."""
    if transaction.needs_recovery(checkout):
        with locked(checkout):
            recover_locked(checkout)


def recover_locked(checkout: Checkout) -> None:
    outcome = transaction.recover(checkout)
    if outcome:
        files = "the files of before are back" if outcome == "old" else "its changes were complete"
        console.step(f"an earlier run was interrupted: {files}")


def uninstall(project: Path, checkout: Checkout, on_step: OnStep | None = None) -> int:
    """Puts every file back as it was before the first install.

    Returns:
        How many files were put back or removed.

    Raises:
        RewactError: with the checkout as it was; EDITED when a file was edited since it was written.
    """
    recover(checkout)
    if checkout.state() is None and not _unrecorded(project, checkout):
        console.step(f"nothing is installed in {checkout.root}: nothing changed")
        return 0
    with locked(checkout):
        recover_locked(checkout)  # again, now that nobody else writes
        state = checkout.state() or _record_again(project, checkout)
        if state is None:
            return 0  # another run has just taken it out
        changes = plan_removal(checkout, state)
        transaction.run(checkout, changes, None, {}, *([on_step] if on_step else []))
    files = console.plural(len(changes), "file") if changes else "nothing was left to be"
    console.step(f"{files} put back or removed in {checkout.root}")
    return len(changes)


def command(checkout: Checkout) -> int:
    """What `install.py uninstall` does; returns the exit code."""
    if uninstall(installer.PROJECT, checkout):
        console.done("The checkout is LeRobot's own again. An editable install of it goes on working.")
    return ExitCode.OK


def _unrecorded(project: Path, checkout: Checkout) -> list[str]:
    """The files that hold what is installed, where nothing is recorded: found by what the patches say."""
    from installer import tools

    tools.require()
    from installer.patching import unrecorded_files

    return unrecorded_files(project, checkout)


def _record_again(project: Path, checkout: Checkout) -> State | None:
    if not _unrecorded(project, checkout):
        return None
    from installer.patching import record_again

    return record_again(project, checkout)
