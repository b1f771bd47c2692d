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
from dataclasses import dataclass
from pathlib import Path

from installer.files import sync_directory, write_atomically, write_new
from installer.patching import finish_swap, load, originals_of
from verify.checkout import Checkout, OnDisk
from verify.drift import Drift, Released, describe_misfit, examine
from verify.errors import ExitCode, RewactError
from verify.fit import ChangeFit, Read
from verify.gitcmd import blob_id
from verify.originals import Originals
from verify.patch import ABSENT, ALLOWED_MODES, Patch
from verify.paths import check_name
from verify.recognition import pristine_reader
from verify.record import State
from verify.repository import scratch_repository, stored_blob
from verify.series import Content, load_patch_set, read_series

# Path to what it holds before and after; None: no such file.
Edits = Mapping[str, tuple[bytes | None, bytes | None]]


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
    tag = f"v{checkout.declared_version}" if state.fitted else state.tag
    if state.fitted and tag in patch_sets:
        version = checkout.declared_version
        there = f"{checkout.root} calls itself LeRobot {version}, for which there is patches/{tag}"
        if patch_sets[tag].is_for(read):
            remedy = "run `install.py dev` first, which makes it the series of this tree"
        else:
            remedy = "but it holds other files: change the version in its pyproject.toml"
        raise RewactError(ExitCode.EDITED, f"{there}: {remedy}.")
    commit = state.commit or checkout.commit()
    if commit is None:
        raise RewactError(
            ExitCode.USAGE,
            f"{checkout.root} has no commit, so nobody can tell which files are edited: run `install.py "
            "uninstall`, commit LeRobot as it was released, then `install.py dev`, edit, and export.",
        )
    ours = _files_of_ours(checkout, state)
    edits = _edits(checkout, drift, {*overlay, *ours}, commit)

    def released(path: str) -> bytes | None:
        """Files that no patch touched so far are edited on disk; that commit has them as released."""
        return edits[path][0] if path in edits and path not in drift.fit.targets else read(path)

    made: dict[str, bytes] = {}  # the new set, in order
    rewritten, dropped, added = [], [], None
    placed = {found.change.name: found for found in drift.fit.changes if found.fits}
    for patch in patch_set.patches:
        found = placed.get(patch.name)
        # One for files this tree does not have, and so says nothing about, stays as it is.
        if found is None or _is_made_for(patch, found, released):
            made[patch.name] = patch.data
        elif changed := {
            path: (data, found.after[path])
            for path, data in found.before.items()
            if data != found.after[path]
        }:
            made[patch.name] = _make_patch(checkout, patch.fields, changed, released)
            rewritten.append(patch.name)
        else:
            dropped.append(patch.name)
    edited = _edited_overlay(checkout, state, ours, overlay)
    if edits:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            raise RewactError(
                ExitCode.USAGE, f"--name {name!r}: use small letters, digits and single hyphens."
            )
        number = max((int(old[:4]) for old in made if old[:4].isdigit()), default=0) + 1
        added = f"{number:04d}-{name}.patch"
        fields = {
            "Description": description,
            "Upstream-Files": "",
            "Forwarded": "no",
            "Drop-When": "upstream has it.",
        }
        made[added] = _make_patch(checkout, fields, edits, released)
    _write(patch_set.directory, patches / tag, made, released)
    for path, file in edited.items():
        target = project / "overlay" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, file.data, executable=file.executable)
    return Export(
        patches / tag,
        kept=len(made) - len(rewritten) - (added is not None),
        rewritten=tuple(rewritten),
        dropped=tuple(dropped),
        added=added,
        copied=tuple(edited),
        missing=tuple(
            path.removeprefix("src/") for path, file in ours.items() if file is None and path in overlay
        ),
        since=commit if commit != checkout.commit() else None,
    )


def _files_of_ours(checkout: Checkout, state: State) -> dict[str, OnDisk | None]:
    """The overlay's files: those installed, and new ones in directories that are the overlay's alone.

    A new one that git ignores, a link and a cache are no part of it.
    """
    files = {path: checkout.read(path) for path, record in state.files.items() if record.kind == "overlay"}
    options = ("-z", "--full-name", "--cached", "--others", "--exclude-standard", "--deduplicate")
    words = ["--literal-pathspecs", "ls-files", *options, "--", *state.directories]
    for path in sorted(checkout.listed(*words)) if state.directories else ():
        file = checkout.read(path)
        cache = path.endswith(".pyc") or "__pycache__" in path.split("/")
        if path not in state.files and file is not None and file.regular and not cache:
            check_name(path)
            files[path] = file
    return files


