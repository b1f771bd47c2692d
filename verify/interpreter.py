# SPDX-License-Identifier: MIT
"""Which Python runs LeRobot: the one at work, or one of an environment that was installed.

Run by itself it prints what the Python that runs it has; the standard library alone.
"""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
_READS_PATCHES = ("verify", "verify.__main__", "verify.drift")
_RUNS_LEROBOT = ("verify.demo", "verify.bench")

# What these need beyond what install.py installs: module and requirement.
_EXTRA = {
    "verify.bench": {"metaworld": "metaworld==3.0.0", "mujoco": "mujoco<3.4"},
    "verify.bench.export_speed": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
}
NO_LEROBOT = (
    f"verify: {sys.executable} lacks what LeRobot needs, and so do the environments beside install.py: run "
    "`python install.py dev` first."
)


def source_here() -> str | None:
    """The checkout whose LeRobot this Python imports, "" for none; None where its tests cannot run."""
    if not all(map(importlib.util.find_spec, ("torch", "torchvision", "pytest"))):
        return None
    lerobot = importlib.util.find_spec("lerobot")
    return str(Path(lerobot.origin).resolve().parents[2]) if lerobot and lerobot.origin else ""


def source_of(python: Path) -> str | None:
    """The same of another Python; None too where it does not run."""
    try:
        answer = subprocess.run(
            [python, "-I", __file__], capture_output=True, check=True, timeout=60, stdin=subprocess.DEVNULL
        ).stdout
        return json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def environments() -> Iterator[Path]:
    """Pythons of the active environment and of those that install.py made."""
    prefixes = [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    for prefix in [*prefixes, *sorted(PROJECT.glob(".venv*"))]:
        for python in (prefix / "bin" / "python", prefix / "Scripts" / "python.exe"):
            if python.exists():
                yield python


def best(checkout: Path) -> str | None:
    """The Python that has this checkout installed, else the first that runs LeRobot, else None."""
    able = None
    for python in (Path(sys.executable), *environments()):
        source = source_here() if str(python) == sys.executable else source_of(python)
        if source == str(checkout):
            return str(python)
        if source is not None and able is None:
            able = str(python)
    return able


def environment(*path: Path) -> dict[str, str]:
    """The variables of a process that runs LeRobot: offline, on one thread, with these folders first.

    PYTHONPATH comes before an editable install, so that each process sees its own tree.
    """
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", "WANDB_MODE": "disabled"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(map(str, path))}


def serve(command: list[str]) -> None:
    """Before `python -m verify.X` imports what this Python lacks: makes it importable, or hands the module on
    to a Python that has it, or ends with a sentence.

    Args:
        command: `sys.orig_argv`.
    """
    at = command.index("-m") + 1
    module, words = command[at], command[at + 1 :]
    if module in _READS_PATCHES:
        from verify import tools

        if not tools.use_kept():
            _end(
                f"verify: {sys.executable} lacks GitPython or unidiff: run `python install.py dev` first, or "
                "`pip install 'GitPython>=3.2.1' unidiff`."
            )
    elif ".".join(module.split(".")[:2]) in _RUNS_LEROBOT and source_here() is None:
        python = best(PROJECT)
        if python is None:
            _end(NO_LEROBOT)
        print(f"verify: using {python}", file=sys.stderr)
        path = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        sys.exit(subprocess.call([python, "-m", module, *words], env=env))
    extra = _EXTRA.get(module, {})
    lacking = [name for name in extra if importlib.util.find_spec(name) is None]
    if lacking:
        install = shlex.join([sys.executable, "-m", "pip", "install", *extra.values()])
        _end(f"{module} needs {' and '.join(lacking)}, which {sys.prefix} lacks: run `{install}`.")


def _end(sentence: str) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    json.dump(source_here(), sys.stdout)
