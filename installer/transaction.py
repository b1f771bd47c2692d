# SPDX-License-Identifier: MIT
"""Changes a checkout all at once or not at all.

Contract: whenever the process ends, by error, by kill or by power cut, the next call of `recover` leaves
every file either as it was before `run` or as `run` was to leave it, never a mixture. Files that were put
back with git in between stay as git left them.

    originals   what will be overwritten is copied to <git dir>/rewact/blobs
    journal     what is about to happen is written down
    stage       every new file is written beside its place, under a name of its own (the disk fills up here)
    replace     renames and removals, nothing else
    verify      every file is read back and its blob id compared
    state       the record is replaced atomically: from here on the new tree is the one that counts
    clean up    journal, then originals nobody needs

Before `state`, recovery puts the old files back. After it, recovery only cleans up.
"""

import contextlib
import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from installer.faults import explain
from installer.files import keep_owner, make_directory, sync_directory, write_atomically, write_new
from verify.checkout import Checkout, OnDisk
from verify.errors import ExitCode, RewactError
from verify.paths import check_on_disk, is_real_directory
from verify.record import Journal, Recorded, State
from verify.standing import Change, is_blob, stands

OnStep = Callable[[str], None]


def ignore_step(_step: str) -> None:
    pass


def run(
    checkout: Checkout,
    changes: Sequence[Change],
    state: State | None,
    pristine: Mapping[str, bytes],
    on_step: OnStep = ignore_step,
) -> None:
    """Carries out the changes and replaces the record, or leaves everything as it was.

    The caller holds the lock and has called `recover`.

    Args:
        state: the record afterwards; None removes it. Its `transaction` is filled in here, and its
            `directories` with those that are made, or were before.
        pristine: bytes to keep for uninstall, by blob id.
        on_step: called before every step with its name; tests stop the process there.

    Raises:
        RewactError: NO_PERMISSION, DISK_FULL or EDITED, after the old tree was put back.
    """
    transaction, made = secrets.token_hex(8), _missing_directories(checkout.root, changes)
    records = [record for record in (checkout.state(), state) if record is not None]
    directories = dict.fromkeys([path for record in records for path in record.directories] + made)
    if state is not None:
        state = replace(state, transaction=transaction, directories=tuple(directories))
    try:
        on_step("originals")
        _keep_originals(checkout, changes, pristine)
        on_step("journal")
        sides = [(change.path, _recorded(change.old), _recorded(change.new)) for change in changes]
        journal = Journal(transaction, state is None, tuple(made), tuple(sides))
        _write(checkout.record.journal_path, journal)
        for directory in made:
            on_step(f"make directory {directory}")
            make_directory(checkout.root / directory)
        for change in changes:
            if change.new is not None:
                on_step(f"stage {change.path}")
                # Looked at again: whatever was planned, nothing is written through a link.
                check_on_disk(checkout.root, change.path)
                _stage(checkout.root / change.path, transaction, change.new.data, change.new.mode)
        for change in changes:
            on_step(f"replace {change.path}")
            _carry_out(checkout, change, transaction)
        for parent in {(checkout.root / change.path).parent for change in changes}:
            sync_directory(parent)
        on_step("verify")
        for change in changes:
            if _blob(checkout.read(change.path)) != _blob(change.new):
                raise OSError(errno.EIO, "the disk does not hold what was written", change.path)
        on_step("state")
        _commit(checkout, state, directories)
    except BaseException as error:
        _undo(checkout)
        if isinstance(error, OSError):
            raise explain(error, checkout.root, "The old files are back.") from error
        raise
    _clean_up(checkout, on_step)


def _missing_directories(root: Path, changes: Sequence[Change]) -> list[str]:
    """Directories that have to be made, parents first."""
    missing = set()
    for change in changes:
        parents = Path(change.path).parents if change.new is not None else ()
        missing |= {parent.as_posix() for parent in parents if not (root / parent).is_dir()}
    return sorted(missing, key=lambda path: path.count("/"))


def _keep_originals(checkout: Checkout, changes: Sequence[Change], pristine: Mapping[str, bytes]) -> None:
    make_directory(checkout.record.blobs)
    originals = {change.old.blob: change.old.data for change in changes if change.old is not None}
    for identifier, data in {**originals, **pristine}.items():
        if checkout.record.kept_blob(identifier) is None:
            write_atomically(checkout.record.blobs / identifier, data)


def _write(path: Path, record: State | Journal) -> None:
    write_atomically(path, json.dumps(record.dump(), indent=1).encode())


def write_state(checkout: Checkout, state: State) -> None:
    _write(checkout.record.state_path, state)


def _staged(target: Path, transaction: str) -> Path:
    return target.with_name(f".{target.name[:200]}.rewact-{transaction}")


def _stage(target: Path, transaction: str, data: bytes, mode: int) -> None:
    """Writes a file beside its place."""
    staged = _staged(target, transaction)
    write_new(staged, data, mode)
    if target.exists():
        keep_owner(staged, target)


def _carry_out(checkout: Checkout, change: Change, transaction: str) -> None:
    """Puts what was staged in its place, or removes the file."""
    target = checkout.root / change.path
    check_on_disk(checkout.root, change.path)
    if checkout.read(change.path) != change.old:
        raise RewactError(
            ExitCode.EDITED, f"{target} was changed while this ran. Nothing was changed; run again."
        )
    if change.new is None:
        _remove(target)
    else:
        os.replace(_staged(target, transaction), target)


