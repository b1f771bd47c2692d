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
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from installer.faults import explain
from installer.files import keep_owner, make_directory, sync_directory, write_atomically, write_new
from installer.record import write_journal, write_state
from verify.checkout import Checkout, OnDisk
from verify.errors import ExitCode, RewactError
from verify.paths import check_on_disk, is_real_directory
from verify.record import Journal, Recorded, State
from verify.standing import Change, is_as_in_head, stands

OnStep = Callable[[str], None]


def ignore_step(_step: str) -> None:
    pass


def _staged(target: Path, transaction: str) -> Path:
    return target.with_name(f".{target.name[:200]}.rewact-{transaction}")


def _remove_staged(path: Path) -> None:
    """Removes what a run staged: a regular file, or nothing."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if stat.S_ISREG(os.lstat(path).st_mode):
            path.unlink()


def _missing_directories(root: Path, changes: Sequence[Change]) -> list[str]:
    """Directories that have to be made, parents first."""
    missing = set()
    for change in changes:
        parents = Path(change.path).parents if change.new is not None else ()
        missing |= {parent.as_posix() for parent in parents if not (root / parent).is_dir()}
    return sorted(missing, key=lambda path: path.count("/"))


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
    _Run(checkout, changes, state, pristine, on_step).carry_out()


class _Run:
    def __init__(
        self,
        checkout: Checkout,
        changes: Sequence[Change],
        state: State | None,
        pristine: Mapping[str, bytes],
        on_step: OnStep,
    ) -> None:
        self.checkout, self.changes, self.pristine, self.on_step = checkout, changes, pristine, on_step
        self.transaction = secrets.token_hex(8)
        before = checkout.state()
        self.made = _missing_directories(checkout.root, changes)
        recorded = [*(before.directories if before else ()), *(state.directories if state else ())]
        directories = tuple(dict.fromkeys([*recorded, *self.made]))
        self.state = state and replace(state, transaction=self.transaction, directories=directories)
        # Where nothing of ours will lie any more: an empty package would still be found by an import.
        written = self.state.files if self.state else {}
        self.removable = tuple(
            directory
            for directory in directories
            if not any(path.startswith(f"{directory}/") and written[path].target for path in written)
        )

    def carry_out(self) -> None:
        try:
            self._prepare()
            self._stage()
            self._replace()
            self._verify()
            self.on_step("state")
            self._commit()
        except OSError as error:
            self._undo()
            raise explain(error, self.checkout.root, "The old files are back.") from error
        except BaseException:
            self._undo()
            raise
        _clean_up(self.checkout, self.on_step)

    def _undo(self) -> None:
        try:
            if recover(self.checkout) is None:
                _clean_up(self.checkout)
        except OSError as error:
            after = "Some files may be changed already: the next run puts them back."
            raise explain(error, self.checkout.root, after) from error

    def _prepare(self) -> None:
        self.on_step("originals")
        blobs = self.checkout.record.blobs
        make_directory(blobs)
        originals = {change.old.blob: change.old.data for change in self.changes if change.old is not None}
        for identifier, data in {**originals, **self.pristine}.items():
            if self.checkout.record.kept_blob(identifier) is None:
                write_atomically(blobs / identifier, data)
        self.on_step("journal")
        changes = tuple(
            (change.path, _recorded(change.old), _recorded(change.new)) for change in self.changes
        )
        journal = Journal(self.transaction, self.state is None, tuple(self.made), changes)
        write_journal(self.checkout.record, journal)

    def _stage(self) -> None:
        for directory in self.made:
            self.on_step(f"make directory {directory}")
            make_directory(self.checkout.root / directory)
        for change in self.changes:
            if change.new is None:
                continue
            self.on_step(f"stage {change.path}")
            target = self.checkout.root / change.path
            # Looked at again: whatever was planned, nothing is written through a link.
            check_on_disk(self.checkout.root, change.path)
            staged = _staged(target, self.transaction)
            write_new(staged, change.new.data, change.new.mode)
            if target.exists():
                keep_owner(staged, target)

    def _replace(self) -> None:
        for change in self.changes:
            self.on_step(f"replace {change.path}")
            target = self.checkout.root / change.path
            check_on_disk(self.checkout.root, change.path)
            if self.checkout.read(change.path) != change.old:
                raise RewactError(
                    ExitCode.EDITED, f"{target} was changed while this ran. Nothing was changed; run again."
                )
            if change.new is None:
                target.unlink()
                _remove_bytecode(target)
            else:
                os.replace(_staged(target, self.transaction), target)
        for parent in sorted({(self.checkout.root / change.path).parent for change in self.changes}):
            sync_directory(parent)

    def _verify(self) -> None:
        self.on_step("verify")
        for change in self.changes:
            found = self.checkout.read(change.path)
            if _blob(found) != _blob(change.new):
                raise OSError(errno.EIO, "the disk does not hold what was written", change.path)

    def _commit(self) -> None:
        _remove_directories(self.checkout.root, self.removable)
        if self.state is not None:
            kept = tuple(path for path in self.state.directories if (self.checkout.root / path).is_dir())
            state = replace(self.state, directories=kept)
            write_state(self.checkout.record, state)
            return
        self.checkout.record.state_path.unlink(missing_ok=True)
        sync_directory(self.checkout.state_dir)


def _blob(side: OnDisk | None) -> str | None:
    return side.blob if side is not None and side.regular else None


def _recorded(side: OnDisk | None) -> Recorded | None:
    return None if side is None else Recorded(side.blob, side.mode)


def _remove_bytecode(module: Path) -> None:
    """Python's caches of a removed module of ours: left behind they would keep its directory alive."""
    cache = module.parent / "__pycache__"
    if module.suffix == ".py":
        for compiled in cache.glob(f"{module.stem}.*.pyc"):
            compiled.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            cache.rmdir()


