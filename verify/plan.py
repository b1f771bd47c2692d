# SPDX-License-Identifier: MIT
"""From a checkout and the patch sets to the exact bytes every file should have. Reads only.

1. Recognise the release by the content of the files its patches touch; the series is applied to these files.
   Of a tree that is none the closest series is fitted to what is there, and proven, or all is refused.
2. Compare with the work tree: each file is pristine, applied, of an older patch set, or edited, which
   refuses.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from verify.applying import is_executable
from verify.checkout import Checkout, OnDisk, to_crlf
from verify.drift import LABEL, Drift, Released, describe_misfit, examine, nearest
from verify.errors import ExitCode, RewactError
from verify.fit import Read
from verify.gitcmd import blob_id
from verify.originals import Originals
from verify.paths import check_on_disk
from verify.recognition import pristine_reader, recognise, released_files
from verify.record import FileRecord, Recorded, State
from verify.series import Content, PatchSet, fingerprint
from verify.standing import (
    NOT_REGULAR,
    Change,
    is_recorded_version,
    put_back,
    refuse_edits,
    stands,
)

# What a file is before and after, None where it is not there.
Sides = tuple[Content | None, Content | None]


@dataclass(frozen=True)
class Plan:
    """What brings a checkout to a patch set.

    Attributes:
        changes: the files that differ from what they should be; empty when all is in place.
        records: what the state is to say about every file.
        pristine: raw bytes to keep for uninstall, by blob id.
        fitted: the series was made for another tree, and fitted to this one.
        left_out: the optional patches that do not fit it.
        applied: how many patches of the series it takes.
    """

    patch_set: PatchSet
    fingerprint: str
    changes: tuple[Change, ...]
    records: dict[str, FileRecord]
    pristine: dict[str, bytes]
    fitted: bool = False
    left_out: tuple[str, ...] = ()
    applied: int = 0


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
        overlay: all of it; what a release has no place for is left out.
        exact: refuse what no series was made for.

    Returns:
        The plan, and for a fitted series the report on how it fits.

    Raises:
        RewactError: UNSUPPORTED_VERSION or BAD_PATCH_SET; where no series fits EDITED, naming every file at
            fault, if the tree is a release with edits, else CONFLICT.
    """
    state = checkout.state()
    recorded = state is not None and is_recorded_version(checkout, state)
    read = pristine_reader(checkout, state)
    # What was fitted once stays fitted, as long as it is this tree and has no series of its own.
    own = None
    if recorded and state.fitted:
        own = next((patch_set for patch_set in patch_sets.values() if patch_set.is_for(read)), None)
    was_fitted = recorded and state.fitted and own is None
    if was_fitted and exact:
        raise RewactError(
            ExitCode.UNSUPPORTED_VERSION,
            f"{checkout.root} has the series for {state.tag} ({LABEL}), which --exact refuses: "
            "`install.py uninstall` takes it out.",
        )
    series = {tag: Released(patch_set, originals) for tag, patch_set in patch_sets.items()}
    refusal = None
    if not was_fitted:
        try:
            patch_set = own or recognise(checkout, patch_sets, state)
            released = released_files(checkout, state, patch_set, originals).get
            drift = examine(series[patch_set.tag], None, released, str(checkout.root))
            return _compare(checkout, state, patch_set, drift, released, overlay), None
        except RewactError as error:
            # Edits of what is installed: the series fits what was there before, and the edits are in its way.
            edits = error.code is ExitCode.EDITED and not recorded
            if exact or not (edits or error.code is ExitCode.UNSUPPORTED_VERSION):
                raise
            refusal = error
    if refusal is not None and any(read(path) == file.data for path, file in overlay.items()):
        raise refusal  # patched, but nothing says what it was before
    edited = refusal if refusal is not None and refusal.code is ExitCode.EDITED else None
    try:
        drift = nearest(series, overlay, read, str(checkout.root))
    except RewactError as error:
        raise (error if edited is None or error.code is ExitCode.INDEX else edited) from None
    patch_set = patch_sets[drift.tag]
    if edited is not None and any(checkout.read(path) is None for path in patch_set.pre_images):
        raise edited  # it names the files that are missing, and how they come back
    if not drift.fits:
        raise RewactError(edited.code if edited else ExitCode.CONFLICT, describe_misfit(drift))
    return replace(_compare(checkout, state, patch_set, drift, read, overlay), fitted=True), drift


def _sides(patch_set: PatchSet, drift: Drift, read: Read) -> dict[str, Sides]:
    """What a series makes of each of upstream's files."""
    placed = {found.change.name for found in drift.fit.changes if found.fits}
    patches = [patch for patch in patch_set.patches if patch.name in placed]
    return {
        path: tuple(
            None if data is None else Content(data, executable)
            for data, executable in zip((read(path), target), is_executable(path, patches), strict=True)
        )
        for path, target in drift.fit.targets.items()
    }


