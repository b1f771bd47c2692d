# SPDX-License-Identifier: MIT
"""Which paths the patches and the overlay write, in this version or an earlier one. Reads only.

The record in the git directory could name any path. Only these are removed, or put back, because it says so.
The standard library alone: undo works where nothing is installed.

`patches/former` lists what earlier versions wrote and this one does not: one path a line, below overlay/
for a file that was made, else for one of upstream's that was patched.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.paths import read_regular


@dataclass(frozen=True)
class Places:
    """The files that are made, and upstream's that are patched."""

    made: frozenset[str]
    patched: frozenset[str]

    @property
    def directories(self) -> set[str]:
        """Those that may have been made for a file."""
        return {parent.as_posix() for path in self.made for parent in PurePosixPath(path).parents}


def read_places(project: Path) -> Places:
    """The places of every patch set in patches/, of overlay/ and of patches/former."""
    overlay = project / "overlay"
    made = {
        "src/" + Path(directory, name).relative_to(overlay).as_posix()
        for directory, _, names in os.walk(overlay)
        for name in names
    }
    patched: set[str] = set()
    for patch in (project / "patches").glob("*/*.patch"):  # also where a killed export left them aside
        there, named = _read_header(patch)
        patched |= there
        made |= named - there
    for name in _lines(project / "patches" / "former"):
        if name.startswith("overlay/"):
            made.add("src/" + name.removeprefix("overlay/"))
        else:
            patched.add(name)
    return Places(frozenset(made), frozenset(patched))


def _read_header(patch: Path) -> tuple[set[str], set[str]]:
    """The files that a patch changes, and all that it names; see `verify.patch`."""
    header = re.split(r"^diff --git ", _text(patch), maxsplit=1, flags=re.MULTILINE)[0]
    there = set(re.findall(r"^Pre-Image: (.*) [0-9a-f]{40}$", header, re.MULTILINE))
    found = re.search(r"^Upstream-Files:(.*(?:\n[ \t].*)*)", header, re.MULTILINE)
    names = {name.strip() for name in found[1].replace("\n", " ").split(",")} if found else set()
    return there, names - {""}


def _lines(path: Path) -> list[str]:
    return [line for line in _text(path).splitlines() if line and not line.startswith("#")]


def _text(path: Path) -> str:
    try:
        return read_regular(path).decode(errors="replace")
    except (OSError, ValueError):
        return ""  # `dev` says what is wrong with it


def check_record(project: Path, checkout: Checkout) -> None:
    """Refuses a record that is not as install.py makes it, or that names what no version of it writes.

    Raises:
        RewactError: DAMAGED_STATE.
        OSError: where it cannot be read.
    """
    record = checkout.record
    record.check()
    state, journal = record.state(), record.journal()
    if state is None and journal is None:
        return
    places = read_places(project)
    named = []  # files that are made, files that nobody patches, directories
    removed: set[str] = set()
    if state is not None:
        made = {path for path, file in state.files.items() if file.pristine is None}
        removed = {path for path, file in state.files.items() if file.target is None}
        named.append((record.state_path, made, state.files.keys() - made - places.patched, state.directories))
    if journal is not None:
        # Recovery removes what was not there before: a made file, or one that a patch removes and undo put
        # back.
        made = {path for path, old, _ in journal.changes if old is None} - removed
        others = {path for path, _, _ in journal.changes} - made - places.made - places.patched
        named.append((record.journal_path, made, others, journal.directories))
    for path, made, strangers, directories in named:
        if strangers := strangers | (made - places.made) | ({*directories} - places.directories):
            names = ", ".join(sorted(strangers)[:3])
            raise RewactError(
                ExitCode.DAMAGED_STATE,
                f"{path} names {names}, which {project} never writes: nothing is changed. "
                "Use the install.py that wrote this record, or delete it and run `install.py dev` again. (A "
                "file that you took out of overlay/ belongs in patches/former.)",
            )
