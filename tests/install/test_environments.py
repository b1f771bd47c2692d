# SPDX-License-Identifier: MIT
"""Finding a Python that runs, choosing an environment, asking it what it holds. Nothing is downloaded."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import installer
from installer import console, environment, locate, lock, patching, programs, pythons, scripts, undo
from installer.develop import note_environment
from installer.environment import Environment
from installer.pythons import Python
from installer.releases import Release
from tests.install.upstreams import PYPROJECT, Project, git, refused, write
from verify.checkout import Checkout
from verify.errors import ExitCode

THIS = sys.version_info[:2]
FITTING = Release("9.9.1", "0" * 64, THIS, ("training",))
TOO_NEW = Release("9.9.2", "0" * 64, (THIS[0], THIS[1] + 1), ())


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any Python to be found or environment active; returns its only PATH directory."""
    path = tmp_path / "bin"
    path.mkdir()
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "XDG_DATA_HOME", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(sys, "_base_executable", str(path / "none"), raising=False)
    monkeypatch.setattr(sys, "executable", str(path / "none"))
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    return path


@pytest.fixture(scope="module")
def real_python() -> Path:
    """The interpreter below any virtual environment."""
    base = Path(sys.base_prefix, "bin", f"python{THIS[0]}.{THIS[1]}")
    return base if base.exists() else Path(sys._base_executable)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_shim_that_does_not_run_is_skipped(nowhere: Path, real_python: Path) -> None:
    """pyenv's shims exist for every version ever installed and fail when that version is not selected."""
    script(nowhere / f"python{THIS[0]}.{THIS[1]}", "echo 'command not found' >&2; exit 127")
    (nowhere / "python3").symlink_to(real_python)
    assert pythons.find_python(THIS).version[:2] == THIS


def test_pyenv_versions_are_found(nowhere: Path, real_python: Path, tmp_path: Path) -> None:
    found = tmp_path / "home/.pyenv/versions/3.99.0/bin/python3"
    script(found, f'exec {real_python} "$@"')
    assert pythons.find_python(THIS).version[:2] == THIS


@pytest.mark.parametrize("answer", ["exit 0", "echo hello", "echo '{}'", "sleep 0; exit 1"])
def test_programs_that_are_no_python_are_skipped(nowhere: Path, answer: str) -> None:
    script(nowhere / "python3", answer)
    message = refused(ExitCode.NO_PYTHON, pythons.find_python, THIS)
    assert "Install one" in message and f"{THIS[0]}.{THIS[1]}" in message


def test_older_pythons_do_not_fit(nowhere: Path, real_python: Path) -> None:
    (nowhere / "python3").symlink_to(real_python)
    refused(ExitCode.NO_PYTHON, pythons.find_python, TOO_NEW.python)


def test_oldest_fitting_minor_version_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    versions = {}
    for minor in (14, 12, 13, 9):
        path = tmp_path / f"python3.{minor}"
        path.touch()
        versions[path] = Python(path, (3, minor, 0), True)
    monkeypatch.setattr(pythons, "candidates", lambda minimum: iter(versions))
    monkeypatch.setattr(pythons, "try_python", versions.get)
    assert pythons.find_python((3, 10)).version == (3, 12, 0)
    assert pythons.find_python((3, 13)).version == (3, 13, 0)


def test_python_without_venv_needs_uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "python3"
    path.touch()
    monkeypatch.setattr(pythons, "candidates", lambda minimum: iter([path]))
    monkeypatch.setattr(pythons, "try_python", lambda candidate: Python(path, (3, 12, 0), False))
    refused(ExitCode.NO_PYTHON, pythons.find_python, (3, 12))
    assert pythons.find_python((3, 12), can_make_venv_otherwise=True).version == (3, 12, 0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, real_python: Path) -> Path:
    """A virtual environment without pip."""
    prefix = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([real_python, "-m", "venv", "--without-pip", prefix], check=True)
    return prefix


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_is_used(
    nowhere: Path, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, str(made))
    chosen = environment.choose(FITTING, tmp_path)
    assert chosen.prefix == made and not chosen.ours and not (tmp_path / ".venv").exists()


