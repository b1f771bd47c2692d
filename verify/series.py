# SPDX-License-Identifier: MIT
"""Patch sets: `patches/<tag>/series` and the patches it lists, and the overlay that goes with all of them.

`patches/<tag>/without` names what a release has no place for: one path below overlay/ a line, a directory
with a slash at its end.
"""

import functools
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.patch import ABSENT, FileDiff, Patch, parse_patch
from verify.paths import check_name, read_regular


@dataclass(frozen=True)
class Content:
    """Bytes as git stores them, and whether the file is executable."""

    data: bytes
    executable: bool


@dataclass(frozen=True)
class PatchSet:
    """The patches for one LeRobot release, in the order they are applied."""

    tag: str
    directory: Path
    patches: tuple[Patch, ...]
    without: tuple[str, ...] = ()  # paths in the checkout (`src/...`) that the overlay does not fill

    @property
    def pre_images(self) -> dict[str, str]:
        """Blob ids of the pristine release, for every file the patches read, optional ones left out."""
        return {
            path: identifier
            for patch in self.patches
            if not patch.optional
            for path, identifier in patch.pre_images.items()
            if identifier != ABSENT
        }

    def made_of(self, path: str, identifier: str) -> set[str]:
        """The blob ids that a file with this id goes through in the series; ABSENT where it is removed."""
        made = [identifier]
        for diff in self._diffs_of.get(path, ()):
            if diff.new_id is not None and diff.old_id == made[-1]:
                made.append(diff.new_id)
        return set(made[1:])

    @functools.cached_property
    def _diffs_of(self) -> dict[str, list[FileDiff]]:
        """The diffs of each file, in the order they are applied."""
        found: dict[str, list[FileDiff]] = {}
        for patch in self.patches:
            for diff in patch.diffs:
                found.setdefault(diff.path, []).append(diff)
        return found

    def is_for(self, read: Callable[[str], bytes | None]) -> bool:
        """Whether a tree has each file as the release has it, or as the series makes it.

        Args:
            read: the bytes of a file of the tree, or None where there is none.
        """
        return all(
            (data := read(path)) is not None
            and blob_id(data) in {identifier, *self.made_of(path, identifier)}
            for path, identifier in self.pre_images.items()
        )

    def place(self, overlay: Mapping[str, Content]) -> dict[str, Content]:
        """The overlay files that this release has a place for."""
        return {
            path: file
            for path, file in overlay.items()
            if path not in self.without
            and not any(name.endswith("/") and path.startswith(name) for name in self.without)
        }

    def choose(self, is_there: Callable[[str], bool], holds: Callable[[str, str], bool]) -> list[Patch]:
        """The patches for one copy of the release.

        An optional patch is left out where its files are not there, or where another was made for them. Where
        none was, the first is taken: its failure says what was expected.

        Args:
            is_there: whether the copy has a path.
            holds: whether it has a path with this blob id when pristine.
        """
        copies: dict[frozenset[str], dict[str, str]] = {}
        for patch in self.patches:
            wanted = patch.pre_images
            if patch.optional and all(map(is_there, wanted)):
                first = copies.setdefault(frozenset(wanted), wanted)
                if not all(holds(*one) for one in first.items()) and all(
                    holds(*one) for one in wanted.items()
                ):
                    copies[frozenset(wanted)] = wanted
        return [
            patch
            for patch in self.patches
            if not patch.optional or copies.get(frozenset(patch.pre_images)) == patch.pre_images
        ]


def _are_rivals(one: Patch, other: Patch) -> bool:
    """Whether both are optional and made for other copies of the same files: at most one applies."""
    return one.optional and other.optional and one.pre_images.keys() == other.pre_images.keys()


def shortened(faults: list[str], most: int = 30) -> list[str]:
    """The first faults, and how many more there are."""
    return faults if len(faults) <= most else [*faults[:most], f"... and {len(faults) - most} more."]


def _bad(message: str) -> RewactError:
    return RewactError(ExitCode.BAD_PATCH_SET, message)


