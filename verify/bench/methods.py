# SPDX-License-Identifier: MIT
"""The methods compared: all train on the same frames, at the same size, for the same steps."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lerobot.rewards.sarm.rabc import RABCWeights

from .training import WEIGHTS_FILE, Frames, train

SIZE = {
    "dim_model": 128,
    "n_heads": 4,
    "dim_feedforward": 512,
    "n_encoder_layers": 2,
    "chunk_size": 10,
    "n_action_steps": 10,
    # Its latent collapses on these data, and it costs as much again.
    "use_vae": False,
    "optimizer_lr": 1e-3,
    "device": "cpu",
}


@dataclass(frozen=True)
class Settings:
    """What all methods share. The last three are those of the advantages."""

    steps: int = 1200
    batch_size: int = 64
    n_steps: int = 40
    positive_fraction: float = 0.4
    smoothing_window: int = 1


@dataclass(frozen=True)
class Variant:
    """A trained policy, asked in a certain way."""

    name: str
    policy: str
    options: dict
    without_token: bool = False


ADVANTAGES = "advantages.parquet"

# Policies to train, and the ways to ask them.
POLICIES = ("act", "filtered", "rabc", "actvantage")
VARIANTS = [
    Variant("ACT on everything", "act", {}),
    Variant("ACT on successes only (filtered BC)", "filtered", {}),
    Variant("ACT with RA-BC weights", "rabc", {}),
    *(
        Variant(f"ACTvantage, cfg_beta {beta:g}", "actvantage", {"cfg_beta": beta})
        for beta in (1.0, 2.0, 3.0)
    ),
    Variant("ACTvantage, unconditional", "actvantage", {"inference_advantage": "unconditional"}),
    Variant("ACTvantage, negative", "actvantage", {"inference_advantage": "negative"}),
    Variant("ACTvantage, token removed", "actvantage", {}, without_token=True),
]


def train_all(data: Path, directory: Path, seed: int, settings: Settings, policies: tuple[str, ...]) -> None:
    """Train the value function and the policies of one seed, except those that are there."""
    missing = [name for name in policies if not (directory / name / WEIGHTS_FILE).is_file()]
    if not missing:
        return
    frames = Frames(data)
    value, advantages = directory / "value", directory / ADVANTAGES
    common = {"steps": settings.steps, "batch_size": settings.batch_size, "seed": seed}
    if {"rabc", "actvantage"} & set(missing):
        train(frames, value, "rewact", SIZE, **common)
        if not advantages.is_file():
            compute_advantages(data, value, advantages, settings)
    outcomes = json.loads((data / "rewact_extensions" / "outcomes.json").read_text())
    plain = {**SIZE, "use_reward_head": False}
    for name in missing:
        if name == "act":
            train(frames, directory / name, "act", plain, **common)
        elif name == "filtered":
            successes = [entry["episode_index"] for entry in outcomes if entry["outcome"] == "success"]
            train(frames, directory / name, "act", plain, **common, episodes=successes)
        elif name == "rabc":
            progress = directory / "rewact_progress.parquet"
            write_progress(advantages, progress)
            weighter = RABCWeights(progress, SIZE["chunk_size"], device=torch.device("cpu"))
            train(frames, directory / name, "act", plain, **common, weighter=weighter)
        else:
            train(frames, directory / name, "actvantage", SIZE, **common, advantages=advantages)


def compute_advantages(data: Path, value: Path, output: Path, settings: Settings) -> None:
    """Run `lerobot-compute-advantages`, with pictures of the first episodes."""
    flags = {
        "dataset.repo_id": f"bench/{data.name}",
        "dataset.root": data,
        "policy.path": value,
        "value_type": "returns",
        "dataset.reward.failure_return": "worst",
        "output_path": output,
        "plots_dir": output.parent / "plots",
        "plot_episodes": "[0,1,2,3,4,5]",
        "n_steps": settings.n_steps,
        "positive_fraction": settings.positive_fraction,
        "smoothing_window": settings.smoothing_window,
        "batch_size": 512,
    }
    command = [sys.executable, "-m", "lerobot.scripts.lerobot_compute_advantages"]
    # Small networks lose by using more than one core.
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ}
    flags = [f"--{name}={value}" for name, value in flags.items()]
    subprocess.run([*command, *flags], check=True, env=environment)


def write_progress(advantages: Path, path: Path) -> None:
    """The values of the advantages file in the form that RA-BC reads."""
    table = pq.read_table(advantages)
    columns = {name: table[name] for name in ("index", "episode_index", "frame_index")}
    columns["progress_sparse"] = pa.array(np.clip(table["value"].to_numpy(), 0, 1), pa.float32())
    pq.write_table(pa.table(columns), path)
