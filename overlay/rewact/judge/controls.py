# SPDX-License-Identifier: MIT
"""What predicts without looking: a model that is no better than these has learned nothing from images."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rewact.judge.metrics import EpisodeRewards
from rewact.labels import RewardLabels


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
    length = max(float(np.median(labels.table.lengths[rows])) - 1, 1.0)
    constant = float(np.nanmedian(labels.rewards.numpy()[labels.table.frames(rows)]))
    clock = [np.minimum(np.arange(len(e.label)) / length, 1.0).astype(np.float32) for e in judged]
    flat = [np.full(len(e.label), constant, dtype=np.float32) for e in judged]
    return {
        name: [
            replace(e, prediction=p, lower=None, upper=None) for e, p in zip(judged, predicted, strict=True)
        ]
        for name, predicted in (("clock", clock), ("constant", flat))
    }
