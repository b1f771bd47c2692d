# SPDX-License-Identifier: MIT
"""`export`: makes a patch series again from a checkout it is installed in, edits included.

1. Take the pristine files and, patch by patch, what the series makes of them.
2. A patch whose files are as they were keeps its bytes. One that lies elsewhere (on a tree it was fitted to)
   gets a new diff and new Pre-Image lines under its old header. One that upstream has merged is left out.
3. What is edited beyond that becomes one more patch at the end.
4. The new set is written aside, read back and tried on the pristine files; only then it replaces the old.
5. Files of the overlay that are edited, and new ones in directories that are the overlay's alone, are copied
   back to overlay/. One that was also changed there since the installation refuses the export.
"""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from installer.files import sync_directory, write_atomically, write_new
from installer.patching import finish_swap, load, originals_of
from verify.checkout import Checkout
from verify.drift import Drift, Released, describe_misfit, examine
from verify.errors import ExitCode, RewactError
from verify.fit import Read
from verify.gitcmd import blob_id
from verify.originals import Originals
from verify.patch import ABSENT
from verify.paths import check_name
from verify.recognition import pristine_reader
from verify.record import State
from verify.repository import Scratch, scratch_repository, stored_blob
from verify.series import Content, load_patch_set

Files = Mapping[str, bytes | None]


@dataclass(frozen=True)
class Export:
    """What an export made. `added`: the name of the patch with the edits, or None where there were none.

    Attributes:
        copied: paths below overlay/ that were copied back.
        missing: paths below overlay/ that the checkout has no more; they stay.
        since: the commit of the installation, where HEAD has moved on from it.
    """

    directory: Path
    kept: int
    rewritten: tuple[str, ...]
    dropped: tuple[str, ...]
    added: str | None
    copied: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    since: str | None = None


def diff_of(scratch: Scratch, before: Files, after: Files, executable: frozenset[str]) -> bytes:
    """The diff that makes `after` of `before`; files that are the same on both sides leave no trace."""
    trees = []
    for files in (before, after):
        scratch.set_index(
            {
                path: ("100755" if path in executable else "100644", data)
                for path, data in files.items()
                if data is not None
            }
        )
        trees.append(scratch.write_tree())
    return scratch.diff(*trees)


def _header(fields: Mapping[str, str], pristine: Files) -> bytes:
    touched = sorted(pristine)
    lines = [
        f"{key}: {value}".replace("\n", "\n ") for key, value in fields.items() if key != "Upstream-Files"
    ]
    lines.insert(1, f"Upstream-Files: {', '.join(touched)}")
    lines += [
        f"Pre-Image: {path} {blob_id(pristine[path])}" for path in touched if pristine[path] is not None
    ]
    return ("\n".join(lines) + "\n\n").encode()


def _edits(
    checkout: Checkout, drift: Drift, ours: Iterable[str], commit: str
) -> tuple[dict[str, bytes | None], dict[str, bytes | None]]:
    """Upstream files whose content is not what the series makes of them: before and after.

    Args:
        ours: paths that belong in the overlay.
        commit: where the edits began.
    """
    before: dict[str, bytes | None] = {}
    after: dict[str, bytes | None] = {}
    for path in sorted({*drift.fit.targets, *checkout.modified(commit)}.difference(ours)):
        found = checkout.read(path)
        if found is not None and not found.regular:
            if _is_link_of_before(checkout, path, commit):
                continue  # only its date is another one, as in a copied clone
            raise RewactError(ExitCode.EDITED, f"{path} is not a regular file: it cannot be exported.")
        now = None if found is None else found.stored
        if path in drift.fit.targets:
            was = drift.fit.targets[path]
        else:
            identifier = checkout.head_blobs([path], commit).get(path)
            was = stored_blob(checkout.root, identifier) if identifier else None
        if now != was:
            before[path], after[path] = was, now
    return before, after


def _is_link_of_before(checkout: Checkout, path: str, commit: str) -> bool:
    full = checkout.root / path
    if not full.is_symlink():
        return False
    return checkout.head_blobs([path], commit).get(path) == blob_id(os.fsencode(os.readlink(full)))


