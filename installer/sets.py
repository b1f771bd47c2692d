# SPDX-License-Identifier: MIT
"""The project's own patch sets and overlay; what a killed `export` left of them is put right first."""

import os
import shutil
from pathlib import Path

from verify.series import OverlayFile, PatchSet, load_overlay, load_patch_sets


def load(project: Path) -> tuple[dict[str, PatchSet], dict[str, OverlayFile]]:
    """Every patch set, by tag, and the overlay.

    Raises:
        RewactError: BAD_PATCH_SET, one line for each fault.
    """
    finish_swap(project / "patches")
    return load_patch_sets(project / "patches"), load_overlay(project / "overlay")


def finish_swap(patches: Path) -> None:
    """Puts an old set back that an interrupted export had moved aside."""
    for old in patches.glob(".v*.old"):
        target = patches / old.name[1 : -len(".old")]
        if target.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, target)
