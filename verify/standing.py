# SPDX-License-Identifier: MIT
"""How the files of a checkout stand to the installer's record of them, and what undoes it. Reads only.

The standard library alone: undo works where nothing is installed.

applied   as it was written
pristine  as it was before
other     as HEAD has it, and HEAD is another version than the one that was patched: nothing of ours is in it
edited    none of these
missing   not there
"""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verify.checkout import Checkout, OnDisk, to_crlf
from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.paths import check_on_disk
from verify.record import FileRecord, Recorded, State

NOT_REGULAR = " (not a regular file)"


def is_exactly(found: OnDisk | None, recorded: Recorded | None) -> bool:
    if found is None or recorded is None:
        return found is recorded
    return found.regular and found.blob == recorded.blob


def _is_converted(found: OnDisk | None, recorded: Recorded | None) -> bool:
    """Whether only the line ends differ, all of them: git converts them when core.autocrlf was changed."""
    if found is None or recorded is None or not found.regular:
        return False
    return blob_id(found.normalised if found.crlf else to_crlf(found.data)) == recorded.blob


def stands(found: OnDisk | None, record: FileRecord) -> str | None:
    """`applied`, `pristine`, or None for anything else."""
    sides = {"applied": record.target, "pristine": record.pristine}
    # A file that is ours alone is removed again: it has to be what was written, to the byte.
    likenesses = (is_exactly, _is_converted) if record.pristine is not None else (is_exactly,)
    return next(
        (name for is_like in likenesses for name, side in sides.items() if is_like(found, side)), None
    )


def _tracked(state: State) -> dict[str, FileRecord]:
    """The recorded files of upstream's: those another checkout of git's replaces."""
    return {path: record for path, record in state.patched_files.items() if record.pristine and record.target}


def is_applied(checkout: Checkout, state: State) -> bool:
    """Whether any file of upstream's is as it was written; if none, git put others in their place."""
    tracked = _tracked(state)
    return not tracked or any(
        stands(checkout.read(path), record) == "applied" for path, record in tracked.items()
    )


def is_recorded_version(checkout: Checkout, state: State) -> bool:
    """Whether the record tells of the version that is checked out, be it patched or put back by hand."""
    if is_applied(checkout, state) or checkout.commit() is None:
        return True
    tracked = _tracked(state)
    head = checkout.head_blobs(list(tracked))
    return all(head.get(path) in _stored_ids(checkout, record) for path, record in tracked.items())


def tells_of_another_branch(checkout: Checkout, state: State) -> bool:
    """Whether another version is checked out, in which our files were committed: it was patched by itself."""
    made = [path for path, record in state.files.items() if record.kind == "overlay"]
    return not is_recorded_version(checkout, state) and bool(made and checkout.head_blobs(made))


def _stored_ids(checkout: Checkout, record: FileRecord) -> set[str]:
    """The ids under which git may store a recorded pristine file: as kept, and with LF line ends."""
    kept = checkout.record.kept_blob(record.pristine.blob)
    return {record.pristine.blob, *([blob_id(kept.replace(b"\r\n", b"\n"))] if kept is not None else [])}


def is_blob(found: OnDisk | None, identifier: str | None) -> bool:
    """Whether a file has this blob id, line ends aside; None: there is no such file."""
    if found is None or identifier is None:
        return found is None and identifier is None
    return found.regular and (
        found.blob == identifier or (found.crlf and blob_id(found.normalised) == identifier)
    )


def of_another_version(checkout: Checkout, state: State) -> set[str]:
    """The recorded files that are as HEAD has them, where nothing is patched any more.

    As long as anything is, HEAD may hold our changes or edits of them that were committed.
    """
    if is_applied(checkout, state) or checkout.commit() is None:
        return set()
    head = checkout.head_blobs(list(state.files))
    return {path for path in state.files if is_blob(checkout.read(path), head.get(path))}


def file_states(checkout: Checkout, state: State) -> dict[str, str]:
    """What every recorded file is now: pristine, applied, other, edited or missing."""
    others = of_another_version(checkout, state)
    result = {}
    for path, record in state.files.items():
        found = checkout.read(path)
        name = stands(found, record)
        if name == "pristine" and found is None:
            name = "missing"
        result[path] = name or ("other" if path in others else "edited" if found else "missing")
    return result


@dataclass(frozen=True)
class Change:
    """One file to write (or, with `new` None, to remove). Raw bytes, as they lie on disk."""

    path: str
    old: OnDisk | None
    new: OnDisk | None


def refuse_edits(
    checkout: Checkout, state: State | None, edited: list[str], unknown: Sequence[str] = ()
) -> None:
    """Refuses edited files, and unknown ones that no other version accounts for.

    Raises:
        RewactError: EDITED, naming the files, each kind with what helps against it.
    """
    if state is not None and unknown:
        edited = [*edited, *set(unknown).difference(of_another_version(checkout, state))]
    if not edited:
        return
    missing = [path for path in sorted(edited) if checkout.read(path.removesuffix(NOT_REGULAR)) is None]
    edited = [path for path in sorted(edited) if path not in missing]
    head = checkout.head_blobs(edited) if edited and state is None and checkout.commit() else {}
    committed = [path for path in edited if path in head and is_blob(checkout.read(path), head[path])]
    edited = [path for path in edited if path not in committed]
    sentences = []
    if missing:
        sentences.append(
            f"These files are missing in {checkout.root}: {', '.join(missing)}. Put them back with `git "
            "checkout -- <file>`; where a sparse checkout leaves them out, `git sparse-checkout disable`."
        )
    if committed:
        sentences.append(
            f"These files are committed in {checkout.root} with other content than the release has: "
            f"{', '.join(committed)}. Leave `--exact` out: the patches are then fitted to them."
        )
    if edited:
        sentences.append(
            f"These files in {checkout.root} hold edits that are not ours: {', '.join(edited)}. "
            # Once installed, a stash would take the patch along with the edit.
            + (
                "Keep the edits (`install.py export`, or a copy of the files), then put each back with `git "
                "checkout -- <file>`, or delete it where git does not track it, and run again."
                if state is not None
                else "Move the edits away (`git stash`, or rename a file that git does not track), run again."
            )
        )
    raise RewactError(ExitCode.EDITED, " ".join(["Nothing was changed.", *sentences]))


def put_back(checkout: Checkout, records: Mapping[str, FileRecord]) -> tuple[list[Change], list[str]]:
    """The changes that put recorded files back as they were before, with the line ends and modes that they
    were given since; and the files that are neither as written nor as before."""
    changes, unknown = [], []
    for path, record in records.items():
        check_on_disk(checkout.root, path)
        found = checkout.read(path)
        standing = stands(found, record)
        if standing is None:
            unknown.append(path)
        elif standing == "applied":
            pristine = None
            if (kept := record.pristine) is not None:
                data, mode = checkout.record.recorded_blob(kept.blob, path), kept.mode
                if found is not None and not is_exactly(found, record.target):
                    data = to_crlf(data) if found.crlf else data.replace(b"\r\n", b"\n")
                if found is not None and not (record.target.mode ^ mode) & stat.S_IXUSR:
                    mode = found.mode
                pristine = OnDisk(data, mode)
            if found != pristine:
                changes.append(Change(path, found, pristine))
    return changes, unknown


def plan_removal(checkout: Checkout, state: State) -> list[Change]:
    """The changes that put every recorded file back as it was.

    Raises:
        RewactError: EDITED, naming every file that is neither as written nor as it was, nor of another
            version that was checked out since.
    """
    changes, unknown = put_back(checkout, state.files)
    refuse_edits(checkout, state, [], unknown)
    return changes
