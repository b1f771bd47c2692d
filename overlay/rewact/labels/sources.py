# SPDX-License-Identifier: MIT
"""The sources of reward labels, one function each.

A source takes the dataset's episodes, the configuration and the outcomes, reads its files, and returns a
function from rows of the episode table to the labels of these episodes (float32, one after the other,
anything in episodes it has none for) and to whether it has labels for each of them (bool).
"""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rewact.labels.columns import read_frame_column
from rewact.labels.control import read_interventions
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import EXTENSIONS_DIR, existing_files
from rewact.labels.interpolation import interpolate_keypoints, linear_rewards
from rewact.labels.keypoints import KEYPOINTS_FILE, load_keypoints, refuse_failure_that_reaches_1
from rewact.labels.outcomes import FAILURE
from rewact.labels.progress import load_progress, progress_paths, read_progress
from rewact.labels.returns import compute_returns
from rewact.options.labels import RewardLabelsConfig

VALUES_FILE = f"{EXTENSIONS_DIR}/values_progress.parquet"

Labeller = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def keypoints_path(config: RewardLabelsConfig, root: Path) -> Path:
    """The keypoints file of a dataset, there or not.

    Raises:
        ValueError: if the configuration names a file that does not exist.
    """
    found = existing_files("reward.keypoints_path", config.keypoints_path, root, (KEYPOINTS_FILE,))
    return found[0] if found else root / KEYPOINTS_FILE


def keypoints_source(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> Labeller:
    path = keypoints_path(config, table.root)
    keypoints = load_keypoints(path, table) if path.exists() else {}
    for episode in table.episodes[outcomes == FAILURE].tolist():
        refuse_failure_that_reaches_1(keypoints.get(episode, {}), f"{path}, episode {episode}")

    def label(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        curves = []
        for episode, length in zip(table.episodes[rows].tolist(), table.lengths[rows].tolist(), strict=True):
            points = keypoints.get(episode)
            if points is None:
                curves.append(np.zeros(length, dtype=np.float32))
                continue
            frames, rewards = np.array(list(points)), np.array(list(points.values()))
            curves.append(interpolate_keypoints(frames, rewards, length, config.interpolation))
        return np.concatenate(curves), np.isin(table.episodes[rows], list(keypoints))

    return label


def parquet_source(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> Labeller:
    rewards = read_progress(table, config)
    covered = table.any(~np.isnan(rewards))  # single frames may be without
    return lambda rows: (rewards[table.frames(rows)], covered[rows])


def returns_source(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> Labeller:
    """One more than the return to go, see :func:`.returns.compute_returns`, so that it lies in [0, 1]."""
    interventions = read_interventions(table, config, is_needed=False)
    returns = compute_returns(table, outcomes, config.c_fail, config.failure_return, interventions)
    labels = (1.0 + returns.values).astype(np.float32)
    return lambda rows: (labels[table.frames(rows)], returns.is_terminal[rows])


def column_source(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> Labeller:
    name = config.column
    if name not in table.columns:
        raise ValueError(
            f"reward.column: {table.repo_id} has no column {name!r} ({', '.join(table.columns)})"
        )
    rewards = read_frame_column(table, name, missing=np.nan)
    if rewards is None:
        raise ValueError(f"reward.column: none of the data of {table.repo_id} is in {table.root}")
    # NaN: not recorded, or the data is not on this machine.
    outside = np.flatnonzero((rewards < 0) | (rewards > 1))
    if len(outside):
        episode = table.episodes[np.searchsorted(table.ends, outside[0], side="right")]
        raise ValueError(
            f"{table.repo_id}, episode {episode}: {name} must be in [0, 1] to serve as reward labels, got "
            f"{rewards[outside[0]]:g}"
        )
    covered = table.any(~np.isnan(rewards))
    return lambda rows: (rewards[table.frames(rows)].astype(np.float32), covered[rows])


def linear_source(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> Labeller:
    ceilings = np.where(outcomes == FAILURE, config.failure_ceiling, 1.0)

    def label(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        curves = linear_rewards(table.lengths[rows], config.start_pct, config.end_pct, ceilings[rows])
        return curves, np.ones(len(rows), dtype=bool)

    return label


def values_source(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> Labeller:
    """The cross-fitted values that `lerobot-train-values` has left in the dataset's folder."""
    path = table.root / VALUES_FILE
    if not path.is_file():
        raise ValueError(
            f"reward.sources: {path} is missing; make it with lerobot-train-values, or leave out 'values'"
        )
    rewards = load_progress(path, table)
    covered = ~table.any(np.isnan(rewards))
    return lambda rows: (rewards[table.frames(rows)], covered[rows])


SOURCES: dict[str, Callable[[EpisodeTable, RewardLabelsConfig, np.ndarray], Labeller]] = {
    "keypoints": keypoints_source,
    "parquet": parquet_source,
    "returns": returns_source,
    "column": column_source,
    "values": values_source,
    "linear": linear_source,
}


def label_rows(
    table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, list[str | None]]:
    """Labels of some episodes, each from the first source that has some.

    Args:
        table: The dataset's episodes.
        config: The sources and their settings.
        outcomes: int8 ``(E,)``, see :func:`.outcomes.read_outcomes`.
        rows: Rows of the table, int64.

    Returns:
        float32 labels of all frames of these rows, one episode after the other, NaN in episodes without any;
        and the source of each, None without.

    Raises:
        ValueError: naming file, episode and value, if a label file is broken or is not for this dataset.
    """
    lengths = table.lengths[rows]
    labels = np.full(int(lengths.sum()), np.nan, dtype=np.float32)
    sources = np.full(len(rows), None, dtype=object)
    for name in config.sources:
        curves, has_labels = SOURCES[name](table, config, outcomes)(rows)
        new = has_labels & (sources == None)  # noqa: E711 - elementwise
        frames = np.repeat(new, lengths)
        labels[frames] = curves[frames]
        sources[new] = name
    return labels, sources.tolist()


def hint_at_unused_files(table: EpisodeTable, config: RewardLabelsConfig) -> None:
    """Mention label files that lie there without being used."""
    if "parquet" not in config.sources and (unused := progress_paths(table.root)):
        logging.info(
            "Not used, as 'parquet' is not in --dataset.reward.sources: %s", ", ".join(map(str, unused))
        )
