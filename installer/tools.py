# SPDX-License-Identifier: MIT
"""GitPython and unidiff for a Python that lacks them: pinned wheels in a cached folder, hashes required.

The wheels are pure Python, so one folder serves every interpreter, and nothing of the user's is touched.
"""

import hashlib
import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from installer import console
from installer.faults import explain
from installer.fetch import cache_directory, find_pip
from verify.errors import ExitCode, RewactError

# Older ones of GitPython run what a repository tells them.
_OLDEST = {"GitPython": (3, 2, 1), "unidiff": (1, 0, 1)}
_REQUIREMENTS = """\
GitPython==3.2.1 --hash=sha256:d66b0832aa8755c1a84892937282df0befb16c97e5a64aeebd68be9c5e323f53
gitdb==4.0.12 --hash=sha256:67073e15955400952c6565cc3e707c554a4eea2e428946f7a4c162fab9bd9bcf
smmap==5.0.3 --hash=sha256:c106e05d5a61449cf6ba9a1e650227ecfb141590d2a98412103ff35d89fc7b2f
unidiff==1.0.1 --hash=sha256:5e2ca461eda8a4c761ad0922e3e8a65742f359dc60301a3a055b70fd7c158680
"""


def directory() -> Path:
    """Where the tools of this version of install.py are kept."""
    return cache_directory() / f"tools-{hashlib.sha256(_REQUIREMENTS.encode()).hexdigest()[:12]}"


def require() -> None:
    """Makes GitPython and unidiff importable: this Python's own where they will do, else the cached ones.

    Raises:
        RewactError: INDEX, when they cannot be fetched.
    """
    if _are_there():
        return
    kept = directory()
    if not kept.is_dir():
        _make(kept)
    sys.path.insert(0, str(kept))
    importlib.invalidate_caches()
    if not _are_there():
        raise RewactError(
            ExitCode.INDEX, f"{kept} does not hold GitPython and unidiff: remove it and run again."
        )


def _are_there() -> bool:
    try:
        found = {name: importlib.metadata.version(name) for name in (*_OLDEST, "gitdb", "smmap")}
    except importlib.metadata.PackageNotFoundError:
        return False
    return all(
        tuple(map(int, re.findall(r"\d+", found[name])[:3])) >= oldest for name, oldest in _OLDEST.items()
    )


def _installer() -> list[str]:
    """The pip of any Python, else uv."""
    try:
        return [*find_pip(), "install", "--disable-pip-version-check", "--no-compile"]
    except RewactError:
        if (uv := shutil.which("uv")) is None:
            raise
        return [uv, "pip", "install", "--python", sys.executable]


def _make(target: Path) -> None:
    console.step(f"fetching GitPython and unidiff for install.py to {target}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="tools-", dir=target.parent) as temporary:
            requirements, wheels = Path(temporary, "requirements.txt"), Path(temporary, "wheels")
            requirements.write_text(_REQUIREMENTS)
            result = subprocess.run(
                [
                    *_installer(), "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:",
                    "--target", str(wheels), "--requirement", str(requirements),
                ],
                capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            if result.returncode:
                lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
                raise RewactError(
                    ExitCode.INDEX,
                    f"GitPython and unidiff, which install.py needs, could not be fetched "
                    f"({(lines or ['no reason given'])[-1]}): check the network, name a folder that holds "
                    "their wheels in PIP_FIND_LINKS, or `pip install 'GitPython>=3.2.1' unidiff`.",
                )
            try:
                os.rename(wheels, target)
            except OSError:
                if not target.is_dir():
                    raise
                shutil.rmtree(wheels, ignore_errors=True)  # another run was faster
    except OSError as error:
        raise explain(error, target, "XDG_CACHE_HOME names another place for it.") from None
