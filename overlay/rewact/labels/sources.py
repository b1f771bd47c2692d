# SPDX-License-Identifier: MIT
"""The sources of reward labels, one function each.

A source reads its files and returns float32 ``(N,)`` by absolute frame index, NaN where it has no label. Of
rows of the episode table that are not asked for it may return anything.
"""

import logging
from collections.abc import Callable, Mapping

import numpy as np

from rewact.labels.columns import read_frame_column
from rewact.labels.control import read_interventions
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import EXTENSIONS_DIR
from rewact.labels.interpolation import interpolate_keypoints, linear_rewards
from rewact.labels.keypoints import keypoints_path, read_keypoints, refuse_failure_that_reaches_1
from rewact.labels.outcomes import FAILURE
from rewact.labels.progress import load_progress, progress_paths, read_progress
from rewact.labels.returns import compute_returns
from rewact.options.labels import RewardLabelsConfig

VALUES_FILE = f"{EXTENSIONS_DIR}/values_progress.parquet"


def keypoint_labels(
    table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    path, keypoints = keypoints_path(config, table.root), read_keypoints(table, config)
    for episode in table.episodes[outcomes == FAILURE].tolist():
        refuse_failure_that_reaches_1(keypoints.get(episode, {}), f"{path}, episode {episode}")
    labels = table.unknown_frames()
    for episode in table.episodes[rows].tolist():
        if points := keypoints.get(episode):
            given = list(points), list(points.values()), table.length(episode), config.interpolation
            labels[table.frames_of(episode)] = interpolate_keypoints(*given)
    return labels


def return_labels(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> np.ndarray:
    """One more than the return to go, see :func:`.returns.compute_returns`, so that it lies in [0, 1]."""
    interventions = read_interventions(table, config, is_needed=False)
    returns = compute_returns(table, outcomes, config.c_fail, config.failure_return, interventions)
    labels = (1.0 + returns.values).astype(np.float32)
    labels[table.frames(np.flatnonzero(~returns.is_terminal))] = np.nan
    return labels


def column_labels(table: EpisodeTable, name: str) -> np.ndarray:
    if name not in table.columns:
        raise ValueError(
            f"reward.column: {table.repo_id} has no column {name!r} ({', '.join(table.columns)})"
        )
    labels = read_frame_column(table, name)
    # NaN: not recorded, or the data is not on this machine.
    outside = np.flatnonzero((labels < 0) | (labels > 1))
    if len(outside):
        episode = table.episodes[np.searchsorted(table.ends, outside[0], side="right")]
        raise ValueError(
            f"{table.repo_id}, episode {episode}: {name} must be in [0, 1] to serve as reward labels, got "
            f"{labels[outside[0]]:g}"
        )
    return labels.astype(np.float32)


def value_labels(table: EpisodeTable) -> np.ndarray:
    """The cross-fitted values that `lerobot-train-values` has left in the dataset's folder."""
    path = table.root / VALUES_FILE
    if not path.is_file():
        raise ValueError(
            f"reward.sources: {path} is missing; make it with lerobot-train-values, or leave out 'values'"
        )
    labels = load_progress(path, table)
    labels[table.frames(np.flatnonzero(table.any(np.isnan(labels))))] = np.nan
    return labels


def linear_labels(
    table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    ceilings = np.where(outcomes[rows] == FAILURE, config.failure_ceiling, 1.0)
    labels = table.unknown_frames()
    labels[table.frames(rows)] = linear_rewards(
        table.lengths[rows], config.start_pct, config.end_pct, ceilings
    )
    return labels


Source = Callable[[EpisodeTable, RewardLabelsConfig, np.ndarray, np.ndarray], np.ndarray]
SOURCES: dict[str, Source] = {
    "keypoints": keypoint_labels,
    "parquet": lambda table, config, *_: read_progress(table, config),
    "returns": lambda table, config, outcomes, _: return_labels(table, config, outcomes),
    "column": lambda table, config, *_: column_labels(table, config.column),
    "values": lambda table, *_: value_labels(table),
    "linear": linear_labels,
}


def label_rows(
    table: EpisodeTable,
    config: RewardLabelsConfig,
    outcomes: np.ndarray,
    rows: np.ndarray,
    known: Mapping[str, Source] = SOURCES,
    on_error: Callable[[ValueError], None] | None = None,
) -> tuple[np.ndarray, list[str | None]]:
    """Labels of some episodes, each from the first source that has some.

    Args:
        outcomes: int8 ``(E,)``, see :func:`.outcomes.read_outcomes`.
        rows: Rows of the table, int64.
        known: The source of each name.
        on_error: Is told of broken label files, whose source then has no labels.

    Returns:
        float32 labels of all frames of these rows, one episode after the other, NaN in episodes without any;
        and the source of each, None without.

    Raises:
        ValueError: naming file, episode and value, if a label file is broken or is not for this dataset,
            and nobody is told.
    """
    frames, labels = table.frames(rows), table.unknown_frames()
    sources = np.full(len(rows), None, dtype=object)
    for name in config.sources:
        try:
            found = known[name](table, config, outcomes, rows)
        except ValueError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        is_new = table.any(~np.isnan(found))[rows] & (sources == None)  # noqa: E711 - elementwise
        new = table.frames(rows[is_new])
        labels[new] = found[new]
        sources[is_new] = name
    return labels[frames], sources.tolist()


def hint_at_unused_files(table: EpisodeTable, config: RewardLabelsConfig) -> None:
    """Mention label files that lie there without being used."""
    if "parquet" not in config.sources and (unused := progress_paths(table.root)):
        logging.info(
            "Not used, as 'parquet' is not in --dataset.reward.sources: %s", ", ".join(map(str, unused))
        )
