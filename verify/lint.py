# SPDX-License-Identifier: MIT
"""Lint of patch sets: our own strict parser, and unidiff as a second opinion on what a patch changes."""

from pathlib import Path

from verify.errors import ExitCode, RewactError
from verify.patch import Patch
from verify.patchset import load_patch_set


def lint_patch_set(directory: Path) -> list[str]:
    """Every fault of a patch set, one sentence each; empty when it is sound.

    Raises:
        RewactError: USAGE, when unidiff is not installed.
    """
    try:
        patches = load_patch_set(directory).patches
    except RewactError as error:
        return str(error).splitlines()
    faults = []
    for patch in patches:
        faults += [f"{directory / patch.name}: {fault}." for fault in _second_opinion(patch)]
    return faults


def _second_opinion(patch: Patch) -> list[str]:
    """Where unidiff reads something else than our parser did. Binary patches it cannot read."""
    try:
        import unidiff
    except ImportError:
        raise RewactError(ExitCode.USAGE, "Lint needs unidiff: run `python install.py dev` first.") from None
    if any(diff.binary or not diff.hunks for diff in patch.diffs):
        return []
    # As latin-1 every byte is one character, and a bare carriage return in a file stays in its line.
    text = patch.data.decode("latin-1")
    try:
        # Line by line, ended by LF only: unidiff would take other separators for line ends.
        files = unidiff.PatchSet(line + "\n" for line in text.split("\n")[:-1])
    except unidiff.UnidiffParseError as error:
        return [f"unidiff cannot read it ({error})"]
    ours = [
        [(hunk.old_start, len(hunk.old_lines), len(hunk.new_lines)) for hunk in diff.hunks]
        for diff in patch.diffs
    ]
    theirs = [
        [(hunk.source_start, hunk.source_length, hunk.target_length) for hunk in file] for file in files
    ]
    return [] if ours == theirs else [f"unidiff reads other hunks ({theirs}) than git applies ({ours})"]
