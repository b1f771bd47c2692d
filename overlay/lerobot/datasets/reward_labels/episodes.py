# SPDX-License-Identifier: MIT
"""Where the episodes of a dataset lie, as arrays instead of metadata lookups per frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata


@dataclass(frozen=True)
class EpisodeTable:
    """Episodes of a dataset in absolute frame indices, sorted by episode.

    Attributes:
        repo_id: Repo id of the dataset.
        root: Its folder.
        fps: Frames per second.
        episodes: Episode ids, int64 ``(E,)``.
        starts: Absolute index of each episode's first frame, int64 ``(E,)``.
        ends: One past the absolute index of its last frame, int64 ``(E,)``.
    """

    repo_id: str
    root: Path
    fps: float
    episodes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    @classmethod
    def from_metadata(cls, meta: "LeRobotDatasetMetadata") -> "EpisodeTable":
        """Read the table once; nothing of ``meta`` is kept.

        Raises:
            ValueError: if the dataset has no episodes, or they overlap or are out of order.
        """
        if not meta.total_episodes or meta.episodes is None:
            raise ValueError(f"{meta.repo_id} has no episodes to label")
        columns = [
            np.asarray(meta.episodes[name][:], dtype=np.int64)
            for name in ("episode_index", "dataset_from_index", "dataset_to_index")
        ]
        order = np.argsort(columns[0], kind="stable")
        episodes, starts, ends = (column[order] for column in columns)
        broken = np.flatnonzero(
            (np.diff(episodes, prepend=-1) < 1) | (starts < np.r_[0, ends[:-1]]) | (ends < starts)
        )
        if len(broken):
            raise ValueError(
                f"{meta.repo_id}: the metadata of episode {episodes[broken[0]]} does not follow the "
                "episode before it (dataset_from_index, dataset_to_index)"
            )
        return cls(meta.repo_id, Path(meta.root), float(meta.fps), episodes, starts, ends)

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each episode, int64 ``(E,)``."""
        return self.ends - self.starts

    @property
    def n_frames(self) -> int:
        """Size of an array indexed by absolute frame index."""
        return int(self.ends.max())

    def row(self, episode: int) -> int:
        """Position of an episode in the table.

        Raises:
            ValueError: if the dataset has no such episode.
        """
        row = int(np.searchsorted(self.episodes, episode))
        if row == len(self.episodes) or self.episodes[row] != episode:
            raise ValueError(
                f"{self.repo_id} has no episode {episode}; its {len(self.episodes)} episodes are "
                f"{self.episodes[0]} to {self.episodes[-1]}"
            )
        return row

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """Absolute indices of all frames of the given rows, one episode after the other, int64."""
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.starts[rows], lengths) + within
