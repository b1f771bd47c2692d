# SPDX-License-Identifier: MIT
"""Runs uv and pip, which may take minutes: now and then a line says what they are at."""

import re
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from installer import console

# Between two lines; a log of CI stays readable.
_SECONDS = 20.0
_STEP = re.compile(r" *(Resolved|Collecting|Downloading|Building|Prepared|Installing) ")


def run(
    command: list[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs a command without standard input; returns what it wrote to both streams as its `stdout`."""
    start = time.monotonic()
    said: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        cwd=cwd,
        env=env,
    ) as process:

        def listen() -> None:
            for line in process.stdout:
                said.append(line)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            while listener.join(_SECONDS) or listener.is_alive():
                console.step(f"{time.monotonic() - start:.0f} s: {under_way(said)}")
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, "".join(said), "")


def answers(command: list[str]) -> bool:
    """Whether a program is there and says its version."""
    try:
        result = subprocess.run([*command, "--version"], capture_output=True, check=False, timeout=60)
        return result.returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def under_way(said: list[str]) -> str:
    """What uv or pip is at, in its own words. uv says when a download ends, pip begins them one by one."""
    steps = [line.strip() for line in said if _STEP.match(line)]
    if any(line.startswith("Resolved ") for line in said):  # it is uv
        done = {line.split()[1] for line in said if line.startswith(" Downloaded ")}
        downloads = [step.split(maxsplit=1)[1] for step in steps if step.startswith("Downloading ")]
        if left := [name for name in downloads if name.split()[0] not in done]:
            return f"downloading {', '.join(left)}"
    return steps[-1] if steps else "at work"
