# SPDX-License-Identifier: MIT
"""The methods compared: all train on the same frames, at the same size, for the same steps."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from lerobot.configs.types import NormalizationMode
from lerobot.rewards.sarm.rabc import RABCWeights
from rewact.advantages.compute import AdvantageOptions
from rewact.labels.files import write_json
from rewact.options.values import ValueOptions

from .data import read_episodes
from .recipes import ABLATIONS, ADVANTAGES, ORACLES, POLICIES, RECIPES, rabc_scale, write_relabelled
from .settings import Settings
from .training import WEIGHTS_FILE, Frames, train
from .values import compute_advantages, compute_advantages_of_features

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
# Features have the size that their projection gives them, in which what varies little counts for little.
FEATURES = {
    "normalization_mapping": {
        "STATE": NormalizationMode.MEAN_STD,
        "ENV": NormalizationMode.IDENTITY,
        "ACTION": NormalizationMode.MEAN_STD,
    },
    "n_encoder_layers": 1,
}
SETUPS = {"camera": BACKBONE, "features": FEATURES}
# Read from the decoder: from the observation's tokens, of a few numbers, values of set (b) are far worse.
VALUE = {
    **SIZE,
    "dropout": 0.1,
    "num_value_bins": 51,
    "reward_loss_weight": 1.0,
    "reward_head_input": "decoder",
}


WEIGHTS = "weights.json"


@dataclass(frozen=True)
class Variant:
    """A trained policy, asked in a certain way."""

    name: str
    policy: str
    options: dict = field(default_factory=dict)
    without_token: bool = False
    # Shows what the token does; nobody would use it.
    is_diagnostic: bool = False


def _guided(what: str, policy: str, *betas: float, **options) -> list[Variant]:
    is_diagnostic = "inference_advantage" in options
    return [
        Variant(
            f"ACTvantage, {what}cfg_beta {beta:g}",
            policy,
            {**options, "cfg_beta": beta},
            is_diagnostic=is_diagnostic,
        )
        for beta in betas
    ]


PLAIN = {name: recipe for name, recipe in {**POLICIES, **ORACLES}.items() if recipe.type == "act"}
VARIANTS = [
    *(Variant(f"ACT {recipe.what}", name) for name, recipe in PLAIN.items()),
    *_guided("", "actvantage", 1.0, 1.5, 2.0),
    Variant(
        "ACTvantage, unconditional",
        "actvantage",
        {"inference_advantage": "unconditional"},
        is_diagnostic=True,
    ),
    *_guided("negative, ", "actvantage", 1.0, 2.0, inference_advantage="negative"),
    Variant("ACTvantage, token removed", "actvantage", without_token=True, is_diagnostic=True),
    *(
        variant
        for name, recipe in ABLATIONS.items()
        for variant in _guided(f"{recipe.what}, ", name, 1.0, 1.5)
    ),
]


def train_all(
    data: Path, directory: Path, seed: int, settings: Settings, policies: tuple[str, ...], device: str = "cpu"
) -> None:
    """Train the value function and the policies of one seed, except those that are there."""
    missing = {name: RECIPES[name] for name in policies if not (directory / name / WEIGHTS_FILE).is_file()}
    if not missing:
        return
    frames, episodes = Frames(data, device), read_episodes(data)
    setup = {**SETUPS.get(settings.observations, {}), "device": device}
    advantages = directory / ADVANTAGES
    common = {"steps": settings.steps, "batch_size": settings.batch_size, "seed": seed}
    if any(recipe.needs_values for recipe in missing.values()) and not advantages.is_file():
        _compute_values(frames, directory, ADVANTAGES, settings, setup, common)
    for name, recipe in missing.items():
        is_plain, weighter = recipe.type == "act", None
        own = {"use_reward_head": False} if is_plain else {"advantage_dropout": settings.advantage_dropout}
        file = directory / recipe.advantages_file(name)
        if (changed := recipe.changed(settings, episodes)) is not None:
            _compute_values(frames, directory, file.name, changed, setup, common)
        if recipe.relabel is not None:
            write_relabelled(advantages, file, recipe.relabel, episodes, settings.positive_fraction)
        if recipe.is_weighted:
            weighter = _make_weighter(directory, recipe.n_stds, device)
            write_json(directory / name / WEIGHTS, {"mean_weight": _mean_weight(weighter, len(frames))})
        train(
            frames,
            directory / name,
            recipe.type,
            {**SIZE, **setup, **own},
            **common,
            **recipe.training,
            episodes=[index for index, episode in enumerate(episodes) if recipe.trains_on(episode)],
            advantages=None if is_plain else file,
            weighter=weighter,
            start=recipe.require_start(directory, name),
        )


def _make_weighter(directory: Path, n_stds: float | None, device: str) -> RABCWeights:
    """LeRobot's weights with the scale so many standard deviations above the mean, or its default."""
    progress = directory / "rewact_progress.parquet"
    write_progress(directory / ADVANTAGES, progress)
    chunk_size = SIZE["chunk_size"]
    scale = {} if n_stds is None else {"kappa": rabc_scale(progress, chunk_size, n_stds)}
    return RABCWeights(progress, chunk_size, device=torch.device(device), **scale)


def _mean_weight(weighter: RABCWeights, n_frames: int) -> float:
    """Of all frames, before weights are normalized: what share of the data is used."""
    return weighter.compute_batch_weights({"index": torch.arange(n_frames)})[1]["mean_weight"]


def _compute_values(
    frames: Frames,
    directory: Path,
    file: str,
    settings: Settings,
    setup: dict[str, object],
    common: dict[str, int],
) -> None:
    options = AdvantageOptions(settings.n_steps, settings.positive_fraction, settings.smoothing_window)
    if settings.observations == "features":
        of_ensembles = ValueOptions(settings.folds, aggregate=settings.aggregate, steps=settings.value_steps)
        compute_advantages_of_features(
            frames, directory / "values", directory / file, options, of_ensembles, common["seed"]
        )
        return
    value = {
        **VALUE,
        **setup,
        "n_encoder_layers": settings.value_encoder_layers,
        "input_features": frames.input_features(settings.value_inputs.split(",")),
    }
    training = {**common, "steps": settings.value_steps}
    compute_advantages(
        frames, directory / "values", directory / file, settings.folds, options, value, **training
    )


def write_progress(advantages: Path, path: Path) -> None:
    """The values of the advantages file in the form that RA-BC reads."""
    table = pq.read_table(advantages)
    columns = {name: table[name] for name in ("index", "episode_index", "frame_index")}
    columns["progress_sparse"] = pa.array(np.clip(table["value"].to_numpy(), 0, 1), pa.float32())
    pq.write_table(pa.table(columns), path)
