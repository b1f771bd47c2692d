# SPDX-License-Identifier: MIT
"""Rewards per frame in parquet files: LeRobot's ``*_progress.parquet``, and folders of labelled episodes.

A progress file has one row per frame: ``index`` (absolute), ``episode_index``, ``frame_index`` (int64),
``progress_sparse`` and/or ``progress_dense`` (float32 in [0, 1]; NaN where the model failed at a frame). It
may leave out whole episodes. A labelled episode, ``episode_000003.parquet``, has at least ``frame_index``,
which counts over the dataset, and ``reward``.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from rewact.keys import FOREIGN_DIR, PROGRESS_FILES
from rewact.labels.columns import parquet_columns, read_parquet
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import write_atomically
from rewact.options.labels import RewardLabelsConfig

HUB_PREFIX = "hf://datasets/"
# In the metadata of a file of ours: what each episode is recognised by.
EPISODES_KEY = "rewact.episodes"
PROGRESS_COLUMNS = ("progress_sparse", "progress_dense")
LABELLED_REWARDS_DIR = f"{FOREIGN_DIR}/labelled_rewards"
LABELLED_REWARDS_FILE = "episode_*.parquet"


@dataclass(frozen=True)
class ProgressLayout:
    """Names of the columns of a progress file."""

    index: str = "index"
    episode: str = "episode_index"
    frame: str = "frame_index"
    reward: str = PROGRESS_COLUMNS[0]


LABELLED_REWARDS_LAYOUT = ProgressLayout("frame_index", "episode_idx", "frame_index_in_episode", "reward")


def progress_paths(root: Path) -> list[Path]:
    """Rewards per frame in a dataset's folder: its progress files and the folder of labelled episodes."""
    paths = sorted(root.glob(PROGRESS_FILES))
    folder = root / LABELLED_REWARDS_DIR
    return paths + ([folder] if any(folder.glob(LABELLED_REWARDS_FILE)) else [])


def read_progress(table: EpisodeTable, config: RewardLabelsConfig) -> np.ndarray:
    """Rewards from the configured file or folder, or from those in the dataset's folder.

    Returns:
        float32 ``(N,)`` in [0, 1] by absolute frame index, NaN at frames without labels.

    Raises:
        ValueError: naming file, episode and value, if a file is broken, not for this dataset, missing but
            configured, or if two of them disagree.
    """
    if config.progress_path is None:
        paths = progress_paths(table.root)
    else:
        paths = [_local_path(config.progress_path)]
    rewards = np.full(table.n_frames, np.nan, dtype=np.float32)
    for path in paths:
        new = load_progress(path, table, config.progress_column)
        both = ~np.isnan(new) & ~np.isnan(rewards)
        differing = np.flatnonzero(both & (np.abs(new - rewards) > 1e-6))
        if len(differing):
            episode = table.episodes[np.searchsorted(table.ends, differing[0], side="right")]
            raise ValueError(
                f"{', '.join(map(str, paths))} disagree about episode {episode}; choose one of them with "
                "--dataset.reward.progress_path"
            )
        rewards = np.where(np.isnan(rewards), new, rewards)
    return rewards


def _local_path(path: str) -> Path:
    """A file or folder on this machine, downloaded where it is given as ``hf://datasets/<user>/<name>/<file>``.

    Raises:
        ValueError: if there is no such file.
        OSError: if the Hub cannot be asked.
    """
    if not path.startswith(HUB_PREFIX):
        local = Path(path).expanduser()
        if not local.exists():
            raise ValueError(f"reward.progress_path: there is no file {local}")
        return local
    user, name, *rest = (*path.removeprefix(HUB_PREFIX).split("/"), "", "")
    file = "/".join(part for part in rest if part)
    if not (user and name and file):
        raise ValueError(f"reward.progress_path must be {HUB_PREFIX}<user>/<name>/<file>, got {path!r}")
    name, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(f"{user}/{name}", file, repo_type="dataset", revision=revision or None))
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise OSError(f"reward.progress_path: {path} cannot be downloaded: {error}") from error
        raise ValueError(f"reward.progress_path: there is no file {path}") from error


def load_progress(path: Path, table: EpisodeTable, column: str | None = None) -> np.ndarray:
    """Read a progress file, or a folder with a labelled-rewards file per episode.

    Args:
        path: File or folder.
        table: The dataset that it is for.
        column: Progress column; by default ``progress_sparse``, or ``progress_dense`` if there is no other.

    Returns:
        float32 ``(N,)`` as :func:`read_progress`.

    Raises:
        ValueError: naming file, episode and value, at the first thing that is wrong.
    """
    if not path.is_dir():
        _require_same_episodes(path, table)
        rewards = np.full(table.n_frames, np.nan, dtype=np.float32)
        _load_into(
            rewards, path, table, ProgressLayout(reward=column or parquet_columns(path, PROGRESS_COLUMNS)[0])
        )
        return rewards
    files = sorted(path.glob(LABELLED_REWARDS_FILE))
    if not files:
        raise ValueError(f"{path} holds no {LABELLED_REWARDS_FILE}")
    rewards = np.full(table.n_frames, np.nan, dtype=np.float32)
    for file in files:
        _load_into(rewards, file, table, LABELLED_REWARDS_LAYOUT, named=_episode_of(file))
    return rewards


