# SPDX-License-Identifier: MIT
"""How sure a number is, by resampling the episodes that it was counted on."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

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
    n = len(values)
    if n < 2:
        return None
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    # How often each episode is in each resample.
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.float64)
    means = (drawn @ (weights * values)) / (drawn @ weights)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def auroc_interval(auroc: float | None, n_positive: int, n_negative: int) -> Interval | None:
    """95 % interval of an AUROC, None without both kinds.

    Its variance is at most A (1 - A) / min(n, m) (Birnbaum and Klose, "Bounds for the variance of the
    Mann-Whitney statistic", 1957), that of a share of so many trials. Resampling would call two failures that
    are told apart by chance a certainty.
    """
    n = min(n_positive, n_negative)
    return _wilson(auroc, n) if n else None


def share_interval(successes: int, total: int) -> Interval | None:
    """95 % interval of a share (Wilson), None without trials."""
    return _wilson(successes / total, total) if total else None


def _wilson(share: float, n: int) -> Interval:
    z2 = norm.ppf((1 + LEVEL) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))
