# SPDX-License-Identifier: MIT
"""Working through many episodes of a dataset: resumable, and shared out over processes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from tqdm import tqdm

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels.episodes import EpisodeTable
from rewact.labels.opening import opening
from rewact.options.tools import require_writable
from rewact.values.batches import EpisodeBatches, load_batches
from rewact.values.checkpoint import held_out_episodes
from rewact.values.feature_cache import FeatureCache
from rewact.values.prediction import Prediction
from rewact.values.predictor import RewardPredictor
from rewact.values.processes import together
from rewact.values.store import REWARDS, open_store

if TYPE_CHECKING:
    from lerobot.configs.default import DatasetConfig
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from rewact.options.tools import PredictionOptions

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

    def load(episodes: Sequence[int]) -> LeRobotDataset:
        with opening(cfg):
            return LeRobotDataset(
                cfg.repo_id,
                root=cfg.root,
                episodes=sorted(episodes),
                revision=cfg.revision,
                video_backend=cfg.video_backend,
                tolerance_s=tolerance_s,
            )

    return load


def share_episodes(
    cache: FeatureCache,
    rows: np.ndarray,
    load: EpisodeLoader,
    compute: Callable[[int, int, dict[str, Any]], dict[str, np.ndarray]],
    cameras: list[str],
    batch_size: int,
    num_workers: int = 0,
    progress: str | None = None,
) -> None:
    """Compute what a cache lacks of some episodes; each process of ``accelerate launch`` has its share.

    Args:
        cache: Takes an episode as soon as it is whole.
        rows: Rows of its episode table.
        load: Loads episodes of the dataset.
        compute: From episode, number of the first frame and batch to a row of each stream for each frame.
        cameras: Those that are read.
        batch_size: Frames per forward pass.
        num_workers: Processes that decode, 0 for a thread.
        progress: What the bar of the main process says, None for no bar.

    Raises:
        ValueError: naming the cache's folder, if something is missing there and cannot be written.
        ChildProcessError: if another process has failed.
    """
    state, table = PartialState(), cache.table
    with together():  # before any of them finishes an episode: they have to divide the same list
        missing = cache.missing(rows)
        if len(missing):
            require_writable(cache.option, cache.folder)
        mine = table.episodes[missing[state.process_index :: state.num_processes]].tolist()
    with together():
        if not mine:
            return
        batches = EpisodeBatches(load(mine), mine, batch_size, cameras)
        started: dict[int, list[dict[str, np.ndarray]]] = {}  # workers take turns
        total, is_hidden = sum(map(table.length, mine)), progress is None or not state.is_main_process
        with tqdm(total=total, desc=progress, unit="frame", disable=is_hidden) as bar:
            for episode, first, batch in load_batches(batches, num_workers):
                part = compute(episode, first, batch)
                started.setdefault(episode, []).append(part)
                n_frames = len(next(iter(part.values())))
                if first + n_frames == table.length(episode):
                    parts = started.pop(episode)
                    whole = {key: np.concatenate([each[key] for each in parts]) for key in part}
                    cache.write(table.row(episode), whole)
                bar.update(n_frames)


def predict_episodes(
    load: EpisodeLoader,
    predictor: RewardPredictor,
    store: FeatureCache,
    episodes: Sequence[int],
    batch_size: int,
    num_workers: int = 0,
    show_progress: bool = True,
) -> dict[int, Prediction]:
    """Predict the rewards of some episodes, or read them where an earlier run has stored them.

    For most arguments see `share_episodes`. All processes return the whole.

    Args:
        store: Of `open_store`.

    Raises:
        ValueError: naming episode and frame, if a prediction is not finite.
    """

    def predict(episode: int, first: int, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        values = predictor(batch).as_array()
        broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(broken):
            at = int(broken[0])
            unknown = [name for name in predictor.inputs if not torch.isfinite(batch[name][at]).all()]
            missing = unknown and f"the dataset has no number for {unknown[0]} there"
            raise ValueError(
                f"{predictor.config.pretrained_path} predicts {values[at, 0]} for episode {episode}, frame "
                f"{first + at}: {missing or 'its training has diverged'}"
            )
        return {REWARDS: values}

    rows = np.array([store.table.row(episode) for episode in episodes], dtype=np.int64)
    progress = "Predicting rewards" if show_progress else None
    share_episodes(store, rows, load, predict, predictor.cameras, batch_size, num_workers, progress)
    read = (Prediction(*store.read(row)[REWARDS].T) for row in rows)
    return dict(zip(episodes, read, strict=True))


def predict_policy(
    cfg: "PredictionOptions", policy: "PreTrainedConfig", meta: "LeRobotDatasetMetadata", episodes: list[int]
) -> dict[int, Prediction]:
    """Predict some episodes of the dataset of a tool, by a checkpoint or from the store, in all processes."""
    with together():
        predictor = RewardPredictor(policy, meta, cfg.rename_map)
        store = open_store(predictor, meta, cfg.values_dir)
    load = episode_loader(cfg.dataset, cfg.tolerance_s)
    return predict_episodes(load, predictor, store, episodes, cfg.batch_size, cfg.num_workers)
