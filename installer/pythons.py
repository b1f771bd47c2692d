# SPDX-License-Identifier: MIT
"""Finds a Python that fits a LeRobot release, and has been seen running."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from verify.errors import ExitCode, RewactError

_PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class Python:
    """An interpreter that ran. `venv`: it can make virtual environments by itself."""

    executable: Path
    version: tuple[int, ...]
    venv: bool

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def ask(executable: Path, requirements: Sequence[str] = ()) -> dict | None:
    """What a Python says of itself and of what is installed there (see probe.py); None where none runs."""
    try:
        # -I: neither PYTHONPATH nor the current directory has a say.
        answer = subprocess.run(
            [executable, "-I", _PROBE],
            input=json.dumps(list(requirements)),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        facts = dict(json.loads(answer))
        return facts | {"version": tuple(facts["version"])}
    except (OSError, subprocess.SubprocessError, ValueError, TypeError, KeyError):
        return None


def try_python(executable: Path) -> Python | None:
    """A candidate, or None where it does not run as a Python."""
    facts = ask(executable)
    return facts and Python(Path(facts["executable"]), facts["version"], facts["venv"])


def _names(minimum: tuple[int, int]) -> list[str]:
    numbered = [f"python{minimum[0]}.{minor}" for minor in range(minimum[1], minimum[1] + 6)]
    suffix = ".exe" if os.name == "nt" else ""
    return [name + suffix for name in (*numbered, "python3", "python")]


def candidates(minimum: tuple[int, int]) -> Iterator[Path]:
    """Where Pythons are usually found: this one, PATH, pyenv, uv, conda, the Windows launcher."""
    yield Path(getattr(sys, "_base_executable", None) or sys.executable)
    for directory in os.get_exec_path():
        yield from (Path(directory, name) for name in _names(minimum))
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    roots = [
        Path(os.environ.get("PYENV_ROOT") or home / ".pyenv") / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python"),
        Path("/Library/Frameworks/Python.framework/Versions"),
        *(home / name / "envs" for name in ("miniconda3", "miniforge3", "anaconda3")),
    ]
    for root in roots:
        for version in sorted(root.glob("*"), reverse=True):
            yield from (version / place / name for place in ("bin", "") for name in _names(minimum)[-2:])
    if os.name == "nt":
        yield from _launcher()


def _launcher() -> Iterator[Path]:
    try:
        listing = subprocess.run(["py", "-0p"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return
    for line in listing.splitlines():
        if ":\\" in line:
            yield Path(line[line.index(":\\") - 1 :].strip())


def _real_file(candidate: Path) -> Path | None:
    """Where the file really lies, or None where there is none that may be looked at."""
    try:
        return candidate.resolve() if candidate.is_file() else None
    except (OSError, RuntimeError):  # no permission for a directory on PATH; links in a circle
        return None


def find_python(minimum: tuple[int, int], *, can_make_venv_otherwise: bool = False) -> Python:
    """The best Python found that is `minimum` or newer; the oldest fitting minor version has the most wheels.

    Args:
        can_make_venv_otherwise: a Python without `venv` will do, because uv is there.

    Raises:
        RewactError: NO_PYTHON, saying how to get one.
    """
    fitting: dict[Path, Python] = {}
    tried = set()
    for candidate in candidates(minimum):
        real = _real_file(candidate)
        if real is None or (real in tried and "shims" not in candidate.parts):
            continue
        tried.add(real)
        python = try_python(candidate)
        if python and python.version >= minimum and (python.venv or can_make_venv_otherwise):
            fitting.setdefault(python.executable, python)
            if python.version[:2] == minimum:
                return python
    if fitting:
        return min(fitting.values(), key=lambda python: python.version[:2])
    text = "{}.{}".format(*minimum)
    raise RewactError(
        ExitCode.NO_PYTHON,
        f"No Python {text} or newer that runs was found. Install one and run again: "
        f"`uv python install {text}`, `pyenv install {text}`, "
        f"`conda create -n lerobot python={text}` (then activate it), "
        f"`apt-get install python{text} python{text}-venv` or `brew install python@{text}`.",
    )
