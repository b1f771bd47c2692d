# SPDX-License-Identifier: MIT
"""The report on cross-fitted values, with the controls that tell whether they see the task or the time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rewact.judge.stopping import choose_stop
from rewact.judge.values import (
    binary_metrics,
    clock,
    expected_calibration_error,
    frame_slices,
    reliability,
    second_half,
    success_metrics,
    value_metrics,
)
from rewact.values.crossfit import Readings, read_episode, read_out_of_fold
from rewact.values.ensemble import Ensemble
from rewact.values.feature_cache import FeatureCache

# The controls read the episodes again; of large datasets, so many of them.
MAX_CONTROL_EPISODES = 500


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
    table, labels = cache.table, targets.values
    episodes = frame_slices(table, rows)
    frames = table.frames(rows)
    values, label = readings.values[frames], labels[frames]
    of_controls = np.random.default_rng(seed).permutation(len(rows))[:MAX_CONTROL_EPISODES]
    control_rows, control_folds = rows[of_controls], folds[of_controls]
    return {
        "n_episodes": len(rows),
        "n_frames": len(frames),
        "values": {
            **value_metrics(readings.values, labels, episodes),
            "ece": expected_calibration_error(values, label),
            "bins": reliability(values, label),
        },
        "done": binary_metrics(targets.done[frames], readings.done[frames]),
        "success": success_metrics(readings.values, episodes, outcomes[rows]),
        "stop": choose_stop(
            [readings.values[e] for e in episodes], [targets.done[e] for e in episodes], table.fps, seed
        ),
        "controls": {
            "clock": value_metrics(clock(labels, table, rows, folds), labels, episodes),
            **_halves(cache, ensembles, readings, labels, control_rows, control_folds),
            "frames in random order": _shuffled(cache, ensembles, labels, control_rows, control_folds, seed),
        },
    }


def _halves(
    cache: FeatureCache,
    ensembles: Sequence[Ensemble],
    readings: Readings,
    labels: np.ndarray,
    rows: np.ndarray,
    folds: np.ndarray,
) -> dict[str, Any]:
    """The second half of each episode, with and without the first half having been seen."""
    episodes = frame_slices(cache.table, rows)
    cut = read_out_of_fold(cache, ensembles, rows, folds, second_half).values
    whole = np.where(np.isnan(cut), np.nan, readings.values)
    return {
        "second half": value_metrics(whole, labels, episodes),
        "second half, the first cut off": value_metrics(cut, labels, episodes),
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
    values = np.full(int(cache.table.lengths[rows].sum()), np.nan, dtype=np.float32)
    shown, episodes, start = values.copy(), [], 0
    for row, fold in zip(rows.tolist(), folds.tolist(), strict=True):
        length = int(cache.table.lengths[row])
        order = rng.permutation(length)
        episode = slice(start, start + length)
        values[episode] = read_episode(ensembles[fold], cache.read(row), order).values
        shown[episode] = labels[int(cache.table.starts[row]) + order]
        episodes.append(episode)
        start += length
    return value_metrics(values, shown, episodes)
