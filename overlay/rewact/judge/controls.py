# SPDX-License-Identifier: MIT
"""What predicts without looking: a model that is no better than these has learned nothing from images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rewact.judge.metrics import EpisodeRewards, correlation, mean_of_known
from rewact.labels import RewardLabels


def _clock(labels: RewardLabels, reference: Sequence[int], frames: np.ndarray) -> np.ndarray:
    """Frame within the episode over the median length of the reference episodes, at most 1, float32."""
    length = max(float(np.median([labels.table.length(episode) for episode in reference])) - 1, 1.0)
    return np.minimum(frames / length, 1.0).astype(np.float32)


def control_predictions(
    labels: RewardLabels, judged: Sequence[EpisodeRewards], reference: Sequence[int]
) -> dict[str, list[EpisodeRewards]]:
    """Predictions of a clock and of a constant for the episodes that models are judged on.

    Args:
        labels: Labels of the dataset.
        judged: The episodes.
        reference: Episodes that the controls may know: those of training, or all.

    Returns:
        - ``clock``: the frame's number over the median length of the reference episodes, at most 1;
        - ``constant``: the median label of the reference episodes.
    """
    rows = np.array([labels.table.row(episode) for episode in reference])
    constant = np.float32(np.nanmedian(labels.rewards.numpy()[labels.table.frames(rows)]))
    blind = [replace(episode, lower=None, upper=None) for episode in judged]
    return {
        "clock": [replace(e, prediction=_clock(labels, reference, np.arange(len(e.label)))) for e in blind],
        "constant": [replace(e, prediction=np.full(len(e.label), constant)) for e in blind],
    }


def held_out_metrics(
    labels: RewardLabels, rewards: Mapping[int, float], trained_on: Sequence[int]
) -> dict[str, float]:
    """Judge predicted rewards of held-out frames, of whole episodes or of parts, while a policy trains.

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
    table, frames = labels.table, np.array(sorted(rewards))
    predicted = np.array([rewards[frame] for frame in frames.tolist()])
    rows = np.searchsorted(table.ends, frames, side="right")
    label = labels.rewards.numpy()[frames]
    clock = _clock(labels, trained_on, frames - table.starts[rows])
    voc = mean_of_known([correlation(predicted[rows == row], frames[rows == row]) for row in np.unique(rows)])
    known, metrics = ~np.isnan(label), {}
    if known.any():
        metrics["eval_reward_mae"] = float(np.abs(predicted - label)[known].mean())
        metrics["eval_clock_mae"] = float(np.abs(clock - label)[known].mean())
    return metrics if voc is None else {**metrics, "eval_voc": voc}
