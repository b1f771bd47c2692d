# SPDX-License-Identifier: MIT
"""Predicting the rewards of many episodes: resumable, and shared out over processes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from accelerate import PartialState
from torch.utils.data import DataLoader
from tqdm import tqdm

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.cli.processes import together
from rewact.labels.episodes import EpisodeTable
from rewact.values.batches import EpisodeBatches
from rewact.values.prediction import Prediction
from rewact.values.predictor import RewardPredictor, held_out_episodes
from rewact.values.value_pass import ValueStore

if TYPE_CHECKING:
    from lerobot.configs.default import DatasetConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata


def choose_episodes(cfg: "DatasetConfig", meta: "LeRobotDatasetMetadata") -> list[int]:
    """Episodes that a tool works on: of ``episodes``, or of all, those that ``eval_split`` holds out if set.

    Raises:
        ValueError: if the dataset lacks one of ``episodes``.
    """
    table = EpisodeTable.from_metadata(meta)
    for episode in cfg.episodes or []:
        table.row(episode)
    eval_split = getattr(cfg, "eval_split", 0.0)
    if eval_split:
        return held_out_episodes(meta, cfg.episodes, eval_split)
    return table.episodes.tolist() if cfg.episodes is None else list(cfg.episodes)


EpisodeLoader = Callable[[Sequence[int]], LeRobotDataset]


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


def value_store(
    folder: Path, table: EpisodeTable, predictor: RewardPredictor, is_main_process: bool
) -> ValueStore:
    """Where the predictions of a policy are stored; those of another checkpoint are thrown away."""
    source = {
        "checkpoint": predictor.fingerprint(),
        "dataset": table.repo_id,
        "lengths": table.lengths.tolist(),
        "rename_map": predictor.rename_map,
    }
    return ValueStore(folder, source, is_main_process)


def predict_episodes(
    load: EpisodeLoader,
    table: EpisodeTable,
    predictor: RewardPredictor,
    folder: Path,
    episodes: Sequence[int],
    batch_size: int,
    num_workers: int = 0,
) -> dict[int, Prediction]:
    """Predict the rewards of some episodes, or read them where an earlier run has stored them.

    Each video frame is decoded once. Under ``accelerate launch`` every process predicts its share, and all
    return the whole.

    Args:
        load: Loads episodes of the dataset.
        table: Its episodes.
        predictor: The policy.
        folder: Where the predictions of each episode are stored as soon as they are there.
        episodes: Episodes to predict.
        batch_size: Frames per forward pass.
        num_workers: Processes that decode, 0 for none.

    Returns:
        The predictions by episode.

    Raises:
        ValueError: naming episode and frame, if a prediction is not finite.
        ChildProcessError: if another process has failed.
    """
    state = PartialState()
    with together():  # the main process may empty the folder
        store = value_store(folder, table, predictor, state.is_main_process)
    mine = store.missing(episodes[state.process_index :: state.num_processes])
    with together():
        if mine:
            batches = EpisodeBatches(load(mine), mine, batch_size, predictor.cameras)
            lengths = {episode: table.length(episode, table.repo_id) for episode in mine}
            _predict(predictor, batches, lengths, store, num_workers, state.is_main_process)
    return {episode: Prediction.from_array(store.load(episode)) for episode in episodes}


def _predict(
    predictor: RewardPredictor,
    batches: EpisodeBatches,
    lengths: dict[int, int],
    store: ValueStore,
    num_workers: int,
    show_progress: bool,
) -> None:
    """Predict the rewards of some episodes, and store those of each as it is finished."""
    loader = DataLoader(
        batches,
        batch_size=None,
        num_workers=min(num_workers, len(lengths)),
        multiprocessing_context="spawn" if num_workers else None,
    )
    started: dict[int, list[np.ndarray]] = {}  # workers take turns, so several episodes are under way
    total = sum(lengths.values())
    with tqdm(total=total, desc="Predicting rewards", unit="frame", disable=not show_progress) as bar:
        for episode, first, batch in loader:
            values = predictor(batch).as_array()
            broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(broken):
                raise ValueError(
                    f"{predictor.config.pretrained_path} predicts {values[broken[0], 0]} for episode "
                    f"{episode}, frame {first + broken[0]}: its training has diverged"
                )
            started.setdefault(episode, []).append(values)
            if first + len(values) == lengths[episode]:
                store.save(episode, np.concatenate(started.pop(episode)))
            bar.update(len(values))
