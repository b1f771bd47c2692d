# SPDX-License-Identifier: MIT
"""Reward labels for LeRobot datasets."""

from .build import RewardLabels, build_reward_labels
from .dataset import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward
from .keypoints import KeypointReward
from .train import make_datasets_with_reward, wrap_train_eval_datasets

__all__ = [
    "KeypointReward",
    "LeRobotDatasetWithReward",
    "RewardLabels",
    "StreamingLeRobotDatasetWithReward",
    "build_reward_labels",
    "make_datasets_with_reward",
    "wrap_train_eval_datasets",
]
