# SPDX-License-Identifier: MIT
"""A series applied by git to the very files it was made for, patch by patch. Reads only."""

from collections.abc import Mapping, Sequence

from verify.errors import ExitCode, RewactError
from verify.patch import ABSENT, ALLOWED_MODES, Patch
from verify.paths import check_name
from verify.repository import Scratch, lost
from verify.series import Content, shortened

Files = dict[str, Content]


def apply_series(scratch: Scratch, patches: Sequence[Patch], pristine: Mapping[str, Content]) -> list[Files]:
    """Applies patches in order to pristine files, in the scratch repository.

    Every patch is tried, so that all that fail are reported.

    Returns:
        The files before the first patch, and those after each.

    Raises:
        RewactError: BAD_PATCH_SET, one line for each fault.
    """
    before = {
        path: (ALLOWED_MODES[content.executable], scratch.write_blob(content.data))
        for path, content in pristine.items()
    }
    scratch.set_index(before)
    made = [dict(pristine)]
    faults = []
    for patch in patches:
        problem = scratch.apply(patch.data)
        if problem is not None:
            faults.append(f"{patch.name} does not apply: {problem.splitlines()[0].removeprefix('error: ')}")
            continue
        after = scratch.index()
        faults += [f"{patch.name}: {fault}" for fault in _faults_of_result(patch, before, after)]
        made.append(
            {
                path: made[-1][path] if before.get(path) == entry else _content(scratch, path, *entry)
                for path, entry in after.items()
            }
        )
        before = after
    if faults:
        raise RewactError(
            ExitCode.BAD_PATCH_SET, "\n".join([*shortened(faults), "Restore patches/ from the repository."])
        )
    return made


def _content(scratch: Scratch, path: str, mode: str, identifier: str) -> Content:
    data = scratch.read_blob(identifier)
    if data is None:
        raise lost(identifier, path)
    return Content(data, mode == "100755")


def _faults_of_result(
    patch: Patch, before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]
) -> list[str]:
    """What one patch did that it does not say."""
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    faults = [f"it changes {path}, which it does not name" for path in sorted(changed - patch.paths)]
    for path in sorted(changed & set(after)):
        check_name(path)
        if after[path][0] not in ALLOWED_MODES:
            faults.append(f"it gives {path} the mode {after[path][0]}")
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


def released_executable(path: str, patches: Sequence[Patch]) -> bool:
    """The executable bit of a pristine file, as the first patch that touches it says."""
    for patch in patches:
        for diff in patch.diffs:
            if diff.old_path == path:
                return bool(diff.modes) and diff.modes[0] == "100755"
    return False
