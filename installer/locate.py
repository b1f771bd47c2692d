# SPDX-License-Identifier: MIT
"""Finds the checkout that is meant when none is named."""

import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import installer
from installer import console
from verify.checkout import Checkout, looks_like_lerobot, project_file
from verify.errors import ExitCode, RewactError
from verify.gitcmd import require_git


def _nearby(project: Path) -> Iterator[Path]:
    here = Path.cwd()
    yield here
    yield from here.parents
    yield here / "lerobot"
    yield here.parent / "lerobot"
    yield project / "lerobot"
    yield project.parent / "lerobot"


def editable_install() -> Path | None:
    """The source tree of the running interpreter's editable LeRobot, or None."""
    try:
        text = importlib.metadata.distribution("lerobot").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    return parse_direct_url(text)


def parse_direct_url(text: str | None) -> Path | None:
    """The directory a direct_url.json names as an editable install, or None."""
    try:
        direct = json.loads(text or "")
        url = urlsplit(direct["url"])
        editable = direct["dir_info"].get("editable", False)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not editable or url.scheme != "file":
        return None
    return Path(url2pathname(url.path) if os.name == "nt" else unquote(url.path))


def find_checkout(project: Path, version: str | None = None, *, patched: bool = False) -> Path | None:
    """The clone the user stands in or beside, else the editable install of this interpreter; says which.

    Args:
        project: the directory of install.py.
        version: only a checkout that declares this version counts.
        patched: only one in which something is installed counts.
    """
    places = [(path, "found here") for path in _nearby(project) if (path / ".git").exists()]
    if (editable := editable_install()) is not None:
        places.append((editable, "the editable install of this Python"))
    for directory, how in places:
        declared = version is None or f'version = "{version}"' in project_file(directory)
        if looks_like_lerobot(directory) and declared and (not patched or _is_patched(directory)):
            console.step(f"using {directory.resolve()} ({how})")
            return directory.resolve()
    return None


def _is_patched(directory: Path) -> bool:
    try:
        return Checkout(directory).state() is not None
    except RewactError:
        return False


def open_checkout(directory: Path | None) -> Checkout:
    """The named checkout, else the one the user stands in or beside.

    Raises:
        RewactError: NOT_LEROBOT, where there is none.
    """
    require_git()
    if directory is not None:
        return Checkout(directory)
    found = find_checkout(installer.PROJECT)
    if found is None:
        raise RewactError(
            ExitCode.NOT_LEROBOT, f"No LeRobot clone was found in or beside {Path.cwd()}: name one."
        )
    return Checkout(found)
