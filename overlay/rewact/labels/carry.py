# SPDX-License-Identifier: MIT
"""Labels that go along when LeRobot's dataset tools make one dataset out of others."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import ADVANTAGES_FILE
from rewact.labels.label_file import LabelSet, load_labels, save_labels
from rewact.labels.progress import load_progress, progress_columns, progress_paths, save_progress
from rewact.options.errors import one_line

logger = logging.getLogger(__name__)


def carry_made(function: str, arguments: dict[str, Any], result: Any) -> None:
    """Carry labels along after a function of ``lerobot.datasets.dataset_tools`` has run.

    What could not be carried is said as a warning: the dataset itself is made, and whole.

    Args:
        function: Its name.
        arguments: What it was called with, by name.
        result: What it returned.
    """
    for made, sources in _made(function, arguments, result):
        try:
            carry_labels(made, sources)
        except (ValueError, OSError) as error:
            logger.warning("The labels could not be carried to %s: %s", made.root, one_line(error))


def _made(
    function: str, arguments: dict[str, Any], result: Any
) -> list[tuple[Any, list[tuple[Any, list[int]]]]]:
    """Each dataset that was made, with the episodes of the datasets that it was made of, in order."""
    if function == "merge_datasets":
        return [(result, [(dataset, _episodes(dataset)) for dataset in arguments["datasets"]])]
    dataset = arguments["dataset"]
    if function == "split_dataset":
        from lerobot.datasets.dataset_tools import _fractions_to_episode_indices

        splits = arguments["splits"]
        if all(isinstance(part, float) for part in splits.values()):
            splits = _fractions_to_episode_indices(dataset.meta.total_episodes, splits)
        return [(made, [(dataset, sorted(splits[name]))]) for name, made in result.items()]
    kept = arguments.get("episode_indices") or _episodes(dataset)
    if function == "delete_episodes":
        kept = [episode for episode in _episodes(dataset) if episode not in arguments["episode_indices"]]
    return [(result, [(dataset, list(kept))])]


def _episodes(dataset: Any) -> list[int]:
    return [int(episode) for episode in dataset.meta.episodes["episode_index"][:]]


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
    # An edit in place first moves the dataset away, and its metadata still names the old folder.
    tables = [replace(EpisodeTable.from_metadata(of.meta), root=Path(of.root)) for of, _ in sources]
    origins = [(table, episode) for table, (_, kept) in zip(tables, sources, strict=True) for episode in kept]
    if [table.length(episode) for table, episode in origins] != target.lengths.tolist():
        raise ValueError(f"the {len(origins)} episodes that {made.root} was made of are not those it has")
    numbers = iter(target.episodes.tolist())

    labels, progress = LabelSet(), defaultdict(dict)
    for table, (_, kept) in zip(tables, sources, strict=True):
        new = {episode: next(numbers) for episode in kept}
        labels = labels.updated(load_labels(table, with_foreign=True).renumbered(new))
        for path in progress_paths(table.root):
            name = path.name if path.suffix else f"{path.name}_progress.parquet"
            for column in progress_columns(path):
                values = load_progress(path, table, column)
                rewards = progress[name].setdefault(column, target.unknown_frames())
                for old, number in new.items():
                    rewards[target.frames_of(number)] = values[table.frames_of(old)]
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
