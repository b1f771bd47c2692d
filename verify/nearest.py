# SPDX-License-Identifier: MIT
"""Plans for trees that no series was made for: the closest series, fitted and labelled, or refused."""

import shlex
from collections.abc import Mapping
from dataclasses import replace

from verify.checkout import Checkout
from verify.drift import Drift, nearest, pristine_reader
from verify.errors import ExitCode, RewactError
from verify.plan import Content, Plan, Result, compare, make_plan
from verify.series import OverlayFile, PatchSet
from verify.standing import is_recorded_version


def plan_checkout(
    checkout: Checkout,
    patch_sets: Mapping[str, PatchSet],
    overlay: Mapping[str, OverlayFile],
    *,
    allow_nearest: bool = False,
) -> tuple[Plan, Drift | None]:
    """The plan for a supported release, else (where allowed, or done so before) for the nearest series.

    Returns:
        The plan, and for the nearest series the report on how it fits.

    Raises:
        RewactError: UNSUPPORTED_VERSION, EDITED or BAD_PATCH_SET; CONFLICT when the nearest does not fit.
    """
    state = checkout.state()
    # Once chosen the nearest series stays chosen, as long as it is this tree that it was fitted to.
    if state is None or not state.nearest or not is_recorded_version(checkout, state):
        try:
            return make_plan(checkout, patch_sets, overlay), None
        except RewactError as error:
            if not allow_nearest or error.code not in (ExitCode.UNSUPPORTED_VERSION, ExitCode.EDITED):
                raise
    read = pristine_reader(checkout, state)
    drift = nearest(patch_sets, overlay, read, str(checkout.root))
    if not drift.fits:
        raise RewactError(ExitCode.CONFLICT, describe_misfit(drift))
    patch_set = patch_sets[drift.tag]
    results = {}
    for path, target in drift.targets.items():
        found, before = checkout.read(path), read(path)
        executable = found is not None and found.executable
        results[path] = Result(
            None if before is None else Content(before, executable),
            None if target is None else Content(target, _executable(patch_set, path, executable)),
        )
    plan = compare(checkout, state, patch_set, results, overlay)
    applied = sum(not step.left_out for step in drift.steps)
    return replace(plan, nearest=True, applied=applied), drift


def _executable(patch_set: PatchSet, path: str, before: bool) -> bool:
    """The executable bit that the series leaves a file with."""
    for patch in patch_set.patches:
        for diff in patch.diffs:
            if diff.new_path == path and (len(diff.modes) > 1 or diff.old_path is None):
                before = diff.modes[-1] == "100755"
    return before


def describe_misfit(drift: Drift) -> str:
    """Every conflict with patch, file, hunk, the lines expected and found, and what to do."""
    lines = [f"{drift.tree}: the nearest series, {drift.tag}, does not fit. Nothing was changed."]
    for patch in drift.patches:
        for file in patch.files:
            if file.status == "gone":
                lines.append(f"{patch.name}: {file.path} is not there.")
            if file.status != "conflict":
                continue
            conflicts = [hunk for hunk in file.hunks if hunk.status == "conflict"]
            if not conflicts:
                lines.append(f"{patch.name}: {file.path} is another file than the patch was made for.")
            for hunk in conflicts:
                where = f" in {hunk.scope}" if hunk.scope else ""
                lines.append(f"{patch.name}: {file.path}, hunk {hunk.number}{where}: expected")
                lines += [f"    | {line.decode(errors='replace').rstrip()}" for line in hunk.expected]
                lines.append("  found" if hunk.found else "  found nothing like it")
                lines += [f"    | {line.decode(errors='replace').rstrip()}" for line in hunk.found]
    lines += [f"{path} is there already, and is not our overlay's file." for path in drift.taken]
    lines.append(
        f"Next: `python install.py drift {shlex.quote(drift.tree)}`, or check out the release {drift.tag}."
    )
    return "\n".join(lines)
