# SPDX-License-Identifier: MIT
"""How good predicted rewards are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from rewact.judge.completion import CompletionDetector
from rewact.judge.intervals import auroc_interval, mean_interval, share_interval
from rewact.labels import RewardLabels
from rewact.labels.keypoints import load_keypoints
from rewact.labels.outcomes import SUCCESS, UNKNOWN
from rewact.labels.sources import keypoints_path
from rewact.values.prediction import Prediction


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
    """Put predictions beside the labels and outcomes of their episodes.

    Args:
        labels: Labels of the dataset.
        predictions: By episode.
    """
    table = labels.table
    keypoints: Mapping[int, Mapping[int, float]] = {}
    if "keypoints" in labels.sources:
        keypoints = load_keypoints(keypoints_path(labels.config, table.root), table)
    episodes = []
    for episode, prediction in predictions.items():
        row = table.row(episode)
        outcome = labels.outcomes[row]
        episodes.append(
            EpisodeRewards(
                episode=episode,
                prediction=prediction.reward,
                label=labels.rewards[table.starts[row] : table.ends[row]].numpy(),
                success=None if outcome == UNKNOWN else bool(outcome == SUCCESS),
                lower=prediction.lower,
                upper=prediction.upper,
                keypoints=keypoints.get(episode, {}) if labels.sources[row] == "keypoints" else {},
            )
        )
    return episodes


def label_predictions(labels: RewardLabels, episodes: Sequence[int]) -> dict[int, Prediction]:
    """The labels of some episodes as if they were predicted."""
    table = labels.table
    rows = [table.row(episode) for episode in episodes]
    slices = [slice(int(table.starts[row]), int(table.ends[row])) for row in rows]
    return {e: Prediction(labels.rewards[s].numpy()) for e, s in zip(episodes, slices, strict=True)}


def episode_metrics(rewards: EpisodeRewards) -> dict[str, Any]:
    """Metrics of one episode.

    Returns:
        - ``voc``: value-order correlation, Spearman's rank correlation of the prediction with time (Ma et
          al., "Vision Language Models are In-Context Value Learners", 2024), in [-1, 1];
        - ``spearman``, ``pearson``: correlation of prediction and label, in [-1, 1];
        - ``mae``, ``rmse``: errors against the label;
        - ``final``, ``max``, ``mean``: of the prediction; ``length`` in frames; ``success``.

        A prediction that never changes says nothing about order: its correlations are 0. Where time or label
        does not change either, they are None.
    """
    prediction, label = rewards.prediction.astype(np.float64), rewards.label.astype(np.float64)
    known = ~np.isnan(label)
    error = (prediction - label)[known]
    return {
        "episode": rewards.episode,
        "length": len(prediction),
        "success": rewards.success,
        "voc": _correlation(spearmanr, prediction, np.arange(len(prediction))),
        "spearman": _correlation(spearmanr, prediction[known], label[known]),
        "pearson": _correlation(pearsonr, prediction[known], label[known]),
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
    known = [row for row in rows if row["success"] is not None]
    return {
        "n_episodes": len(rows),
        "n_frames": len(error),
        **{name: _mean_of_known([row[name] for row in rows]) for name in ("voc", "spearman", "pearson")},
        "mae": float(np.nanmean(np.abs(error))),
        "rmse": float(np.sqrt(np.nanmean(error**2))),
        "band_coverage": _band_coverage(episodes),
        "n_success": sum(row["success"] for row in known),
        "n_failure": sum(not row["success"] for row in known),
        **outcome_metrics([row["success"] for row in known], [row["final"] for row in known], "final"),
        **outcome_metrics([row["success"] for row in known], [row["max"] for row in known], "max"),
        "detection": detection_metrics(episodes, detector),
        "intervals": _intervals(episodes, rows),
    }


def _intervals(episodes: Sequence[EpisodeRewards], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    intervals = {
        name: mean_interval([row[name] for row in rows if row[name] is not None])
        for name in ("voc", "spearman", "pearson")
    }
    intervals["mae"] = mean_interval([row["mae"] for row in rows], [row["length"] for row in rows])
    known = [row for row in rows if row["success"] is not None]
    n_success = sum(row["success"] for row in known)
    for name in ("final", "max"):
        found = outcome_metrics([row["success"] for row in known], [row[name] for row in known], name)
        auroc = found[f"auroc_{name}"]
        counts = (n_success, len(known) - n_success)
        intervals[f"auroc_{name}"] = None if auroc is None else auroc_interval(auroc, *counts)
    return intervals


def outcome_metrics(success: Sequence[bool], score: Sequence[float], name: str) -> dict[str, float | None]:
    """AUROC and average precision of a score for success, None unless there are successes and failures.

    Example:
        >>> outcome_metrics([True, False, False], [0.9, 0.2, 0.4], "final")
        {'auroc_final': 1.0, 'average_precision_final': 1.0}
    """
    both = len(set(success)) == 2
    return {
        f"auroc_{name}": float(roc_auc_score(success, score)) if both else None,
        f"average_precision_{name}": float(average_precision_score(success, score)) if both else None,
    }


def detection_metrics(episodes: Sequence[EpisodeRewards], detector: CompletionDetector) -> dict[str, Any]:
    """What a completion detector makes of the predictions, over the episodes whose outcome is known.

    Returns:
        ``precision`` and ``recall`` of "detected at some frame" for success; ``delay_median`` and
        ``delay_mean`` in frames, over the detected successes, from the first frame at which the label is at
        its highest to the detection (negative: too early); the ``detected`` frame by episode, None where it
        never fired. Ratios without a denominator are None.
        ``intervals`` holds their 95 % intervals.
    """
    detected: dict[int, int | None] = {}
    hits, false_alarms, misses, delays = 0, 0, 0, []
    for episode in episodes:
        detector.reset()
        fired = (frame for frame, reward in enumerate(episode.prediction) if bool(detector(float(reward))))
        frame = detected[episode.episode] = next(fired, None)
        if episode.success is None:
            continue
        hits += episode.success and frame is not None
        misses += episode.success and frame is None
        false_alarms += not episode.success and frame is not None
        if episode.success and frame is not None:
            delays.append(frame - int(np.nanargmax(episode.label)))
    return {
        "precision": hits / (hits + false_alarms) if hits + false_alarms else None,
        "recall": hits / (hits + misses) if hits + misses else None,
        "intervals": {
            "precision": share_interval(hits, hits + false_alarms),
            "recall": share_interval(hits, hits + misses),
        },
        "delay_median": float(np.median(delays)) if delays else None,
        "delay_mean": float(np.mean(delays)) if delays else None,
        "detected": detected,
    }


def calibration(episodes: Sequence[EpisodeRewards], n_bins: int = 10) -> dict[str, Any]:
    """Reliability of the predictions: are labels 0.7 on average where 0.7 is predicted?

    Args:
        episodes: At least one.
        n_bins: Equal bins of [0, 1]; predictions beyond its ends count to the outer ones.

    Returns:
        ``bins``, for each bin that has frames its ``count``, mean ``prediction`` and mean ``label``; and
        ``ece``, the expected calibration error: the mean over frames of the gap between the two in their bin.
    """
    prediction = np.concatenate([e.prediction for e in episodes]).astype(np.float64)
    label = np.concatenate([e.label for e in episodes]).astype(np.float64)
    prediction, label = prediction[~np.isnan(label)], label[~np.isnan(label)]
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


def _correlation(measure: Any, prediction: np.ndarray, reference: np.ndarray) -> float | None:
    if len(reference) < 2 or np.ptp(reference) == 0:
        return None
    if np.ptp(prediction) == 0:
        return 0.0
    value = float(measure(prediction, reference).statistic)
    return 0.0 if math.isnan(value) else value


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _band_coverage(episodes: Sequence[EpisodeRewards]) -> float | None:
    if any(e.lower is None or e.upper is None for e in episodes):
        return None
    inside = [((e.lower <= e.label) & (e.label <= e.upper))[~np.isnan(e.label)] for e in episodes]
    return float(np.concatenate(inside).mean())