def _commit(checkout: Checkout, state: State | None, directories: Iterable[str]) -> None:
    # Where nothing of ours will lie any more: an empty package would still be found by an import.
    written = [path for path, record in state.files.items() if record.target] if state else []
    _remove_directories(
        checkout.root,
        [made for made in directories if not any(path.startswith(f"{made}/") for path in written)],
    )
    if state is not None:
        kept = tuple(path for path in state.directories if (checkout.root / path).is_dir())
        write_state(checkout, replace(state, directories=kept))
    else:
        checkout.record.state_path.unlink(missing_ok=True)
        sync_directory(checkout.state_dir)


def _undo(checkout: Checkout) -> None:
    try:
        if recover(checkout) is None:
            _clean_up(checkout)
    except OSError as error:
        after = "Some files may be changed already: the next run puts them back."
        raise explain(error, checkout.root, after) from error


def _blob(side: OnDisk | None) -> str | None:
    return side.blob if side is not None and side.regular else None


def _recorded(side: OnDisk | None) -> Recorded | None:
    return None if side is None else Recorded(side.blob, side.mode)


def _remove(target: Path) -> None:
    """Removes a file and, of a module, Python's caches: left behind they would keep its directory alive."""
    target.unlink(missing_ok=True)
    cache = target.parent / "__pycache__"
    if target.suffix == ".py":
        for compiled in cache.glob(f"{target.stem}.*.pyc"):
            compiled.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            cache.rmdir()


def _remove_directories(root: Path, directories: Iterable[str]) -> None:
    """Removes directories that were made here and are empty, children first."""
    for directory in sorted(directories, key=lambda path: -path.count("/")):
        if is_real_directory(root, directory):
            with contextlib.suppress(OSError):
                (root / directory).rmdir()


def needs_recovery(checkout: Checkout) -> bool:
    """Whether an earlier run ended in the middle."""
    return os.path.lexists(checkout.record.journal_path)


def recover(checkout: Checkout) -> str | None:
    """Finishes what an interrupted run began: back to the old files, or on to the new ones.

    Returns:
        "old" or "new" when there was something to do, else None. The caller holds the lock.

    Raises:
        RewactError: EDITED when a file was edited since, DAMAGED_STATE when the journal cannot be read.
    """
    journal = checkout.record.journal()
    if journal is None:
        return None
    state = checkout.state()
    committed = state is None if journal.removes_state else state and state.transaction == journal.transaction
    if not committed:
        _put_back(checkout, state, journal)
        _remove_directories(checkout.root, journal.directories)
    _clean_up(checkout)
    return "new" if committed else "old"


def _put_back(checkout: Checkout, state: State | None, journal: Journal) -> None:
    for path, _, _ in journal.changes:
        check_on_disk(checkout.root, path)
        # First all staged files, so that a full disk has room again: regular files, or nothing.
        staged = _staged(checkout.root / path, journal.transaction)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISREG(os.lstat(staged).st_mode):
                staged.unlink()
    unknown = [
        path
        for path, *sides in journal.changes
        if _blob(checkout.read(path)) not in [side and side.blob for side in sides]
    ]
    by_hand = _put_back_by_hand(checkout, state, unknown) if unknown else set()
    if edited := [path for path in unknown if path not in by_hand]:
        raise RewactError(
            ExitCode.EDITED,
            f"A run was interrupted, and since then these files were edited: {', '.join(edited)}. "
            "Put them back (git checkout -- <file>, or delete those git does not know), then run again.",
        )
    for path, old, _ in journal.changes:
        target = checkout.root / path
        if path in by_hand:
            continue
        if old is None:
            _remove(target)
        elif _blob(found := checkout.read(path)) != old.blob or found.mode != old.mode:
            target.parent.mkdir(parents=True, exist_ok=True)
            data = checkout.record.recorded_blob(old.blob, path)
            _stage(target, journal.transaction, data, old.mode)
            os.replace(_staged(target, journal.transaction), target)
            sync_directory(target.parent)


def _put_back_by_hand(checkout: Checkout, state: State | None, paths: Sequence[str]) -> set[str]:
    """Those that hold nothing of ours any more: as before the first installation, or as git has them."""
    records = state.files if state else {}
    head = checkout.head_blobs(list(paths))
    committed = checkout.commit() is not None

    def is_restored(path: str) -> bool:
        found, record = checkout.read(path), records.get(path)
        restored = record is not None and stands(found, record) == "pristine"
        return restored or (committed and is_blob(found, head.get(path)))

    return set(filter(is_restored, paths))


def _clean_up(checkout: Checkout, on_step: OnStep = ignore_step) -> None:
    """Removes the journal, then what no record names any more."""
    on_step("remove journal")
    checkout.record.journal_path.unlink(missing_ok=True)
    on_step("remove originals")
    state = checkout.state()
    needed = {record.pristine.blob for record in state.files.values() if record.pristine} if state else set()
    blobs = checkout.record.blobs
    for path in blobs.glob("*"):
        # Those of before, and what a killed run left of one: nothing that was not named here is removed.
        ours = re.fullmatch(r"[0-9a-f]{40}(\.tmp)?", path.name)
        if ours and path.name not in needed and stat.S_ISREG(os.lstat(path).st_mode):
            path.unlink()
    if not needed:
        with contextlib.suppress(OSError):
            blobs.rmdir()
