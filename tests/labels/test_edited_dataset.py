# SPDX-License-Identifier: MIT
"""Labels beside a dataset whose episodes were edited since: they must not land on other episodes."""

import json
import shutil

import numpy as np
import pytest

from lerobot.datasets.dataset_tools import delete_episodes
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels import LeRobotDatasetWithReward, build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.keypoints import KEYPOINTS_FILE
from rewact.labels.outcomes import OUTCOMES_FILE, save_outcomes
from rewact.labels.progress import save_progress
from rewact.options.labels import RewardLabelsConfig


def edited(dataset, path):
    """The dataset without its episode 0, with the label files of the whole one."""
    target = path / "edited"
    shorter = delete_episodes(dataset, [0], output_dir=target, repo_id=dataset.repo_id)
    shutil.copytree(dataset.root / "rewact_extensions", target / "rewact_extensions", dirs_exist_ok=True)
    return shorter.meta


def test_keypoints_follow_their_episode(load, tmp_path):
    LeRobotDatasetWithReward(load()).add_episode_rewards(2, {0: 0.9})
    built = build_reward_labels(edited(load(), tmp_path), RewardLabelsConfig())
    assert built.sources == ["linear", "keypoints", "linear", "linear", "linear"]


def test_outcomes_follow_their_episode(load, root, tmp_path):
    save_outcomes(root / OUTCOMES_FILE, {2: "failure"}, EpisodeTable.from_metadata(load().meta))
    built = build_reward_labels(edited(load(), tmp_path), RewardLabelsConfig())
    assert built.outcomes.tolist() == [-1, 0, -1, -1, -1]


@pytest.mark.parametrize("length", [10, 12])
def test_an_episode_that_is_gone(make_dataset, tmp_path, length):
    """Its labels landed on the one that has its number, where both were equally long."""
    dataset = LeRobotDataset("local/tiny", root=make_dataset(tmp_path / "d", lengths=(length, 10, 10)))
    LeRobotDatasetWithReward(dataset).add_episode_rewards(0, {0: 0.9})
    meta = edited(dataset, tmp_path)
    told = "it had 12 frames when" if length == 12 else "another episode had this number when"
    with pytest.raises(ValueError, match=f"{KEYPOINTS_FILE}, episode 0: {told}"):
        build_reward_labels(meta, RewardLabelsConfig())


def test_progress_of_another_episode(make_dataset, tmp_path):
    """Equally long episodes took each other's rewards."""
    dataset = LeRobotDataset("local/tiny", root=make_dataset(tmp_path / "d", lengths=(10, 10, 10)))
    table = EpisodeTable.from_metadata(dataset.meta)
    shorter = delete_episodes(dataset, [0], output_dir=tmp_path / "edited", repo_id="local/tiny")
    save_progress(shorter.root / "sarm_progress.parquet", table, np.zeros(30, np.float32))
    config = RewardLabelsConfig(sources=["parquet", "linear"])
    with pytest.raises(ValueError, match="sarm_progress.parquet, episode 0: local/tiny has another episode"):
        build_reward_labels(shorter.meta, config)


def test_files_without_lengths_stay_valid(load, root):
    files = {
        KEYPOINTS_FILE: {"0": {"fps": 10, "keypoints": [{"frame_index": 0, "reward": 0.5}]}},
        OUTCOMES_FILE: [{"episode_index": 2, "outcome": "failure"}],
    }
    (root / "rewact_extensions").mkdir()
    for name, content in files.items():
        (root / name).write_text(json.dumps(content))
    dataset = LeRobotDatasetWithReward(LeRobotDataset("local/tiny", root=root))
    assert dataset[0]["reward"] == 0.5 and dataset.labels.outcomes.tolist() == [-1, -1, 0, -1, -1, -1]
