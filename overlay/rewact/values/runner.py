# SPDX-License-Identifier: MIT
"""Predicting the rewards of many episodes: resumable, and shared out over processes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from accelerate import PartialState
from tqdm import tqdm

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels.episodes import EpisodeTable
from rewact.values.batches import EpisodeBatches, load_batches
from rewact.values.checkpoint import held_out_episodes
from rewact.values.prediction import Prediction
from rewact.values.predictor import RewardPredictor
from rewact.values.processes import together
from rewact.values.store import ValueStore

if TYPE_CHECKING:
    from lerobot.configs.default import DatasetConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

EpisodeLoader = Callable[[Sequence[int]], LeRobotDataset]


def choose_episodes(cfg: "DatasetConfig", meta: "LeRobotDatasetMetadata") -> list[int]:
    """Episodes that a tool works on: of ``episodes``, or of all, those that ``eval_split`` holds out if set.

    Raises:
        ValueError: if the dataset lacks one of ``episodes``.
    """
    table = EpisodeTable.from_metadata(meta)
    for episode in cfg.episodes or []:
        table.row(episode)
    chosen = table.episodes.tolist() if cfg.episodes is None else list(cfg.episodes)
    eval_split = getattr(cfg, "eval_split", 0.0)
    return held_out_episodes(table, chosen, eval_split) if eval_split else chosen


def episode_loader(cfg: "DatasetConfig", tolerance_s: float) -> EpisodeLoader:
    """A function that loads the data of some episodes.

    Args:
        cfg: The dataset.
        tolerance_s: Seconds that the timestamp of a frame and its picture in the video may lie apart.
    """
    return partial(_load_episodes, cfg, tolerance_s)


def _load_episodes(cfg: "DatasetConfig", tolerance_s: float, episodes: Sequence[int]) -> LeRobotDataset:
    return LeRobotDataset(
        cfg.repo_id,
        root=cfg.root,
        episodes=sorted(episodes),
        revision=cfg.revision,
        video_backend=cfg.video_backend,
        tolerance_s=tolerance_s,
    )


def predict_episodes(
    load: EpisodeLoader,
    table: EpisodeTable,
    predictor: RewardPredictor,
    store: ValueStore,
    episodes: Sequence[int],
    batch_size: int,
    num_workers: int = 0,
    show_progress: bool = True,
) -> dict[int, Prediction]:
    """Predict the rewards of some episodes, or read them where an earlier run has stored them.

    Under ``accelerate launch`` every process predicts its share, and all return the whole.

    Args:
        load: Loads episodes of the dataset.
        table: Its episodes.
        predictor: The policy.
        store: Where the predictions of each episode are stored as soon as they are there.
        episodes: Episodes to predict.
        batch_size: Frames per forward pass.
        num_workers: Processes that decode, 0 for none.
        show_progress: Whether the main process shows a bar.

    Returns:
        The predictions by episode.

    Raises:
        ValueError: naming episode and frame, if a prediction is not finite.
        ChildProcessError: if another process has failed.
    """
    state = PartialState()
    with together():
        missing = store.missing(episodes)
    with together():
        if mine := missing[state.process_index :: state.num_processes]:
            batches = EpisodeBatches(load(mine), mine, batch_size, predictor.cameras)
            is_shown = show_progress and state.is_main_process
            _predict(predictor, batches, table, store, num_workers, is_shown)
    return {episode: store.load(episode) for episode in episodes}


def _predict(
    predictor: RewardPredictor,
    batches: EpisodeBatches,
    table: EpisodeTable,
    store: ValueStore,
    num_workers: int,
    show_progress: bool,
) -> None:
    """Predict the rewards of some episodes, and store those of each as it is finished."""
    lengths = {episode: int(table.lengths[table.row(episode)]) for episode in batches.episodes}
    started: dict[int, list[np.ndarray]] = {}  # workers take turns, so several episodes are under way
    total = sum(lengths.values())
    with tqdm(total=total, desc="Predicting rewards", unit="frame", disable=not show_progress) as bar:
        for episode, first, batch in load_batches(batches, num_workers):
            values = predictor(batch).as_array()
            broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(broken):
                raise ValueError(
                    f"{predictor.config.pretrained_path} predicts {values[broken[0], 0]} for episode "
                    f"{episode}, frame {first + broken[0]}: its training has diverged"
                )
            started.setdefault(episode, []).append(values)
            if first + len(values) == lengths[episode]:
                store.save(episode, Prediction.from_array(np.concatenate(started.pop(episode))))
            bar.update(len(values))
