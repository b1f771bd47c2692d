# SPDX-License-Identifier: MIT
"""Lets a trained policy predict the reward of every frame of recorded episodes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
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
    config = PreTrainedConfig.from_pretrained(policy_dir)
    policy = get_policy_class(config.type).from_pretrained(policy_dir)
    preprocessor, _ = make_pre_post_processors(config, pretrained_path=str(policy_dir))
    dataset = LeRobotDataset(REPO_ID, root=dataset_root, episodes=list(episodes), video_backend=VIDEO_BACKEND)
    episode_of_frame, images, rewards = [], [], []
    for batch in DataLoader(dataset, batch_size=BATCH_SIZE):
        episode_of_frame.append(batch["episode_index"])
        images.append((batch[CAMERA_KEY] * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
        rewards.append(policy.predict_reward(preprocessor(batch)).cpu())
    episode_of_frame, images, rewards = (
        torch.cat(parts).numpy() for parts in (episode_of_frame, images, rewards)
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
                predicted=rewards[frames].astype(np.float32),
            )
        )
    return predictions
