# SPDX-License-Identifier: MIT
"""How good the rewards of held-out frames are while a policy trains, and how good a clock would be."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rewact.judge.controls import control_predictions
from rewact.judge.metrics import EpisodeRewards, episode_metrics
from rewact.labels import RewardLabels


def held_out_metrics(
    labels: RewardLabels, rewards: Mapping[int, float], trained_on: Sequence[int]
) -> dict[str, float]:
    """Judge predicted rewards of held-out frames, of whole episodes or of parts.

    Args:
        labels: Labels of the dataset.
        rewards: Predicted reward by absolute frame index, at least one.
        trained_on: Episodes that the clock may know.

    Returns:
        - ``eval_reward_mae``: mean absolute error over all frames that have a label;
        - ``eval_voc``: mean over episodes of the rank correlation of reward and time, in [-1, 1];
        - ``eval_clock_mae``: the error of a clock, frame / median length of the training episodes, at most 1.
          Its order is perfect by definition, so that ``eval_voc`` alone says little.

        What the frames do not tell, as the order of a single one, is left out.
    """
    table = labels.table
    frames = np.array(sorted(rewards))
    predicted = np.array([rewards[frame] for frame in frames.tolist()])
    rows = np.searchsorted(table.ends, frames, side="right")
    judged, within = [], []
    for row in np.unique(rows):
        mine, start = rows == row, int(table.starts[row])
        label = labels.rewards[start : int(table.ends[row])].numpy()
        judged.append(EpisodeRewards(int(table.episodes[row]), predicted[mine], label))
        within.append(frames[mine] - start)
    clock = [
        episode.prediction[seen]
        for episode, seen in zip(
            control_predictions(labels, judged, trained_on)["clock"], within, strict=True
        )
    ]
    judged = [replace(e, label=e.label[seen]) for e, seen in zip(judged, within, strict=True)]
    label = np.concatenate([episode.label for episode in judged])
    known = ~np.isnan(label)
    metrics = {}
    if known.any():
        metrics["eval_reward_mae"] = float(np.abs(predicted - label)[known].mean())
        metrics["eval_clock_mae"] = float(np.abs(np.concatenate(clock) - label)[known].mean())
    vocs = [voc for episode in judged if (voc := episode_metrics(episode)["voc"]) is not None]
    return {**metrics, **({"eval_voc": float(np.mean(vocs))} if vocs else {})}
