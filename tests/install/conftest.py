# SPDX-License-Identifier: MIT
"""Fixtures: a made-up upstream, a project that patches it, and the command line."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer import tools
from tests.install.upstreams import (
    ACT,
    ACT_PATCHED,
    ACT_PATCHED_TWICE,
    PROJECT,
    TALLY,
    TRAIN_PATCHED,
    UPSTREAM,
    Project,
    make_repository,
)
from verify.checkout import Checkout


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The upstream and the project below, made once and copied for every test."""
    root = tmp_path_factory.mktemp("templates")
    make_repository(root / "upstream", UPSTREAM)
    project = Project(root / "project")
    act, train = "src/lerobot/act.py", "src/lerobot/train.py"
    project.add_patch("0001-a.patch", {act: ACT}, {act: ACT_PATCHED})
    project.add_patch("0002-b.patch", {train: UPSTREAM[train]}, {train: TRAIN_PATCHED})
    project.add_patch("0003-c.patch", {act: ACT_PATCHED}, {act: ACT_PATCHED_TWICE}, pristine={act: ACT})
    project.add_overlay("lerobot/head.py")
    project.add_overlay("rewact/deep/__init__.py", b"deep = 1\n")
    shutil.rmtree(root / "project" / "scratch")
    return root


@pytest.fixture
def upstream(templates: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(templates / "upstream", tmp_path / "upstream", symlinks=True))


@pytest.fixture
def project(templates: Path, tmp_path: Path) -> Project:
    """Three patches, two of them on one file, and two overlay files, one in new directories."""
    return Project(Path(shutil.copytree(templates / "project", tmp_path / "project")))


@pytest.fixture
def checkout(upstream: Path) -> Checkout:
    return Checkout(upstream)


@pytest.fixture(scope="session")
def cached_tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache directory in which install.py finds GitPython and unidiff, as after its first run."""
    cache = tmp_path_factory.mktemp("cache")
    kept = cache / "rewact-lerobot" / tools.directory().name
    for name in ("GitPython", "gitdb", "smmap", "unidiff"):
        for file in importlib.metadata.distribution(name).files or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                (kept / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), kept / file)
    return cache


@pytest.fixture
def run_install(tmp_path: Path):
    """Runs the real install.py on a made-up project, with the standard library and its cached tools alone.

    Without site-packages it cannot find the editable LeRobot that this test session may run in.
    """

    def run(project: Project, *words: str, cwd: Path | None = None, env: dict | None = None):
        # A shell's background job hands on to its children that Ctrl-C is ignored; a terminal does not.
        start = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
            "import install, installer; "
            "installer.PROJECT = Path(sys.argv[2]); sys.exit(install.main(sys.argv[3:]))"
        )
        return subprocess.run(
            [sys.executable, "-S", "-c", start, str(PROJECT), str(project.root), *words],
            cwd=cwd or tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(autouse=True)
def no_global_git_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cached_tools: Path
) -> Iterator[None]:
    """The developer's own git settings and caches have no say in these tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cached_tools))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    yield


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests end processes, not the machine: what was written is there without waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes (pytest-xdist) sends home what it counted."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tally"] = dict(TALLY)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    TALLY.update(getattr(node, "workeroutput", {}).get("tally", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much the tests tried whose number of cases no list of tests shows."""
    if TALLY["kill points"]:
        terminalreporter.write_line(
            "kill points: {kill points}, old tree {old tree}, new tree {new tree}".format_map(TALLY)
        )
    if TALLY["hostile cases"]:
        escaped = TALLY["hostile cases"] - TALLY["held"]
        terminalreporter.write_line(f"hostile cases: {TALLY['hostile cases']}, escaped {escaped}")
