# SPDX-License-Identifier: MIT
"""How a patch series fares on a LeRobot tree it was not made for; see `verify.fit`. Reads only.

The core of a series has to fit; what carries `Optional: yes` may be left out. What fits is proven.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from verify.applying import apply_series
from verify.errors import ExitCode, RewactError
from verify.fit import Change, Read, SeriesFit, fit_series
from verify.gitcmd import blob_id
from verify.originals import Originals
from verify.patch import ABSENT, Patch
from verify.proof import Fault, prove
from verify.series import Content, PatchSet

# What such an installation is called, wherever it is shown.
LABEL = "fitted, not released"


@dataclass(frozen=True)
class Drift:
    """The report on one tree.

    Attributes:
        fit: where each patch has its place.
        taken: overlay files whose place holds something else.
        faults: what the proof found; empty where anything else speaks against the series.
    """

    tag: str
    tree: str
    fit: SeriesFit
    taken: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def fits(self) -> bool:
        return not (self.fit.misfits or self.taken or self.faults)

    def as_json(self) -> dict:
        """The report for programs."""
        return {
            "tag": self.tag,
            "tree": self.tree,
            "fits": self.fits,
            "patches": [
                {
                    "name": change.change.name,
                    "status": change.status,
                    "optional": change.change.optional,
                    "anchors": change.anchors,
                    "files": [asdict(file) for file in change.files],
                }
                for change in self.fit.changes
            ],
            "taken": list(self.taken),
            "faults": [str(fault) for fault in self.faults],
        }


class Released:
    """What the patches of a series make of the files of their release."""

    def __init__(self, patch_set: PatchSet, originals: Originals) -> None:
        self.patch_set = patch_set
        self._originals = originals
        self._found: dict[tuple[str, str], bytes | None] = {}
        self._changes: dict[tuple[str, ...], list[Change]] = {}

    def changes(self, chosen: Sequence[Patch], read: Read) -> list[Change]:
        """The changes of some patches, in order; optional ones whose files are found nowhere are left out.

        Args:
            read: the bytes of a file of a tree, which may be the release's.

        Raises:
            RewactError: UNSUPPORTED_VERSION, naming a file of the core that is found nowhere.
        """
        patches, pristine = [], {}
        for patch in chosen:
            files = {path: self._find(path, wanted, read) for path, wanted in patch.pre_images.items()}
            lost = [path for path, data in files.items() if data is None and patch.pre_images[path] != ABSENT]
            if lost and not patch.optional:
                raise RewactError(
                    ExitCode.UNSUPPORTED_VERSION,
                    f"{lost[0]} as LeRobot {self.patch_set.tag} has it is neither in this clone nor in the "
                    f"release's archive: fetch it with `git fetch origin tag {self.patch_set.tag}`.",
                )
            if not lost:
                patches.append(patch)
                pristine |= {path: data for path, data in files.items() if data is not None}
        key = tuple(patch.name for patch in patches)
        if key not in self._changes:
            self._changes[key] = apply_series(patches, pristine)
        return self._changes[key]

    def _find(self, path: str, identifier: str, read: Read) -> bytes | None:
        if (path, identifier) not in self._found:
            data = read(path)
            if data is None or blob_id(data) != identifier:
                data = self._originals.find(self.patch_set.tag, path, identifier)
            self._found[path, identifier] = data
        return self._found[path, identifier]


def examine(
    released: Released,
    overlay: Mapping[str, Content] | None,
    read: Read,
    tree: str,
) -> Drift:
    """Places every patch of a series on a tree, each on what those before it left, and proves the result.

    Args:
        overlay: the modules that the patches call; None leaves out the proof.
    """
    patch_set = released.patch_set

    def holds(path: str, identifier: str) -> bool:
        found = read(path)
        return found is not None and blob_id(found) == identifier

    chosen = patch_set.choose(lambda path: read(path) is not None, holds)
    changes = released.changes(chosen, read)
    modules = {path: file.data for path, file in patch_set.place(overlay or {}).items()}
    taken = tuple(path for path, data in modules.items() if read(path) not in (None, data))
    refused: dict[str, str] = {}
    while True:
        fit = fit_series(changes, read, refused)
        faults = () if overlay is None or fit.misfits or taken else tuple(prove(fit, modules, read))
        # An optional patch that has its place, but does not hold there, is left out.
        unproven = {
            found.change.name: fault.reason
            for fault in faults
            for found in fit.changes
            if found.fits and found.change.optional and fault.path in found.after
        }
        if not unproven:
            break
        refused |= unproven
    return Drift(patch_set.tag, tree, fit, taken, faults)


def nearest(
    series: Mapping[str, Released],
    overlay: Mapping[str, Content],
    read: Read,
    tree: str,
) -> Drift:
    """The drift of the series that fits a tree best.

    They are tried in the order of how many files the tree shares with their release; the first that fits as a
    whole is it, else the one that fits with least left out, else the one with fewest misfits.

    Raises:
        RewactError: UNSUPPORTED_VERSION, where no release's own files are found.
    """

    def likeness(tag: str) -> tuple[int, list[int]]:
        pre_images = series[tag].patch_set.pre_images
        same = sum(
            (found := read(path)) is not None and blob_id(found) == identifier
            for path, identifier in pre_images.items()
        )
        return same, [int(number) for number in re.findall(r"\d+", tag)]

    drifts: list[Drift] = []
    lost: RewactError | None = None
    for tag in sorted(series, key=likeness, reverse=True):
        try:
            drift = examine(series[tag], overlay, read, tree)
        except RewactError as error:
            lost = lost or error
            continue
        if drift.fits and not drift.fit.left_out:
            return drift
        drifts.append(drift)
    # A series whose files were not looked for, as that would need the network, may fit all the same.
    is_offline = lost is not None and lost.code is ExitCode.INDEX
    if not drifts or is_offline and not any(drift.fits for drift in drifts):
        raise lost

    def misfit(drift: Drift) -> tuple[bool, int, int]:
        return not drift.fits, len(drift.fit.misfits) or len(drift.faults), len(drift.fit.left_out)

    return min(drifts, key=misfit)


def describe_misfit(drift: Drift) -> str:
    """Why the series that fits best does not fit: patch, scope, what was expected and what was found."""
    lines = [f"{drift.tree}: no series fits; the closest is that for {drift.tag}. Nothing was changed."]
    for change in drift.fit.misfits:
        for file in (file for file in change.files if not file.fits):
            where = f"{file.path}, in {file.scope}" if file.scope else file.path
            lines.append(f"{change.change.name}: {where}: {file.reason}")
            if file.expected:
                lines[-1] += ": expected"
                lines += _quoted(file.expected)
                lines += ["  found" if file.found else "  found nothing like it", *_quoted(file.found)]
    lines += [f"{path} is there already, and is not our overlay's file." for path in drift.taken]
    lines += [f"{fault}." for fault in drift.faults]
    lines.append(f"Next: check out {drift.tag}, or a commit that the README's table of commits has.")
    return "\n".join(lines)


def describe_left_out(drift: Drift) -> list[str]:
    """One line for each optional patch that does not fit."""
    return [
        f"left out: {change.change.name} (optional): "
        + "; ".join(
            ": ".join([file.where, file.reason, *file.expected.strip().splitlines()[:1]])
            for file in change.files
            if not file.fits
        )
        for change in drift.fit.left_out
    ]


def _quoted(text: str) -> list[str]:
    return [f"    | {line.rstrip()}" for line in text.splitlines()]


if __name__ == "__main__":
    import sys

    from verify.history import main

    sys.exit(main())