def save_progress(
    path: Path,
    table: EpisodeTable,
    rewards: np.ndarray | Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write rewards as a progress file, in the schema of LeRobot's reward models.

    Args:
        path: The file, by convention ``<model>_progress.parquet`` in the dataset's folder.
        table: The dataset.
        rewards: ``(N,)`` in [0, 1] by absolute frame index, NaN at frames without; one array for the column
            ``progress_sparse``, or several by column. Episodes without any are left out.
        metadata: Text to keep in the file, such as the checkpoint it comes from.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    columns = rewards if isinstance(rewards, Mapping) else {PROGRESS_COLUMNS[0]: rewards}
    labelled = np.any([~np.isnan(values) for values in columns.values()], axis=0)
    rows = np.flatnonzero(table.any(labelled))
    index = table.frames(rows)
    lengths = table.lengths[rows]
    content = pa.table(
        {
            "index": pa.array(index, pa.int64()),
            "episode_index": pa.array(np.repeat(table.episodes[rows], lengths), pa.int64()),
            "frame_index": pa.array(index - np.repeat(table.starts[rows], lengths), pa.int64()),
            **{name: pa.array(values[index], pa.float32()) for name, values in columns.items()},
        }
    )
    marks = {int(episode): table.mark(episode) for episode in table.episodes[rows]}
    content = content.replace_schema_metadata({**(metadata or {}), EPISODES_KEY: json.dumps(marks)})
    write_atomically(path, lambda temporary: pq.write_table(content, temporary))
    logging.info("Wrote %s: %d episodes, %d frames", path, len(rows), len(index))


def _require_same_episodes(path: Path, table: EpisodeTable) -> None:
    """Check a file by what it notes of its episodes, if it does."""
    try:
        marks = json.loads((pq.read_schema(path).metadata or {}).get(EPISODES_KEY.encode(), b"{}"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error
    for episode, mark in marks.items():
        if not table.has(int(episode), mark):
            raise ValueError(
                f"{path}, episode {episode}: {table.repo_id} has another episode of this number, or none, "
                "since the file was written; delete the file, or predict again"
            )


def _episode_of(file: Path) -> int:
    number = file.stem.removeprefix("episode_")
    if not number.isdigit():
        raise ValueError(f"{file}: {number!r} is not an episode number")
    return int(number)


def _load_into(
    rewards: np.ndarray, path: Path, table: EpisodeTable, layout: ProgressLayout, named: int | None = None
) -> None:
    """Check the rows of a file against the dataset and put their rewards in their places.

    Args:
        rewards: float32 ``(N,)`` to put them into.
        path: The file.
        table: The dataset.
        layout: Names of the columns. Episode and frame within the episode may be missing in a file that is
            named for its episode.
        named: That episode.
    """
    optional = () if named is None else (layout.episode, layout.frame)
    content = read_parquet(path, [layout.index, layout.reward, layout.episode, layout.frame], optional)
    for name, column in content.items():
        kind, what = (np.number, "numbers") if name == layout.reward else (np.integer, "integers")
        if len(column) and not np.issubdtype(column.dtype, kind):
            got = f"{column[0]!r} of {column.dtype}"
            raise ValueError(f"{path}: the column {name!r} must hold {what}, got {got}")
    index, values = content[layout.index], content[layout.reward].astype(np.float64)
    episode = content.get(layout.episode, np.full(len(index), named))
    if named is not None and len(other := np.unique(episode[episode != named])):
        raise ValueError(f"{path} is named for episode {named}, but it has labels of episode {other[0]}")

    def fail(row: int, what: str) -> None:
        raise ValueError(f"{path}, episode {episode[row]}: {what}")

    position = np.minimum(np.searchsorted(table.episodes, episode), len(table.episodes) - 1)
    bad = np.flatnonzero(table.episodes[position] != episode)
    if len(bad):
        fail(bad[0], f"{table.repo_id} has no such episode")
    frame = content.get(layout.frame, index - table.starts[position])
    bad = np.flatnonzero((frame < 0) | (frame >= table.lengths[position]))
    if len(bad):
        length = table.lengths[position[bad[0]]]
        fail(bad[0], f"frame {frame[bad[0]]} lies outside the episode, which has {length} frames")
    bad = np.flatnonzero(table.starts[position] + frame != index)
    if len(bad):
        fail(bad[0], f"frame {frame[bad[0]]} has index {index[bad[0]]}; this file is for another dataset")
    # A little outside [0, 1] is rounding of the model that wrote it; NaN is a frame that it failed at.
    bad = np.flatnonzero((values < -1e-6) | (values > 1 + 1e-6))
    if len(bad):
        fail(bad[0], f"{layout.reward} of frame {frame[bad[0]]} must be in [0, 1], got {values[bad[0]]:g}")
    count = np.bincount(index, minlength=table.n_frames)
    if (count > 1).any():
        twice = int(np.argmax(count > 1))
        fail(int(np.argmax(index == twice)), f"frame index {twice} twice")
    found = np.bincount(position, minlength=len(table.episodes))
    incomplete = np.flatnonzero((found > 0) & (found < table.lengths))
    if len(incomplete):
        row = incomplete[0]
        fail(
            int(np.argmax(position == row)),
            f"{found[row]} of its {table.lengths[row]} frames have labels",
        )
    if (~np.isnan(rewards[index])).any():
        fail(int(np.argmax(~np.isnan(rewards[index]))), "another file has labels for it too")
    rewards[index] = np.clip(values, 0.0, 1.0)
