# SPDX-License-Identifier: MIT
"""Small real LeRobot datasets to label."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.policies.factory import make_policy, make_pre_post_processors
from rewact.act.configuration_rewact import RewACTConfig

FPS = 10
LENGTHS = (7, 1, 12, 20, 5, 9)
TASKS = ("push", "pull")


def create_dataset(
    root: Path,
    repo_id: str = "local/tiny",
    lengths: Sequence[int] = LENGTHS,
    columns: dict[str, tuple[str, Callable[[int, int], object]]] | None = None,
    cameras: Sequence[str] = (),
) -> Path:
    """Write a dataset with a 2-D state and action; the tasks of its episodes alternate.

    Args:
        cameras: Keys of 48x64 videos that get brighter with each frame.
        columns: Further columns by name: their dtype, and a function from episode and frame to the value.
    """
    columns = columns or {}
    features = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    }
    features |= {name: {"dtype": dtype, "shape": (1,), "names": None} for name, (dtype, _) in columns.items()}
    names = ["height", "width", "channels"]
    features |= {key: {"dtype": "video", "shape": (48, 64, 3), "names": names} for key in cameras}
    dataset = LeRobotDataset.create(repo_id, fps=FPS, features=features, root=root, use_videos=bool(cameras))
    for episode, length in enumerate(lengths):
        for frame in range(length):
            item = {
                "observation.state": np.array([episode, frame], dtype=np.float32),
                "action": np.array([frame, episode], dtype=np.float32),
                "task": TASKS[episode % len(TASKS)],
            }
            for name, (dtype, value) in columns.items():
                item[name] = np.array([value(episode, frame)], dtype=dtype)
            for key in cameras:
                item[key] = np.full((48, 64, 3), 10 * frame, dtype=np.uint8)
            dataset.add_frame(item)
        dataset.save_episode()
    dataset.finalize()
    return root


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataset that no test writes to."""
    return create_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Path]:
    """`create_dataset`, for tests that need other columns or lengths."""
    return create_dataset


@pytest.fixture
def root(tiny_root: Path, tmp_path: Path) -> Path:
    """Folder of a dataset that the test may write to."""
    return Path(shutil.copytree(tiny_root, tmp_path / "dataset"))


@pytest.fixture
def load(root: Path) -> Callable[..., LeRobotDataset]:
    """Load the dataset at `root` with any of LeRobotDataset's arguments."""

    def load(repo_id: str = "local/tiny", **kwargs) -> LeRobotDataset:
        return LeRobotDataset(repo_id, root=root, **kwargs)

    return load


CAMERAS = ("observation.images.top", "observation.images.wrist")


@pytest.fixture(scope="session")
def camera_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataset with two cameras and five episodes, of which two failed. No test writes to it."""
    lengths = (6, 9, 4, 7, 5)

    def success(episode, frame):
        return episode not in (1, 3) and frame == lengths[episode] - 1

    columns = {"next.success": ("bool", success)}
    folder = tmp_path_factory.mktemp("data") / "cameras"
    return create_dataset(folder, "local/cameras", lengths, columns, CAMERAS)


def save_checkpoint(folder: Path, meta: LeRobotDatasetMetadata, seed: int, **config) -> Path:
    """Save a policy with random weights and its processors, as the training script does."""
    torch.manual_seed(seed)
    small = {
        "dim_model": 16,
        "n_heads": 2,
        "dim_feedforward": 16,
        "n_encoder_layers": 1,
        "num_value_bins": 11,
    }
    base = {"chunk_size": 4, "n_action_steps": 4, "device": "cpu", "push_to_hub": False}
    config = RewACTConfig(**small, **base, pretrained_backbone_weights=None, **config)
    policy = make_policy(config, ds_meta=meta)
    processors = make_pre_post_processors(policy.config, dataset_stats=meta.stats)
    for part in (policy, *processors):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(camera_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `rewact` policy with a distributional head, for the dataset with cameras."""
    meta = LeRobotDatasetMetadata("local/cameras", root=camera_root)
    return save_checkpoint(tmp_path_factory.mktemp("policy") / "pretrained_model", meta, seed=0)


@pytest.fixture(scope="session")
def other_checkpoint(camera_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one, with a sigmoid head."""
    meta = LeRobotDatasetMetadata("local/cameras", root=camera_root)
    folder = tmp_path_factory.mktemp("other") / "pretrained_model"
    return save_checkpoint(folder, meta, seed=1, reward_head_type="sigmoid")
