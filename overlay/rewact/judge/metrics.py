# SPDX-License-Identifier: MIT
"""How good predicted rewards are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from rewact.judge.completion import CompletionDetector
from rewact.judge.intervals import auroc_interval, mean_interval, share_interval
from rewact.labels import RewardLabels
from rewact.labels.keypoints import read_keypoints
from rewact.labels.outcomes import SUCCESS, UNKNOWN
from rewact.values.prediction import Prediction

CORRELATIONS = ("voc", "spearman", "pearson")


@dataclass
class EpisodeRewards:
    """Predicted rewards of one episode, and what is known about it.

    Attributes:
        episode: Episode id.
        prediction: float ``(T,)``.
        label: float ``(T,)`` in [0, 1], NaN at frames without one, which are left out of what is compared
            with labels.
        success: True or False, None if the outcome is unknown.
        lower: Lower end of the uncertainty band, ``(T,)``, None without one.
        upper: Its upper end.
        keypoints: Labelled rewards by frame, where the label comes from keypoints.
    """

    episode: int
    prediction: np.ndarray
    label: np.ndarray
    success: bool | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    keypoints: Mapping[int, float] = field(default_factory=dict)


def collect_episodes(labels: RewardLabels, predictions: Mapping[int, Prediction]) -> list[EpisodeRewards]:
    """Put predictions, by episode, beside the labels and outcomes of their episodes."""
    table = labels.table
    keypoints = read_keypoints(table, labels.config) if "keypoints" in labels.sources else {}
    episodes = []
    for episode, prediction in predictions.items():
        row = table.row(episode)
        outcome = labels.outcomes[row]
        episodes.append(
            EpisodeRewards(
                episode=episode,
                prediction=prediction.reward,
                label=labels.rewards[table.frames_of(episode)].numpy(),
                success=None if outcome == UNKNOWN else bool(outcome == SUCCESS),
                lower=prediction.lower,
                upper=prediction.upper,
                keypoints=keypoints.get(episode, {}) if labels.sources[row] == "keypoints" else {},
            )
        )
    return episodes


def label_predictions(labels: RewardLabels, episodes: Sequence[int]) -> dict[int, Prediction]:
    """The labels of some episodes as if they were predicted."""
    return {e: Prediction(labels.rewards[labels.table.frames_of(e)].numpy()) for e in episodes}


def correlation(prediction: np.ndarray, reference: np.ndarray, measure: Callable = spearmanr) -> float | None:
    """Correlation in [-1, 1], by default of ranks.

    A prediction that never changes says nothing about order: 0. None where the reference does not change.
    """
    if len(reference) < 2 or np.ptp(reference) == 0:
        return None
    if np.ptp(prediction) == 0:
        return 0.0
    return float(np.nan_to_num(measure(prediction, reference).statistic))


def mean_of_known(values: Sequence[float | None]) -> float | None:
    """The mean of those that are not None; None without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def episode_metrics(rewards: EpisodeRewards) -> dict[str, Any]:
    """Metrics of one episode.

    Returns:
        - ``voc``: value-order correlation, Spearman's rank correlation of the prediction with time (Ma et
          al., "Vision Language Models are In-Context Value Learners", 2024), see :func:`correlation`;
        - ``spearman``, ``pearson``: correlation of prediction and label;
        - ``mae``, ``rmse``: errors against the label;
        - ``final``, ``max``, ``mean``: of the prediction; ``length`` in frames; ``success``.
    """
    prediction, label = rewards.prediction.astype(np.float64), rewards.label.astype(np.float64)
    known = ~np.isnan(label)
    error = (prediction - label)[known]
    return {
        "episode": rewards.episode,
        "length": len(prediction),
        "success": rewards.success,
        "voc": correlation(prediction, np.arange(len(prediction))),
        "spearman": correlation(prediction[known], label[known]),
        "pearson": correlation(prediction[known], label[known], pearsonr),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "final": float(prediction[-1]),
        "max": float(prediction.max()),
        "mean": float(prediction.mean()),
    }


