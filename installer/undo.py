# SPDX-License-Identifier: MIT
"""`uninstall`: puts every file back. Where a record says what was written, the standard library does it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import installer
from installer import console, environment, lock, scripts, tools, transaction
from installer.faults import explain
from installer.transaction import OnStep, ignore_step
from verify.checkout import Checkout
from verify.errors import ExitCode
from verify.places import check_record
from verify.record import State
from verify.standing import plan_removal, tells_of_another_branch


@contextlib.contextmanager
def locked(checkout: Checkout) -> Iterator[None]:
    """Holds the checkout's lock; a file system that cannot be written is explained."""
    try:
        with lock.hold(checkout.state_dir):
            yield
    except OSError as error:
        raise explain(error, checkout.root) from error


@contextlib.contextmanager
def repaired(project: Path, checkout: Checkout) -> Iterator[None]:
    """Holds the lock, with the record checked and what an interrupted run left put right."""
    check_record(project, checkout)
    with locked(checkout):
        if outcome := transaction.recover(checkout):
            files = "the files of before are back" if outcome == "old" else "its changes were complete"
            console.step(f"an earlier run was interrupted: {files}")
        yield


def recover(project: Path, checkout: Checkout) -> None:
    """Checks the record, and puts right what an interrupted run left, if any."""
    if transaction.needs_recovery(checkout):
        with repaired(project, checkout):
            return
    check_record(project, checkout)


def uninstall(project: Path, checkout: Checkout, on_step: OnStep = ignore_step) -> int:
    """Puts every file back as it was before the first install.

    Returns:
        How many files were put back or removed.

    Raises:
        RewactError: with the checkout as it was; EDITED when a file was edited since it was written.
    """
    with repaired(project, checkout):
        state = checkout.state()
        if state is None or tells_of_another_branch(checkout, state):
            if not _patching().unrecorded_files(project, checkout):
                console.step(f"nothing is installed in {checkout.root}: nothing changed")
                return 0
            state = _patching().record_again(project, checkout)
        changes = plan_removal(checkout, state)
        transaction.run(checkout, changes, None, {}, on_step)
    files = console.plural(len(changes), "file") if changes else "nothing was left to be"
    console.step(f"{files} put back or removed in {checkout.root}")
    return len(changes)


def _patching() -> ModuleType:
    """What only the patches tell: for that GitPython and unidiff are needed."""
    tools.require()
    from installer import patching

    return patching


def _take_out_scripts(checkout: Checkout, state: State) -> None:
    """From the environment that `dev` used, and from those that this one would use now."""
    prefixes = [Path(state.environment)] if state.environment else []
    prefixes += environment.prefixes(installer.PROJECT, checkout.root)
    for prefix in dict.fromkeys(prefixes):
        if removed := scripts.take_out(prefix, state, checkout.root):
            console.step(f"{console.plural(len(removed), 'console script')} taken out of {prefix}")


def command(checkout: Checkout) -> int:
    """What `install.py uninstall` does; returns the exit code."""
    state = checkout.state()
    if os.path.lexists(checkout.record.update_path):  # an `update` that was killed is over
        with repaired(installer.PROJECT, checkout):
            checkout.record.update_path.unlink()
    if uninstall(installer.PROJECT, checkout):
        if state is not None:
            _take_out_scripts(checkout, state)
        console.done(
            "Checkpoints with a reward head need the patches: to use one with LeRobot alone, install again "
            "and save it with --policy.use_reward_head=false."
        )
        console.done("The checkout is LeRobot's own again. An editable install of it goes on working.")
    return ExitCode.OK
