# SPDX-License-Identifier: MIT
"""The Python environment LeRobot is installed into: chosen, made, filled, asked."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from installer import console, lock, programs, pythons
from installer.files import write_atomically
from installer.locate import parse_direct_url
from installer.pythons import Python, find_python, try_python
from installer.releases import Release
from verify.errors import ExitCode, RewactError, last_words

# What the overlay declares that it imports beyond LeRobot's own extras.
_DECLARED = Path(__file__).resolve().parent.parent / "overlay" / "rewact" / "requirements.txt"
RUNTIME = tuple(
    line for line in _DECLARED.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
)
# What the tests and `python -m verify` import.
TESTING = (
    "pytest>=8.1,<10",
    "pytest-timeout>=2.4,<3",
    "pytest-xdist>=3.7,<4",
    "hypothesis>=6.100",
    "GitPython>=3.2.1,<4",
    "unidiff>=1.0.1,<2",
    "playwright>=1.48,<2",
    # What lerobot-export writes and its runtime reads.
    "onnx>=1.17,<2",
    "onnxruntime>=1.20,<2",
    "onnxscript>=0.3,<1",
)

# They would change how the programs that are started here find modules, or take their checks out.
_NOT_HANDED_ON = ("PYTHONHOME", "CONDA_PREFIX", "PYTHONSAFEPATH", "PYTHONOPTIMIZE")


@dataclass(frozen=True)
class Environment:
    """A virtual or conda environment.

    Attributes:
        ours: made here, so that tools may be added to it.
        reason: why it is the one, where another is active.
    """

    prefix: Path
    python: Python
    ours: bool
    reason: str = ""

    @property
    def bin(self) -> Path:
        return self.python.executable.parent

    def run(self, program: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
        """Runs a program text in its Python, isolated: what is imported is what was installed."""
        words = [str(self.python.executable), "-I", "-c", program]
        return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)

    def variables(self) -> dict[str, str]:
        """The process environment as if this one was activated."""
        env = {key: value for key, value in os.environ.items() if key not in _NOT_HANDED_ON}
        scripts = self.prefix / ("Scripts" if os.name == "nt" else "bin")
        path = os.pathsep.join([str(scripts), env.get("PATH", os.defpath)])
        return env | {"VIRTUAL_ENV": str(self.prefix), "PATH": path}

    @property
    def activate(self) -> str | None:
        """The command that activates it, or None when it is active."""
        if self.prefix == _active_prefix() or os.environ.get("CONDA_PREFIX") == str(self.prefix):
            return None
        return (
            str(self.prefix / "Scripts" / "activate")
            if os.name == "nt"
            else f"source {shlex.quote(str(self.prefix))}/bin/activate"
        )


def note_path(prefix: Path) -> Path:
    """Our note of what was installed, by which a second run sees that all is there."""
    return prefix / "rewact-environment.json"


def read_note(prefix: Path) -> dict:
    """What the note says; {} where there is none that can be read."""
    try:
        return dict(json.loads(note_path(prefix).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def write_note(prefix: Path, note: dict) -> None:
    write_atomically(note_path(prefix), json.dumps(note, indent=1).encode())


def _executable(prefix: Path) -> Path:
    if os.name != "nt":
        return prefix / "bin" / "python"
    inner = prefix / "Scripts" / "python.exe"
    return inner if inner.exists() else prefix / "python.exe"


def _active_prefix() -> Path | None:
    if sys.prefix != sys.base_prefix:
        return Path(sys.prefix)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    return None


def _opened(prefix: Path, *, ours: bool) -> Environment | None:
    python = try_python(_executable(prefix))
    return Environment(prefix, python, ours) if python else None


def choose(
    release: Release,
    project: Path,
    explicit: Path | None = None,
    name: str = ".venv",
    checkout: Path | None = None,
) -> Environment:
    """The named environment, else the active one where it fits, the clone's own, or one beside install.py.

    Args:
        checkout: the clone, whose own `.venv` (that of a uv project) comes before ours.

    Raises:
        RewactError: NO_PYTHON when there is no Python to make one with, or the named one does not fit.
    """
    wanted = "{}.{}".format(*release.python)
    ours = [project / name, project / f"{name}-{release.version}"]
    if explicit is not None:
        places = [("", Path(os.path.abspath(explicit)))]
    else:
        active_first = sorted(ours, key=lambda prefix: prefix != _active_prefix())
        places = [*_theirs(checkout, ours), *(("", prefix) for prefix in active_first)]
    reasons = []
    for kind, prefix in places:
        if not kind and _is_free(prefix):
            return replace(_make(prefix, release), reason=" ".join(reasons))
        environment = _opened(prefix, ours=not kind and (explicit is None or note_path(prefix).exists()))
        where = f"{kind} {prefix}".lstrip()
        if environment and environment.python.version >= release.python:
            console.step(f"using {where} (Python {environment.python.version_text})")
            return replace(environment, reason=" ".join(reasons))
        if kind:
            has = f"has Python {environment.python.version_text}" if environment else "does not run"
            reasons.append(f"{where} {has}; LeRobot {release.version} needs Python {wanted}+.")
            console.step(reasons[-1].rstrip("."))
        elif environment is None or prefix == places[-1][1]:
            what = "is a file" if prefix.is_file() else f"has no Python {wanted} or newer that runs"
            raise RewactError(
                ExitCode.NO_PYTHON, f"{prefix} {what}: remove it, or activate or name another environment."
            )
    raise AssertionError("the last place is used or refused")


def _theirs(checkout: Path | None, ours: list[Path]) -> list[tuple[str, Path]]:
    """The environments that are not ours, in order, each with what it is."""
    own = checkout / ".venv" if checkout is not None and _executable(checkout / ".venv").exists() else None
    found = [("the active environment", _active_prefix()), ("the clone's own environment", own)]
    return [(kind, prefix) for kind, prefix in found if prefix is not None and prefix not in ours]


def prefixes(project: Path, checkout: Path) -> list[Path]:
    """Where the environments lie that `choose` would take without making one."""
    ours = sorted(path for path in project.glob(".venv*") if path.is_dir())
    return list(dict.fromkeys([*(prefix for _, prefix in _theirs(checkout, [])), *ours]))


def existing(project: Path, checkout: Path) -> list[Environment]:
    """The environments that `choose` would take without making one."""
    found = [_opened(prefix, ours=prefix.parent == project) for prefix in prefixes(project, checkout)]
    return [environment for environment in found if environment is not None]


_UNFINISHED = ".rewact-unfinished"


def _is_free(prefix: Path) -> bool:
    """Whether nothing is here, or only what we began to make and were ended in the middle of."""
    if not prefix.is_dir():
        return not prefix.exists()
    return (prefix / _UNFINISHED).exists() or not any(prefix.iterdir())


def _make(prefix: Path, release: Release) -> Environment:
    uv = _find_uv(None)
    python = find_python(release.python, can_make_venv_otherwise=uv is not None)
    if python.venv:
        command = [str(python.executable), "-m", "venv", str(prefix)]
    else:
        seed = ["--quiet", "--seed", "--allow-existing", "--python", str(python.executable)]
        command = [str(uv), "venv", *seed, str(prefix)]
    with contextlib.ExitStack() as stack:
        try:
            prefix.parent.mkdir(parents=True, exist_ok=True)
            # Two runs that fill one environment would trip over each other's files.
            stack.enter_context(lock.hold(prefix.with_name(f"{prefix.name}-lock"), str(prefix)))
            if not _is_free(prefix):
                raise RewactError(
                    ExitCode.BUSY, f"{prefix} was made by another run in the meantime: run again to use it."
                )
            prefix.mkdir(exist_ok=True)
            (prefix / _UNFINISHED).touch()
        except OSError as error:
            raise RewactError(
                ExitCode.NO_PERMISSION,
                f"{prefix} cannot be written ({error.strerror}): activate an environment first.",
            ) from None
        console.step(f"making {prefix} with Python {python.version_text} ({python.executable})")
        return _fill(prefix, command)


def _fill(prefix: Path, command: list[str]) -> Environment:
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    environment = _opened(prefix, ours=True)
    if result.returncode or environment is None:
        raise RewactError(ExitCode.NO_PYTHON, f"{prefix} could not be made: {last_words(result)}")
    (prefix / _UNFINISHED).unlink()
    return environment


def _find_uv(environment: Environment | None) -> Path | None:
    places = [str(environment.bin)] if environment else []
    for directory in [*places, *os.get_exec_path()]:
        found = shutil.which("uv", path=directory)
        if found and programs.answers([found]):
            return Path(found)
    return None


def _commands(environment: Environment) -> tuple[list[str], list[str]]:
    """The commands that install and that build a wheel: uv's where there is one, else those of its own pip.

    Raises:
        RewactError: INDEX, when there is neither.
    """
    uv = _find_uv(environment)
    python = str(environment.python.executable)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    if uv is None and environment.ours:
        console.step("fetching uv, which installs faster than pip")
        if programs.run([*pip, "install", "uv"]).returncode == 0:
            uv = _find_uv(environment)
    if uv is not None:
        # LeRobot's pyproject.toml sends uv to PyTorch's own index for torch; the default index has it too.
        options = ["--no-sources", "--python", python]
        build = [str(uv), "build", "--quiet", "--wheel", *options, "--out-dir"]
        return [str(uv), "pip", "install", *options], build
    if not programs.answers(pip):
        raise RewactError(
            ExitCode.INDEX, f"{environment.prefix} has no pip, and uv was not found: install uv."
        )
    return [*pip, "install"], [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir"]


def pip_install(environment: Environment, arguments: list[str]) -> None:
    """Installs with uv where there is one, else with the environment's pip.

    Raises:
        RewactError: INDEX, when the installation failed.
    """
    _run_tool([*_commands(environment)[0], *arguments], environment)


def build_wheel(environment: Environment, source: Path, output: Path) -> None:
    """Builds the wheel of a source tree into a directory."""
    _run_tool([*_commands(environment)[1], str(output), str(source)], environment)


def _run_tool(command: list[str], environment: Environment) -> None:
    # Run where no pyproject.toml or uv.toml of the user's is in the way.
    start = time.monotonic()
    result = programs.run(command, cwd=environment.prefix, env=_tool_variables())
    if result.returncode:
        console.fault(f"{shlex.join(command)}\n{result.stdout.rstrip()}")
        raise RewactError(
            ExitCode.INDEX,
            f"{Path(command[0]).name} failed (its reason is above): check the network and the package index, "
            "then run again; what was downloaded is kept.",
        )
    if count := _count_installed(result.stdout):
        console.step(f"{console.plural(count, 'package')} installed in {time.monotonic() - start:.0f} s")


def _count_installed(said: str) -> int:
    """How many packages uv or pip says that it installed."""
    of_uv = re.findall(r"^ [+~] ", said, re.MULTILINE)
    of_pip = re.findall(r"^Successfully installed (.+)", said, re.MULTILINE)
    return len(of_uv) + sum(len(names.split()) for names in of_pip)


def _tool_variables() -> dict[str, str]:
    """pip and uv act on the environment they are told, not on the one that is active."""
    return {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONHOME")}


@dataclass(frozen=True)
class Installed:
    """What an environment says about LeRobot. `editable`: the source tree of an editable install."""

    version: str | None
    editable: Path | None
    missing: tuple[str, ...]


def ask(environment: Environment, requirements: list[str]) -> Installed:
    """Asks an environment which of the requirements, and of what they need in turn, it lacks."""
    answer = pythons.ask(environment.python.executable, requirements)
    if answer is None:
        return Installed(None, None, tuple(requirements))
    return Installed(answer["lerobot"], parse_direct_url(answer["direct_url"]), tuple(answer["missing"]))


def ensure(
    environment: Environment,
    note: dict,
    requirements: list[str],
    install: Callable[[], None],
    editable: Path | None = None,
) -> bool:
    """Makes an environment hold LeRobot as it is wanted; returns whether anything had to be done.

    Args:
        note: says what is installed; an environment with the same note that lacks nothing stays as it is.
        editable: the source tree of an editable install, None for a wheel.

    Raises:
        RewactError: CHECK_FAILED, when something is missing after the installation.
    """
    found = ask(environment, requirements)
    noted = note.items() <= read_note(environment.prefix).items()
    if noted and found.editable == editable and not found.missing:
        console.step(f"LeRobot is installed in {environment.prefix}: nothing changed")
        return False
    install()
    found = ask(environment, requirements)
    if found.editable != editable or found.missing:
        lacking = ", ".join(found.missing) or editable or "LeRobot's wheel"
        raise RewactError(
            ExitCode.CHECK_FAILED, f"After the installation {environment.prefix} still lacks {lacking}."
        )
    write_note(environment.prefix, note)
    _warn_without_ffmpeg(environment)
    return True


def _warn_without_ffmpeg(environment: Environment) -> None:
    """Says what to do where torchcodec is installed and cannot load ffmpeg's libraries."""
    check = (
        "import importlib.util, sys\n"
        "if importlib.util.find_spec('torchcodec') is None: sys.exit(0)\n"
        "try:\n    import torchcodec.decoders\n"
        "except Exception: sys.exit(3)\n"
    )
    if environment.run(check).returncode == 3:
        console.step(
            "ffmpeg's libraries were not found, so torchcodec cannot decode video: install them "
            "(`apt-get install ffmpeg`, `conda install ffmpeg`, `brew install ffmpeg`) "
            "or pass --dataset.video_backend=pyav"
        )
