# SPDX-License-Identifier: MIT
"""Plans for checkouts: exact where a series knows the tree, else fitted and proven, else refused."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from verify.checkout import Checkout
from verify.drift import Drift, Released, nearest, pristine_reader
from verify.errors import ExitCode, RewactError
from verify.fit import FileFit
from verify.originals import Originals
from verify.plan import Plan, Result, compare, make_plan
from verify.series import Content, PatchSet
from verify.standing import is_recorded_version

# What such an installation is called, wherever it is shown.
LABEL = "fitted, not released"


def plan_checkout(
    checkout: Checkout,
    patch_sets: Mapping[str, PatchSet],
    overlay: Mapping[str, Content],
    originals: Originals,
    *,
    exact: bool = False,
) -> tuple[Plan, Drift | None]:
    """The plan of the series made for a checkout, else of the one that fits it, proven.

    Args:
        exact: refuse what no series was made for.

    Returns:
        The plan, and for a fitted series the report on how it fits.

    Raises:
        RewactError: UNSUPPORTED_VERSION or BAD_PATCH_SET; where no series fits EDITED, if the tree is a
            release with edits, else CONFLICT.
    """
    state = checkout.state()
    # What was fitted once stays fitted, as long as it is this tree.
    refusal = None
    if exact and state is not None and state.fitted and is_recorded_version(checkout, state):
        raise RewactError(
            ExitCode.UNSUPPORTED_VERSION,
            f"{checkout.root} has the series for {state.tag} ({LABEL}), which --exact refuses: "
            "`install.py uninstall` takes it out.",
        )
    if exact or state is None or not state.fitted or not is_recorded_version(checkout, state):
        try:
            return make_plan(checkout, patch_sets, overlay, originals), None
        except RewactError as error:
            if exact or error.code not in (ExitCode.UNSUPPORTED_VERSION, ExitCode.EDITED):
                raise
            # Edits of what is installed: the series fits what was there before, and the edits are in its way.
            if error.code is ExitCode.EDITED and state and is_recorded_version(checkout, state):
                raise
            refusal = error
    read = pristine_reader(checkout, state)
    if refusal is not None and any(read(path) == file.data for path, file in overlay.items()):
        raise refusal  # patched, but nothing says what it was before
    series = {tag: Released(patch_set, originals) for tag, patch_set in patch_sets.items()}
    edited = refusal if refusal is not None and refusal.code is ExitCode.EDITED else None
    try:
        drift = nearest(series, overlay, read, str(checkout.root))
    except RewactError as error:
        raise (error if edited is None or error.code is ExitCode.INDEX else edited) from None
    if edited is not None and any(checkout.read(path) is None for path in patch_sets[drift.tag].pre_images):
        raise edited  # it names the files that are missing, and how they come back
    if not drift.fits:
        raise RewactError(edited.code if edited else ExitCode.CONFLICT, describe_misfit(drift))
    patch_set = patch_sets[drift.tag]
    results = {}
    for path, target in drift.fit.targets.items():
        found, before = checkout.read(path), read(path)
        executable = found is not None and found.executable
        results[path] = Result(
            None if before is None else Content(before, executable),
            None if target is None else Content(target, _executable(patch_set, path, executable)),
        )
    plan = compare(checkout, state, patch_set, results, overlay)
    applied = sum(change.fits for change in drift.fit.changes)
    left_out = tuple(change.change.name for change in drift.fit.left_out)
    return replace(plan, fitted=True, left_out=left_out, applied=applied), drift


def _executable(patch_set: PatchSet, path: str, before: bool) -> bool:
    """The executable bit that the series leaves a file with."""
    for patch in patch_set.patches:
        for diff in patch.diffs:
            if diff.new_path == path and (len(diff.modes) > 1 or diff.old_path is None):
                before = diff.modes[-1] == "100755"
    return before


def describe_misfit(drift: Drift) -> str:
    """Why the series that fits best does not fit: patch, scope, what was expected and what was found."""
    lines = [f"{drift.tree}: no series fits; the closest is that for {drift.tag}. Nothing was changed."]
    for change in drift.fit.misfits:
        for file in change.files:
            if not file.fits:
                lines += _describe(change.change.name, file)
    lines += [f"{path} is there already, and is not our overlay's file." for path in drift.taken]
    lines += [f"{fault}." for fault in drift.faults]
    lines.append(f"Next: check out {drift.tag}, or a commit that the README's table of commits has.")
    return "\n".join(lines)


def describe_left_out(drift: Drift) -> list[str]:
    """One line for each optional patch that does not fit."""
    return [
        f"left out: {change.change.name} (optional): "
        + "; ".join(_in_a_line(file) for file in change.files if not file.fits)
        for change in drift.fit.left_out
    ]


def _in_a_line(file: FileFit) -> str:
    expected = file.expected.strip().splitlines()
    return f"{file.where}: {file.reason}" + (f": {expected[0].decode(errors='replace')}" if expected else "")


def _describe(name: str, file: FileFit) -> Iterator[str]:
    where = f", in {file.scope}" if file.scope else ""
    yield f"{name}: {file.path}{where}: {file.reason}" + (": expected" if file.expected else "")
    if file.expected:
        yield from _quoted(file.expected)
        yield "  found" if file.found else "  found nothing like it"
        yield from _quoted(file.found)


def _quoted(text: bytes) -> Iterator[str]:
    for line in text.decode(errors="replace").splitlines():
        yield f"    | {line.rstrip()}"