def test_active_environment_that_does_not_fit_is_left_alone(
    nowhere: Path, made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(made))
    refused(ExitCode.NO_PYTHON, environment.choose, TOO_NEW, tmp_path)
    said = capsys.readouterr().out
    assert str(made) in said and f"needs Python {THIS[0]}.{THIS[1] + 1}+" in said
    assert not (tmp_path / ".venv").exists()


def test_makes_an_environment_beside_install_py(nowhere: Path, real_python: Path, tmp_path: Path) -> None:
    (nowhere / "python3").symlink_to(real_python)
    first = environment.choose(FITTING, tmp_path)
    assert first.prefix == tmp_path / ".venv" and first.ours
    assert environment.choose(FITTING, tmp_path) == first


def test_one_of_ours_that_is_active_comes_before_one_that_must_be_made(
    nowhere: Path, real_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nowhere / "python3").symlink_to(real_python)
    of_release = environment.choose(FITTING, tmp_path, name=f".venv-{FITTING.version}")
    monkeypatch.setenv("VIRTUAL_ENV", str(of_release.prefix))
    assert environment.choose(FITTING, tmp_path) == of_release
    assert not (tmp_path / ".venv").exists()


def test_environment_whose_making_was_interrupted_is_finished(
    nowhere: Path, real_python: Path, tmp_path: Path
) -> None:
    (nowhere / "python3").symlink_to(real_python)
    write(tmp_path / ".venv", {".rewact-unfinished": b"", "bin/other": b""})
    assert environment.choose(FITTING, tmp_path).prefix == tmp_path / ".venv"
    assert not (tmp_path / ".venv/.rewact-unfinished").exists()


def test_environment_that_another_run_is_making_is_left_alone(
    nowhere: Path, real_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nowhere / "python3").symlink_to(real_python)
    fill, refusals = environment._fill, []

    def filled_while_another_begins(prefix: Path, command: list[str]) -> Environment:
        refusals.append(refused(ExitCode.BUSY, environment.choose, FITTING, tmp_path))
        return fill(prefix, command)

    monkeypatch.setattr(environment, "_fill", filled_while_another_begins)
    made = environment.choose(FITTING, tmp_path)
    assert str(tmp_path / ".venv") in refusals[0] and str(os.getpid()) in refusals[0]
    assert environment.choose(FITTING, tmp_path) == made
    assert not list(tmp_path.glob(".venv-*"))


def test_tool_that_cannot_be_started_is_not_a_folder_that_cannot_be_written(
    nowhere: Path, real_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nowhere / "python3").symlink_to(real_python)
    fill = environment._fill
    monkeypatch.setattr(environment, "_fill", lambda prefix, _: fill(prefix, [str(tmp_path / "gone")]))
    with pytest.raises(FileNotFoundError, match="gone"):
        environment.choose(FITTING, tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob(".venv-*"))


def test_environment_that_another_run_has_made_in_the_meantime(
    nowhere: Path, real_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nowhere / "python3").symlink_to(real_python)
    hold = lock.hold

    def late(directory: Path, what: str):
        write(tmp_path / ".venv", {"pyvenv.cfg": b"theirs"})
        return hold(directory, what)

    monkeypatch.setattr(lock, "hold", late)
    assert "run again" in refused(ExitCode.BUSY, environment.choose, FITTING, tmp_path)
    assert os.listdir(tmp_path / ".venv") == ["pyvenv.cfg"]


def test_environment_that_does_not_run_is_named_and_kept(nowhere: Path, tmp_path: Path) -> None:
    script(tmp_path / ".venv/bin/python", "exit 1")
    message = refused(ExitCode.NO_PYTHON, environment.choose, FITTING, tmp_path)
    assert str(tmp_path / ".venv") in message and (tmp_path / ".venv/bin/python").exists()


