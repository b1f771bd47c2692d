# SPDX-License-Identifier: MIT
"""How fast an exported policy is beside the one it was made of, at batch 1 on the CPU."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewact.export.exported_policy import ExportedPolicy, peak_memory_mb
from rewact.export.source import Source, load_source, random_observations


def measure(
    source: Source, exported: ExportedPolicy, observation: Mapping[str, Tensor], n_runs: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds, with their quartiles, of a chunk and of a reward alone; both sides take turns.

    Args:
        source: The policy, run as LeRobot runs it.
        exported: What was made of it.
        observation: Of one step, with a batch dimension.
        n_runs: How often each is run.
    """
    arrays = {name: value.numpy() for name, value in observation.items()}
    calls: dict[str, Callable[[], Any]] = {
        "torch_chunk": lambda: source.predict(observation),
        "exported_chunk": lambda: exported.predict_chunk(arrays),
    }
    if source.config.use_reward_head:
        calls["torch_reward"] = lambda: source.policy.predict_reward(source.preprocessor(dict(observation)))
        calls["exported_reward"] = lambda: exported.predict_reward(arrays)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(n_runs + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            with torch.inference_mode():
                call()
            if run >= 2:  # the first ones warm up
                times[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: dict(zip(("low", "median", "high"), np.percentile(values, (25, 50, 75)).tolist(), strict=True))
        for name, values in times.items()
    }


def measure_processes(path: str, folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds to load, and peak megabytes, of a process of its own for each side."""
    commands = {
        "torch": [sys.executable, "-m", "rewact.export.benchmark", path],
        "exported": [sys.executable, str(folder / "exported_policy.py")],
    }
    found = {}
    for name, command in commands.items():
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {ended.stderr.strip().splitlines()[-1:]}")
        found[name] = json.loads(ended.stdout.splitlines()[-1])
    return found


def describe(times: Mapping[str, Mapping[str, float]], processes: Mapping[str, Mapping[str, float]]) -> str:
    """A table of what was measured."""
    lines = [f"{'batch 1':24}{'torch':>16}{'exported':>16}{'faster':>9}"]
    for what in ("chunk", "reward"):
        if f"torch_{what}" in times:
            torch_time, exported = times[f"torch_{what}"], times[f"exported_{what}"]
            cells = [f"{t['median']:.1f} ({t['low']:.0f}-{t['high']:.0f})" for t in (torch_time, exported)]
            ratio = torch_time["median"] / exported["median"]
            lines.append(f"{what + ', ms (quartiles)':24}{cells[0]:>16}{cells[1]:>16}{ratio:>8.2f}x")
    for key, what in (("load_ms", "load, ms"), ("peak_mb", "peak memory, MB")):
        if all(key in process for process in processes.values()):
            values = processes["torch"][key], processes["exported"][key]
            lines.append(f"{what:24}{values[0]:>16.0f}{values[1]:>16.0f}{values[0] / values[1]:>8.2f}x")
    return "\n".join(lines)


def _measure_torch(path: str) -> dict[str, float]:
    from lerobot.configs.policies import PreTrainedConfig

    start = time.perf_counter()
    config = PreTrainedConfig.from_pretrained(path)
    config.pretrained_path = Path(path)
    source = load_source(config, {})
    loaded = 1e3 * (time.perf_counter() - start)
    observation = random_observations(source, 1)
    for _ in range(3):
        source.predict(observation)
    return {"load_ms": loaded, **peak_memory_mb()}


if __name__ == "__main__":
    print(json.dumps(_measure_torch(sys.argv[1])))
