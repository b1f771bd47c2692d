# SPDX-License-Identifier: MIT
"""Installs the patch set in a checkout."""

import contextlib
import functools
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from installer import console, fetch, transaction
from installer.releases import RELEASES
from installer.transaction import OnStep, ignore_step
from installer.undo import recover, repaired
from verify.checkout import Checkout, looks_like_lerobot
from verify.drift import LABEL, Drift, Released, describe_left_out, nearest
from verify.errors import ExitCode, RewactError
from verify.gitcmd import require_git
from verify.originals import Originals, cached_archive
from verify.paths import check_on_disk
from verify.plan import Plan, plan_checkout
from verify.recognition import directory_reader, pristine_reader, unrecorded_states
from verify.record import State
from verify.series import Content, PatchSet, fingerprint, load_overlay, load_patch_sets, load_unread
from verify.standing import is_applied, is_exactly


def load(project: Path) -> tuple[dict[str, PatchSet], dict[str, Content]]:
    """The project's patch sets, by tag, and the overlay; what a killed `export` left is put right first.

    Raises:
        RewactError: BAD_PATCH_SET, one line for each fault.
    """
    finish_swap(project / "patches")
    return load_patch_sets(project / "patches"), load_overlay(project / "overlay")


def finish_swap(patches: Path) -> None:
    """Puts an old set back that an interrupted export had moved aside."""
    for old in patches.glob(".v*.old"):
        target = patches / old.name[1 : -len(".old")]
        if target.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, target)


def read_plan(project: Path, checkout: Checkout, *, exact: bool = False) -> tuple[Plan, Drift | None]:
    """Plans with the patches and the overlay of this project; see `plan_checkout`."""
    patch_sets, overlay = load(project)
    return plan_checkout(checkout, patch_sets, overlay, originals_of(checkout.root), exact=exact)


def originals_of(root: Path | None, *, offline: bool = False) -> Originals:
    """Where the files of releases are: in a clone, else in their archives, fetched where they are needed.

    Args:
        offline: refuse, with INDEX, where one would have to be fetched.
    """

    @functools.cache  # it is found, and said, once
    def archive(tag: str) -> Path | None:
        known = [release for release in RELEASES if release.tag == tag]
        if known and offline and not fetch.is_kept(known[0]):
            raise RewactError(
                ExitCode.INDEX,
                f"LeRobot {known[0].version}'s files are neither in this clone nor in the cache: "
                "`install.py dev` fetches them, and says whether the patches fit.",
            )
        return fetch.archive(known[0]) if known else cached_archive(tag)

    return Originals(root, archive)


def show_drift(drift: Drift) -> None:
    """One line for each patch, and one for what is left out; `describe_misfit` has the rest."""
    for change in drift.fit.changes:
        advice = " (upstream has it: drop it)" if change.status == "merged" else ""
        anchors = " ({} of {} anchors left)".format(*change.anchors) if change.anchors else ""
        console.done(f"  {change.status:8} {change.change.name}{anchors}{advice}")
    for line in describe_left_out(drift):
        console.done(f"  {line}")


def _keeps_originals(checkout: Checkout, state: State) -> bool:
    """Whether all that undo needs is there; what is lost is taken from the clone's history again."""
    sides = (record.pristine for record in state.files.values())
    return all(side is None or checkout.record.kept_blob(side.blob) is not None for side in sides)


def _in_place(project: Path, checkout: Checkout) -> Plan | None:
    """The plan that changes nothing, where the record and every file agree with this patch set.

    No patch is read and nothing is asked of git: a second `dev` has nothing to wait for.
    """
    state = checkout.state()
    if state is None or not _keeps_originals(checkout, state):
        return None
    if state.fitted and state.commit != checkout.commit():
        return None  # what was proven is another tree
    declared = f"v{checkout.declared_version}"
    if state.fitted and state.tag != declared and (project / "patches" / declared).is_dir():
        return None  # the tree may have a series of its own by now
    try:
        patch_set, overlay = load_unread(project / "patches" / state.tag), load_overlay(project / "overlay")
    except (OSError, ValueError, RewactError):
        return None  # said in full where it is read in full
    if fingerprint(patch_set, overlay) != state.fingerprint:
        return None
    optional = [
        patch.data
        for patch in patch_set.patches
        if b"\nOptional: yes" in patch.data and patch.name not in state.left_out
    ]
    for path in re.findall(r"^Pre-Image: (.*) ", b"\n".join(optional).decode(errors="replace"), re.MULTILINE):
        if path not in state.files and checkout.read(path) is not None:
            return None  # a file that the last run did not find
    for path, record in state.files.items():
        check_on_disk(checkout.root, path)
        found = checkout.read(path)
        if not is_exactly(found, record.target) or (found and found.mode != record.target.mode):
            return None
    return Plan(patch_set, state.fingerprint, (), state.files, {}, state.fitted, state.left_out)


