# SPDX-License-Identifier: MIT
"""A series of changes placed on a tree that it was not made for. Reads only what it is given.

clean     the tree has the file that the change was made for
moved     placed by structure
merged    the tree has the change already: the patch can be dropped
conflict  it has no place there
gone      a file it changes is not there
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from verify.edits import MisfitError
from verify.structure import count_anchors, place
from verify.toml import place_in_toml

Read = Callable[[str], bytes | None]
FITTING = ("clean", "moved", "merged")


@dataclass(frozen=True)
class Change:
    """What one patch makes of the files of its release, after those before it; None: no such file."""

    name: str
    optional: bool
    before: Mapping[str, bytes | None]
    after: Mapping[str, bytes | None]


@dataclass(frozen=True)
class FileFit:
    """How one file of a change fits; of a conflict also why, where, and the lines expected and found."""

    path: str
    status: str
    reason: str = ""
    scope: str = ""
    expected: str = ""
    found: str = ""

    @property
    def fits(self) -> bool:
        return self.status in FITTING

    @property
    def where(self) -> str:
        """The file, and the scope in it."""
        return f"{self.path}, {self.scope}" if self.scope else self.path


@dataclass(frozen=True)
class ChangeFit:
    """How one change fits.

    Attributes:
        before: the files as they were in the tree, after the changes before this one.
        after: what it makes of them; equal to `before` where it does not fit.
    """

    change: Change
    files: tuple[FileFit, ...]
    before: Mapping[str, bytes | None] = field(default_factory=dict)
    after: Mapping[str, bytes | None] = field(default_factory=dict)

    @functools.cached_property
    def fits(self) -> bool:
        return all(file.fits for file in self.files)

    @property
    def anchors(self) -> tuple[int, int] | None:
        """Of what was moved, how many anchors are left, and of how many; None where nothing was."""
        counts = [
            count_anchors(self.change.before[path], self.change.after[path], self.before[path])
            for path in (file.path for file in self.files if file.status == "moved")
            if path.endswith(".py")
        ]
        return (sum(left for left, _ in counts), sum(of for _, of in counts)) if counts else None

    @property
    def status(self) -> str:
        statuses = {file.status for file in self.files}
        for worst in ("gone", "conflict", "moved", "clean"):
            if worst in statuses:
                # Where a part of a patch is upstream it is still needed.
                return "moved" if worst == "clean" and "merged" in statuses else worst
        return "merged"


@dataclass(frozen=True)
class SeriesFit:
    """How a whole series fits a tree. `targets`: what the files it changes become."""

    changes: tuple[ChangeFit, ...]
    targets: Mapping[str, bytes | None]

    @property
    def misfits(self) -> list[ChangeFit]:
        """The changes of the core that do not fit."""
        return [found for found in self.changes if not found.fits and not found.change.optional]

    @property
    def left_out(self) -> list[ChangeFit]:
        """The optional changes that do not fit."""
        return [found for found in self.changes if not found.fits and found.change.optional]


def fit_series(
    changes: Sequence[Change], read: Read, refused: Mapping[str, str] = MappingProxyType({})
) -> SeriesFit:
    """Places every change on what those before it left of the tree.

    Args:
        read: the bytes of a file of the tree, with LF line ends.
        refused: changes that are left out whatever their place, and why.
    """
    targets: dict[str, bytes | None] = {}
    found = []
    for change in changes:
        current = {
            path: targets[path] if path in targets else read(path)
            for path in sorted({*change.before, *change.after})
        }
        if change.name in refused:
            results = {path: (FileFit(path, "conflict", refused[change.name]), None) for path in current}
        else:
            results = {
                path: _fit_file(path, change.before.get(path), change.after.get(path), tree)
                for path, tree in current.items()
            }
        files = tuple(file for file, _ in results.values())
        made = current
        if all(file.fits for file in files):
            made = {path: data for path, (_, data) in results.items()}
            targets |= made
        found.append(ChangeFit(change, files, current, made))
    return SeriesFit(tuple(found), targets)


# In a history most files are what they were in the commit before.
@functools.lru_cache(maxsize=1 << 16)
def _placed(path: str, before: bytes, after: bytes, tree: bytes) -> bytes | MisfitError:
    """`tree` with a change of another version of it, or why that has no place there."""
    try:
        if path.endswith(".py"):
            return place(before, after, tree)
        if path.endswith(".toml"):
            return place_in_toml(before, after, tree)
    except MisfitError as error:
        return error
    return MisfitError("only Python and TOML files are placed by structure")


def _fit_file(
    path: str, before: bytes | None, after: bytes | None, tree: bytes | None
) -> tuple[FileFit, bytes | None]:
    if tree == before:
        return FileFit(path, "clean"), after
    if tree == after:
        return FileFit(path, "merged"), after
    if tree is None:
        return FileFit(path, "gone", "the file is not there"), None
    if before is None or after is None:
        return FileFit(path, "conflict", "another file is there"), None
    if isinstance(_placed(path, after, before, tree), bytes):  # what can be taken out is in
        return FileFit(path, "merged"), tree
    placed = _placed(path, before, after, tree)
    if isinstance(placed, bytes):
        return FileFit(path, "moved"), placed
    expected, found = (text.decode(errors="replace") for text in (placed.expected, placed.found))
    return FileFit(path, "conflict", placed.reason, placed.scope, expected, found), None
