# SPDX-License-Identifier: MIT
"""How sure a number is, by resampling the episodes that it was counted on."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

LEVEL = 0.95
RESAMPLES = 2000
Interval = tuple[float, float]


def mean_interval(values: Sequence[float], weights: Sequence[float] | None = None) -> Interval | None:
    """95 % interval of a mean over episodes (percentile bootstrap, always the same draws).

    Args:
        values: One per episode, ``(n,)``.
        weights: Of each episode in the mean, such as its number of frames; equal by default.

    Returns:
        Its ends, None with fewer than 2 episodes.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return None
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    drawn = _draw(len(values))
    return _ends((drawn @ (weights * values)) / (drawn @ weights))


def auroc_interval(positive: Sequence[float], negative: Sequence[float]) -> Interval | None:
    """95 % interval of the AUROC of a score, None unless there are at least 2 of each kind."""
    if min(len(positive), len(negative)) < 2:
        return None
    difference = np.subtract.outer(np.asarray(positive, float), np.asarray(negative, float))
    wins = (difference > 0) + 0.5 * (difference == 0)
    rows, columns = _draw(len(positive)), _draw(len(negative), seed=1)
    return _ends(((rows @ wins) * columns).sum(axis=1) / wins.size)


def share_interval(successes: int, total: int) -> Interval | None:
    """95 % interval of a share (Wilson), None without trials."""
    if not total:
        return None
    ends = binomtest(successes, total).proportion_ci(LEVEL, method="wilson")
    return float(ends.low), float(ends.high)


def _draw(n: int, seed: int = 0) -> np.ndarray:
    """How often each of n episodes is in each resample, float64 ``(RESAMPLES, n)``."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)


def _ends(resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
