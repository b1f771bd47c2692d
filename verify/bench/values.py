# SPDX-License-Identifier: MIT
"""Out-of-fold values and the advantages from them.

What `lerobot-compute-advantages --folds` does, with the value models trained in memory.
"""

from pathlib import Path

import numpy as np
import torch

from rewact.advantages.compute import AdvantageOptions, estimate_advantages, gather_evidence
from rewact.advantages.file import write_advantage_file
from rewact.advantages.folds import assign_folds
from rewact.advantages.labels import label_advantages
from rewact.advantages.run import Computed
from rewact.draw.advantages import plot_advantages
from rewact.labels import build_reward_labels

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
    values, advantages = estimate_advantages(evidence, rows, values, "progress", options)
    provenance = {"value_type": "progress", "folds": n_folds}
    result, summaries = label_advantages(frames.meta, evidence, rows, values, advantages, options, provenance)
    write_advantage_file(output, result)
    first = frames.table.episodes[:N_PLOTS].tolist()
    target = build_reward_labels(frames.meta, LABELS).rewards.numpy()
    plot_advantages(output.parent / "plots", Computed(output, result, evidence, summaries, target), first)


@torch.inference_mode()
def predict_values(frames: Frames, checkpoint: Path, indices: torch.Tensor) -> np.ndarray:
    """(n,) float32 values of the frames at (n,) absolute indices."""
    policy, preprocessor, _ = load(checkpoint)
    parts = [
        policy.predict_reward(preprocessor(frames.observation(part))).float()
        for part in indices.split(BATCH_SIZE)
    ]
    return torch.cat(parts).cpu().numpy()
