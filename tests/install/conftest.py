# SPDX-License-Identifier: MIT
"""Fixtures: a made-up upstream, a project that patches it, and the command line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.install.upstreams import (
    ACT,
    ACT_PATCHED,
    ACT_PATCHED_TWICE,
    PROJECT,
    TRAIN_PATCHED,
    UPSTREAM,
    Project,
    make_repository,
)
from verify.checkout import Checkout


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "upstream", UPSTREAM)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three patches, two of them on one file, and two overlay files, one in new directories."""
    made = Project(tmp_path / "project")
    act, train = "src/lerobot/act.py", "src/lerobot/train.py"
    made.add_patch("0001-a.patch", {act: ACT}, {act: ACT_PATCHED})
    made.add_patch("0002-b.patch", {train: UPSTREAM[train]}, {train: TRAIN_PATCHED})
    made.add_patch("0003-c.patch", {act: ACT_PATCHED}, {act: ACT_PATCHED_TWICE}, pristine={act: ACT})
    made.add_overlay("lerobot/head.py")
    made.add_overlay("rewact/deep/__init__.py", b"deep = 1\n")
    return made


@pytest.fixture
def checkout(upstream: Path) -> Checkout:
    return Checkout(upstream)


@pytest.fixture
def run_install(tmp_path: Path):
    """Runs the real install.py on a made-up project, with a bare environment."""

    def run(project: Project, *words: str, cwd: Path | None = None, env: dict | None = None):
        for name in ("_rewact_installer", "verify", "install.py"):
            if not (project.root / name).exists():
                (project.root / name).symlink_to(PROJECT / name)
        # Symbolic links are resolved when the project's directory is looked up, so it is named here.
        start = (
            "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
            "import install; from _rewact_installer import commands; "
            "commands.PROJECT = Path(sys.argv[2]); sys.exit(install.main(sys.argv[3:]))"
        )
        return subprocess.run(
            [sys.executable, "-c", start, str(PROJECT), str(project.root), *words],
            cwd=cwd or tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(autouse=True)
def no_global_git_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The developer's own git settings have no say in these tests."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    yield
