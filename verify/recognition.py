# SPDX-License-Identifier: MIT
"""Which release a checkout is, by the content of its files, and where its pristine bytes are. Reads only."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from verify.checkout import Checkout, OnDisk
from verify.errors import ExitCode, RewactError
from verify.fit import Read
from verify.gitcmd import blob_id
from verify.originals import Originals
from verify.patch import ABSENT
from verify.record import FileRecord, State
from verify.series import Content, PatchSet
from verify.standing import is_applied, is_blob, is_recorded_version, refuse_edits, stands


def released_files(
    checkout: Checkout, state: State | None, patch_set: PatchSet, originals: Originals
) -> dict[str, bytes]:
    """The files that the patches of a release are for, as it has them: from disk, from what was kept at the
    installation, or where the originals of releases are. Optional patches that this copy has no files for
    are left out.

    Raises:
        RewactError: EDITED, naming those that are found nowhere.
    """

    def of_this_copy(path: str) -> Iterator[bytes]:
        """What is on disk and what was kept, each as it is and with LF line ends."""
        record = state.files.get(path) if state else None
        found = checkout.read(path)
        kept = checkout.record.kept_blob(record.pristine.blob) if record and record.pristine else None
        for data in (found and found.data, kept):
            if data is not None:
                yield from (data, data.replace(b"\r\n", b"\n"))

    def is_of_this_copy(path: str, identifier: str) -> bool:
        """Whether this copy of the release, not just its history, has a file with this id."""
        return (
            identifier in map(blob_id, of_this_copy(path))
            or checkout.head_blobs([path]).get(path) == identifier
            # A patched tree that was committed: what lies there tells what it was made of.
            or _is_one_of(checkout.read(path), patch_set.made_of(path, identifier))
        )

    files: dict[str, bytes | None] = {}
    for patch in patch_set.choose(lambda path: checkout.read(path) is not None, is_of_this_copy):
        for path, identifier in patch.pre_images.items():
            if path not in files and identifier != ABSENT:
                there = [data for data in of_this_copy(path) if blob_id(data) == identifier]
                files[path] = there[0] if there else originals.find(patch_set.tag, path, identifier)
    refuse_edits(checkout, state, [path for path, data in files.items() if data is None])
    return files


def pristine_reader(checkout: Checkout, state: State | None) -> Read:
    """Reads the files of a checkout as they were before anything of ours was installed, with LF line ends."""
    records = _records(checkout, state) if state else {}

    def read(path: str) -> bytes | None:
        if path not in records:
            found = checkout.read(path)
        elif pristine := records[path].pristine:
            found = OnDisk(checkout.record.recorded_blob(pristine.blob, path), pristine.mode)
        else:
            return None
        return found.stored if found is not None and found.regular else None

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
        return OnDisk(full.read_bytes(), 0).stored if full.is_file() else None

    return read


def _is_one_of(found: OnDisk | None, identifiers: set[str]) -> bool:
    """Whether a file is one of these, line ends aside; ABSENT among them stands for no file."""
    if found is None:
        return ABSENT in identifiers
    return any(is_blob(found, identifier) for identifier in identifiers)


def recognise(checkout: Checkout, patch_sets: Mapping[str, PatchSet], state: State | None) -> PatchSet:
    """The patch set made for this checkout, by content.

    Raises:
        RewactError: UNSUPPORTED_VERSION, or EDITED when it is a supported release with edited files.
    """
    wrong = {
        tag: [path for path, one in patch_set.pre_images.items() if not is_blob(checkout.read(path), one)]
        for tag, patch_set in patch_sets.items()
    }
    for tag in sorted(wrong, key=lambda tag: len(wrong[tag])):
        patch_set = patch_sets[tag]
        made = (patch_set.made_of(path, patch_set.pre_images[path]) for path in wrong[tag])
        # What is not as released is patched: by this run, by hand, or committed here or in another clone.
        if all(_is_one_of(checkout.read(path), ids) for path, ids in zip(wrong[tag], made, strict=True)):
            return patch_set
    if state is not None and state.tag in patch_sets and is_recorded_version(checkout, state):
        return patch_sets[state.tag]  # edited, half restored, or of an older patch set: see `plan_checkout`
    for tag, patch_set in patch_sets.items():
        wanted = patch_set.pre_images
        head = checkout.head_blobs(sorted(wanted))
        if all(head.get(path) == identifier for path, identifier in wanted.items()):
            return patch_set
        if tag == f"v{checkout.declared_version}" and len(wrong[tag]) < len(wanted):
            names = ", ".join(wrong[tag])
            raise RewactError(
                ExitCode.EDITED,
                f"{checkout.root} says it is LeRobot {checkout.declared_version}, but these files are not as "
                f"released: {names}. Check out {tag} as it was released, or undo the edits.",
            )
    supported = ", ".join(sorted(patch_sets))
    tags = [tag for tag in sorted(patch_sets, reverse=True) if checkout.commit(f"refs/tags/{tag}")]
    remedy = (
        f"Check one of them out, for example `git checkout {tags[0]}`."
        if tags
        else "This clone has no tag of them: `git fetch --tags`, or `install.py dev` in another directory "
        "fetches a release."
    )
    raise RewactError(
        ExitCode.UNSUPPORTED_VERSION,
        f"{checkout.root} (LeRobot {checkout.declared_version}) is not a supported "
        f"release ({supported}). {remedy}",
    )


def unrecorded_states(
    checkout: Checkout, patch_set: PatchSet, overlay: Mapping[str, Content]
) -> dict[str, str]:
    """What the files of a patch set are now, where nothing is recorded.

    Returns:
        Path to pristine, applied, edited or missing; of optional patches and of the overlay only what is
        applied, since they leave no trace where they are not.
    """
    states = {}
    for patch in patch_set.patches:
        added = {diff.new_path: ABSENT for diff in patch.diffs if diff.old_path is None}
        for path, identifier in {**patch.pre_images, **added}.items():
            found = checkout.read(path)
            if _is_one_of(found, patch_set.made_of(path, identifier)):
                states[path] = "applied"
            elif not patch.optional and identifier != ABSENT and path not in states:
                states[path] = (
                    "missing" if found is None else "pristine" if is_blob(found, identifier) else "edited"
                )
    for path, file in patch_set.place(overlay).items():
        found = checkout.read(path)
        if found is not None and found.regular and found.data == file.data:
            states[path] = "applied"
    return states
