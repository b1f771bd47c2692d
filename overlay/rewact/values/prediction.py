# SPDX-License-Identifier: MIT
"""Predicted rewards, of a policy or from another model's file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewact.labels.episodes import EpisodeTable
from rewact.labels.progress import load_progress, save_progress


@dataclass
class Prediction:
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
        """float32 ``(T, 3)`` with the quantiles, ``(T, 1)`` without."""
        columns = (self.reward, self.lower, self.upper)
        return np.stack([column for column in columns if column is not None], axis=1)

    @classmethod
    def from_array(cls, values: np.ndarray) -> "Prediction":
        """The inverse of :meth:`as_array`."""
        return cls(*values.T)


def read_predictions(path: Path, table: EpisodeTable, episodes: Sequence[int]) -> dict[int, Prediction]:
    """Read a ``*_progress.parquet`` as predictions.

    Args:
        path: The file; where there is none, it is looked for in the dataset's folder.
        table: The dataset that it is for.
        episodes: Episodes to take from it.

    Raises:
        ValueError: naming file and episode, if the file is missing, broken, or lacks an episode.
    """
    found = [place for place in (path.expanduser(), table.root / path) if place.exists()]
    if not found:
        raise ValueError(f"there is no progress file {path}, nor is it in {table.root}")
    path = found[0]
    values = load_progress(path, table)
    predictions = {}
    for episode in episodes:
        row = table.row(episode)
        rewards = values[table.starts[row] : table.ends[row]]
        if np.isnan(rewards).any():
            raise ValueError(f"{path} has no progress for episode {episode}")
        predictions[episode] = Prediction(rewards)
    return predictions


def write_predictions(
    path: Path, table: EpisodeTable, predictions: Mapping[int, Prediction], source: str
) -> None:
    """Write predictions as a ``*_progress.parquet``.

    Args:
        path: The file.
        table: The dataset.
        predictions: By episode; clipped to [0, 1].
        source: Where they come from, kept in the file under ``reward_model_path``.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    rewards = np.full(table.n_frames, np.nan, dtype=np.float32)
    for episode, prediction in predictions.items():
        row = table.row(episode)
        rewards[table.starts[row] : table.ends[row]] = np.clip(prediction.reward, 0.0, 1.0)
    save_progress(path, table, rewards, {"reward_model_path": source})
