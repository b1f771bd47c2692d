# SPDX-License-Identifier: MIT
"""Reward labels for LeRobot datasets."""

from rewact.labels.build import RewardLabels, build_reward_labels
from rewact.labels.dataset import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward
from rewact.labels.keypoints import KeypointReward
from rewact.labels.label_file import set_outcomes

__all__ = [
    "KeypointReward",
    "LeRobotDatasetWithReward",
    "RewardLabels",
    "StreamingLeRobotDatasetWithReward",
    "build_reward_labels",
    "set_outcomes",
]