def _compare(
    checkout: Checkout,
    state: State | None,
    patch_set: PatchSet,
    drift: Drift,
    read: Read,
    overlay: Mapping[str, Content],
) -> Plan:
    """What has to be written so that the work tree holds every patched file and the overlay.

    Args:
        read: the bytes of a file as the series found it.

    Raises:
        RewactError: EDITED, naming every file that holds something unknown.
    """
    patched, overlay = _sides(patch_set, drift, read), patch_set.place(overlay)
    if twice := patched.keys() & overlay.keys():
        raise RewactError(ExitCode.BAD_PATCH_SET, f"{min(twice)} is both patched and in the overlay.")
    recorded = state.files if state else {}
    wanted = patched | {path: (None, file) for path, file in overlay.items()}
    changes, records, originals, edited = [], {}, {}, []
    for path, (pristine, target) in wanted.items():
        check_on_disk(checkout.root, path)
        found, before = checkout.read(path), recorded.get(path)
        kept = before.pristine if before else None
        if found is not None and not found.regular:
            edited.append(path + NOT_REGULAR)
            continue
        # Where a patch does not change the executable bit, the permission bits are the user's own business.
        both = pristine is not None and target is not None
        mode_matters = both and pristine.executable != target.executable and os.name != "nt"
        users_mode = found.mode if found is not None and both and not mode_matters else None
        crlf = _is_crlf(found, kept, pristine)
        old, new = (_raw(side, found, users_mode, crlf) for side in (pristine, target))
        is_gone = found is None and old is not None and new is not None
        if is_gone or not (
            _same(found, new, mode_matters)
            or _same(found, old, mode_matters)
            or _was_ours(found, before, pristine)
        ):
            edited.append(path)
            continue
        if not _same(found, new, mode_matters):
            changes.append(Change(path, found, new))
        if old is not None:
            originals[old.blob] = old.data
            old = OnDisk(old.data, kept.mode if kept else old.mode)
        records[path] = FileRecord(
            "overlay" if path in overlay else "patch",
            *(None if side is None else Recorded(side.blob, side.mode) for side in (old, new)),
        )
    # What the installed patch set wrote and this one does not.
    dropped = {path: record for path, record in recorded.items() if path not in wanted}
    back, unknown = put_back(checkout, dropped)
    refuse_edits(checkout, state, edited, unknown)
    return Plan(
        patch_set,
        fingerprint(patch_set, overlay),
        (*changes, *back),
        records,
        originals,
        left_out=tuple(change.change.name for change in drift.fit.left_out),
        applied=sum(change.fits for change in drift.fit.changes),
    )


def _raw(side: Content | None, found: OnDisk | None, users_mode: int | None, crlf: bool) -> OnDisk | None:
    """One side of a file as it lies on disk."""
    if side is None:
        return None
    mode = _mode_for(side.executable, found) if users_mode is None else users_mode
    return OnDisk(to_crlf(side.data) if crlf else side.data, mode)


def _mode_for(executable: bool, found: OnDisk | None) -> int:
    """The mode of the file in place, with only its executable bits as wanted."""
    if found is None:
        umask = os.umask(0)
        os.umask(umask)
        return (0o777 if executable else 0o666) & ~umask
    if found.executable == executable:
        return found.mode
    return found.mode | (found.mode & 0o444) >> 2 if executable else found.mode & ~0o111


def _is_crlf(found: OnDisk | None, kept: Recorded | None, pristine: Content | None) -> bool:
    """Whether the checkout's copy of a file was written with CRLF where git stores LF."""
    if pristine is None or b"\r\n" in pristine.data:
        return False
    # The disk decides: core.autocrlf may have been changed since the file was recorded.
    if found is not None and b"\n" in found.data:
        return found.crlf
    return kept is not None and kept.blob == blob_id(to_crlf(pristine.data)) != blob_id(pristine.data)


def _was_ours(found: OnDisk | None, before: FileRecord | None, pristine: Content | None) -> bool:
    """Whether a file is as it was written, and made of what the series is applied to now.

    What a series was fitted to may hold edits: another original in its place would lose them.
    """
    if before is None or stands(found, before) != "applied":
        return False
    if before.pristine is None or pristine is None:
        return before.pristine is pristine
    return before.pristine.blob in map(blob_id, (pristine.data, to_crlf(pristine.data)))


def _same(found: OnDisk | None, wanted: OnDisk | None, mode_matters: bool) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return found.data == wanted.data and (not mode_matters or found.executable == wanted.executable)
