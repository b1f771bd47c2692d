# SPDX-License-Identifier: MIT
"""How good cross-fitted values are, beside controls that tell whether they see the task or the time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rewact.judge.metrics import correlation, mean_of_known, outcome_metrics, reliability
from rewact.judge.stopping import choose_stop
from rewact.labels.episodes import EpisodeTable
from rewact.labels.outcomes import FAILURE, SUCCESS, UNKNOWN
from rewact.values.crossfit import Readings, read_episode, read_out_of_fold
from rewact.values.ensemble import Ensemble
from rewact.values.feature_cache import FeatureCache

# Frames at the end of an episode that say how it went.
N_LAST = 5
# The controls read the episodes again; of large datasets, so many of them.
MAX_CONTROL_EPISODES = 500


def frame_slices(table: EpisodeTable, rows: np.ndarray) -> list[slice]:
    """The absolute frames of each row."""
    return [table.span(row) for row in rows]


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
    pairs = [(values[frames], labels[frames]) for frames in episodes]
    pairs = [(value[~np.isnan(value)], label[~np.isnan(value)]) for value, label in pairs]
    vocs = [correlation(value, np.arange(len(value))) for value, _ in pairs]
    return {
        "voc": mean_of_known(vocs),
        "spearman": mean_of_known([correlation(value, label) for value, label in pairs]),
        "mae": float(np.concatenate([np.abs(value - label) for value, label in pairs]).mean()),
        "voc_per_episode": [voc for voc in vocs if voc is not None],
    }


def clock(labels: np.ndarray, table: EpisodeTable, rows: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """What a clock would say: the mean label that the task's episodes in other folds have at this frame.

    Returns:
        float32 ``(N,)`` by absolute frame index, NaN outside the rows.
    """
    values = table.unknown_frames()
    tasks = table.tasks[rows]
    for fold in np.unique(folds):
        for task in np.unique(tasks[folds == fold]):
            others = rows[(folds != fold) & (tasks == task)]
            mine = rows[(folds == fold) & (tasks == task)]
            others = others if len(others) else rows[folds != fold]
            mean = np.zeros(int(max(table.lengths[others].max(), table.lengths[mine].max())))
            for frames in frame_slices(table, others):
                curve = labels[frames] / len(others)
                mean[: len(curve)] += curve
                mean[len(curve) :] += curve[-1]  # an episode that has ended counts with its last label
            for frames in frame_slices(table, mine):
                values[frames] = mean[: frames.stop - frames.start]
    return values


def binary_metrics(truth: np.ndarray, score: np.ndarray) -> dict[str, float | None]:
    """AUROC, average precision and calibration error of a probability; None where there is one class only."""
    known = ~np.isnan(truth) & ~np.isnan(score)
    truth, score = truth[known] > 0.5, score[known]
    found = outcome_metrics(truth, score, "")
    return {
        "auroc": found["auroc_"],
        "average_precision": found["average_precision_"],
        "ece": reliability(score, truth)["ece"] if len(truth) else None,
        "share": float(truth.mean()) if len(truth) else None,
    }


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


def judge_values(
    cache: FeatureCache,
    ensembles: Sequence[Ensemble],
    readings: Readings,
    targets: Readings,
    outcomes: np.ndarray,
    rows: np.ndarray,
    folds: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Judge values out of fold.

    Args:
        cache: Features of the episodes.
        ensembles: One per fold.
        readings: Of every frame, out of fold.
        targets: What was learned.
        outcomes: int8 ``(E,)``: 1 success, 0 failure, -1 unknown.
        rows: Rows of the episode table.
        folds: Fold of each.
        seed: Of what is shuffled, and of the choice of episodes for the controls.

    Returns:
        ``values`` (`voc`, `spearman`, `mae`, `ece`, `bins`), ``done`` and ``success`` (`auroc`,
        `average_precision`, `ece`), ``stop`` (see `choose_stop`) and ``controls``.
    """
    table, labels, values = cache.table, targets.values, readings.values
    episodes, frames = frame_slices(table, rows), table.frames(rows)
    calibration = reliability(values[frames], labels[frames])
    # The second half of each episode, with and without the first half having been seen.
    some = np.random.default_rng(seed).permutation(len(rows))[:MAX_CONTROL_EPISODES]
    of_some = frame_slices(table, rows[some])
    cut = read_out_of_fold(
        cache, ensembles, rows[some], folds[some], lambda length: np.arange(length // 2, length)
    ).values
    return {
        "n_episodes": len(rows),
        "n_frames": len(frames),
        "values": {
            **value_metrics(values, labels, episodes),
            "ece": calibration["ece"],
            "bins": [(entry["prediction"], entry["label"]) for entry in calibration["bins"]],
        },
        "done": binary_metrics(targets.done[frames], readings.done[frames]),
        "success": success_metrics(values, episodes, outcomes[rows]),
        "stop": choose_stop(
            [values[e] for e in episodes], [targets.done[e] for e in episodes], table.fps, seed
        ),
        "controls": {
            "clock": value_metrics(clock(labels, table, rows, folds), labels, episodes),
            "second half": value_metrics(np.where(np.isnan(cut), np.nan, values), labels, of_some),
            "second half, the first cut off": value_metrics(cut, labels, of_some),
            "frames in random order": _shuffled(cache, ensembles, labels, rows[some], folds[some], seed),
        },
    }


def _shuffled(
    cache: FeatureCache,
    ensembles: Sequence[Ensemble],
    labels: np.ndarray,
    rows: np.ndarray,
    folds: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Values of frames shown in random order: how they follow the order in which they were shown."""
    rng = np.random.default_rng(seed)
    values, shown = cache.table.unknown_frames(), cache.table.unknown_frames()
    episodes = frame_slices(cache.table, rows)
    for row, fold, frames in zip(rows.tolist(), folds.tolist(), episodes, strict=True):
        order = rng.permutation(frames.stop - frames.start)
        values[frames] = read_episode(ensembles[fold], cache.read(row), order).values
        shown[frames] = labels[frames][order]
    return value_metrics(values, shown, episodes)