def test_named_environment_that_is_none(nowhere: Path, tmp_path: Path) -> None:
    write(tmp_path, {"things/file": b"x"})
    message = refused(ExitCode.NO_PYTHON, environment.choose, FITTING, tmp_path, tmp_path / "things")
    assert str(tmp_path / "things") in message


def distribution(
    made: Path, name: str, version: str, requires: str = "", direct_url: dict | None = None
) -> None:
    site = made / "lib" / f"python{THIS[0]}.{THIS[1]}" / "site-packages"
    info = site / f"{name}-{version}.dist-info"
    write(info, {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}".encode()})
    if direct_url is not None:
        write(info, {"direct_url.json": json.dumps(direct_url).encode()})


@pytest.fixture
def opened(made: Path, tmp_path: Path, real_python: Path) -> Environment:
    """An environment of its own for each test, with the packaging library this test session has."""
    import packaging

    prefix = tmp_path / "venv"
    subprocess.run([real_python, "-m", "venv", "--without-pip", prefix], check=True)
    site = prefix / "lib" / f"python{THIS[0]}.{THIS[1]}" / "site-packages"
    (site / "packaging").symlink_to(Path(packaging.__file__).parent)
    python = pythons.try_python(prefix / "bin" / "python")
    assert python is not None
    return Environment(prefix, python, True)


def test_probe_finds_what_is_missing(opened: Environment) -> None:
    distribution(
        opened.prefix,
        "lerobot",
        "9.9.1",
        "Provides-Extra: training\nProvides-Extra: data\n"
        "Requires-Dist: alpha>=2\nRequires-Dist: never; sys_platform == 'amiga'\n"
        "Requires-Dist: lerobot[data]; extra == 'training'\nRequires-Dist: beta<3; extra == 'data'\n",
    )
    assert environment.ask(opened, ["lerobot"]).missing == ("alpha>=2",)
    distribution(opened.prefix, "alpha", "1.0", "Requires-Dist: gamma\n")
    assert environment.ask(opened, ["lerobot"]).missing == ("alpha>=2", "gamma")
    distribution(opened.prefix, "gamma", "1.0")
    missing = environment.ask(opened, ["lerobot[training]"]).missing
    assert len(missing) == 2 and missing[0] == "alpha>=2" and missing[1].startswith("beta<3")
    distribution(opened.prefix, "beta", "2.5")
    assert "beta" not in str(environment.ask(opened, ["lerobot[training]"]).missing)


def test_probe_reports_the_editable_install(opened: Environment, tmp_path: Path) -> None:
    assert environment.ask(opened, []).version is None
    tree = tmp_path / "my tree"
    distribution(
        opened.prefix, "lerobot", "9.9.1", "", {"url": tree.as_uri(), "dir_info": {"editable": True}}
    )
    found = environment.ask(opened, [])
    assert found.version == "9.9.1" and found.editable == tree


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"url": 1}', '{"url": "file:///x", "dir_info": {}}',
                                  '{"url": "https://x/y", "dir_info": {"editable": true}}'])  # fmt: skip
def test_what_is_no_editable_install(text: str | None) -> None:
    assert locate.parse_direct_url(text) is None


def test_probe_without_packaging_assumes_nothing(made: Path) -> None:
    python = pythons.try_python(made / "bin" / "python")
    assert environment.ask(Environment(made, python, True), ["x", "y"]).missing == ("x", "y")


def test_damaged_note_is_as_good_as_none(opened: Environment) -> None:
    environment.note_path(opened.prefix).write_bytes(b'{"checkout":')
    assert environment.read_note(opened.prefix) == {}


