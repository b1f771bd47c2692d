# SPDX-License-Identifier: MIT
"""Predicted rewards, of a policy or from another model's file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rewact.labels.episodes import EpisodeTable
from rewact.labels.progress import load_progress, save_progress


class Prediction(NamedTuple):
    """Predicted rewards of some frames.

    Attributes:
        reward: float32 ``(T,)``.
        lower: 10 % quantile, ``(T,)``; None where the reward head has no distribution.
        upper: 90 % quantile.
    """

    reward: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None

    def as_array(self) -> np.ndarray:
        """float32 ``(T, 3)`` with quantiles, ``(T, 1)`` without; `Prediction(*array.T)` is the inverse."""
        return np.stack([column for column in self if column is not None], axis=1)


def read_predictions(path: Path, table: EpisodeTable, episodes: Sequence[int]) -> dict[int, Prediction]:
    """Predictions of some episodes, from a ``*_progress.parquet`` at that path or in the dataset's folder.

    Raises:
        ValueError: naming file and episode, if the file is missing, broken, or lacks an episode.
    """
    found = [place for place in (path.expanduser(), table.root / path) if place.exists()]
    if not found:
        raise ValueError(f"there is no progress file {path}, nor is it in {table.root}")
    values = load_progress(found[0], table)
    predictions = {}
    for episode in episodes:
        rewards = values[table.frames_of(episode)]
        if np.isnan(rewards).any():
            raise ValueError(f"{found[0]} has no progress for episode {episode}")
        predictions[episode] = Prediction(rewards)
    return predictions


def write_predictions(
    path: Path, table: EpisodeTable, predictions: Mapping[int, Prediction], source: str
) -> None:
    """Write predictions, clipped to [0, 1], as a ``*_progress.parquet`` that names their source.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    rewards = np.full(table.n_frames, np.nan, dtype=np.float32)
    for episode, prediction in predictions.items():
        rewards[table.frames_of(episode)] = np.clip(prediction.reward, 0.0, 1.0)
    save_progress(path, table, rewards, {"reward_model_path": source})