def install(
    project: Path,
    checkout: Checkout,
    on_step: OnStep = ignore_step,
    *,
    exact: bool = False,
    accept: Callable[[Plan], object] = lambda plan: None,
) -> Plan:
    """Brings a checkout to the patch set of this project: all of it, or nothing.

    Args:
        accept: raises where the caller cannot go on with this plan, before anything is written.

    Returns:
        The plan that was carried out; its `changes` are empty when all was in place already.

    Raises:
        RewactError: with the checkout as it was.
    """
    recover(project, checkout)
    plan, drift = None if exact else _in_place(project, checkout), None
    in_place = plan is not None
    # Then nothing is written, not even who holds the lock.
    with contextlib.nullcontext() if in_place else repaired(project, checkout):
        if not in_place:
            plan, drift = read_plan(project, checkout, exact=exact)
        _say_what_it_is(checkout, plan, drift)
        accept(plan)
        if in_place or _is_recorded(plan, checkout):
            console.step("patches and overlay are in place already: nothing changed")
            return plan
        before = checkout.state()
        # What `export` compares with: an upgrade of the patches must not forget where edits began.
        commit = before.commit if before and is_applied(checkout, before) else None
        state = State(
            transaction="",
            tag=plan.patch_set.tag,
            fingerprint=plan.fingerprint,
            files=plan.records,
            directories=(),
            fitted=plan.fitted,
            commit=commit or checkout.commit(),
            environment=before.environment if before else None,
            left_out=plan.left_out,
        )
        transaction.run(checkout, plan.changes, state, plan.pristine, on_step)
    patches = console.plural(plan.applied, "patch", "patches")
    verb = "brought up to date" if before else "applied"
    console.step(f"{patches} {verb}, {console.plural(len(plan.changes), 'file')} written and verified")
    return plan


def _say_what_it_is(checkout: Checkout, plan: Plan, drift: Drift | None) -> None:
    tag = plan.patch_set.tag
    if drift is not None:
        console.step(
            f"{checkout.root} is not a LeRobot release that has its own patches; those for {tag} "
            f"were fitted to it and checked ({LABEL})"
        )
    elif plan.fitted:
        console.step(f"{checkout.root} has the patches for LeRobot {tag} ({LABEL})")
    else:
        console.step(f"{checkout.root} is LeRobot {tag}")
    names = (f"left out: {name} (optional)" for name in plan.left_out)
    for line in describe_left_out(drift) if drift else names:
        console.step(line)


def _is_recorded(plan: Plan, checkout: Checkout) -> bool:
    """Whether nothing has to be written, the record included."""
    state = checkout.state()
    return (
        state is not None
        and not plan.changes
        and (state.tag, state.fingerprint, state.fitted)
        == (plan.patch_set.tag, plan.fingerprint, plan.fitted)
        and state.files.keys() == plan.records.keys()
        and _keeps_originals(checkout, state)
    )


def unrecorded_files(project: Path, checkout: Checkout) -> list[str]:
    """The files that hold what is installed, where nothing is recorded."""
    patch_sets, overlay = load(project)
    return sorted(
        {
            path
            for patch_set in patch_sets.values()
            for path, name in unrecorded_states(checkout, patch_set, overlay).items()
            if name == "applied" and checkout.read(path) is not None
        }
    )


def record_again(project: Path, checkout: Checkout) -> State:
    """Makes the record again from what the files hold: it was lost, or a patched tree was committed.

    Raises:
        RewactError: where that cannot be told, naming the files.
    """
    try:
        plan, _ = read_plan(project, checkout)
    except RewactError as error:
        raise RewactError(
            error.code,
            f"{checkout.root} holds what install.py writes "
            f"({', '.join(unrecorded_files(project, checkout))}), but no record of it, and none can be made: "
            f"restore these files with git, or delete those it does not track. {error}",
        ) from None
    made = {
        parent
        for path, record in plan.records.items()
        if record.pristine is None
        for parent in Path(path).parents[:-1]
    }
    names = sorted(parent.as_posix() for parent in made)
    tracked = checkout.head_blobs(names) if names else {}
    directories = tuple(name for name in names if name not in tracked)
    state = State("", plan.patch_set.tag, plan.fingerprint, plan.records, directories)
    transaction.run(checkout, (), state, plan.pristine)
    return state


def examine(project: Path, tree: Path) -> Drift:
    """How the series that fits a tree best would fare on it; the tree need not be a repository.

    Raises:
        RewactError: NOT_LEROBOT, when it is not LeRobot.
    """
    require_git()
    patch_sets, overlay = load(project)
    if looks_like_lerobot(tree) and not (tree / ".git").exists():
        root, read = None, directory_reader(tree)
    else:
        checkout = Checkout(tree)
        root, read = checkout.root, pristine_reader(checkout, checkout.state())
    originals = originals_of(root)
    series = {tag: Released(patch_set, originals) for tag, patch_set in patch_sets.items()}
    return nearest(series, overlay, read, str(root or tree))
