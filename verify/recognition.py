# SPDX-License-Identifier: MIT
"""Which release a checkout is, by the content of its files, and where its pristine bytes are. Reads only."""

from collections.abc import Iterator, Mapping

from verify.checkout import Checkout, OnDisk
from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.originals import Originals
from verify.patch import ABSENT
from verify.record import State
from verify.series import Content, PatchSet
from verify.standing import is_blob, is_recorded_version


class Pristine:
    """Finds a file's pristine bytes: on disk, kept at install, or where the originals of releases are."""

    def __init__(
        self, checkout: Checkout, state: State | None, patch_set: PatchSet, originals: Originals
    ) -> None:
        self._checkout, self._state, self._patch_set = checkout, state, patch_set
        self._originals = originals

    def find(self, path: str, identifier: str) -> bytes | None:
        for data in self._of_this_copy(path):
            if blob_id(data) == identifier:
                return data
        return self._originals.find(self._patch_set.tag, path, identifier)

    def is_of_this_copy(self, path: str, identifier: str) -> bool:
        """Whether this copy of the release, not just its history, has a file with this id."""
        if identifier in map(blob_id, self._of_this_copy(path)):
            return True
        if self._checkout.head_blobs([path]).get(path) == identifier:
            return True
        # A patched tree that was committed: what lies there tells what it was made of.
        return _is_one_of(self._checkout.read(path), self._patch_set.made_of(path, identifier))

    def _of_this_copy(self, path: str) -> Iterator[bytes]:
        """What is on disk and what was kept, each as it is and with LF line ends."""
        if (found := self._checkout.read(path)) is not None:
            yield from (found.data, found.normalised)
        record = self._state.files.get(path) if self._state else None
        kept = self._checkout.record.kept_blob(record.pristine.blob) if record and record.pristine else None
        if kept is not None:
            yield from (kept, kept.replace(b"\r\n", b"\n"))


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
    wrong: dict[str, list[str]] = {}
    for tag, patch_set in patch_sets.items():
        wrong[tag] = [
            path
            for path, identifier in patch_set.pre_images.items()
            if not is_blob(checkout.read(path), identifier)
        ]
        if not wrong[tag]:
            return patch_set
    for tag, patch_set in patch_sets.items():
        if all(
            _is_one_of(checkout.read(path), patch_set.made_of(path, patch_set.pre_images[path]))
            for path in wrong[tag]
        ):
            return patch_set  # patched: by this run, by hand, or committed here or in another clone
    if state is not None and state.tag in patch_sets and is_recorded_version(checkout, state):
        return patch_sets[state.tag]  # edited, half restored, or of an older patch set: see `make_plan`
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
    tags = [tag for tag in sorted(patch_sets, reverse=True) if checkout.has_commit(f"refs/tags/{tag}")]
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
