# SPDX-License-Identifier: MIT
"""GitPython and unidiff where Python lacks them; and undo, which needs neither."""

import subprocess
import sys
from pathlib import Path

import pytest

from installer import fetch, patching, tools
from tests.install.upstreams import Project, git, refused
from verify import tools as kept_tools
from verify.checkout import Checkout
from verify.errors import ExitCode


def test_undo_works_with_nothing_installed(
    run_install, project: Project, checkout: Checkout, tmp_path: Path
) -> None:
    """No GitPython, no cache, no network, no pip."""
    patching.install(project.root, checkout)
    env = {"XDG_CACHE_HOME": str(tmp_path / "empty"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    result = run_install(project, "uninstall", str(checkout.root), env=env)
    assert result.returncode == 0, result.stderr
    assert git(checkout.root, "status", "--porcelain") == b"" and not (tmp_path / "empty").exists()


def test_undo_imports_neither(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\nfrom installer import undo\nfrom verify.checkout import Checkout\n"
        "undo.uninstall(Path(sys.argv[2]), Checkout(Path(sys.argv[3])))\n"
        "print([name for name in ('git', 'gitdb', 'unidiff') if name in sys.modules])\n"
    )
    root = str(Path(tools.__file__).parents[1])
    words = [sys.executable, "-c", program, root, str(project.root), str(checkout.root)]
    ran = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_bare_python_without_an_index_gets_one_sentence(
    run_install, project: Project, upstream: Path, tmp_path: Path
) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "empty"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    result = run_install(project, "dev", "--no-install", str(upstream), env=env)
    assert result.returncode == ExitCode.INDEX and "PIP_FIND_LINKS" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not list((tmp_path / "empty").rglob("tools-*"))


def test_tools_are_made_once_and_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cached_tools: Path
) -> None:
    """A pip that is ended in the middle leaves nothing that a later run would take for the tools."""
    kept = cached_tools / "rewact-lerobot" / tools.directory().name
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_tools, "are_there", lambda: str(tools.directory()) in sys.path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    program = tmp_path / "pip.py"
    head = "import os, shutil, sys; target = sys.argv[sys.argv.index('--target') + 1]; "
    program.write_text(head + "os.makedirs(target); print('ERROR: broken', file=sys.stderr); sys.exit(1)")
    monkeypatch.setattr(fetch, "find_pip", lambda: [sys.executable, "-S", str(program)])
    assert "broken" in refused(ExitCode.INDEX, tools.require)
    assert not any(path.is_dir() for path in (tmp_path / "cache" / "rewact-lerobot").iterdir())
    program.write_text(head + f"shutil.copytree({str(kept)!r}, target)")
    tools.require()
    program.write_text("raise SystemExit('asked again')")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tools.directory())])
    tools.require()
    assert (tools.directory() / "git" / "__init__.py").is_file()


def test_git_executable_named_by_a_variable_is_not_run(
    run_install, project: Project, upstream: Path, tmp_path: Path
) -> None:
    """GitPython would start it when it is imported."""
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\nexec git "$@"\n')
    program.chmod(0o755)
    result = run_install(
        project, "dev", "--no-install", str(upstream), env={"GIT_PYTHON_GIT_EXECUTABLE": str(program)}
    )
    assert result.returncode == 0 and not (tmp_path / "ran").exists()
