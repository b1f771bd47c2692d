# SPDX-License-Identifier: MIT
"""Reward labels for LeRobot datasets."""

from rewact.labels.build import RewardLabels, build_reward_labels
from rewact.labels.dataset import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward
from rewact.labels.keypoints import KeypointReward

__all__ = [
    "KeypointReward",
    "LeRobotDatasetWithReward",
    "RewardLabels",
    "StreamingLeRobotDatasetWithReward",
    "build_reward_labels",
]