def export(project: Path, checkout: Checkout, *, name: str, description: str) -> Export:
    """Writes the series of a checkout to patches/<tag>; see above.

    Args:
        name: of the patch with the edits, without number and suffix.
        description: its header field.

    Raises:
        RewactError: USAGE, EDITED, BAD_PATCH_SET, CONFLICT when the series does not fit. The old set stays.
    """
    patches = project / "patches"
    patch_sets, overlay = load(project)
    state = checkout.installed()
    if state.tag not in patch_sets:
        raise RewactError(
            ExitCode.UNSUPPORTED_VERSION,
            f"{checkout.root} has the patches for {state.tag}, but {patches / state.tag} is missing: "
            f"run the install.py that installed them, or bring patches/{state.tag} here.",
        )
    patch_set = patch_sets[state.tag]
    read = pristine_reader(checkout, state)
    drift = examine(Released(patch_set, originals_of(checkout.root)), None, read, str(checkout.root))
    if not drift.fits:
        raise RewactError(ExitCode.CONFLICT, describe_misfit(drift))
    new_tag = f"v{checkout.declared_version}" if state.fitted else state.tag
    if state.fitted and new_tag in patch_sets:
        raise RewactError(
            ExitCode.EDITED,
            f"{checkout.root} calls itself LeRobot {checkout.declared_version}, for which there is "
            f"patches/{new_tag}, but holds other files: change the version in its pyproject.toml.",
        )
    commit = state.commit or checkout.commit()
    if commit is None:
        raise RewactError(
            ExitCode.USAGE,
            f"{checkout.root} has no commit, so nobody can tell which files are edited: run `install.py "
            "uninstall`, commit LeRobot as it was released, then `install.py dev`, edit, and export.",
        )
    ours = {*overlay, *_written(state), *_new_files(checkout, state)}
    before, after = _edits(checkout, drift, ours, commit)

    def read_released(path: str) -> bytes | None:
        """Files that no patch touched so far are edited on disk; that commit has them as released."""
        return before[path] if path in before and path not in drift.fit.targets else read(path)

    made = _Series(patch_set.directory, read_released, checkout)
    placed = {found.change.name: found for found in drift.fit.changes if found.fits}
    for patch in patch_set.patches:
        if (found := placed.get(patch.name)) is None:
            made.keep(patch.name, patch.data)
        else:
            made.add(patch.name, patch.data, patch.fields, found.before, found.after)
    edited = _edited_overlay(checkout, state, overlay)
    added = made.add_edits(name, description, before, after) if before else None
    result = made.write(patches, new_tag, added)
    for path, file in edited.items():
        target = project / "overlay" / path.removeprefix("src/")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, file.data, executable=file.executable)
    missing = [path for path in _written(state) if path in overlay and checkout.read(path) is None]
    return replace(
        result,
        copied=tuple(path.removeprefix("src/") for path in edited),
        missing=tuple(path.removeprefix("src/") for path in missing),
        since=commit if commit != checkout.commit() else None,
    )


def _edited_overlay(checkout: Checkout, state: State, overlay: Mapping[str, Content]) -> dict[str, Content]:
    """What the overlay's files hold in the checkout, where that is not what was installed.

    Raises:
        RewactError: EDITED for a file that overlay/ has in another version than was installed.
    """
    found: dict[str, Content] = {}
    for path in (*_written(state), *_new_files(checkout, state)):
        file, record = checkout.read(path), state.files.get(path)
        installed = record.target.blob if record and record.target else None
        if file is None or not file.regular or file.blob == installed:
            continue
        ours = blob_id(overlay[path].data) if path in overlay else None
        if ours == file.blob:
            continue
        if ours != installed:
            raise RewactError(
                ExitCode.EDITED,
                f"{checkout.root / path} is edited, and so is overlay/{path.removeprefix('src/')} since the "
                "installation: bring the two together in overlay/, and put the same in the checkout.",
            )
        found[path] = Content(file.data, file.executable)
    return found


def _written(state: State) -> list[str]:
    return [path for path, record in state.files.items() if record.kind == "overlay"]


def _new_files(checkout: Checkout, state: State) -> list[str]:
    """Files in the directories that the installation made, which it did not write and git does not ignore."""
    found = []
    options = ("-z", "--full-name", "--cached", "--others", "--exclude-standard", "--deduplicate")
    words = ["--literal-pathspecs", "ls-files", *options, "--", *state.directories]
    for path in sorted(checkout.listed(*words)) if state.directories else ():
        file = checkout.read(path)
        # No part of the overlay, as when it is read.
        cache = path.endswith(".pyc") or "__pycache__" in path.split("/")
        if path not in state.files and file is not None and file.regular and not cache:
            check_name(path)
            found.append(path)
    return found


