# SPDX-License-Identifier: MIT
"""The methods compared: all train on the same frames, at the same size, for the same steps."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lerobot.rewards.sarm.rabc import RABCWeights
from rewact.advantages.compute import AdvantageOptions

from .data import read_episodes
from .scale import rabc_scale
from .settings import Settings
from .training import WEIGHTS_FILE, Frames, train
from .values import compute_advantages

SIZE = {
    "dim_model": 128,
    "n_heads": 4,
    "dim_feedforward": 512,
    "n_encoder_layers": 2,
    "chunk_size": 10,
    "n_action_steps": 10,
    # Its latent collapses on these data, and it costs as much again.
    "use_vae": False,
    # In so short a training it blurs what tells good actions from bad ones.
    "dropout": 0.0,
    "optimizer_lr": 1e-3,
}
# Of images; from scratch, since what is downloaded differs from place to place.
BACKBONE = {"pretrained_backbone_weights": None, "optimizer_lr": 3e-4, "optimizer_lr_backbone": 3e-4}
VALUE = {**SIZE, "dropout": 0.1, "num_value_bins": 51, "reward_loss_weight": 1.0}


@dataclass(frozen=True)
class Variant:
    """A trained policy, asked in a certain way."""

    name: str
    policy: str
    options: dict
    without_token: bool = False


ADVANTAGES = "advantages.parquet"

# Policies to train, and the ways to ask them.
POLICIES = ("act", "filtered", "rabc", "rabc_mean", "rabc_1std", "rabc_2std", "actvantage")
# Of RA-BC, from what progress over a chunk a frame counts in full: LeRobot's default is of long episodes; its
# documentation advises the mean of the dataset, and some standard deviations more.
STDS_ABOVE_MEAN = {"rabc_mean": 0.0, "rabc_1std": 1.0, "rabc_2std": 2.0}
# Knows what nobody tells the others: what perfect labels could give on set (a). On (b) it is filtered BC.
ORACLE = "clean"
VARIANTS = [
    Variant("ACT on everything", "act", {}),
    Variant("ACT on successes only (filtered BC)", "filtered", {}),
    Variant("ACT on clean demonstrations only (oracle)", ORACLE, {}),
    Variant("ACT with RA-BC weights, scale 0.01", "rabc", {}),
    Variant("ACT with RA-BC weights, scale at the mean", "rabc_mean", {}),
    Variant("ACT with RA-BC weights, mean + 1 deviation", "rabc_1std", {}),
    Variant("ACT with RA-BC weights, mean + 2 deviations", "rabc_2std", {}),
    *(
        Variant(f"ACTvantage, cfg_beta {beta:g}", "actvantage", {"cfg_beta": beta})
        for beta in (1.0, 1.5, 2.0)
    ),
    Variant("ACTvantage, unconditional", "actvantage", {"inference_advantage": "unconditional"}),
    *(
        Variant(
            f"ACTvantage, negative, cfg_beta {beta:g}",
            "actvantage",
            {"inference_advantage": "negative", "cfg_beta": beta},
        )
        for beta in (1.0, 2.0)
    ),
    Variant("ACTvantage, token removed", "actvantage", {}, without_token=True),
]


def train_all(
    data: Path, directory: Path, seed: int, settings: Settings, policies: tuple[str, ...], device: str = "cpu"
) -> None:
    """Train the value function and the policies of one seed, except those that are there."""
    missing = [name for name in policies if not (directory / name / WEIGHTS_FILE).is_file()]
    if not missing:
        return
    frames = Frames(data, device)
    setup = {**(BACKBONE if settings.observations == "camera" else {}), "device": device}
    advantages = directory / ADVANTAGES
    common = {"steps": settings.steps, "batch_size": settings.batch_size, "seed": seed}
    if {"rabc", "actvantage", *STDS_ABOVE_MEAN} & set(missing) and not advantages.is_file():
        options = AdvantageOptions(settings.n_steps, settings.positive_fraction, settings.smoothing_window)
        training = {**common, "steps": settings.value_steps}
        value = {
            **VALUE,
            **setup,
            "n_encoder_layers": settings.value_encoder_layers,
            "input_features": frames.input_features(settings.value_inputs.split(",")),
        }
        compute_advantages(
            frames, directory / "values", advantages, settings.folds, options, value, **training
        )
    outcomes = json.loads((data / "rewact_extensions" / "outcomes.json").read_text())
    plain = {**SIZE, **setup, "use_reward_head": False}
    for name in missing:
        if name == "act":
            train(frames, directory / name, "act", plain, **common)
        elif name == "filtered":
            successes = [entry["episode_index"] for entry in outcomes if entry["outcome"] == "success"]
            train(frames, directory / name, "act", plain, **common, episodes=successes)
        elif name == ORACLE:
            clean = [index for index, episode in enumerate(read_episodes(data)) if episode.kind == "clean"]
            train(frames, directory / name, "act", plain, **common, episodes=clean)
        elif name == "rabc" or name in STDS_ABOVE_MEAN:
            progress = directory / "rewact_progress.parquet"
            write_progress(advantages, progress)
            chunk_size = SIZE["chunk_size"]
            scale = {}
            if name in STDS_ABOVE_MEAN:
                scale["kappa"] = rabc_scale(progress, chunk_size, STDS_ABOVE_MEAN[name])
            weighter = RABCWeights(progress, chunk_size, device=torch.device(device), **scale)
            train(frames, directory / name, "act", plain, **common, weighter=weighter)
        else:
            conditioned = {**SIZE, **setup, "advantage_dropout": settings.advantage_dropout}
            train(frames, directory / name, "actvantage", conditioned, **common, advantages=advantages)


def write_progress(advantages: Path, path: Path) -> None:
    """The values of the advantages file in the form that RA-BC reads."""
    table = pq.read_table(advantages)
    columns = {name: table[name] for name in ("index", "episode_index", "frame_index")}
    columns["progress_sparse"] = pa.array(np.clip(table["value"].to_numpy(), 0, 1), pa.float32())
    pq.write_table(pa.table(columns), path)
