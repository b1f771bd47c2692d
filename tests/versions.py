# SPDX-License-Identifier: MIT
"""What the installed LeRobot has, where its releases differ.

Tests ask here for the thing they need, so that none of them knows a version number.
"""

import dataclasses
import importlib.util
import inspect

import torch
from PIL import Image

from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets import factory, streaming_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.logging_utils import MetricsTracker

# Robots are driven by a policy in the rollout package, or else in the record loop.
HAS_ROLLOUT = importlib.util.find_spec("lerobot.rollout") is not None

# Training runs can be sent to another machine: `lerobot.jobs`.
HAS_JOBS = importlib.util.find_spec("lerobot.jobs") is not None

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

# Whether the training script prints what a policy reports beside its loss; else it goes to wandb alone.
LOGS_LOSSES = hasattr(MetricsTracker, "update_metrics")

# Flags of the training script that weight samples by a progress file, and that roll out while training.
TRAINING_FLAGS = {field.name for field in dataclasses.fields(TrainPipelineConfig)}


def sample_weighting(progress_file) -> list[str]:
    """RA-BC by a progress file."""
    if "sample_weighting" in TRAINING_FLAGS:
        return ["--sample_weighting.type=rabc", f"--sample_weighting.progress_path={progress_file}"]
    return ["--use_rabc=true", f"--rabc_progress_path={progress_file}"]


def rollouts_every(steps: int) -> str:
    """Evaluation in the environment during training."""
    return f"--{'env_eval_freq' if 'env_eval_freq' in TRAINING_FLAGS else 'eval_freq'}={steps}"


# Whether a streaming dataset yields its images as tensors, without which nothing trains on them.
_STREAMED = streaming_dataset.item_to_torch({"image": Image.new("RGB", (2, 2))})["image"]
STREAMS_IMAGES = isinstance(_STREAMED, torch.Tensor)

# Whether `dataset[-3:]` is a list of items.
HAS_SLICES = "slice" in inspect.getsource(LeRobotDataset.__getitem__)


def make_train_eval_datasets(cfg):
    """The datasets of the training script: to train on, and held out or None."""
    if hasattr(factory, "make_train_eval_datasets"):
        return factory.make_train_eval_datasets(cfg)
    return factory.make_dataset(cfg), None


__all__ = [
    "HAS_JOBS",
    "HAS_REWARD_MODELS",
    "HAS_ROLLOUT",
    "HAS_SLICES",
    "HELD_OUT",
    "LOGS_LOSSES",
    "STREAMS_IMAGES",
    "make_train_eval_datasets",
    "predict_action",
    "rollouts_every",
    "sample_weighting",
]
