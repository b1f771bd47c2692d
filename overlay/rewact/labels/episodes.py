# SPDX-License-Identifier: MIT
"""Where the episodes of a dataset lie, as arrays instead of metadata lookups per frame."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from rewact.options.errors import say_unread

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)

# What an episode is recognised by: the smallest and the largest of these, which LeRobot's tools carry along
# and which come out the same when statistics are computed again.
IDENTIFYING_FEATURES = ("action", "observation.state", "observation.environment_state")


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
        task_names: Name of the task with each number, "" where it is not known.
        positions: Where each episode stands in ``meta.episodes``, int64 ``(E,)``: LeRobot looks episodes up
            by position there, and ids may have gaps.
    """

    repo_id: str
    root: Path
    fps: float
    columns: tuple[str, ...]
    episodes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    tasks: np.ndarray
    task_names: tuple[str, ...] = ("",)
    positions: np.ndarray | None = None

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
        order = np.argsort(episodes, kind="stable")
        episodes, starts, ends = episodes[order], starts[order], ends[order]
        follows = (np.diff(episodes, prepend=-1) > 0) & (starts >= np.r_[0, ends[:-1]]) & (starts <= ends)
        if not follows.all():
            raise ValueError(
                f"{meta.repo_id}: the metadata of episode {episodes[np.argmin(follows)]} does not follow the "
                "episode before it (dataset_from_index, dataset_to_index)"
            )
        names, tasks = np.unique(_first_tasks(meta, order, starts), return_inverse=True)
        return cls(
            meta.repo_id,
            Path(meta.root),
            float(meta.fps),
            tuple(meta.features),
            episodes,
            starts,
            ends,
            tasks,
            tuple(names.tolist()),
            order,
        )

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

    def unknown_frames(self) -> np.ndarray:
        """NaN for each frame, float32 ``(N,)`` by absolute frame index."""
        return np.full(self.n_frames, np.nan, dtype=np.float32)

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

    def position(self, episode: int) -> int:
        """Where an episode stands in ``meta.episodes``, which LeRobot's functions take for its number.

        Raises:
            ValueError: if the dataset has no such episode.
        """
        return int(self.positions[self.row(episode)])

    def length(self, episode: int) -> int:
        """Frames of an episode; a ValueError if the dataset has no such episode."""
        return int(self.lengths[self.row(episode)])

    def frames_of(self, episode: int) -> slice:
        """Absolute indices of the frames of an episode; a ValueError if the dataset has no such episode."""
        return self.span(self.row(episode))

    def metadata(self, columns: Sequence[str]) -> list[dict[str, Any]]:
        """What ``meta/episodes`` has of ``episode_index`` and of these columns, a row an episode.

        Raises:
            ValueError: naming the dataset, if it cannot be read.
        """
        paths = [str(path) for path in sorted((self.root / "meta" / "episodes").glob("*/*.parquet"))]
        try:
            content = pads.dataset(paths, format="parquet")
            columns = [name for name in ("episode_index", *columns) if name in content.schema.names]
            return content.to_table(columns).to_pylist() if paths else []
        except (OSError, pa.ArrowException) as error:
            raise ValueError(say_unread(f"the metadata of {self.repo_id}", error)) from error

    @cached_property
    def identities(self) -> list[str]:
        """What each episode is recognised by besides its length: a digest of its statistics, "" without."""
        features = [name for name in IDENTIFYING_FEATURES if name in self.columns]
        found = dict.fromkeys(self.episodes.tolist(), "")
        for row in self.metadata([f"stats/{name}/{bound}" for name in features for bound in ("min", "max")]):
            episode = row.pop("episode_index")
            if row and None not in row.values():
                bounds = (np.ravel(value).astype(np.float32).tobytes() for value in row.values())
                found[episode] = hashlib.sha256(b"".join(bounds)).hexdigest()[:16]
        return [found[episode] for episode in self.episodes.tolist()]

    def mark(self, episode: int) -> dict[str, Any]:
        """What a label file notes of an episode, to recognise it later: ``length`` and ``identity``."""
        row = self.row(episode)
        marks = {"length": int(self.lengths[row]), "identity": self.identities[row]}
        return {name: value for name, value in marks.items() if value}

    def has(self, episode: int, noted: dict[str, Any] | None) -> bool:
        """Whether the dataset has an episode of this number, and it is the one of which a file notes this."""
        if episode not in self.episodes:
            return False
        row, noted = self.row(episode), noted or {}
        # Without statistics the length has to do.
        is_same = not noted.get("identity") or self.identities[row] in (noted["identity"], "")
        return is_same and noted.get("length") in (None, int(self.lengths[row]))

    def find(self, episode: int, noted: Any, where: str) -> int:
        """The episode that a file speaks of, which may have another number since.

        Args:
            episode: The number it had when the file was written.
            noted: What the file notes of it, see :meth:`mark`; anything may be missing.
            where: Start of an error message, naming file and episode.

        Returns:
            Its number in this dataset.

        Raises:
            ValueError: if the dataset has no such episode, or another one under this number since.
        """
        noted = noted if isinstance(noted, dict) else {}
        if self.has(episode, noted):
            return int(episode)
        length, identity = noted.get("length"), noted.get("identity")
        same = self.episodes[[known == identity for known in self.identities]]
        if identity and len(same) == 1 and self.has(same[0], noted):
            return int(same[0])
        try:
            has_length = self.length(episode)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if length not in (None, has_length):
            differs = f"it had {length} frames when it was labelled and has {has_length}"
        else:
            differs = "another episode had this number when it was labelled than has it"
        raise ValueError(
            f"{where}: {differs} in {self.repo_id}, so the episodes have changed; give the labels the new "
            "episode numbers, or delete the file and label again"
        )

    def require(self, frames: np.ndarray, episodes: np.ndarray) -> None:
        """Check that frames, by absolute index ``(T,)``, are of the episodes ``(T,)`` that their data names.

        Raises:
            ValueError: naming the first that is of another: labels would be of other frames.
        """
        expected = self.episodes[np.searchsorted(self.ends, frames, side="right")]
        if len(differ := np.flatnonzero(expected != episodes)):
            at = differ[0]
            raise ValueError(
                f"{self.repo_id}: frame {frames[at]} is of episode {episodes[at]} in the data and of episode "
                f"{expected[at]} in the metadata; copy or convert the dataset again"
            )

    def span(self, row: int) -> slice:
        """Absolute frames of the episode in a row."""
        return slice(int(self.starts[row]), int(self.ends[row]))

    def frames(self, rows: np.ndarray) -> np.ndarray:
        """Absolute indices of all frames of the given rows, one episode after the other, int64."""
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.starts[rows], lengths) + within

    def any(self, flags: np.ndarray) -> np.ndarray:
        """Whether a flag per frame ``(N,)`` is set anywhere in each episode, bool ``(E,)``."""
        count = np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])
        return count[self.ends] > count[self.starts]


def _first_tasks(meta: "LeRobotDatasetMetadata", order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Name of the first task of each episode, ``(E,)``, from the metadata or else from the first frames."""
    if "tasks" in getattr(meta.episodes, "column_names", meta.episodes):
        first = [tasks[0] if len(tasks) else "" for tasks in meta.episodes["tasks"][:]]
        return np.asarray(first, dtype=np.str_)[order]
    names = {} if meta.tasks is None else dict(zip(meta.tasks["task_index"], meta.tasks.index, strict=True))
    if len(names) == 1:
        return np.full(len(starts), *names.values(), dtype=np.str_)
    paths = sorted((Path(meta.root) / "data").glob("*/*.parquet"))
    if paths and names and "task_index" in meta.features:
        frames = pads.dataset(list(map(str, paths)), format="parquet")
        rows = frames.to_table(["index", "task_index"], filter=pads.field("index").isin(starts))
        by_frame = dict(zip(rows["index"].to_pylist(), rows["task_index"].to_pylist(), strict=True))
        return np.asarray([str(names.get(by_frame.get(start), "")) for start in starts.tolist()])
    logger.warning("%s does not say which tasks its episodes are of: they count as one", meta.repo_id)
    return np.full(len(starts), "")