def _remove_directories(root: Path, directories: Sequence[str]) -> None:
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
    if journal.removes_state:
        committed = state is None
    else:
        committed = state is not None and state.transaction == journal.transaction
    if not committed:
        _put_back(checkout, state, journal)
        _remove_directories(checkout.root, journal.directories)
    _clean_up(checkout)
    return "new" if committed else "old"


def _put_back(checkout: Checkout, state: State | None, journal: Journal) -> None:
    transaction, changes = journal.transaction, journal.changes
    for path, _, _ in changes:
        check_on_disk(checkout.root, path)
        # First all staged files, so that a full disk has room again.
        _remove_staged(_staged(checkout.root / path, transaction))
    unknown = []
    for path, old, new in changes:
        found = _blob(checkout.read(path))
        if found not in (old.blob if old else None, new.blob if new else None):
            unknown.append(path)
    by_hand = _put_back_by_hand(checkout, state, unknown) if unknown else set()
    if edited := [path for path in unknown if path not in by_hand]:
        raise RewactError(
            ExitCode.EDITED,
            f"A run was interrupted, and since then these files were edited: {', '.join(edited)}. "
            "Put them back (git checkout -- <file>, or delete those git does not know), then run again.",
        )
    for path, old, _ in changes:
        if path in by_hand:
            continue
        target = checkout.root / path
        if old is None:
            target.unlink(missing_ok=True)
            _remove_bytecode(target)
            continue
        found = checkout.read(path)
        if _blob(found) != old.blob or found.mode != old.mode:
            target.parent.mkdir(parents=True, exist_ok=True)
            staged = _staged(target, transaction)
            write_new(staged, checkout.record.recorded_blob(old.blob, path), old.mode)
            if target.exists():
                keep_owner(staged, target)
            os.replace(staged, target)
            sync_directory(target.parent)


def _put_back_by_hand(checkout: Checkout, state: State | None, paths: Sequence[str]) -> set[str]:
    """Those that hold nothing of ours any more: as before the first installation, or as git has them."""
    records = state.files if state else {}
    head = checkout.head_blobs(list(paths))
    committed = checkout.commit() is not None
    result = set()
    for path in paths:
        found, record = checkout.read(path), records.get(path)
        restored = record is not None and stands(found, record) == "pristine"
        if restored or (committed and is_as_in_head(found, head.get(path))):
            result.add(path)
    return result


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