def _edits(checkout: Checkout, drift: Drift, ours: Iterable[str], commit: str) -> Edits:
    """Upstream files whose content is not what the series makes of them.

    Args:
        ours: paths that belong in the overlay.
        commit: where the edits began.
    """
    targets = drift.fit.targets
    paths = sorted({*targets, *checkout.modified(commit)}.difference(ours))
    stored = checkout.head_blobs(paths, commit)
    edits = {}
    for path in paths:
        found = checkout.read(path)
        if found is not None and not found.regular:
            if found.blob == stored.get(path):
                continue  # a link, of which only its date is another one, as in a copied clone
            raise RewactError(ExitCode.EDITED, f"{path} is not a regular file: it cannot be exported.")
        now = None if found is None else found.stored
        if path in targets:
            was = targets[path]
        else:
            was = stored_blob(checkout.root, stored[path]) if path in stored else None
        if now != was:
            edits[path] = was, now
    return edits


def _edited_overlay(
    checkout: Checkout, state: State, ours: Mapping[str, OnDisk | None], overlay: Mapping[str, Content]
) -> dict[str, OnDisk]:
    """The overlay's files that are not as they were installed, by their path below overlay/.

    Raises:
        RewactError: EDITED for a file that overlay/ has in another version than was installed.
    """
    found: dict[str, OnDisk] = {}
    for path, file in ours.items():
        record, name = state.files.get(path), path.removeprefix("src/")
        installed = record.target.blob if record and record.target else None
        here = blob_id(overlay[path].data) if path in overlay else None
        if file is None or not file.regular or file.blob in (installed, here):
            continue
        if here != installed:
            raise RewactError(
                ExitCode.EDITED,
                f"{checkout.root / path} is edited, and so is overlay/{name} since the "
                "installation: bring the two together in overlay/, and put the same in the checkout.",
            )
        found[name] = file
    return found


def _is_made_for(patch: Patch, found: ChangeFit, released: Read) -> bool:
    """Whether these very files are those that a patch was made for, and so are the release's."""
    pristine = ((released(path), identifier) for path, identifier in patch.pre_images.items())
    return all(file.status == "clean" for file in found.files) and all(
        identifier == (ABSENT if data is None else blob_id(data)) for data, identifier in pristine
    )


def _make_patch(checkout: Checkout, fields: Mapping[str, str], edits: Edits, released: Read) -> bytes:
    """A patch with a header and a diff made here."""
    touched = sorted(edits)
    lines = [
        f"{key}: {value}".replace("\n", "\n ") for key, value in fields.items() if key != "Upstream-Files"
    ]
    lines.insert(1, f"Upstream-Files: {', '.join(touched)}")
    pristine = {path: released(path) for path in touched}
    lines += [f"Pre-Image: {path} {blob_id(data)}" for path, data in pristine.items() if data is not None]
    found = {path: checkout.read(path) for path in touched}
    modes = {path: ALLOWED_MODES[bool(file and file.executable)] for path, file in found.items()}
    with scratch_repository() as scratch:
        trees = []
        for side in (0, 1):
            files = {path: both[side] for path, both in edits.items() if both[side] is not None}
            scratch.set_index({path: (modes[path], data) for path, data in files.items()})
            trees.append(scratch.write_tree())
        return "\n".join([*lines, "", ""]).encode() + scratch.diff(*trees)


def _write(old: Path, target: Path, made: Mapping[str, bytes], released: Read) -> None:
    """Writes a set aside, checks it, and puts it in the place of the old one."""
    patches, tag = target.parent, target.name
    staged, aside = patches / f".{tag}.new", patches / f".{tag}.old"
    files = {**made, "series": "".join(f"{name}\n" for name in made).encode()}
    if read_series(old) == list(made):
        files["series"] = (old / "series").read_bytes()
    files |= {path.name: path.read_bytes() for path in old.glob("without")}
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    try:
        for name, data in files.items():
            write_new(staged / name, data)
        check = examine(Released(load_patch_set(staged), Originals(None)), None, released, tag)
        if any(change.status != "clean" for change in check.fit.changes):
            raise RewactError(
                ExitCode.INTERNAL, "The new series does not apply to the files it was made from."
            )
        if target.exists():
            os.rename(target, aside)
        os.rename(staged, target)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        finish_swap(patches)
        raise
    sync_directory(patches)
    shutil.rmtree(aside, ignore_errors=True)
