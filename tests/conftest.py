# SPDX-License-Identifier: MIT
"""What concerns all tests."""

import os
from pathlib import Path

import pytest

from tests.startup import sitecustomize  # noqa: F401 - for this process

STARTUP = str(Path(__file__).parent / "startup")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [STARTUP, os.environ.get("PYTHONPATH")]))


@pytest.fixture(autouse=True)
def _ordinary_priority():
    """Run by root, the AV1 encoder makes the thread that calls it a real-time one, and so all processes that
    are started after it: they would starve the rest of the machine."""
    yield
    if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
