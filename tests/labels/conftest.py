# SPDX-License-Identifier: MIT
"""Small real LeRobot datasets to label."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lerobot.datasets.lerobot_dataset import LeRobotDataset

FPS = 10
LENGTHS = (7, 1, 12, 20, 5, 9)
TASKS = ("push", "pull")


def create_dataset(
    root: Path,
    repo_id: str = "local/tiny",
    lengths: Sequence[int] = LENGTHS,
    columns: dict[str, tuple[str, Callable[[int, int], object]]] | None = None,
) -> Path:
    """Write a dataset with a 2-D state and action; the tasks of its episodes alternate.

    Args:
        columns: Further columns by name: their dtype, and a function from episode and frame to the value.
    """
    columns = columns or {}
    features = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    }
    features |= {name: {"dtype": dtype, "shape": (1,), "names": None} for name, (dtype, _) in columns.items()}
    dataset = LeRobotDataset.create(repo_id, fps=FPS, features=features, root=root, use_videos=False)
    for episode, length in enumerate(lengths):
        for frame in range(length):
            item = {
                "observation.state": np.array([episode, frame], dtype=np.float32),
                "action": np.array([frame, episode], dtype=np.float32),
                "task": TASKS[episode % len(TASKS)],
            }
            for name, (dtype, value) in columns.items():
                item[name] = np.array([value(episode, frame)], dtype=dtype)
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