def test_activated_variables(opened: Environment) -> None:
    variables = opened.variables()
    assert variables["VIRTUAL_ENV"] == str(opened.prefix)
    assert variables["PATH"].split(os.pathsep)[0] == str(opened.prefix / "bin")


def test_neither_uv_nor_pip(nowhere: Path, opened: Environment, tmp_path: Path) -> None:
    theirs = Environment(opened.prefix, opened.python, False)
    assert "install uv" in refused(ExitCode.INDEX, environment.pip_install, theirs, ["x"])


def test_failed_installation_is_one_sentence(nowhere: Path, opened: Environment) -> None:
    script(nowhere / "uv", 'test "$1" = --version')
    message = refused(ExitCode.INDEX, environment.pip_install, opened, ["x"])
    assert message.startswith("uv failed") and "network" in message


def test_a_long_download_says_what_it_waits_for(
    nowhere: Path, opened: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uv goes on once the line is out, so that the test waits for nothing else."""
    words = "Resolved 3 packages\nDownloading numpy (16MiB)\nDownloading torch (783MiB)\n"
    (nowhere / "words").write_text(words)
    script(
        nowhere / "uv",
        f"""test "$1" = --version && exit
        while read -r line; do echo "$line" >&2; done < {nowhere}/words
        echo ' Downloaded numpy'
        until [ -e {nowhere}/heard ]; do :; done
        echo ' + torch==2'""",
    )
    said = []

    def hear(text: str) -> None:
        said.append(text)
        if "torch" in text:
            (nowhere / "heard").touch()

    monkeypatch.setattr(programs, "_SECONDS", 0.05)
    monkeypatch.setattr(console, "step", hear)
    environment.pip_install(opened, ["x"])
    assert "s: downloading torch (783MiB)" in said[-2] and said[-1].startswith("1 package installed")


def test_what_pip_is_at() -> None:
    said = ["Collecting torch\n", "  Downloading torch-2-cp312.whl (821 MB)\n", "WARNING: x\n"]
    assert programs.under_way([]) == "at work"
    assert programs.under_way(said) == "Downloading torch-2-cp312.whl (821 MB)"
    assert programs.under_way([*said, "Installing collected packages: torch\n"]).startswith("Installing")


def test_uv_is_told_the_environment_and_to_ignore_sources(nowhere: Path, opened: Environment) -> None:
    script(nowhere / "uv", f'echo "$@" > {nowhere}/words')
    environment.pip_install(opened, ["x"])
    words = (nowhere / "words").read_text().split()
    assert "--no-sources" in words and words[words.index("--python") + 1] == str(opened.python.executable)


def test_file_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    message = refused(ExitCode.NO_PYTHON, environment.choose, FITTING, tmp_path, tmp_path / "file")
    assert "is a file" in message


def test_directory_on_path_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python before 3.12 asks the system whether a file is there, and hands on its refusal."""
    is_file = Path.is_file

    def refusing(path: Path) -> bool:
        if path.parent == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refusing)
    monkeypatch.setattr(pythons, "candidates", lambda _: iter([tmp_path / "python3", Path(sys.executable)]))
    assert pythons.find_python(THIS, can_make_venv_otherwise=True).version[:2] == THIS


