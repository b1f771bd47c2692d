# SPDX-License-Identifier: MIT
"""How a patch series fares on a LeRobot tree it was not made for. Reads only.

clean     it applies where it was made to
moved     it applies elsewhere in the same function, or by a three-way merge; the report says which
merged    the tree has the change already: the patch can be dropped
conflict  the lines it was made for are not there
gone      a file it changes is not there
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from verify.checkout import Checkout, OnDisk
from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.patch import ABSENT, FileDiff, Patch
from verify.placement import Fit, HunkFate, apply_exactly, fit, merge
from verify.record import FileRecord, State
from verify.series import OverlayFile, PatchSet
from verify.standing import is_applied, stands

STATUSES = ("clean", "moved", "merged", "gone", "conflict")
Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class FileFate:
    """`how`: "exact", "offset" or "three-way"; `hunks` say where each came to lie."""

    path: str
    status: str
    how: str
    hunks: tuple[HunkFate, ...] = ()


@dataclass(frozen=True)
class PatchFate:
    name: str
    status: str
    files: tuple[FileFate, ...]


@dataclass(frozen=True)
class Step:
    """What one patch makes of the files of this tree, after those before it; None: no such file."""

    patch: Patch
    before: dict[str, bytes | None]
    after: dict[str, bytes | None]
    left_out: bool = False  # an optional patch, for files that this tree does not have


@dataclass
class Drift:
    """The report on one tree.

    Attributes:
        steps: for every patch that fits what it changes here; a merged one changes nothing.
        targets: what each file would become, by path; only of use when nothing is in conflict.
        taken: overlay files whose place holds something else.
    """

    tag: str
    tree: str
    patches: list[PatchFate] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    targets: dict[str, bytes | None] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        return not self.taken and all(patch.status not in ("conflict", "gone") for patch in self.patches)

    def as_json(self) -> dict:
        """The report for programs; lines of files are text, with undecodable bytes replaced."""
        patches = [asdict(patch) for patch in self.patches]
        facts = {
            "tag": self.tag,
            "tree": self.tree,
            "fits": self.fits,
            "patches": patches,
            "taken": self.taken,
        }
        return _decoded(facts)


def _decoded(value):
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_decoded(inner) for inner in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def pre_image(patches: Path, identifier: str) -> bytes:
    """A file of a pristine release, as shipped beside the patches.

    Raises:
        RewactError: BAD_PATCH_SET, when it is missing or damaged.
    """
    path = patches / "pre-images" / identifier
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise RewactError(
            ExitCode.BAD_PATCH_SET, f"{path} is missing. Restore it from the repository."
        ) from None
    if blob_id(data) != identifier:
        raise RewactError(ExitCode.BAD_PATCH_SET, f"{path} is damaged. Restore it from the repository.")
    return data


def pristine_reader(checkout: Checkout, state: State | None) -> Read:
    """Reads the files of a checkout as they were before anything of ours was installed, with LF line ends."""
    records = _records(checkout, state) if state else {}

    def read(path: str) -> bytes | None:
        if path in records:
            pristine = records[path].pristine
            if pristine is None:
                return None
            found = OnDisk(checkout.record.recorded_blob(pristine.blob, path), pristine.mode)
        else:
            found = checkout.read(path)
        if found is None or not found.regular:
            return None
        return found.normalised if found.crlf else found.data

    return read


def _records(checkout: Checkout, state: State) -> dict[str, FileRecord]:
    """What of the record is of use: where another commit was checked out it tells of other files."""
    if is_applied(checkout, state):
        return state.files
    # Modules of ours that git does not know still lie there, and are not upstream's.
    return {
        path: record
        for path, record in state.files.items()
        if record.pristine is None and stands(checkout.read(path), record) == "applied"
    }


def directory_reader(root: Path) -> Read:
    """Reads the files of a tree that is not a repository, with LF line ends."""

    def read(path: str) -> bytes | None:
        full = root / path
        if not full.is_file():
            return None
        found = OnDisk(full.read_bytes(), 0)
        return found.normalised if found.crlf else found.data

    return read


def examine(patch_set: PatchSet, overlay: Mapping[str, OverlayFile], read: Read, tree: str) -> Drift:
    """Tries every patch of a series on a tree, each on what those before it left."""
    drift = Drift(patch_set.tag, tree)
    series: dict[str, bytes | None] = {}  # the files in the release, as the series goes on

    def holds(path: str, identifier: str) -> bool:
        found = read(path)
        return found is not None and blob_id(found) == identifier

    chosen = patch_set.choose(lambda path: read(path) is not None, holds)
    for patch in patch_set.patches:
        if patch not in chosen and patch_set.rivals(patch):
            drift.steps.append(Step(patch, {}, {}, left_out=True))
            continue
        for path, identifier in patch.pre_images.items():
            if path not in series:
                series[path] = _released(patch_set, identifier, read(path))
        if patch not in chosen:
            _advance(patch, series)
            drift.steps.append(Step(patch, {}, {}, left_out=True))
            continue
        drift.patches.append(_examine_patch(patch, series, drift, read))
    for path, file in patch_set.place(overlay).items():
        found = read(path)
        if found is not None and found != file.data:
            drift.taken.append(path)
    return drift


def _released(patch_set: PatchSet, identifier: str, found: bytes | None) -> bytes | None:
    if identifier == ABSENT:
        return None
    if found is not None and blob_id(found) == identifier:
        return found
    return pre_image(patch_set.directory.parent, identifier)


def _advance(patch: Patch, series: dict[str, bytes | None]) -> None:
    for diff in patch.diffs:
        _step(diff, series)


def _step(diff: FileDiff, series: dict[str, bytes | None]) -> tuple[bytes | None, bytes | None]:
    """What a diff makes of a file of the release; the series goes on from there."""
    before = series.get(diff.old_path) if diff.old_path else None
    after = None if diff.new_path is None else apply_exactly(diff, before or b"")
    if diff.old_path is not None and diff.old_path != diff.new_path:
        series[diff.old_path] = None
    if diff.new_path is not None:
        series[diff.new_path] = after
    return before, after


def _examine_patch(patch: Patch, series: dict[str, bytes | None], drift: Drift, read: Read) -> PatchFate:
    fates, results, originals = [], {}, {}
    for diff in patch.diffs:
        before, after = _step(diff, series)
        old, new = diff.old_path, diff.new_path
        current = {
            path: drift.targets[path] if path in drift.targets else read(path) for path in (old, new) if path
        }
        originals.update(current)
        fate, result = _examine_file(diff, before, after, current)
        fates.append(fate)
        if fate.status not in ("conflict", "gone"):
            if old is not None and old != new:
                results[old] = None
            if new is not None:
                results[new] = result
    status = max((fate.status for fate in fates), key=STATUSES.index)
    if status == "merged" and any(fate.status != "merged" for fate in fates):
        status = "moved"  # a part of it is upstream: still needed
    if status not in ("conflict", "gone"):
        drift.targets.update(results)
        drift.steps.append(Step(patch, originals, results))
    return PatchFate(patch.name, status, tuple(fates))


def _examine_file(
    diff: FileDiff, before: bytes | None, after: bytes | None, current: Mapping[str, bytes | None]
) -> tuple[FileFate, bytes | None]:
    path = diff.old_path or diff.new_path or ""
    tree = current.get(diff.old_path) if diff.old_path else None
    arrived = current.get(diff.new_path) if diff.new_path else None
    if before is None:  # a file the patch makes
        status = "clean" if arrived is None else "merged" if arrived == after else "conflict"
        return FileFate(path, status, "exact"), after
    if after is None:  # a file the patch removes
        status = "merged" if tree is None else "clean" if tree == before else "conflict"
        return FileFate(path, status, "exact"), None
    if tree is None:
        renamed = diff.old_path != diff.new_path and arrived == after
        return FileFate(path, "merged" if renamed else "gone", "exact"), after
    if diff.old_path != diff.new_path and arrived is not None:
        return FileFate(path, "conflict", "exact"), None
    if tree == before:
        return FileFate(path, "clean", "exact", fit(diff, before, after, tree).hunks), after
    if diff.binary or not diff.hunks:
        return FileFate(path, "merged" if tree == after else "conflict", "exact"), after
    return _examine_changed(diff, path, before, after, tree)


def _examine_changed(
    diff: FileDiff, path: str, before: bytes, after: bytes, tree: bytes
) -> tuple[FileFate, bytes | None]:
    found: Fit = fit(diff, before, after, tree)
    if not found.conflicts:
        statuses = {hunk.status for hunk in found.hunks}
        status = statuses.pop() if len(statuses) == 1 else "moved"
        return FileFate(path, status, "offset" if status == "moved" else "exact", found.hunks), b"".join(
            found.lines
        )
    merged = merge(before, after, tree)
    if merged is None:
        return FileFate(path, "conflict", "exact", found.hunks), None
    if merged == tree:
        return FileFate(path, "merged", "three-way", found.hunks), merged
    placed = (replace(hunk, status="moved", expected=(), found=()) for hunk in found.hunks)
    return FileFate(path, "moved", "three-way", tuple(placed)), merged


def nearest(
    patch_sets: Mapping[str, PatchSet], overlay: Mapping[str, OverlayFile], read: Read, tree: str
) -> Drift:
    """The drift of the series that fits a tree best: fewest conflicts, then fewest moves."""

    def misfit(drift: Drift) -> tuple[int, int]:
        hard = sum(patch.status in ("conflict", "gone") for patch in drift.patches)
        return hard, sum(patch.status != "clean" for patch in drift.patches)

    # Of two that fit alike the newer release comes first.
    newest_first = sorted(patch_sets, key=_version_key, reverse=True)
    return min((examine(patch_sets[tag], overlay, read, tree) for tag in newest_first), key=misfit)


def _version_key(tag: str) -> tuple[int, ...]:
    return tuple(int(part) for part in tag.removeprefix("v").split(".") if part.isdigit())