def _is_made_for(data: bytes, before: Files, pristine: Files) -> bool:
    """Whether a patch's own lines name these very files: what it changes, and what the release has."""
    ids = {blob_id(content) if content is not None else ABSENT for content in before.values()}
    text = data.decode(errors="replace")
    if set(re.findall(r"^index ([0-9a-f]{40})", text, re.MULTILINE)) != ids:
        return False
    named = dict(re.findall(r"^Pre-Image: (.*) ([0-9a-f]{40})$", text, re.MULTILINE))
    return all(
        named.get(path) == blob_id(content) for path, content in pristine.items() if content is not None
    )


class _Series:
    """A patch set in the making."""

    def __init__(self, old: Path, read: Read, checkout: Checkout) -> None:
        self._old, self._read, self._checkout = old, read, checkout
        self._files: dict[str, bytes] = {}  # in the order of the series
        self._rewritten: list[str] = []
        self._dropped: list[str] = []

    def keep(self, name: str, data: bytes) -> None:
        """Adds a patch as it is: for files this tree does not have, and so says nothing about."""
        self._files[name] = data

    def add(self, name: str, data: bytes, fields: Mapping[str, str], before: Files, after: Files) -> None:
        """Adds a patch of the old series, with a new diff where its files are not those it was made for."""
        changed = {path for path in before if before[path] != after.get(path, before[path])}
        if not changed:
            self._dropped.append(name)
            return
        before = {path: before[path] for path in changed}
        if _is_made_for(data, before, {path: self._read(path) for path in changed}):
            self.keep(name, data)
            return
        self._make(name, fields, before, {path: after[path] for path in changed})
        self._rewritten.append(name)

    def add_edits(self, name: str, description: str, before: Files, after: Files) -> str:
        """Adds a patch at the end and returns its name."""
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise RewactError(
                ExitCode.USAGE, f"--name {name!r}: use small letters, digits and single hyphens."
            )
        number = max((int(old[:4]) for old in self._files if old[:4].isdigit()), default=0) + 1
        full = f"{number:04d}-{name}.patch"
        fields = {
            "Description": description,
            "Upstream-Files": "",
            "Forwarded": "no",
            "Drop-When": "upstream has it.",
        }
        self._make(full, fields, before, after)
        return full

    def _make(self, name: str, fields: Mapping[str, str], before: Files, after: Files) -> None:
        """Adds a patch with a header and a diff made here."""
        found = {path: self._checkout.read(path) for path in before}
        executable = frozenset(path for path, file in found.items() if file is not None and file.executable)
        with scratch_repository() as scratch:
            body = diff_of(scratch, before, after, executable)
        self._files[name] = _header(fields, {path: self._read(path) for path in before}) + body

    def write(self, patches: Path, tag: str, added: str | None) -> Export:
        """Writes the set aside, checks it, and puts it in the place of the old one."""
        target, staged, old = patches / tag, patches / f".{tag}.new", patches / f".{tag}.old"
        series = "".join(f"{name}\n" for name in self._files).encode()
        old_series = self._old / "series"
        if [line for line in old_series.read_text().split() if line] == list(self._files):
            series = old_series.read_bytes()
        without = {path.name: path.read_bytes() for path in self._old.glob("without")}
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            for name, data in {**self._files, **without, "series": series}.items():
                write_new(staged / name, data)
            check = examine(Released(load_patch_set(staged), Originals(None)), None, self._read, tag)
            if any(change.status != "clean" for change in check.fit.changes):
                raise RewactError(
                    ExitCode.INTERNAL, "The new series does not apply to the files it was made from."
                )
            if target.exists():
                os.rename(target, old)
            os.rename(staged, target)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            finish_swap(patches)
            raise
        sync_directory(patches)
        shutil.rmtree(old, ignore_errors=True)
        kept = len(self._files) - len(self._rewritten) - (added is not None)
        return Export(target, kept, tuple(self._rewritten), tuple(self._dropped), added)
