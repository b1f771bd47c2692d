# SPDX-License-Identifier: MIT
"""From a checkout and the patch sets to the exact bytes every file should have. Reads only.

1. Recognise the release by the content of the files its patches touch.
2. Apply the series to the pristine bytes in a scratch repository; each result must be the blob its patch
   names.
3. Compare with the work tree: each file is pristine, applied, of an older patch set, or edited, which
   refuses.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from verify.applying import apply_series, released_executable
from verify.checkout import Checkout, OnDisk, to_crlf
from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.originals import Originals
from verify.patch import ABSENT
from verify.paths import check_on_disk
from verify.recognition import Pristine, recognise
from verify.record import FileRecord, Recorded, State
from verify.repository import Scratch
from verify.series import Content, PatchSet, fingerprint
from verify.standing import NOT_REGULAR, Change, edited_files, refuse_edits, restored, stands


@dataclass(frozen=True)
class Result:
    """What a series makes of one upstream file. None: the file does not exist on that side."""

    pristine: Content | None
    target: Content | None


@dataclass(frozen=True)
class Plan:
    """What brings a checkout to a patch set.

    Attributes:
        changes: the files that differ from what they should be; empty when all is in place.
        records: what the state is to say about every file.
        pristine: raw bytes to keep for uninstall, by blob id.
        fitted: the series was made for another tree, and fitted to this one.
        left_out: the optional patches that do not fit it.
        applied: how many patches of the series this copy of the release takes.
    """

    patch_set: PatchSet
    fingerprint: str
    changes: tuple[Change, ...]
    records: dict[str, FileRecord]
    pristine: dict[str, bytes]
    fitted: bool = False
    left_out: tuple[str, ...] = ()
    applied: int = 0


def _mode_for(executable: bool, found: OnDisk | None) -> int:
    """The mode of the file in place, with only its executable bits as wanted."""
    if found is None:
        umask = os.umask(0)
        os.umask(umask)
        return (0o777 if executable else 0o666) & ~umask
    if found.executable == executable:
        return found.mode
    return found.mode | (found.mode & 0o444) >> 2 if executable else found.mode & ~0o111


@dataclass
class _Comparison:
    """Collects what differs between the work tree and what it should be."""

    checkout: Checkout
    state: State | None
    same_release: bool
    changes: list[Change] = field(default_factory=list)
    records: dict[str, FileRecord] = field(default_factory=dict)
    pristine: dict[str, bytes] = field(default_factory=dict)
    edited: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)  # ours once, and neither that nor what it was before

    def add(self, path: str, kind: str, pristine: Content | None, target: Content | None) -> None:
        check_on_disk(self.checkout.root, path)
        found = self.checkout.read(path)
        before = self.state.files.get(path) if self.state else None
        kept = before.pristine if before else None
        if found is not None and not found.regular:
            self.edited.append(path + NOT_REGULAR)
            return
        crlf = _is_crlf(found, kept, pristine)
        # Where a patch does not change the executable bit, the permission bits are the user's own business.
        both = pristine is not None and target is not None
        mode_matters = both and pristine.executable != target.executable and os.name != "nt"

        def raw(content: Content | None) -> OnDisk | None:
            if content is None:
                return None
            users_own = found is not None and both and not mode_matters
            mode = found.mode if users_own else _mode_for(content.executable, found)
            return OnDisk(to_crlf(content.data) if crlf else content.data, mode)

        old, new = raw(pristine), raw(target)
        is_gone = found is None and old is not None and new is not None
        if is_gone or not (
            _same(found, new, mode_matters)
            or _same(found, old, mode_matters)
            or ((self.same_release or kind == "overlay") and _was_ours(found, before, pristine))
        ):
            self.edited.append(path)
            return
        if not _same(found, new, mode_matters):
            self.changes.append(Change(path, found, new))
        if old is not None:
            self.pristine[old.blob] = old.data
            old = OnDisk(old.data, kept.mode if kept else old.mode)
        self.records[path] = FileRecord(
            kind, *(None if side is None else Recorded(side.blob, side.mode) for side in (old, new))
        )


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


def make_plan(
    checkout: Checkout,
    patch_sets: Mapping[str, PatchSet],
    overlay: Mapping[str, Content],
    originals: Originals,
) -> Plan:
    """Plans how to bring `checkout` to its patch set; nothing is written.

    Raises:
        RewactError: UNSUPPORTED_VERSION, EDITED or BAD_PATCH_SET, with every file at fault named.
    """
    state = checkout.state()
    patch_set = recognise(checkout, patch_sets, state)
    with Scratch() as scratch:
        finder = Pristine(checkout, state, patch_set, originals)
        patches = patch_set.choose(lambda path: checkout.read(path) is not None, finder.is_of_this_copy)
        wanted = {
            path: identifier
            for patch in patches
            for path, identifier in patch.pre_images.items()
            if identifier != ABSENT
        }
        pristine, lost = {}, []
        for path, identifier in wanted.items():
            data = finder.find(path, identifier)
            if data is None:
                lost.append(path)
            else:
                pristine[path] = Content(data, released_executable(path, patches))
        if lost:
            raise edited_files(checkout, lost, installed=state is not None)
        target = apply_series(scratch, patches, pristine)[-1]
        results = {path: Result(pristine.get(path), target.get(path)) for path in {**pristine, **target}}
    return replace(compare(checkout, state, patch_set, results, overlay), applied=len(patches))


def compare(
    checkout: Checkout,
    state: State | None,
    patch_set: PatchSet,
    results: Mapping[str, Result],
    overlay: Mapping[str, Content],
) -> Plan:
    """What has to be written so that the work tree holds every result and the overlay.

    Args:
        overlay: all of it; what this release has no place for is left out.

    Raises:
        RewactError: EDITED, naming every file that holds something unknown.
    """
    overlay = patch_set.place(overlay)
    same_release = state is not None and state.tag == patch_set.tag
    comparison = _Comparison(checkout, state, same_release)
    for path, result in results.items():
        if path in overlay:
            raise RewactError(ExitCode.BAD_PATCH_SET, f"{path} is both patched and in the overlay.")
        comparison.add(path, "patch", result.pristine, result.target)
    for path, file in overlay.items():
        comparison.add(path, "overlay", None, file)
    for path, record in (state.files if state else {}).items():
        if path not in results and path not in overlay:
            _drop(comparison, path, record)
    refuse_edits(checkout, state, comparison.edited, comparison.unknown)
    return Plan(
        patch_set,
        fingerprint(patch_set, overlay),
        tuple(comparison.changes),
        comparison.records,
        comparison.pristine,
    )


def _drop(comparison: _Comparison, path: str, record: FileRecord) -> None:
    """A file the installed patch set wrote and the new one does not: it goes back to what it was."""
    check_on_disk(comparison.checkout.root, path)
    found = comparison.checkout.read(path)
    standing = stands(found, record)
    if standing == "applied":
        comparison.changes.append(Change(path, found, restored(comparison.checkout, path, record, found)))
    elif standing is None:
        comparison.unknown.append(path)
