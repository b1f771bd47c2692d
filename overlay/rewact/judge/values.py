# SPDX-License-Identifier: MIT
"""How good cross-fitted values are, beside what needs no value function to be as good."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from rewact.labels.episodes import EpisodeTable
from rewact.labels.outcomes import FAILURE, SUCCESS, UNKNOWN

# Frames at the end of an episode that say how it went.
N_LAST = 5


def frame_slices(table: EpisodeTable, rows: np.ndarray) -> list[slice]:
    """The absolute frames of each row."""
    return [slice(int(table.starts[row]), int(table.ends[row])) for row in rows]


def value_metrics(values: np.ndarray, labels: np.ndarray, episodes: Sequence[slice]) -> dict[str, Any]:
    """Order and error of values.

    Args:
        values: float ``(N,)`` by absolute frame index; frames with NaN are left out.
        labels: float ``(N,)``.
        episodes: Frames of each.

    Returns:
        ``voc``, the mean over episodes of the rank correlation of value and time; ``spearman``, the same with
        the label; ``mae`` over all frames; ``voc_per_episode``.
    """
    vocs, spearmans, errors = [], [], []
    for frames in episodes:
        known = ~np.isnan(values[frames])
        value, label = values[frames][known], labels[frames][known]
        errors.append(np.abs(value - label))
        if len(value) > 1:
            vocs.append(_rank_correlation(value, np.arange(len(value))))
            if np.ptp(label) > 0:
                spearmans.append(_rank_correlation(value, label))
    return {
        "voc": _mean(vocs),
        "spearman": _mean(spearmans),
        "mae": float(np.concatenate(errors).mean()),
        "voc_per_episode": [float(voc) for voc in vocs],
    }


def clock(labels: np.ndarray, table: EpisodeTable, rows: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """What a clock would say: the mean label that the task's episodes in other folds have at this frame.

    Returns:
        float32 ``(N,)`` by absolute frame index, NaN outside the rows.
    """
    values = np.full(table.n_frames, np.nan, dtype=np.float32)
    tasks = table.tasks[rows]
    for fold in np.unique(folds):
        for task in np.unique(tasks[folds == fold]):
            others = rows[(folds != fold) & (tasks == task)]
            mine = rows[(folds == fold) & (tasks == task)]
            others = others if len(others) else rows[folds != fold]
            mean = np.zeros(int(max(table.lengths[others].max(), table.lengths[mine].max())))
            for other in others:
                curve = labels[table.starts[other] : table.ends[other]] / len(others)
                mean[: len(curve)] += curve
                mean[len(curve) :] += curve[
                    -1
                ]  # an episode that has ended by then counts with its last label
            for row in mine:
                values[table.starts[row] : table.ends[row]] = mean[: table.lengths[row]]
    return values


def second_half(length: int) -> np.ndarray:
    """The frames of an episode from its middle on."""
    return np.arange(length // 2, length)


def binary_metrics(truth: np.ndarray, score: np.ndarray) -> dict[str, float | None]:
    """AUROC, average precision and calibration error of a probability; None where there is one class only."""
    known = ~np.isnan(truth) & ~np.isnan(score)
    truth, score = truth[known] > 0.5, score[known]
    both = len(np.unique(truth)) == 2
    return {
        "auroc": float(roc_auc_score(truth, score)) if both else None,
        "average_precision": float(average_precision_score(truth, score)) if both else None,
        "ece": expected_calibration_error(score, truth) if len(truth) else None,
        "share": float(truth.mean()) if len(truth) else None,
    }


def expected_calibration_error(prediction: np.ndarray, truth: np.ndarray, n_bins: int = 10) -> float:
    """Mean over samples of the gap between prediction and truth in their bin of [0, 1]."""
    index = np.clip((prediction * n_bins).astype(int), 0, n_bins - 1)
    gaps = np.bincount(index, prediction - truth, n_bins)
    return float(np.abs(gaps).sum() / len(prediction))


def reliability(prediction: np.ndarray, truth: np.ndarray, n_bins: int = 10) -> list[tuple[float, float]]:
    """Mean prediction and mean truth of each bin that has samples."""
    index = np.clip((prediction * n_bins).astype(int), 0, n_bins - 1)
    return [
        (float(prediction[index == b].mean()), float(truth[index == b].mean()))
        for b in range(n_bins)
        if (index == b).any()
    ]


def success_metrics(
    values: np.ndarray, episodes: Sequence[slice], outcomes: np.ndarray
) -> dict[str, float | None]:
    """How well the mean of an episode's last values tells successes from failures.

    Args:
        values: float ``(N,)`` by absolute frame index.
        episodes: Frames of each.
        outcomes: int8 of each: 1 success, 0 failure, -1 unknown.
    """
    final = np.array([values[frames][-N_LAST:].mean() for frames in episodes])
    known = outcomes != UNKNOWN
    truth = (outcomes[known] == SUCCESS).astype(float)
    return {
        **binary_metrics(truth, np.clip(final[known], 0, 1)),
        "n_failures": int((outcomes == FAILURE).sum()),
    }


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
