# SPDX-License-Identifier: MIT
"""Which Python can do what the report needs: the one at work, or one of an environment that was installed.

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
HANDED_ON = "REWACT_VERIFY_HANDED_ON"
# What `python -m` runs: those that work on patches, and those that run LeRobot.
_LINT = ("verify.drift",)
_PROOFS = ("verify.parity", "verify.demo", "verify.bench")

# What these need beyond what install.py installs: module and requirement.
_EXTRA = {
    "verify.bench": {"metaworld": "metaworld==3.0.0", "mujoco": "mujoco<3.4"},
    "verify.bench.export_speed": {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
}


def abilities() -> dict:
    """What this Python has. `source`: the checkout whose LeRobot it imports, or None."""
    names = ("git", "unidiff", "torch", "torchvision", "pytest")
    found = {name: importlib.util.find_spec(name) is not None for name in names}
    lerobot = importlib.util.find_spec("lerobot")
    source = None
    if lerobot is not None and lerobot.origin is not None:
        source = str(Path(lerobot.origin).resolve().parents[2])
    return {"lint": found["git"] and found["unidiff"], "proofs": all(found.values()), "source": source}


def ask(python: Path) -> dict | None:
    """The abilities of another Python; None when it does not run."""
    try:
        answer = subprocess.run(
            [python, "-I", __file__], capture_output=True, check=True, timeout=60, stdin=subprocess.DEVNULL
        ).stdout
        return dict(json.loads(answer))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def environments() -> Iterator[Path]:
    """Pythons of the active environment and of those that install.py made."""
    prefixes = [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    for prefix in [*prefixes, *sorted(PROJECT.glob(".venv*"))]:
        for python in (prefix / "bin" / "python", prefix / "Scripts" / "python.exe"):
            if python.exists():
                yield python


def rank(found: dict, checkout: Path | None) -> int:
    """How well a Python serves a report: 0 not at all, 1 lint, 2 proofs, 3 it has this checkout installed."""
    if not found["lint"]:
        return 0
    if not found["proofs"]:
        return 1
    return 3 if checkout is not None and found["source"] == str(checkout) else 2


def best(checkout: Path | None) -> tuple[Path, int]:
    """The Python that serves best, this one unless another is better, and its rank."""
    python, highest = Path(sys.executable), rank(abilities(), checkout)
    enough = 3 if checkout is not None else 1
    for candidate in environments():
        if highest >= enough:
            break
        found = ask(candidate)
        if found is not None and rank(found, checkout) > highest:
            python, highest = candidate, rank(found, checkout)
    return python, highest


def environment(*path: Path) -> dict[str, str]:
    """The variables of a process that runs LeRobot: offline, on one thread, with these folders first.

    PYTHONPATH comes before an editable install, so that each process sees its own tree.
    """
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", "WANDB_MODE": "disabled"}
    return {**os.environ, **quiet, "PYTHONPATH": os.pathsep.join(map(str, path))}


def hand_on(python: Path, module: str, words: list[str]) -> int:
    """Runs a module of this project with another Python; returns its exit code."""
    print(f"verify: using {python}", file=sys.stderr)
    path = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), HANDED_ON: "1"}
    return subprocess.call([str(python), "-m", module, *words], env=env)


def serve(command: list[str]) -> None:
    """Before `python -m verify.X` imports what this Python lacks, another takes it over, and it ends here.

    Args:
        command: `sys.orig_argv`.
    """
    at = command.index("-m") + 1
    module, words = command[at], command[at + 1 :]
    needed = 1 if module in _LINT else 2 if ".".join(module.split(".")[:2]) in _PROOFS else 0
    if needed == 0 or os.environ.get(HANDED_ON) or rank(abilities(), None) >= needed:
        _require_extra(module)
        return
    from verify import tools

    if needed == 1 and tools.use_kept():
        return
    python, found = best(PROJECT)
    if found >= needed:
        sys.exit(hand_on(python, module, words))
    lacking = "GitPython or unidiff" if needed == 1 else "what LeRobot needs"
    print(
        f"verify: {sys.executable} lacks {lacking}, and so do the environments beside install.py: run "
        "`python install.py dev` first.",
        file=sys.stderr,
    )
    sys.exit(2)


def _require_extra(module: str) -> None:
    """Ends where this Python lacks what a module needs beyond LeRobot, with the command that installs it."""
    extra = _EXTRA.get(module, {})
    lacking = [name for name in extra if importlib.util.find_spec(name) is None]
    if lacking:
        command = shlex.join([sys.executable, "-m", "pip", "install", *extra.values()])
        print(
            f"{module} needs {' and '.join(lacking)}, which {sys.prefix} lacks: run `{command}`.",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    json.dump(abilities(), sys.stdout)
