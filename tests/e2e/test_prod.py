# SPDX-License-Identifier: MIT
"""`install.py prod` for real: a wheel, an environment of its own, an import from outside the checkout."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lerobot import __file__ as lerobot_file

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def prefix() -> Iterator[Path]:
    """On the disk of the project, where uv links what is in its cache; elsewhere it copies gigabytes."""
    outputs = PROJECT / "outputs"
    outputs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="prod-", dir=outputs) as folder:
        yield Path(folder, "environment")


@pytest.mark.slow
def test_wheel_is_installed_and_imported_from_outside(tmp_path: Path, prefix: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", Path(lerobot_file).parents[2], clone], check=True)
    command = [sys.executable, str(PROJECT / "install.py"), "prod", "--env", str(prefix), str(clone)]
    first = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "imported lerobot" in first.stdout
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, check=True)
    assert status.stdout == b""

    check = "import json, lerobot, rewact; print(json.dumps([lerobot.__version__, rewact.__file__]))"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    python = prefix / ("Scripts" if os.name == "nt" else "bin") / "python"
    imported = subprocess.run([python, "-c", check], capture_output=True, check=True, cwd=tmp_path, env=env)
    version, file = json.loads(imported.stdout)
    assert "+rewact." in version and Path(file).is_relative_to(prefix)
    assert Path(file).with_name("page").joinpath("static/index.html").is_file()

    second = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert second.returncode == 0 and "nothing changed" in second.stdout
