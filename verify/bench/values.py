# SPDX-License-Identifier: MIT
"""Out-of-fold values and the advantages from them.

What `lerobot-compute-advantages --folds` does, with the value models trained in memory.
"""

from pathlib import Path

import numpy as np
import torch

from lerobot.advantages.compute import AdvantageOptions, estimate_advantages, gather_evidence
from lerobot.advantages.file import write_advantage_file
from lerobot.advantages.folds import assign_folds
from lerobot.advantages.labels import label_advantages
from lerobot.advantages.plots import plot_episode, plot_histogram
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors

from .training import LABELS, Frames, train

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
    fold_of_frame = np.repeat(folds, frames.table.lengths)
    values = np.full(len(frames), np.nan, dtype=np.float32)
    for fold in range(n_folds):
        checkpoint = directory / f"fold_{fold}"
        others = frames.table.episodes[folds != fold].tolist()
        train(frames, checkpoint, "rewact", policy_options, episodes=others, **training)
        mine = np.flatnonzero(fold_of_frame == fold)
        values[mine] = predict_values(frames, checkpoint, torch.from_numpy(mine))
    values, advantages = estimate_advantages(evidence, rows, values, "progress", options)
    provenance = {"value_type": "progress", "folds": n_folds}
    result, summaries = label_advantages(frames.meta, evidence, rows, values, advantages, options, provenance)
    write_advantage_file(output, result)
    plots = output.parent / "plots"
    plot_histogram(plots / "histogram.png", evidence, result, summaries)
    for episode in frames.table.episodes[:N_PLOTS].tolist():
        plot_episode(plots / f"episode_{episode:06d}.png", evidence, result, episode, summaries[0].threshold)


@torch.inference_mode()
def predict_values(frames: Frames, checkpoint: Path, indices: torch.Tensor) -> np.ndarray:
    """(n,) float32 values of the frames at (n,) absolute indices."""
    config = PreTrainedConfig.from_pretrained(checkpoint)
    policy = get_policy_class(config.type).from_pretrained(checkpoint, config=config)
    preprocessor, _ = make_pre_post_processors(config, pretrained_path=str(checkpoint))
    parts = [
        policy.predict_reward(preprocessor(frames.observation(part))).float()
        for part in indices.split(BATCH_SIZE)
    ]
    return torch.cat(parts).numpy()
