# SPDX-License-Identifier: MIT
"""Takes the console scripts of a patched LeRobot out of the environment it is installed in, editable.

Once the patches are gone they would fail. Only files that start one of our modules are removed.
"""

import re
from pathlib import Path

from installer.environment import note_path, read_note
from installer.files import write_atomically
from installer.locate import parse_direct_url
from verify.paths import read_regular
from verify.record import State

_SCRIPT = re.compile(r"^([\w.-]+)\s*=\s*([\w.]+):", re.MULTILINE)


def take_out(prefix: Path, state: State, root: Path) -> list[str]:
    """Removes the scripts that start a module of ours from an environment that holds `root`, editable.

    Args:
        state: what was installed in the checkout at `root`.

    Returns:
        The names of those that were there.
    """
    made = [path for path, record in state.files.items() if record.pristine is None]
    modules = {path.removeprefix("src/").removesuffix(".py").replace("/", ".") for path in made}
    removed = []
    for place in (*prefix.glob("lib/python3*/site-packages"), prefix / "Lib" / "site-packages"):
        for distribution in place.glob("lerobot-*.dist-info"):
            if parse_direct_url(_text(distribution / "direct_url.json")) != root:
                continue
            points = _SCRIPT.findall(_text(distribution / "entry_points.txt"))
            scripts = {name: module for name, module in points if module in modules}
            removed += [name for name, module in scripts.items() if _remove(prefix, name, module)]
            names = "|".join(map(re.escape, scripts)) or "(?!)"
            _without(distribution / "entry_points.txt", rf"({names})\s*=.*\n")
            _without(distribution / "RECORD", rf"[./\\]*/(bin|Scripts)/({names})(\.exe)?,.*\n")
    if removed and read_note(prefix).get("checkout") == str(root):
        note_path(prefix).unlink()  # the next `dev` installs again, with the scripts
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
