# SPDX-License-Identifier: MIT
"""Labels that go along when LeRobot's dataset tools make one dataset out of others."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rewact.labels.columns import parquet_columns
from rewact.labels.control import control_mode_paths, load_control_modes
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import ADVANTAGES_FILE
from rewact.labels.label_file import LabelSet, load_labels, save_labels
from rewact.labels.outcomes import load_outcomes, outcome_paths
from rewact.labels.progress import PROGRESS_COLUMNS, load_progress, progress_paths, save_progress
from rewact.options.labels import RewardLabelsConfig

logger = logging.getLogger(__name__)

# Of each dataset that was made: the dataset, and the episodes of the datasets that it was made of, in order.
Made = list[tuple[Any, list[tuple[Any, list[int]]]]]


def carry_made(function: str, arguments: dict[str, Any], result: Any) -> None:
    """Carry labels along after a function of ``lerobot.datasets.dataset_tools`` has run.

    What could not be carried is said as a warning: the dataset itself is made, and whole.

    Args:
        function: Its name.
        arguments: What it was called with, by name.
        result: What it returned.
    """
    for made, sources in MADE[function](arguments, result):
        try:
            carry_labels(made, sources)
        except (ValueError, OSError) as error:
            logger.warning("The labels could not be carried to %s: %s", made.root, error)


def carry_labels(made: Any, sources: Sequence[tuple[Any, Sequence[int]]]) -> None:
    """Write the labels of some episodes beside the dataset that was made of them.

    Keypoints, outcomes, control modes and progress files go along. Advantages do not: they are computed.

    Args:
        made: A dataset.
        sources: Datasets and which of their episodes it was made of, all in its order.

    Raises:
        ValueError: naming file and episode, if a label file of a source is broken, or episodes do not fit.
        OSError: naming the file, if one cannot be written.
    """
    target = EpisodeTable.from_metadata(made.meta)
    tables = [_table(dataset) for dataset, _ in sources]
    origins = [(table, episode) for table, (_, kept) in zip(tables, sources, strict=True) for episode in kept]
    lengths = [table.length(episode, table.repo_id) for table, episode in origins]
    if lengths != target.lengths.tolist():
        raise ValueError(f"the {len(origins)} episodes that {made.root} was made of are not those it has")
    numbers = iter(target.episodes.tolist())

    labels, progress = LabelSet(), defaultdict(dict)
    for table, (_, kept) in zip(tables, sources, strict=True):
        new = {episode: next(numbers) for episode in kept}
        labels = labels.updated(_renumbered(_all_labels(table), new))
        for path in progress_paths(table.root):
            for column in ["progress_sparse"] if path.is_dir() else parquet_columns(path, PROGRESS_COLUMNS):
                values = load_progress(path, table, column)
                name = path.name if path.suffix else f"{path.name}_progress.parquet"
                rewards = progress[name].setdefault(column, np.full(target.n_frames, np.nan, np.float32))
                for old, number in new.items():
                    row, to = table.row(old), target.row(number)
                    frames = values[table.starts[row] : table.ends[row]]
                    rewards[target.starts[to] : target.ends[to]] = frames
        if (table.root / ADVANTAGES_FILE).exists():
            logger.warning(
                "The advantages of %s are not carried to %s: compute them there with "
                "lerobot-compute-advantages",
                table.repo_id,
                target.root,
            )
    save_labels(target, labels, LabelSet())
    for name, columns in progress.items():
        save_progress(target.root / name, target, columns)
    if episodes := labels.episodes():
        logger.info("Carried the labels of %d episodes to %s", len(episodes), target.root)


def _table(dataset: Any) -> EpisodeTable:
    # An edit in place first moves the dataset away, and its metadata still names the old folder.
    return replace(EpisodeTable.from_metadata(dataset.meta), root=Path(dataset.root))


def _all_labels(table: EpisodeTable) -> LabelSet:
    """Labels of a dataset, those of other tools included."""
    config, labels = RewardLabelsConfig(), load_labels(table)
    for path in outcome_paths(config, table.root):
        labels.outcomes = load_outcomes(path, table) | labels.outcomes
    for path in control_mode_paths(config, table.root):
        labels.control_modes = load_control_modes(path, table) | labels.control_modes
    return labels


def _renumbered(labels: LabelSet, new: dict[int, int]) -> LabelSet:
    return LabelSet(
        *(
            {new[episode]: value for episode, value in part.items() if episode in new}
            for part in (labels.keypoints, labels.outcomes, labels.control_modes)
        )
    )


def _episodes(dataset: Any) -> list[int]:
    return [int(episode) for episode in dataset.meta.episodes["episode_index"][:]]


def _deleted(arguments: dict[str, Any], result: Any) -> Made:
    dataset = arguments["dataset"]
    kept = [episode for episode in _episodes(dataset) if episode not in arguments["episode_indices"]]
    return [(result, [(dataset, kept)])]


def _split(arguments: dict[str, Any], result: Any) -> Made:
    from lerobot.datasets.dataset_tools import _fractions_to_episode_indices

    dataset, splits = arguments["dataset"], arguments["splits"]
    if all(isinstance(part, float) for part in splits.values()):
        splits = _fractions_to_episode_indices(dataset.meta.total_episodes, splits)
    return [(made, [(dataset, sorted(splits[name]))]) for name, made in result.items()]


def _merged(arguments: dict[str, Any], result: Any) -> Made:
    return [(result, [(dataset, _episodes(dataset)) for dataset in arguments["datasets"]])]


def _copied(arguments: dict[str, Any], result: Any) -> Made:
    dataset = arguments["dataset"]
    return [(result, [(dataset, list(arguments.get("episode_indices") or _episodes(dataset)))])]


MADE: dict[str, Callable[[dict[str, Any], Any], Made]] = {
    "delete_episodes": _deleted,
    "split_dataset": _split,
    "merge_datasets": _merged,
    "modify_features": _copied,
    "convert_image_to_video_dataset": _copied,
}
