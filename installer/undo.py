# SPDX-License-Identifier: MIT
"""`uninstall`: puts every file back. Where a record says what was written, the standard library does it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import installer
from installer import console, environment, lock, scripts, tools, transaction
from installer.faults import explain
from installer.transaction import OnStep
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
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
    if checkout.state() is None and not _ask_patches("unrecorded_files", project, checkout):
        console.step(f"nothing is installed in {checkout.root}: nothing changed")
        return 0
    with locked(checkout):
        recover_locked(checkout)  # again, now that nobody else writes
        state = checkout.state()
        if state is None or tells_of_another_branch(checkout, state):
            if not _ask_patches("unrecorded_files", project, checkout):
                return 0  # another run has just taken it out
            state = _ask_patches("record_again", project, checkout)
        _refuse_files_of_before(project, checkout, state)
        changes = plan_removal(checkout, state)
        transaction.run(checkout, changes, None, {}, *([on_step] if on_step else []))
    files = console.plural(len(changes), "file") if changes else "nothing was left to be"
    console.step(f"{files} put back or removed in {checkout.root}")
    return len(changes)


def _refuse_files_of_before(project: Path, checkout: Checkout, state: State) -> None:
    """Raises DAMAGED_STATE where the record calls ours what was there before the installation."""
    commit = state.commit or checkout.commit()
    made = [path for path, record in state.files.items() if record.pristine is None]
    if commit is None or not made or not checkout.has_commit(commit):
        return
    there = checkout.head_blobs(made, commit)
    # A patched tree may have been committed and cloned: what patches and overlay name is ours all the same.
    if there and (others := sorted(there.keys() - _ask_patches("names", project))):
        raise RewactError(
            ExitCode.DAMAGED_STATE,
            f"{checkout.record.state_path} says that install.py made {', '.join(others[:3])}, which was "
            "there before: nothing is removed. Delete that record and run `install.py dev` again.",
        )


def _ask_patches(question: str, project: Path, *arguments: object):
    """What only the patches tell: for that GitPython and unidiff are needed."""
    tools.require()
    from installer import patching

    return getattr(patching, question)(project, *arguments)


def _take_out_scripts(checkout: Checkout, state: State | None, ours: dict[str, str]) -> None:
    """From the environment that `dev` used, and from those that this one would use now."""
    prefixes = [Path(state.environment)] if state is not None and state.environment else []
    prefixes += environment.prefixes(installer.PROJECT, checkout.root)
    for prefix in dict.fromkeys(prefixes):
        if removed := scripts.take_out(prefix, ours, checkout.root):
            console.step(f"{console.plural(len(removed), 'console script')} taken out of {prefix}")


def command(checkout: Checkout) -> int:
    """What `install.py uninstall` does; returns the exit code."""
    state = checkout.state()
    ours = scripts.added(checkout, state) if state is not None else {}
    if uninstall(installer.PROJECT, checkout):
        _take_out_scripts(checkout, state, ours)
        console.done(
            "Checkpoints with a reward head need the patches: to use one with LeRobot alone, install again "
            "and save it with --policy.use_reward_head=false."
        )
        console.done("The checkout is LeRobot's own again. An editable install of it goes on working.")
    return ExitCode.OK
