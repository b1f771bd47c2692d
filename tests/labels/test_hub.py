# SPDX-License-Identifier: MIT
"""Label files of downloaded datasets. The Hub is a folder here, and what is downloaded from it is counted."""

import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from lerobot.configs.reward_labels import RewardLabelsConfig
from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from lerobot.datasets.reward_labels import build_reward_labels, hub
from lerobot.datasets.reward_labels.files import write_json
from lerobot.datasets.reward_labels.keypoints import KEYPOINTS_FILE
from lerobot.scripts.lerobot_label_rewards import LabelledDatasetConfig, LabelRewardsConfig, label_rewards

from .conftest import FPS, create_dataset

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def keypoints(reward):
    """A file of one keypoint, at the beginning of episode 0."""
    return {"0": {"fps": FPS, "keypoints": [{"frame_index": 0, "timestamp": 0.0, "reward": reward}]}}


@pytest.fixture
def repository(tmp_path) -> Path:
    """What the Hub has: a dataset with labels."""
    root = create_dataset(tmp_path / "repository")
    write_json(root / KEYPOINTS_FILE, keypoints(0.25))
    return root


@pytest.fixture
def downloads(monkeypatch, repository) -> list[dict]:
    calls = []

    def snapshot_download(repo_id, repo_type, revision, allow_patterns, cache_dir=None, local_dir=None):
        calls.append({"repo_id": repo_id, "repo_type": repo_type, "revision": revision})
        target = local_dir or cache_dir / "datasets--local--tiny" / "snapshots" / revision
        for path in repository.rglob("*"):
            name = path.relative_to(repository).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
        return str(target)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return calls


def download(repository: Path, target: Path) -> LeRobotDatasetMetadata:
    """Some episodes of the dataset, as LeRobot downloads them: without labels."""
    shutil.copytree(repository, target, ignore=shutil.ignore_patterns("rewact_extensions"))
    return LeRobotDatasetMetadata("local/tiny", root=target)


def first_reward(meta) -> float:
    return build_reward_labels(meta, RewardLabelsConfig()).rewards[0].item()


def test_a_dataset_in_the_hub_s_cache_gets_its_labels(tmp_path, repository, downloads):
    meta = download(repository, tmp_path / "hub" / "datasets--local--tiny" / "snapshots" / COMMIT)
    assert first_reward(meta) == 0.25
    # The same commit, whatever the branch has become since.
    assert downloads == [{"repo_id": "local/tiny", "repo_type": "dataset", "revision": COMMIT}]
    first_reward(meta)
    assert len(downloads) == 1


def test_a_dataset_downloaded_into_a_folder_gets_its_labels(tmp_path, repository, downloads):
    meta = download(repository, tmp_path / "mine")
    (tmp_path / "mine" / ".cache" / "huggingface").mkdir(parents=True)
    assert first_reward(meta) == 0.25
    assert [call["revision"] for call in downloads] == [meta.revision]


def test_a_dataset_of_one_s_own_is_not_looked_for_on_the_hub(tmp_path, repository, downloads):
    assert first_reward(download(repository, tmp_path / "mine")) == 0.0  # the straight line
    assert downloads == []


def test_labels_that_are_there_stay(tmp_path, repository, downloads):
    meta = download(repository, tmp_path / "mine")
    (tmp_path / "mine" / ".cache" / "huggingface").mkdir(parents=True)
    write_json(tmp_path / "mine" / KEYPOINTS_FILE, keypoints(0.75))
    assert first_reward(meta) == 0.75
    assert downloads == []


def test_labelling_adds_to_the_labels_of_the_hub(tmp_path, repository, downloads):
    root = tmp_path / "mine"
    meta = download(repository, root)
    (root / ".cache" / "huggingface").mkdir(parents=True)
    labels = tmp_path / "labels.json"
    new = {"2": {"keypoints": [{"frame_index": 0, "reward": 0.5}]}}
    write_json(labels, {"repo_id": "local/tiny", "episodes": new})
    cfg = LabelRewardsConfig(LabelledDatasetConfig("local/tiny", str(root)), labels=str(labels))
    assert sorted(label_rewards(cfg).episodes()) == [0, 2]
    assert first_reward(meta) == 0.25
