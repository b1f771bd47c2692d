# SPDX-License-Identifier: MIT
"""Choosing from readings of known episodes when a task counts as done."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from rewact.judge.intervals import share_interval
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import read_json, write_json
from rewact.options.completion import CompletionDetectorConfig
from rewact.options.tools import require_writable
from rewact.values.checkpoint import trained_episodes

CONFIG_NAME = "config.json"
COMPLETION_FILE = "completion.json"

# Of the episodes, this share at most may be stopped before they are done.
MAX_FALSE_STOPS = 0.05
MIN_RECALL = 0.5
# A stop this long before the task is done is not false.
TOLERANCE_S = 0.5
DWELLS = (1, 3)
N_THRESHOLDS = 100
# The figures of a choice are of episodes that it was not made on, these dealt out to so many parts.
N_PARTS = 5
# Of fewer episodes even a threshold that never stopped falsely may do so in more than a tenth.
MIN_EPISODES = 30


def choose_stop(
    values: Sequence[np.ndarray], done: Sequence[np.ndarray], fps: float, seed: int = 0
) -> dict[str, Any] | None:
    """Choose threshold and dwell of a `CompletionDetector` from the readings of held-out episodes.

    A stop is false if the task is not done then, nor `TOLERANCE_S` later.

    Args:
        values: Readings of each episode, float ``(T,)``.
        done: For each 1 where the task is done, 0 where it is not, NaN where that is not known.
        fps: Frames per second.
        seed: Of the parts that the figures are counted on.

    Returns:
        ``threshold`` and ``dwell``; and of episodes that they were not chosen on ``false_stops`` with
        ``false_stops_low`` and ``false_stops_high`` (95 %), ``recall`` among the episodes that get done and
        ``delay_s`` (median, from the first frame that is done). None where no episode is known to get done.
    """
    known = [i for i, flags in enumerate(done) if len(flags) and not np.isnan(flags).any()]
    values, done = [values[i] for i in known], [done[i] > 0.5 for i in known]
    gets_done = np.array([flags.any() for flags in done])
    if not gets_done.any():
        return None
    detectors, is_false, is_hit, delay = _try_detectors(values, done, fps)

    def choose(episodes: np.ndarray) -> int:
        """The detector that finds most ends at `MAX_FALSE_STOPS`.

        Where each finds less than `MIN_RECALL`, the one whose share of ends found exceeds its share of false
        stops by most.
        """
        false = is_false[:, episodes].mean(1)
        found = is_hit[:, episodes].sum(1) / max(gets_done[episodes].sum(), 1)
        good = (false <= MAX_FALSE_STOPS) & (found >= MIN_RECALL)
        return int(np.argmax(np.where(good, 2.0 + found, found - false)))

    n = len(values)
    part = np.random.default_rng(seed).permutation(n) % min(N_PARTS, n)
    chosen = np.zeros(n, dtype=int)
    for number in np.unique(part):
        mine, others = np.flatnonzero(part == number), np.flatnonzero(part != number)
        chosen[mine] = choose(others if len(others) else mine)
    of_each = chosen, np.arange(n)
    false, hits, delays = is_false[of_each], is_hit[of_each], delay[of_each]
    threshold, dwell = detectors[choose(np.arange(n))]
    low, high = share_interval(int(false.sum()), n)
    return {
        "threshold": round(float(threshold), 4),
        "dwell": int(dwell),
        "n_episodes": n,
        "false_stops": float(false.mean()),
        "false_stops_low": low,
        "false_stops_high": high,
        "recall": float(hits.sum() / gets_done.sum()),
        "delay_s": float(np.nanmedian(delays)) if hits.any() else None,
    }


def as_detector(stop: dict[str, Any] | None) -> CompletionDetectorConfig | None:
    """The detector that `choose_stop` has chosen, None where it finds no end of an episode."""
    if stop is None or not stop["recall"]:
        return None
    return CompletionDetectorConfig(threshold=stop["threshold"], dwell=stop["dwell"])


def require_held_out(checkpoint: str | Path, table: EpisodeTable, episodes: Sequence[int]) -> None:
    """Stop with a ValueError, unless a checkpoint can be written to and was not trained on some episodes."""
    if not (Path(checkpoint) / CONFIG_NAME).is_file():
        raise ValueError(f"{checkpoint} is not a folder of this machine: a threshold cannot be saved there")
    require_writable("--policy.path", Path(checkpoint))
    seen = trained_episodes(checkpoint, table)
    if seen is None:
        raise ValueError(
            f"{checkpoint} does not say which episodes it was trained on; a threshold is chosen from others"
        )
    if read := sorted(seen.intersection(episodes)):
        raise ValueError(
            f"{checkpoint} was trained on {len(read)} of these {len(episodes)} episodes (the first is "
            f"{read[0]}), and its readings of them say little: choose others with --dataset.eval_split or "
            "--dataset.episodes"
        )


def save_stop(checkpoint: Path, stop: dict[str, Any] | None, dataset: str, ece: float) -> None:
    """Save with a checkpoint when it stops on completion, as `choose_stop` has chosen on a dataset.

    Its configuration gets the detector; `completion.json` says what that was chosen on, and how well it does,
    with the calibration error of the readings there.

    Raises:
        ValueError: If there is nothing to save; the checkpoint is then as it was.
        OSError: If it cannot be written.
    """
    if stop is None:
        raise ValueError(f"{dataset}: no episode of these is known to get done, so no threshold can be saved")
    detector = as_detector(stop)
    if detector is None:
        raise ValueError(
            f"{checkpoint} was left as it is: no threshold finds the end of an episode of {dataset}, and "
            "none was saved; train longer, or choose one with --policy.completion_detector.threshold"
        )
    if stop["n_episodes"] < MIN_EPISODES:
        logging.warning("%d episodes say little about when to stop: take more", stop["n_episodes"])
    config = read_json(checkpoint / CONFIG_NAME)
    write_json(checkpoint / COMPLETION_FILE, {"dataset": dataset, **stop, "ece": ece})
    write_json(checkpoint / CONFIG_NAME, {**config, "completion_detector": asdict(detector)})
    logging.info("%s stops from now on at %s", checkpoint, stop["threshold"])


def _try_detectors(
    values: Sequence[np.ndarray], done: Sequence[np.ndarray], fps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What each of several detectors does on each of several episodes.

    Returns:
        float ``(D, 2)``, threshold and dwell; bool ``(D, E)``, stopped where the task is not done; bool
        ``(D, E)``, stopped where it is; float ``(D, E)``, seconds from the first frame that is done to such a
        stop, NaN elsewhere.
    """
    frames = np.concatenate(values)
    thresholds = np.unique(np.quantile(frames, 1 - np.geomspace(0.5, 0.5 / len(frames), N_THRESHOLDS)))
    thresholds = np.clip(thresholds, 0.01, 1.0).round(4)
    tolerance = round(TOLERANCE_S * fps)
    detectors = [(threshold, dwell) for dwell in DWELLS for threshold in thresholds]
    shape = (len(detectors), len(values))
    is_false, is_hit, delay = np.zeros(shape, bool), np.zeros(shape, bool), np.full(shape, np.nan)
    for episode, (value, flags) in enumerate(zip(values, done, strict=True)):
        is_close = np.array([flags[t : t + tolerance + 1].any() for t in range(len(flags))])
        stop = np.concatenate([_first_stops(value, thresholds, dwell) for dwell in DWELLS])
        stopped, at = stop < len(value), np.minimum(stop, len(value) - 1)
        is_hit[:, episode] = hit = stopped & is_close[at]
        is_false[:, episode] = stopped & ~is_close[at]
        delay[hit, episode] = (at[hit] - int(np.argmax(flags))) / fps
    return np.array(detectors), is_false, is_hit, delay


def _first_stops(values: np.ndarray, thresholds: np.ndarray, dwell: int) -> np.ndarray:
    """Where a `CompletionDetector` first says done, for each threshold; the length where it never does."""
    if len(values) < dwell:
        return np.full(len(thresholds), len(values))
    lowest = np.lib.stride_tricks.sliding_window_view(values, dwell).min(1)
    highest = np.maximum.accumulate(lowest)
    stop = np.searchsorted(highest, thresholds, side="left") + dwell - 1
    return np.where(stop >= len(values), len(values), stop)
