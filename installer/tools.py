# SPDX-License-Identifier: MIT
"""Fetches GitPython and unidiff for a Python that lacks them: pinned wheels, hashes required.

They go to a cached folder (`verify.tools`); nothing of the user's is touched.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from installer import console, fetch
from installer.faults import explain
from verify.errors import ExitCode, RewactError
from verify.tools import REQUIREMENTS, directory, use_kept


def require() -> None:
    """Makes GitPython and unidiff importable: this Python's own where they will do, else the cached ones.

    Raises:
        RewactError: INDEX, when they cannot be fetched.
    """
    if use_kept():
        return
    kept = directory()
    if not kept.is_dir():
        _make(kept)
    if not use_kept():
        raise RewactError(
            ExitCode.INDEX, f"{kept} does not hold GitPython and unidiff: remove it and run again."
        )


def _installer() -> list[str]:
    """The pip of any Python, else uv."""
    try:
        return [*fetch.find_pip(), "install", "--disable-pip-version-check", "--no-compile"]
    except RewactError:
        if (uv := shutil.which("uv")) is None:
            raise
        return [uv, "pip", "install", "--python", sys.executable]


def _make(target: Path) -> None:
    console.step(f"fetching GitPython and unidiff for install.py to {target}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="tools-", dir=target.parent) as temporary:
            wheels = Path(temporary, "wheels")
            fetch.pinned(
                "GitPython and unidiff, which install.py needs,",
                REQUIREMENTS,
                [*_installer(), "--only-binary", ":all:", "--target", str(wheels)],
                Path(temporary),
                "check the network, name a folder that holds their wheels in PIP_FIND_LINKS, or `pip install "
                "'GitPython>=3.2.1' unidiff`.",
            )
            try:
                os.rename(wheels, target)
            except OSError:
                if not target.is_dir():
                    raise  # else another run was faster
    except OSError as error:
        raise explain(error, target, "XDG_CACHE_HOME names another place for it.") from None
