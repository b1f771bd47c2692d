# SPDX-License-Identifier: MIT
"""The methods compared: all train with LeRobot's own commands, at the same size, for the same steps."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SIZE = {
    "policy.dim_model": 128,
    "policy.n_heads": 4,
    "policy.dim_feedforward": 512,
    "policy.n_encoder_layers": 2,
    "policy.n_vae_encoder_layers": 2,
    "policy.chunk_size": 10,
    "policy.n_action_steps": 10,
    "policy.optimizer_lr": 3e-4,
}


@dataclass(frozen=True)
class Settings:
    """What all methods share. `n_steps`, `positive_fraction` and `folds` are those of the advantages."""

    steps: int = 800
    batch_size: int = 64
    n_steps: int = 10
    positive_fraction: float = 0.4
    folds: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Variant:
    """A trained policy, asked in a certain way."""

    name: str
    policy: str
    options: dict
    without_token: bool = False


# Policies to train, and the ways to ask them.
POLICIES = ("act", "filtered", "rabc", "actvantage")
VARIANTS = [
    Variant("ACT on everything", "act", {}),
    Variant("ACT on successes only (filtered BC)", "filtered", {}),
    Variant("ACT with RA-BC weights", "rabc", {}),
    *(
        Variant(f"ACTvantage, cfg_beta {beta:g}", "actvantage", {"cfg_beta": beta})
        for beta in (1.0, 1.5, 2.0, 3.0)
    ),
    Variant("ACTvantage, unconditional", "actvantage", {"inference_advantage": "unconditional"}),
    Variant("ACTvantage, negative", "actvantage", {"inference_advantage": "negative"}),
    Variant("ACTvantage, token removed", "actvantage", {}, without_token=True),
]


def checkpoint(directory: Path) -> Path:
    return directory / "checkpoints" / "last" / "pretrained_model"


def train_all(data: Path, directory: Path, seed: int, settings: Settings, policies: tuple[str, ...]) -> None:
    """Train the value function and the policies of one seed, except those that are there."""
    outcomes = json.loads((data / "rewact_extensions" / "outcomes.json").read_text())
    successes = [entry["episode_index"] for entry in outcomes if entry["outcome"] == "success"]
    value, advantages = directory / "value", directory / "advantages.parquet"
    progress = directory / "rewact_progress.parquet"
    if {"rabc", "actvantage"} & set(policies):
        flags = {"policy.type": "rewact", "dataset.reward.sources": '["returns"]'}
        _train(data, value, seed, settings, flags)
        if not advantages.is_file():
            _run(
                "lerobot.scripts.lerobot_compute_advantages",
                {
                    **_dataset(data),
                    "policy.path": checkpoint(value),
                    "output_path": advantages,
                    "plots_dir": directory / "plots",
                    "plot_episodes": "[0,1,2,3,4,5]",
                    "n_steps": settings.n_steps,
                    "positive_fraction": settings.positive_fraction,
                    "folds": settings.folds,
                    "batch_size": 512,
                },
            )
        write_progress(advantages, progress)
    plain = {"policy.type": "act", "policy.use_reward_head": "false"}
    flags = {
        "act": plain,
        "filtered": {**plain, "dataset.episodes": json.dumps(successes)},
        "rabc": {**plain, "sample_weighting.type": "rabc", "sample_weighting.progress_path": progress},
        "actvantage": {"policy.type": "actvantage", "dataset.reward.advantages_path": advantages},
    }
    for policy in policies:
        _train(data, directory / policy, seed, settings, flags[policy])


def write_progress(advantages: Path, path: Path) -> None:
    """The values of the advantages file in the form that RA-BC reads."""
    table = pq.read_table(advantages)
    columns = {name: table[name] for name in ("index", "episode_index", "frame_index")}
    columns["progress_sparse"] = pa.array(np.clip(table["value"].to_numpy(), 0, 1), pa.float32())
    pq.write_table(pa.table(columns), path)


def _dataset(data: Path) -> dict[str, object]:
    return {"dataset.repo_id": f"bench/{data.name}", "dataset.root": data}


def _train(data: Path, output: Path, seed: int, settings: Settings, flags: dict[str, object]) -> None:
    if checkpoint(output).exists():
        return
    shutil.rmtree(output, ignore_errors=True)  # left by a run that was stopped
    _run(
        "lerobot.scripts.lerobot_train",
        {
            **_dataset(data),
            **SIZE,
            "policy.device": settings.device,
            "policy.push_to_hub": "false",
            "steps": settings.steps,
            "save_freq": settings.steps,
            "log_freq": 200,
            "batch_size": settings.batch_size,
            "seed": seed,
            "num_workers": 0,
            "persistent_workers": "false",
            "env_eval_freq": 0,
            "output_dir": output,
            **flags,
        },
    )


def _run(module: str, flags: dict[str, object]) -> None:
    command = [sys.executable, "-m", module, *(f"--{name}={value}" for name, value in flags.items())]
    # Small networks lose by using more than one core.
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ}
    subprocess.run(command, check=True, env=environment)
