# SPDX-License-Identifier: MIT
"""How fast an exported policy is beside the one it was made of, at batch 1 on the CPU."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewact.export.exported_policy import ExportedPolicy, peak_memory_mb, time_in_turns
from rewact.export.source import Source, load_source, random_observations


@torch.inference_mode()
def measure(
    source: Source, exported: ExportedPolicy, observation: Mapping[str, Tensor], n_runs: int
) -> dict[str, dict[str, float]]:
    """Median milliseconds, with their quartiles, of a chunk and of a reward alone, on one observation."""
    arrays = {name: value.numpy() for name, value in observation.items()}
    calls: dict[str, Callable[[], Any]] = {
        "torch_chunk": lambda: source.predict(observation),
        "exported_chunk": lambda: exported.predict_chunk(arrays),
    }
    if source.config.use_reward_head:
        calls["torch_reward"] = lambda: source.policy.predict_reward(source.preprocessor(dict(observation)))
        calls["exported_reward"] = lambda: exported.predict_reward(arrays)
    times = time_in_turns(calls, n_runs)
    return {
        name: dict(zip(("low", "median", "high"), values.tolist(), strict=True))
        for name, values in times.items()
    }


def measure_processes(path: str, folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds to load, and peak megabytes, of a process of its own for each side."""
    commands = {
        "torch": ["-m", "rewact.export.benchmark", path],
        "exported": [str(folder / "exported_policy.py")],
    }
    found = {}
    for name, command in commands.items():
        ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {ended.stderr.strip().splitlines()[-1:]}")
        found[name] = json.loads(ended.stdout.splitlines()[-1])
    return found


def describe(times: Mapping[str, Mapping[str, float]], processes: Mapping[str, Mapping[str, float]]) -> str:
    """A table of what was measured."""
    rows = [("batch 1", "torch", "exported", "faster")]
    for what in ("chunk", "reward"):
        if f"torch_{what}" in times:
            both = [times[f"{side}_{what}"] for side in ("torch", "exported")]
            cells = [f"{t['median']:.1f} ({t['low']:.0f}-{t['high']:.0f})" for t in both]
            rows.append((f"{what}, ms (quartiles)", *cells, f"{both[0]['median'] / both[1]['median']:.2f}x"))
    for key, what in (("load_ms", "load, ms"), ("peak_mb", "peak memory, MB")):
        if all(key in process for process in processes.values()):
            theirs, ours = processes["torch"][key], processes["exported"][key]
            rows.append((what, f"{theirs:.0f}", f"{ours:.0f}", f"{theirs / ours:.2f}x"))
    return "\n".join(f"{what:24}{theirs:>16}{ours:>16}{ratio:>9}" for what, theirs, ours, ratio in rows)


if __name__ == "__main__":
    from lerobot.configs.policies import PreTrainedConfig

    start = time.perf_counter()
    config = PreTrainedConfig.from_pretrained(sys.argv[1])
    config.pretrained_path = Path(sys.argv[1])
    loaded = load_source(config, {})
    load_ms = 1e3 * (time.perf_counter() - start)
    one = random_observations(loaded, 1)
    for _ in range(3):
        loaded.predict(one)
    print(json.dumps({"load_ms": load_ms, **peak_memory_mb()}))
