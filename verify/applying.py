# SPDX-License-Identifier: MIT
"""A series applied by git to the very files it was made for, patch by patch. Reads only."""

from collections.abc import Mapping, Sequence

from verify.errors import ExitCode, RewactError
from verify.fit import Change
from verify.patch import ABSENT, ALLOWED_MODES, Patch
from verify.repository import scratch_repository
from verify.series import shortened


def apply_series(patches: Sequence[Patch], pristine: Mapping[str, bytes]) -> list[Change]:
    """Applies patches in order to pristine files, in a scratch repository.

    Every patch is tried, so that all that fail are reported.

    Raises:
        RewactError: BAD_PATCH_SET, one line for each fault.
    """
    files: dict[str, bytes | None] = dict(pristine)
    changes, faults = [], []
    with scratch_repository() as scratch:
        scratch.set_index(
            {path: (ALLOWED_MODES[is_executable(path, patches)[0]], data) for path, data in pristine.items()}
        )
        before = scratch.index()
        for patch in patches:
            problem = scratch.apply(patch.data)
            if problem is not None:
                reason = problem.splitlines()[0].removeprefix("error: ")
                faults.append(f"{patch.name} does not apply: {reason}")
                continue
            after = scratch.index()
            faults += [f"{patch.name}: {fault}" for fault in _faults_of_result(patch, before, after)]
            made = {
                path: scratch.read_blob(after[path][1]) if path in after else None for path in patch.paths
            }
            old = {path: files.get(path) for path in patch.paths}
            changes.append(Change(patch.name, patch.optional, old, made))
            files |= made
            before = after
    if faults:
        raise RewactError(
            ExitCode.BAD_PATCH_SET, "\n".join([*shortened(faults), "Restore patches/ from the repository."])
        )
    return changes


def is_executable(path: str, patches: Sequence[Patch]) -> tuple[bool, bool]:
    """Whether a file is executable before and after a series, as its patches say."""
    modes = [mode for patch in patches for diff in patch.diffs if diff.path == path for mode in diff.modes]
    modes = modes or [ALLOWED_MODES[False]]
    return modes[0] == ALLOWED_MODES[True], modes[-1] == ALLOWED_MODES[True]


def _faults_of_result(
    patch: Patch, before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]
) -> list[str]:
    """What one patch did that it does not say."""
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    faults = [f"it changes {path}, which it does not name" for path in sorted(changed - patch.paths)]
    for diff in patch.diffs:
        if diff.old_id is None or diff.new_id is None:
            continue
        # Whatever the hunks match, the bytes before and after must be those the patch was made from and to.
        sides = ((diff.old_path, before, diff.old_id, "was"), (diff.new_path, after, diff.new_id, "becomes"))
        for path, files, identifier, verb in sides:
            found = files[path][1] if path in files else ABSENT
            if found != identifier:
                name = path or diff.old_path or diff.new_path
                faults.append(f"{name} {verb} the blob {found}, its index line says {identifier}")
        if diff.modes and diff.new_path in after and after[diff.new_path][0] != diff.modes[-1]:
            faults.append(f"{diff.new_path} gets the mode {after[diff.new_path][0]}, not {diff.modes[-1]}")
    return faults
