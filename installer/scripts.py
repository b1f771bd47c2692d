# SPDX-License-Identifier: MIT
"""Takes the console scripts of a patched LeRobot out of the environment it is installed in, editable.

Once the patches are gone they would fail. Only files that start one of our modules are removed.
"""

import json
import re
from pathlib import Path

from installer.files import write_atomically
from installer.locate import parse_direct_url
from verify.checkout import Checkout
from verify.paths import read_regular
from verify.record import State

_SCRIPT = re.compile(r'^"?([\w.-]+)"?\s*=\s*"([\w.]+):[\w.]+"\s*$', re.MULTILINE)


def added(checkout: Checkout, state: State) -> dict[str, str]:
    """The console scripts that the patches declare, each with its module."""
    record, found = state.files.get("pyproject.toml"), checkout.read("pyproject.toml")
    before = checkout.record.kept_blob(record.pristine.blob) if record and record.pristine else None
    if before is None or found is None:
        return {}
    there = _scripts(before)
    return {
        name: module
        for name, module in _scripts(found.data).items()
        if name.startswith("lerobot-") and name not in there
    }


def _scripts(project_file: bytes) -> dict[str, str]:
    text = project_file.decode(errors="replace").replace("\r", "")
    _, _, table = text.partition("\n[project.scripts]\n")
    return dict(_SCRIPT.findall(re.split(r"^\[", table, maxsplit=1, flags=re.MULTILINE)[0]))


def take_out(prefix: Path, scripts: dict[str, str], root: Path) -> list[str]:
    """Removes scripts from an environment that holds the checkout at `root`, editable.

    Returns:
        The names of those that were there.
    """
    places = [*prefix.glob("lib/python3*/site-packages"), prefix / "Lib" / "site-packages"]
    distributions = [found for place in places for found in place.glob("lerobot-*.dist-info")]
    removed = []
    for distribution in distributions:
        if parse_direct_url(_text(distribution / "direct_url.json")) != root:
            continue
        for name, module in scripts.items():
            removed += [name] if _remove(prefix, name, module) else []
        names = "|".join(map(re.escape, scripts)) or "(?!)"
        _without(distribution / "entry_points.txt", rf"({names})\s*=.*\n")
        _without(distribution / "RECORD", rf"[./\\]*/(bin|Scripts)/({names})(\.exe)?,.*\n")
    marker = prefix / "rewact-environment.json"
    if removed and json.loads(_text(marker) or "{}").get("checkout") == str(root):
        marker.unlink()  # the next `dev` installs again, with the scripts
    return removed


def _remove(prefix: Path, name: str, module: str) -> bool:
    for path in (prefix / "bin" / name, prefix / "Scripts" / f"{name}.exe"):
        try:
            data = read_regular(path)
        except (OSError, ValueError):
            continue
        if module.encode() in data:
            path.unlink()
            return True
    return False


def _text(path: Path) -> str:
    try:
        return read_regular(path).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def _without(path: Path, lines: str) -> None:
    text = _text(path)
    rest = re.sub(rf"^{lines}", "", text, flags=re.MULTILINE)
    if rest != text:
        write_atomically(path, rest.encode())
