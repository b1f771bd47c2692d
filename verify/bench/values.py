# SPDX-License-Identifier: MIT
"""Out-of-fold values and the advantages from them.

What `lerobot-compute-advantages --folds` does with value models that are trained in memory, and what
`lerobot-train-values` does.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rewact.advantages.compute import (
    AdvantageOptions,
    Evidence,
    estimate_advantages,
    gather_evidence,
    label_advantages,
)
from rewact.advantages.file import write_advantage_file
from rewact.advantages.folds import assign_folds
from rewact.advantages.run import Computed
from rewact.draw.advantages import plot_advantages
from rewact.judge.values import frame_slices, success_metrics, value_metrics
from rewact.labels import build_reward_labels
from rewact.labels.files import write_json
from rewact.options.values import ValueOptions
from rewact.values.crossfit import cross_fit, deal_folds, read_out_of_fold
from rewact.values.targets import make_targets

from .features import open_features
from .training import LABELS, Frames, load, train

BATCH_SIZE = 1024
N_PLOTS = 6


def compute_advantages(
    frames: Frames,
    directory: Path,
    output: Path,
    n_folds: int,
    options: AdvantageOptions,
    policy_options: dict[str, object],
    **training: int,
) -> None:
    """Train a value function per fold, judge the other episodes with it, and write the advantages.

    Args:
        frames: The dataset.
        directory: Where the value functions go. Those that are there are not trained again.
        output: The file of advantages. Pictures go to `plots` beside it.
        n_folds: Number of folds.
        options: How advantages are computed from the values.
        policy_options: Options of the `rewact` policies that serve as value functions.
        training: Steps, batch size and seed.
    """
    rows = np.arange(len(frames.table.episodes))
    evidence = gather_evidence(frames.meta, LABELS, rows, use_recorded_returns=False)
    folds = assign_folds(evidence, rows, n_folds)
    values = np.full(len(frames), np.nan, dtype=np.float32)
    for fold in range(n_folds):
        checkpoint = directory / f"fold_{fold}"
        others = frames.table.episodes[folds != fold].tolist()
        train(frames, checkpoint, "rewact", policy_options, episodes=others, **training)
        mine = frames.table.frames(rows[folds == fold])
        values[mine] = predict_values(frames, checkpoint, torch.from_numpy(mine))
    _write_advantages(frames, evidence, values, output, n_folds, options)


def compute_advantages_of_features(
    frames: Frames,
    directory: Path,
    output: Path,
    options: AdvantageOptions,
    value_options: ValueOptions,
    seed: int,
) -> None:
    """Train ensembles on frozen features out of fold, and write the advantages and how good the values are.

    Args:
        frames: The dataset.
        directory: Where the values go, as `mean.npy` and, each frame's least among the networks, `min.npy`,
            and how good they are, as `values.json`.
        output: The file of advantages. Pictures go to `plots` beside it.
        options: How advantages are computed from the values.
        value_options: Of the ensembles.
        seed: Of folds and training.
    """
    labels = build_reward_labels(frames.meta, LABELS)
    table, outcomes = labels.table, labels.outcomes
    rows = np.arange(len(table.episodes))
    evidence = gather_evidence(frames.meta, LABELS, rows, use_recorded_returns=False)
    path = directory / f"{value_options.aggregate}.npy"
    if not path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        cache = open_features(frames.meta)
        if len(missing := cache.missing(rows)):
            raise ValueError(
                f"{cache.folder} lacks the features of {len(missing)} episodes: delete {table.root}, and "
                "begin again"
            )
        folds = deal_folds(outcomes[rows] + 1, value_options.folds, seed)
        keys = cache.keys("float16") + (cache.keys("float32") if value_options.use_state else [])
        found = {}
        for name, is_success in (("labels", False), ("success", True)):
            targets = make_targets(labels, rows, is_success, None, 1.0)
            members = 1 if is_success else value_options.members
            fitted = replace(value_options, members=members, aggregate="mean")
            ensembles = cross_fit(cache, keys, targets, rows, folds, fitted, seed, show_progress=False)
            found[name] = read_out_of_fold(cache, ensembles, rows, folds).values
            if is_success:
                continue
            target = targets.values
            for ensemble in ensembles:
                ensemble.aggregate = "min"
            np.save(directory / "min.npy", read_out_of_fold(cache, ensembles, rows, folds).values)
        episodes = frame_slices(table, rows)
        values = found["labels"]
        report = {
            "values": value_metrics(values, target, episodes),
            "success from progress": success_metrics(values, episodes, outcomes[rows]),
            "success from outcomes": success_metrics(found["success"], episodes, outcomes[rows]),
        }
        write_json(directory / "values.json", report)
        np.save(directory / "mean.npy", values)
    _write_advantages(frames, evidence, np.load(path), output, value_options.folds, options)


def _write_advantages(
    frames: Frames,
    evidence: Evidence,
    values: np.ndarray,
    output: Path,
    n_folds: int,
    options: AdvantageOptions,
) -> None:
    rows = np.arange(len(frames.table.episodes))
    values, advantages = estimate_advantages(evidence, rows, values, "progress", options)
    provenance = {"value_type": "progress", "folds": n_folds}
    result = label_advantages(frames.meta, evidence, rows, values, advantages, options, provenance)
    write_advantage_file(output, result)
    first = frames.table.episodes[:N_PLOTS].tolist()
    target = build_reward_labels(frames.meta, LABELS).rewards.numpy()
    plot_advantages(output.parent / "plots", Computed(output, result, evidence, target), first)


@torch.inference_mode()
def predict_values(frames: Frames, checkpoint: Path, indices: torch.Tensor) -> np.ndarray:
    """(n,) float32 values of the frames at (n,) absolute indices."""
    policy, preprocessor, _ = load(checkpoint)
    parts = [
        policy.predict_reward(preprocessor(frames.observation(part))).float()
        for part in indices.split(BATCH_SIZE)
    ]
    return torch.cat(parts).cpu().numpy()
