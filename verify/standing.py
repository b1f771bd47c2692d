# SPDX-License-Identifier: MIT
"""How the files of a checkout stand to the installer's record of them. Reads only.

applied   as it was written
pristine  as it was before
other     as HEAD has it, and HEAD is another version than the one that was patched: nothing of ours is in it
edited    none of these
missing   not there
"""

from verify.checkout import Checkout, FileRecord, OnDisk, Recorded, State, to_crlf
from verify.gitcmd import blob_id


def is_exactly(found: OnDisk | None, recorded: Recorded | None) -> bool:
    if found is None or recorded is None:
        return found is recorded
    return found.regular and found.blob == recorded.blob


def _is_converted(found: OnDisk | None, recorded: Recorded | None) -> bool:
    """Whether only the line ends differ, all of them: git converts them when core.autocrlf was changed."""
    if found is None or recorded is None or not found.regular:
        return False
    if b"\r\n" in found.data:
        return found.crlf and blob_id(found.normalised) == recorded.blob
    return blob_id(to_crlf(found.data)) == recorded.blob


def stands(found: OnDisk | None, record: FileRecord) -> str | None:
    """`applied`, `pristine`, or None for anything else."""
    if is_exactly(found, record.target):
        return "applied"
    if is_exactly(found, record.pristine):
        return "pristine"
    # A file that is ours alone is removed again: it has to be what was written, to the byte.
    if record.pristine is not None and _is_converted(found, record.target):
        return "applied"
    return "pristine" if _is_converted(found, record.pristine) else None


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


def _stored_ids(checkout: Checkout, record: FileRecord) -> set[str]:
    """The ids under which git may store a recorded pristine file: as kept, and with LF line ends."""
    kept = checkout.kept_blob(record.pristine.blob)
    return {record.pristine.blob, *([blob_id(kept.replace(b"\r\n", b"\n"))] if kept is not None else [])}


def is_as_in_head(found: OnDisk | None, identifier: str | None) -> bool:
    """Whether a file is what HEAD has, line ends aside; `identifier` None: HEAD has no such file."""
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
    return {path for path in state.files if is_as_in_head(checkout.read(path), head.get(path))}


def is_pristine(found: OnDisk | None, identifier: str) -> bool:
    """Whether a file is that of the release, line ends aside."""
    return found is not None and is_as_in_head(found, identifier)


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