@pytest.fixture
def own(real_python: Path, tmp_path: Path) -> Path:
    """A clone with an environment of its own, as a uv project has."""
    clone = tmp_path / "clone"
    subprocess.run([real_python, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    return clone


def test_environment_of_the_clone_comes_before_ours(nowhere: Path, own: Path, tmp_path: Path) -> None:
    chosen = environment.choose(FITTING, tmp_path, checkout=own)
    assert chosen.prefix == own / ".venv" and not chosen.ours and chosen.reason == ""
    assert not (tmp_path / ".venv").exists()
    assert [found.prefix for found in environment.existing(tmp_path, own)] == [own / ".venv"]


def test_active_environment_that_is_unfit_is_the_reason(
    nowhere: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last lines say which environment was used, and why not the active one."""
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "broken"))
    chosen = environment.choose(FITTING, tmp_path, checkout=own)
    assert chosen.prefix == own / ".venv"
    assert str(tmp_path / "broken") in chosen.reason and "does not run" in chosen.reason


SCRIPTS = b'[project.scripts]\nlerobot-train = "lerobot.train:main"\n'
OURS = b'lerobot-label = "rewact.cli.label:main"\n'


def test_uninstall_takes_our_console_scripts_out(
    opened: Environment, project: Project, upstream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They start modules that are gone. Scripts of LeRobot's, and files of the user's, stay."""
    before = PYPROJECT + SCRIPTS
    project.add_overlay("rewact/cli/label.py")
    write(upstream, {"pyproject.toml": before})
    git(upstream, "commit", "--quiet", "--all", "--message", "scripts")
    project.add_patch("0004-d.patch", {"pyproject.toml": before}, {"pyproject.toml": before + OURS})
    checkout = Checkout(upstream)
    patching.install(project.root, checkout)
    note_environment(checkout, opened)
    url = {"url": upstream.as_uri(), "dir_info": {"editable": True}}
    distribution(opened.prefix, "lerobot", "9.9.1", direct_url=url)
    (site,) = opened.prefix.glob("lib/*/site-packages")
    info = site / "lerobot-9.9.1.dist-info"
    points = b"[console_scripts]\nlerobot-label = rewact.cli.label:main\nlerobot-train = lerobot.train:main\n"
    record = b"../../../bin/lerobot-label,sha256=x,9\n../../../bin/lerobot-train,sha256=y,9\n"
    write(info, {"entry_points.txt": points, "RECORD": record})
    start = b"#!/usr/bin/python\nfrom %s import main\nmain()\n"
    files = {"lerobot-label": start % b"rewact.cli.label", "lerobot-train": start % b"lerobot.train"}
    write(opened.bin, files)
    environment.note_path(opened.prefix).write_text(json.dumps({"checkout": str(upstream)}))
    monkeypatch.setattr(installer, "PROJECT", project.root)
    assert undo.command(checkout) == 0
    assert not (opened.bin / "lerobot-label").exists()
    assert (opened.bin / "lerobot-train").read_bytes() == files["lerobot-train"]
    assert b"label" not in (info / "entry_points.txt").read_bytes() + (info / "RECORD").read_bytes()
    assert b"lerobot-train" in (info / "RECORD").read_bytes() and environment.read_note(opened.prefix) == {}


def test_script_of_another_program_stays(opened: Environment, project: Project, checkout: Checkout) -> None:
    """One of ours stays in an environment that holds another clone, and where a note is damaged."""
    project.add_overlay("rewact/cli/label.py")
    patching.install(project.root, checkout)
    url = {"url": checkout.root.as_uri(), "dir_info": {"editable": True}}
    distribution(opened.prefix, "lerobot", "9.9.1", direct_url=url)
    (info,) = opened.prefix.glob("lib/*/site-packages/lerobot-9.9.1.dist-info")
    write(info, {"entry_points.txt": b"[console_scripts]\nlerobot-label = rewact.cli.label:main\n"})
    write(opened.bin, {"lerobot-label": b"#!/bin/sh\necho mine\n"})
    assert scripts.take_out(opened.prefix, checkout.state(), checkout.root.parent) == []
    assert scripts.take_out(opened.prefix, checkout.state(), checkout.root) == []
    assert (opened.bin / "lerobot-label").exists()
    write(opened.bin, {"lerobot-label": b"from rewact.cli.label import main\n"})
    write(info, {"entry_points.txt": b"[console_scripts]\nlerobot-label = rewact.cli.label:main\n"})
    environment.note_path(opened.prefix).write_bytes(b'{"checkout":')
    assert scripts.take_out(opened.prefix, checkout.state(), checkout.root) == ["lerobot-label"]
