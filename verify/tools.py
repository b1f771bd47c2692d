# SPDX-License-Identifier: MIT
"""GitPython and unidiff where a Python lacks them: a cached folder of wheels that install.py fetches once.

The wheels are pure Python, so one folder serves every interpreter. Reads only, the standard library alone.
"""

import hashlib
import importlib
import importlib.metadata
import re
import sys
from pathlib import Path

from verify.paths import cache_directory

# Older ones of GitPython run what a repository tells them.
_OLDEST = {"GitPython": (3, 2, 1), "unidiff": (1, 0, 1)}
REQUIREMENTS = """\
GitPython==3.2.1 --hash=sha256:d66b0832aa8755c1a84892937282df0befb16c97e5a64aeebd68be9c5e323f53
gitdb==4.0.12 --hash=sha256:67073e15955400952c6565cc3e707c554a4eea2e428946f7a4c162fab9bd9bcf
smmap==5.0.3 --hash=sha256:c106e05d5a61449cf6ba9a1e650227ecfb141590d2a98412103ff35d89fc7b2f
unidiff==1.0.1 --hash=sha256:5e2ca461eda8a4c761ad0922e3e8a65742f359dc60301a3a055b70fd7c158680
"""


def directory() -> Path:
    """Where the tools of this version of install.py are kept."""
    return cache_directory() / f"tools-{hashlib.sha256(REQUIREMENTS.encode()).hexdigest()[:12]}"


def are_there() -> bool:
    """Whether this Python imports both, in versions that will do."""
    try:
        found = {name: importlib.metadata.version(name) for name in (*_OLDEST, "gitdb", "smmap")}
    except importlib.metadata.PackageNotFoundError:
        return False
    return all(
        tuple(map(int, re.findall(r"\d+", found[name])[:3])) >= oldest for name, oldest in _OLDEST.items()
    )


def use_kept() -> bool:
    """Puts the cached folder on the import path where both are needed; returns whether they are there now."""
    if not are_there() and directory().is_dir():
        sys.path.insert(0, str(directory()))
        importlib.invalidate_caches()
    return are_there()
