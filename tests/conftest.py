# SPDX-License-Identifier: MIT
"""What concerns all tests."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.startup import sitecustomize  # noqa: F401 - for this process

# Everybody who runs the suite runs the same examples. A maintainer's longer search is
# `HYPOTHESIS_PROFILE=search python install.py test`; what it finds becomes an @example.
settings.register_profile("suite", derandomize=True, deadline=None, database=None, print_blob=False)
settings.register_profile("search", max_examples=2000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

STARTUP = str(Path(__file__).parent / "startup")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [STARTUP, os.environ.get("PYTHONPATH")]))

# Programs that tests start find nothing of the user's under LeRobot's home, and leave nothing there.
_HOME = tempfile.TemporaryDirectory(prefix="rewact-tests-")
os.environ["HF_LEROBOT_HOME"] = _HOME.name
# With a connection and without one, tests are the same.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def _values_of_its_own(monkeypatch, tmp_path):
    """Let no test find the values that another has stored, nor leave any."""
    with contextlib.suppress(ImportError):  # the installer's tests have no LeRobot
        from lerobot.utils import constants

        monkeypatch.setattr(constants, "HF_LEROBOT_HOME", tmp_path / "lerobot_home")


@pytest.fixture(autouse=True)
def _ordinary_priority():
    """Run by root, the AV1 encoder makes the thread that calls it a real-time one, and so all processes that
    are started after it: they would starve the rest of the machine."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
