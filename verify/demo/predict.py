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
    """Predicts each frame's reward from that frame alone, and puts the simulator's progress beside it.

    Args:
        policy_dir: a checkpoint's `pretrained_model` folder.
        dataset_root: a dataset made by `record_dataset`.
        episodes: episodes to predict, in ascending order.

    Returns:
        One prediction per episode, in the same order.
    """
    dataset = LeRobotDataset(REPO_ID, root=dataset_root, episodes=list(episodes), video_backend=VIDEO_BACKEND)
    predictor = RewardPredictor(load_policy_config(PolicyOptions(str(policy_dir))), dataset.meta)
    episode_of_frame, images, rewards = [], [], []
    for episode, _, batch in load_batches(EpisodeBatches(dataset, list(episodes), BATCH_SIZE), num_workers=0):
        images.append((batch[CAMERA_KEY] * 255).round().byte().permute(0, 2, 3, 1).numpy())
        rewards.append(predictor(batch).reward)
        episode_of_frame.append(np.full(len(rewards[-1]), episode))
    episode_of_frame, images, rewards = (
        np.concatenate(parts) for parts in (episode_of_frame, images, rewards)
    )
    truth = load_truth(dataset_root)
    predictions = []
    for episode in episodes:
        frames = episode_of_frame == episode
        predictions.append(
            Prediction(
                episode=episode,
                outcome=truth[episode].outcome,
                images=images[frames],
                true=truth[episode].progress,
                predicted=rewards[frames],
            )
        )
    return predictions
