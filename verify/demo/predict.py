# SPDX-License-Identifier: MIT
"""Lets a trained policy predict the reward of every frame of recorded episodes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.cli.common import load_policy_config
from rewact.options.tools import PolicyOptions
from rewact.values.batches import EpisodeBatches, load_batches
from rewact.values.predictor import RewardPredictor
from verify.demo.record import CAMERA_KEY, REPO_ID, VIDEO_BACKEND, load_truth
from verify.demo.report import Prediction

BATCH_SIZE = 32


def predict_episodes(policy_dir: Path, dataset_root: Path, episodes: Sequence[int]) -> list[Prediction]:
    """Predicts the rewards of episodes of a dataset, and puts the simulator's progress beside them.

    Args:
        policy_dir: a checkpoint's `pretrained_model` folder.
        dataset_root: a dataset made by `record_dataset`.
        episodes: their ids.
    """
    dataset = LeRobotDataset(REPO_ID, root=dataset_root, episodes=list(episodes), video_backend=VIDEO_BACKEND)
    predictor = RewardPredictor(load_policy_config(PolicyOptions(str(policy_dir))), dataset.meta)
    images: dict[int, list[np.ndarray]] = {episode: [] for episode in episodes}
    rewards: dict[int, list[np.ndarray]] = {episode: [] for episode in episodes}
    for episode, _, batch in load_batches(EpisodeBatches(dataset, list(episodes), BATCH_SIZE), num_workers=0):
        images[episode].append((batch[CAMERA_KEY] * 255).round().byte().permute(0, 2, 3, 1).numpy())
        rewards[episode].append(predictor(batch).reward)
    truth = load_truth(dataset_root)
    return [
        Prediction(
            episode=episode,
            outcome=truth[episode].outcome,
            images=np.concatenate(images[episode]),
            true=truth[episode].progress,
            predicted=np.concatenate(rewards[episode]),
        )
        for episode in episodes
    ]