def _lines(path: Path) -> list[str]:
    """The lines of a list, without blank ones and comments."""
    try:
        data = read_regular(path)
    except ValueError as error:
        raise _bad(f"{error}. Restore it from the repository.") from None
    if b"\r" in data:
        raise _bad(f"{path} has CRLF line ends: it was converted, restore it from the repository.")
    lines = [line.strip() for line in data.decode("utf-8", errors="replace").split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def read_series(directory: Path) -> list[str]:
    """The patch names in `series`; blank lines and lines that begin with # are comments."""
    path = directory / "series"
    try:
        names = _lines(path)
    except FileNotFoundError:
        raise _bad(f"{path} is missing. Restore it from the repository.") from None
    if not names:
        raise _bad(f"{path} lists no patch.")
    for name in names:
        if names.count(name) > 1:
            raise _bad(f"{path} lists {name} twice.")
        if "/" in name or not name.endswith(".patch"):
            raise _bad(f"{path}: {name!r} is not the name of a patch in that folder.")
        check_name(name)
    return names


def read_without(directory: Path) -> tuple[str, ...]:
    """The paths in `without`, as they would be in the checkout; empty where there is no such file."""
    try:
        names = _lines(directory / "without")
    except FileNotFoundError:
        return ()
    for name in names:
        check_name(name.removesuffix("/"))
    return tuple(f"src/{name}" for name in names)


def load_patch_set(directory: Path) -> PatchSet:
    """Reads one patch set; every fault of every patch is reported at once.

    Raises:
        RewactError: BAD_PATCH_SET, one line for each fault.
    """
    names = read_series(directory)
    faults = [
        f"{path} is not listed in series."
        for path in sorted(directory.glob("*.patch"))
        if path.name not in names
    ]
    patches: list[Patch] = []
    for name in names:
        try:
            patch = parse_patch(directory / name)
        except RewactError as error:
            faults.append(str(error))
            continue
        patches.append(patch)
    try:
        without = read_without(directory)
    except RewactError as error:
        faults.append(str(error))
        without = ()
    for number, patch in enumerate(patches):
        others = [other for other in patches[:number] if not _are_rivals(patch, other)]
        for path, identifier in patch.pre_images.items():
            if any(other.pre_images.get(path, identifier) != identifier for other in others):
                faults.append(
                    f"{directory / patch.name}: Pre-Image of {path} differs from an earlier patch's."
                )
    if faults:
        raise _bad("\n".join(shortened(faults)))
    return PatchSet(directory.name, directory, tuple(patches), without)


def load_unread(directory: Path) -> PatchSet:
    """A patch set whose patches are named, not read: enough for its fingerprint."""
    patches = [Patch(name, read_regular(directory / name), {}, {}, ()) for name in read_series(directory)]
    return PatchSet(directory.name, directory, tuple(patches), read_without(directory))


def load_patch_sets(patches: Path) -> dict[str, PatchSet]:
    """Every patch set in a directory, by tag."""
    directories = sorted(path for path in patches.glob("v*") if path.is_dir())
    if not directories:
        raise _bad(f"{patches} holds no patch set. Restore it from the repository.")
    return {directory.name: load_patch_set(directory) for directory in directories}


def load_overlay(overlay: Path) -> dict[str, Content]:
    """The files of the overlay, by their path in the checkout (`src/...`).

    Raises:
        RewactError: BAD_PATCH_SET for a link, a device or a name that could lead outside.
    """
    files: dict[str, Content] = {}
    folded: dict[str, str] = {}
    for directory, directories, names in os.walk(overlay):
        # Caches do not belong to the overlay; links to directories appear here and are refused below.
        directories[:] = sorted(name for name in directories if name != "__pycache__")
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in sorted(names) + links:
            source = Path(directory, name)
            if source.suffix == ".pyc":
                continue
            path = "src/" + source.relative_to(overlay).as_posix()
            check_name(path)
            if not stat.S_ISREG(os.lstat(source).st_mode):
                raise _bad(f"{source} is not a regular file: the overlay holds only those.")
            if folded.setdefault(path.casefold(), path) != path:
                raise _bad(f"{path} and {folded[path.casefold()]} differ only in upper and lower case.")
            files[path] = Content(read_regular(source), os.access(source, os.X_OK))
    return files


def fingerprint(patch_set: PatchSet, overlay: Mapping[str, Content]) -> str:
    """A digest (64 hexadecimal digits) of all that an installation of this patch set would write.

    Args:
        overlay: what there is; what the release has no place for does not count.
    """
    digest = hashlib.sha256()
    for patch in patch_set.patches:
        digest.update(b"patch\0%s\0%d\0" % (os.fsencode(patch.name), len(patch.data)) + patch.data)
    for path, file in sorted(patch_set.place(overlay).items()):
        digest.update(b"overlay\0%s\0%d\0%d\0" % (os.fsencode(path), file.executable, len(file.data)))
        digest.update(file.data)
    return digest.hexdigest()


def lint_patch_set(directory: Path) -> list[str]:
    """Every fault of a patch set, one sentence each; empty when it is sound."""
    try:
        load_patch_set(directory)
    except RewactError as error:
        return str(error).splitlines()
    return []
