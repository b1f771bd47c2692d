# SPDX-License-Identifier: MIT
"""What the installed LeRobot has, where its releases differ.

Tests ask here for the thing they need, so that none of them knows a version number.
"""

import dataclasses
import importlib.util
import inspect

from lerobot.configs.default import DatasetConfig
from lerobot.datasets import factory
from lerobot.datasets.lerobot_dataset import LeRobotDataset

# Robots are driven by a policy in the rollout package, or else in the record loop.
HAS_ROLLOUT = importlib.util.find_spec("lerobot.rollout") is not None

# The reward models of LeRobot: `lerobot.rewards`.
HAS_REWARD_MODELS = importlib.util.find_spec("lerobot.rewards") is not None

if importlib.util.find_spec("lerobot.common") is not None:
    from lerobot.common.control_utils import predict_action
else:
    from lerobot.utils.control_utils import predict_action

# Options of DatasetConfig that hold episodes out of training: none where a run has a single dataset.
HELD_OUT = {
    name: fraction
    for name, fraction in {"eval_split": 0.3}.items()
    if name in {field.name for field in dataclasses.fields(DatasetConfig)}
}

# Whether `dataset[-3:]` is a list of items.
HAS_SLICES = "slice" in inspect.getsource(LeRobotDataset.__getitem__)


def make_train_eval_datasets(cfg):
    """The datasets of the training script: to train on, and held out or None."""
    if hasattr(factory, "make_train_eval_datasets"):
        return factory.make_train_eval_datasets(cfg)
    return factory.make_dataset(cfg), None


__all__ = [
    "HAS_REWARD_MODELS",
    "HAS_ROLLOUT",
    "HAS_SLICES",
    "HELD_OUT",
    "make_train_eval_datasets",
    "predict_action",
]
