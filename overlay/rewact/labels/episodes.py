# SPDX-License-Identifier: MIT
"""Where the episodes of a dataset lie, as arrays instead of metadata lookups per frame."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata


@dataclass(frozen=True)
class EpisodeTable:
    """Episodes of a dataset in absolute frame indices, sorted by episode.

    Attributes:
        repo_id: Repo id of the dataset.
        root: Its folder.
        fps: Frames per second.
        columns: Names of its features.
        episodes: Episode ids, int64 ``(E,)``.
        starts: Absolute index of each episode's first frame, int64 ``(E,)``.
        ends: One past the absolute index of its last frame, int64 ``(E,)``.
        tasks: A number for each episode's (first) task, int64 ``(E,)``.
    """

    repo_id: str
    root: Path
    fps: float
    columns: tuple[str, ...]
    episodes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    tasks: np.ndarray

    @classmethod
    def from_metadata(cls, meta: "LeRobotDatasetMetadata") -> "EpisodeTable":
        """Read the table once; nothing of ``meta`` is kept.

        Raises:
            ValueError: if the dataset has no episodes, or they overlap or are out of order.
        """
        if not meta.total_episodes or meta.episodes is None:
            raise ValueError(f"{meta.repo_id} has no episodes to label")
        episodes, starts, ends = (
            np.asarray(meta.episodes[name][:], dtype=np.int64)
            for name in ("episode_index", "dataset_from_index", "dataset_to_index")
        )
        first_tasks = [tasks[0] if len(tasks) else "" for tasks in meta.episodes["tasks"][:]]
        _, tasks = np.unique(np.asarray(first_tasks, dtype=np.str_), return_inverse=True)
        order = np.argsort(episodes, kind="stable")
        episodes, starts, ends, tasks = episodes[order], starts[order], ends[order], tasks[order]
        follows = (np.diff(episodes, prepend=-1) > 0) & (starts >= np.r_[0, ends[:-1]]) & (starts <= ends)
        if not follows.all():
            raise ValueError(
                f"{meta.repo_id}: the metadata of episode {episodes[np.argmin(follows)]} does not follow the "
                "episode before it (dataset_from_index, dataset_to_index)"
            )
        columns = tuple(meta.features)
        return cls(meta.repo_id, Path(meta.root), float(meta.fps), columns, episodes, starts, ends, tasks)

    @property
    def name(self) -> str:
        """The repo id without its owner."""
        return self.repo_id.rsplit("/", 1)[-1]

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each episode, int64 ``(E,)``."""
        return self.ends - self.starts

    @property
    def n_frames(self) -> int:
        """Size of an array indexed by absolute frame index."""
        return int(self.ends[-1])

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

    def length(self, episode: Any, where: str, noted: Any = None) -> int:
        """Frames of an episode that a file speaks of.

        Args:
            episode: Episode id.
            where: Start of an error message, naming file and episode.
            noted: Its frames when the file was written, None if the file does not say.

        Raises:
            ValueError: if the dataset has no such episode, or another one under this number since.
        """
        try:
            length = int(self.lengths[self.row(episode)])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if noted is not None and noted != length:
            raise ValueError(
                f"{where}: it had {noted} frames when it was labelled and has {length} in {self.repo_id}, so "
                "the episodes have changed; give the labels the new episode numbers, or delete the file and "
                "label anew"
            )
        return length

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """Absolute indices of all frames of the given rows, one episode after the other, int64."""
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.starts[rows], lengths) + within

    def any(self, flags: np.ndarray) -> np.ndarray:
        """Whether a flag per frame ``(N,)`` is set anywhere in each episode, bool ``(E,)``."""
        count = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
        return count[self.ends] > count[self.starts]
