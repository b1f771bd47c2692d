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
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import errors, hf_hub_download

from rewact.keys import FOREIGN_DIR, PROGRESS_FILES
from rewact.labels.columns import read_parquet
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import write_atomically
from rewact.options.errors import say_unread
from rewact.options.labels import RewardLabelsConfig

HUB_PREFIX = "hf://datasets/"
# In the metadata of a file of ours: what each episode is recognised by.
EPISODES_KEY = "rewact.episodes"
PROGRESS_COLUMNS = ("progress_sparse", "progress_dense")
LABELLED_REWARDS_DIR = f"{FOREIGN_DIR}/labelled_rewards"
LABELLED_REWARDS_FILE = "episode_*.parquet"
# Names of index, episode, frame and reward in a progress file and in a labelled episode.
PROGRESS_LAYOUT = ("index", "episode_index", "frame_index", PROGRESS_COLUMNS[0])
LABELLED_REWARDS_LAYOUT = ("frame_index", "episode_idx", "frame_index_in_episode", "reward")


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
    given = config.progress_path
    paths = progress_paths(table.root) if given is None else [_local_path(given)]
    rewards = table.unknown_frames()
    for path in paths:
        new = load_progress(path, table, config.progress_column)
        if (differs := np.abs(new - rewards) > 1e-6).any():
            episode = table.episodes[np.searchsorted(table.ends, np.argmax(differs), side="right")]
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
    parts = [part for part in path.removeprefix(HUB_PREFIX).split("/") if part]
    if len(parts) < 3:
        raise ValueError(f"reward.progress_path must be {HUB_PREFIX}<user>/<name>/<file>, got {path!r}")
    name, _, revision = parts[1].partition("@")
    repo_id, file = f"{parts[0]}/{name}", "/".join(parts[2:])
    try:
        return Path(hf_hub_download(repo_id, file, repo_type="dataset", revision=revision or None))
    except errors.LocalEntryNotFoundError as error:
        raise OSError(f"reward.progress_path: {path} cannot be downloaded: {error}") from error
    except (
        errors.EntryNotFoundError,
        errors.RepositoryNotFoundError,
        errors.RevisionNotFoundError,
    ) as error:
        raise ValueError(f"reward.progress_path: there is no file {path}") from error


def progress_columns(path: Path) -> list[str]:
    """The columns of rewards in a progress file, at least one; of a folder of labelled episodes the default.

    Raises:
        ValueError: naming the file, if it is not a parquet file or has none.
    """
    if path.is_dir():
        return [PROGRESS_COLUMNS[0]]
    there = _read_schema(path).names
    if found := [name for name in PROGRESS_COLUMNS if name in there]:
        return found
    raise ValueError(
        f"{path} has no column {' or '.join(PROGRESS_COLUMNS)}; its columns are {', '.join(there)}"
    )


def _read_schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(say_unread(path, error, " as parquet")) from error


def load_progress(path: Path, table: EpisodeTable, column: str | None = None) -> np.ndarray:
    """Read a progress file, or a folder with a labelled-rewards file per episode.

    Args:
        column: Progress column; by default ``progress_sparse``, or ``progress_dense`` if there is no other.

    Returns:
        float32 ``(N,)`` as :func:`read_progress`.

    Raises:
        ValueError: naming file, episode and value, at the first thing that is wrong.
    """
    rewards = table.unknown_frames()
    if not path.is_dir():
        _require_same_episodes(path, table)
        layout = (*PROGRESS_LAYOUT[:3], column or progress_columns(path)[0])
        _load_into(rewards, path, table, layout)
        return rewards
    files = sorted(path.glob(LABELLED_REWARDS_FILE))
    if not files:
        raise ValueError(f"{path} holds no {LABELLED_REWARDS_FILE}")
    for file in files:
        number = file.stem.removeprefix("episode_")
        if not number.isdigit():
            raise ValueError(f"{file}: {number!r} is not an episode number")
        _load_into(rewards, file, table, LABELLED_REWARDS_LAYOUT, int(number))
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
    noted = (_read_schema(path).metadata or {}).get(EPISODES_KEY.encode(), b"{}")
    try:
        marks = {int(episode): dict(mark) for episode, mark in json.loads(noted).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: {EPISODES_KEY!r} in its metadata is broken: {error}") from error
    for episode, mark in marks.items():
        if not table.has(episode, mark):
            raise ValueError(
                f"{path}, episode {episode}: {table.repo_id} has another episode of this number, or none, "
                "since the file was written; delete the file, or predict again"
            )


def _load_into(
    rewards: np.ndarray,
    path: Path,
    table: EpisodeTable,
    layout: tuple[str, str, str, str],
    named: int | None = None,
) -> None:
    """Check the rows of a file against the dataset and put their rewards in their places.

    Args:
        rewards: float32 ``(N,)`` to put them into.
        layout: Names of index, episode, frame and reward. Episode and frame may be missing in a file that is
            named for its episode.
        named: That episode.
    """
    index_name, episode_name, frame_name, reward_name = layout
    needed, others = [index_name, reward_name], [episode_name, frame_name]
    content = read_parquet(path, *((needed + others, []) if named is None else (needed, others)))
    for name, column in content.items():
        kind, what = (np.number, "numbers") if name == reward_name else (np.integer, "integers")
        if not len(column):  # pandas gives columns without rows any type
            content[name] = column.astype(np.float32 if name == reward_name else np.int64)
        elif not np.issubdtype(column.dtype, kind):
            got = f"{column[0]!r} of {column.dtype}"
            raise ValueError(f"{path}: the column {name!r} must hold {what}, got {got}")
    index, values = content[index_name], content[reward_name].astype(np.float64)
    episode = content.get(episode_name, np.full(len(index), named))
    if named is not None and len(other := np.unique(episode[episode != named])):
        raise ValueError(f"{path} is named for episode {named}, but it has labels of episode {other[0]}")
    row = np.minimum(np.searchsorted(table.episodes, episode), len(table.episodes) - 1)
    start, length = table.starts[row], table.lengths[row]
    frame = content.get(frame_name, index - start)
    place = start + np.clip(frame, 0, length - 1)
    count, found = np.bincount(place, minlength=table.n_frames), np.bincount(row, minlength=len(table.starts))
    # A little outside [0, 1] is rounding of the model that wrote it; NaN is a frame that it failed at.
    is_outside = (values < -1e-6) | (values > 1 + 1e-6)
    checks = {
        "{repo_id} has no such episode": table.episodes[row] != episode,
        "frame {frame} lies outside the episode, which has {length} frames": (frame < 0) | (frame >= length),
        "frame {frame} has index {index}; this file is for another dataset": start + frame != index,
        "{name} of frame {frame} must be in [0, 1], got {value:g}": is_outside,
        "frame index {index} twice": count[place] > 1,
        "{found} of its {length} frames have labels": found[row] < length,
        "another file has labels for it too": ~np.isnan(rewards[place]),
    }
    columns = {"frame": frame, "length": length, "index": index, "value": values, "found": found[row]}
    for what, is_bad in checks.items():
        if is_bad.any():
            at = int(np.argmax(is_bad))
            of_row = {name: column[at] for name, column in columns.items()}
            what = what.format(repo_id=table.repo_id, name=reward_name, **of_row)
            raise ValueError(f"{path}, episode {episode[at]}: {what}")
    rewards[place] = np.clip(values, 0.0, 1.0)