def overall_metrics(episodes: Sequence[EpisodeRewards], detector: CompletionDetector) -> dict[str, Any]:
    """Metrics over all episodes.

    Correlations are averaged over episodes (those that have them), errors are taken over all frames. Where
    outcomes of both kinds are known, ``auroc_*`` and ``average_precision_*`` say how well the final and the
    highest predicted reward tell successes from failures; None otherwise. ``band_coverage`` is the fraction
    of labels within the uncertainty band. ``intervals`` holds the 95 % intervals of these, by resampling the
    episodes, None where they are too few.

    Args:
        episodes: At least one.
        detector: Judged by :func:`detection_metrics`.
    """
    rows = [episode_metrics(episode) for episode in episodes]
    error = np.concatenate([e.prediction.astype(np.float64) - e.label for e in episodes])
    by_name = {name: [row[name] for row in rows if row[name] is not None] for name in CORRELATIONS}
    intervals = {name: mean_interval(values) for name, values in by_name.items()}
    intervals["mae"] = mean_interval([row["mae"] for row in rows], [row["length"] for row in rows])
    known = [row for row in rows if row["success"] is not None]
    success = [row["success"] for row in known]
    n_success, n_failure = sum(success), len(success) - sum(success)
    of_outcomes: dict[str, float | None] = {}
    for name in ("final", "max"):
        found = outcome_metrics(success, [row[name] for row in known], name)
        intervals[f"auroc_{name}"] = auroc_interval(found[f"auroc_{name}"], n_success, n_failure)
        of_outcomes |= found
    return {
        "n_episodes": len(rows),
        "n_frames": len(error),
        **{name: mean_of_known(values) for name, values in by_name.items()},
        "mae": float(np.nanmean(np.abs(error))),
        "rmse": float(np.sqrt(np.nanmean(error**2))),
        "band_coverage": _band_coverage(episodes),
        "n_success": n_success,
        "n_failure": n_failure,
        **of_outcomes,
        "detection": detection_metrics(episodes, detector),
        "intervals": intervals,
    }


def outcome_metrics(success: Sequence[bool], score: Sequence[float], name: str) -> dict[str, float | None]:
    """AUROC and average precision of a score for success, None unless there are successes and failures.

    Example:
        >>> outcome_metrics([True, False, False], [0.9, 0.2, 0.4], "final")
        {'auroc_final': 1.0, 'average_precision_final': 1.0}
    """
    measures = {"auroc": roc_auc_score, "average_precision": average_precision_score}
    both = len(set(success)) == 2
    return {
        f"{key}_{name}": float(measure(success, score)) if both else None for key, measure in measures.items()
    }


def detection_metrics(episodes: Sequence[EpisodeRewards], detector: CompletionDetector) -> dict[str, Any]:
    """What a completion detector makes of the predictions, over the episodes whose outcome is known.

    Returns:
        ``precision`` and ``recall`` of "detected at some frame" for success, with their 95 % ``intervals``;
        ``delay_median`` and ``delay_mean`` in frames, over the detected successes, from the first frame at
        which the label is at its highest to the detection (negative: too early); the ``detected`` frame by
        episode, None where it never fired. Ratios without a denominator are None.
    """
    detected: dict[int, int | None] = {}
    for episode in episodes:
        detector.reset()
        fired = (frame for frame, reward in enumerate(episode.prediction) if bool(detector(float(reward))))
        detected[episode.episode] = next(fired, None)
    stopped = [e for e in episodes if e.success is not None and detected[e.episode] is not None]
    hits = [e for e in stopped if e.success]
    delays = [detected[e.episode] - int(np.nanargmax(e.label)) for e in hits]
    counts = {"precision": len(stopped), "recall": sum(e.success is True for e in episodes)}
    return {
        **{name: len(hits) / count if count else None for name, count in counts.items()},
        "intervals": {name: share_interval(len(hits), count) for name, count in counts.items()},
        "delay_median": float(np.median(delays)) if delays else None,
        "delay_mean": float(np.mean(delays)) if delays else None,
        "detected": detected,
    }


def calibration(episodes: Sequence[EpisodeRewards], n_bins: int = 10) -> dict[str, Any]:
    """:func:`reliability` of the predictions for at least one episode."""
    prediction = np.concatenate([e.prediction for e in episodes]).astype(np.float64)
    label = np.concatenate([e.label for e in episodes]).astype(np.float64)
    return reliability(prediction[~np.isnan(label)], label[~np.isnan(label)], n_bins)


def reliability(prediction: np.ndarray, label: np.ndarray, n_bins: int = 10) -> dict[str, Any]:
    """Are labels 0.7 on average where 0.7 is predicted?

    Args:
        prediction: ``(N,)``; beyond the ends of [0, 1] they count to the outer bins.
        label: ``(N,)`` in [0, 1].
        n_bins: Equal bins of [0, 1].

    Returns:
        ``bins``, for each bin that has samples its ``count``, mean ``prediction`` and mean ``label``; and
        ``ece``, the expected calibration error: the mean over samples of the gap between both in their bin.
    """
    index = np.clip((prediction * n_bins).astype(int), 0, n_bins - 1)
    count = np.bincount(index, minlength=n_bins)
    mean_prediction = np.bincount(index, prediction, n_bins) / np.maximum(count, 1)
    mean_label = np.bincount(index, label, n_bins) / np.maximum(count, 1)
    return {
        "ece": float((count * np.abs(mean_prediction - mean_label)).sum() / count.sum()),
        "bins": [
            {"count": int(count[b]), "prediction": float(mean_prediction[b]), "label": float(mean_label[b])}
            for b in np.flatnonzero(count)
        ],
    }


def _band_coverage(episodes: Sequence[EpisodeRewards]) -> float | None:
    if any(e.lower is None or e.upper is None for e in episodes):
        return None
    inside = [((e.lower <= e.label) & (e.label <= e.upper))[~np.isnan(e.label)] for e in episodes]
    return float(np.concatenate(inside).mean())
