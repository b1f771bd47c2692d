# SPDX-License-Identifier: MIT
"""Installs the patch set in a checkout and takes it out again."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from _rewact_installer import console, lock, transaction
from _rewact_installer.transaction import OnStep
from verify.checkout import Checkout, State
from verify.gitcmd import require_git
from verify.patchset import load_overlay, load_patch_sets
from verify.plan import Plan, make_plan, plan_removal


def read_plan(project: Path, checkout: Checkout) -> Plan:
    """Plans for a checkout with the patches and the overlay of this project; writes nothing."""
    return make_plan(checkout, load_patch_sets(project / "patches"), load_overlay(project / "overlay"))


def open_checkout(directory: Path) -> Checkout:
    """A checkout, once git is known to be usable."""
    require_git()
    return Checkout(directory)


@contextlib.contextmanager
def _locked(checkout: Checkout) -> Iterator[None]:
    """Holds the checkout's lock; a file system that cannot be written is explained."""
    try:
        with lock.hold(checkout.state_dir):
            yield
    except OSError as error:
        raise transaction.explain(error, checkout) from error


def recover(checkout: Checkout) -> None:
    """Repairs what an interrupted run left, if any; says so."""
    if transaction.needs_recovery(checkout):
        with _locked(checkout):
            outcome = transaction.recover(checkout)
        if outcome:
            files = "the files of before are back" if outcome == "old" else "its changes were complete"
            console.step(f"an earlier run was interrupted: {files}")


def _is_recorded(plan: Plan, state: State | None) -> bool:
    return (
        state is not None
        and not plan.changes
        and (state.tag, state.fingerprint) == (plan.patch_set.tag, plan.fingerprint)
        and state.files.keys() == plan.records.keys()
    )


def install(project: Path, checkout: Checkout, on_step: OnStep | None = None) -> Plan:
    """Brings a checkout to the patch set of this project: all of it, or nothing.

    Returns:
        The plan that was carried out; its `changes` are empty when all was in place already.

    Raises:
        RewactError: with the checkout as it was.
    """
    recover(checkout)
    plan = read_plan(project, checkout)
    console.step(f"{checkout.root} is LeRobot {plan.patch_set.tag}")
    if _is_recorded(plan, checkout.state()):
        console.step("patches and overlay are in place already: nothing changed")
        return plan
    with _locked(checkout):
        plan = read_plan(project, checkout)  # again, now that nobody else writes
        state = State("", plan.patch_set.tag, plan.fingerprint, plan.records, ())
        upgraded = checkout.state() is not None
        transaction.run(checkout, plan.changes, state, plan.pristine, *([on_step] if on_step else []))
    patches = console.plural(len(plan.patch_set.patches), "patch").replace("patchs", "patches")
    verb = "brought up to date" if upgraded else "applied"
    console.step(f"{patches} {verb}, {console.plural(len(plan.changes), 'file')} written and verified")
    return plan


def uninstall(project: Path, checkout: Checkout, on_step: OnStep | None = None) -> int:
    """Puts every file back as it was before the first install.

    Returns:
        How many files were put back or removed.

    Raises:
        RewactError: with the checkout as it was; EDITED when a file was edited since it was written.
    """
    recover(checkout)
    state = checkout.state()
    if state is None:
        console.step(f"nothing is installed in {checkout.root}: nothing changed")
        return 0
    with _locked(checkout):
        state = checkout.state() or state
        changes = plan_removal(checkout, state)
        transaction.run(checkout, changes, None, {}, *([on_step] if on_step else []))
    console.step(f"{console.plural(len(changes), 'file')} put back or removed in {checkout.root}")
    return len(changes)
