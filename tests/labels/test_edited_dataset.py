# SPDX-License-Identifier: MIT
"""Labels beside a dataset whose episodes were edited since: they must not land on other episodes."""

import json
import shutil

import pytest

from lerobot.datasets.dataset_tools import delete_episodes
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels import LeRobotDatasetWithReward, build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.keypoints import KEYPOINTS_FILE
from rewact.labels.outcomes import OUTCOMES_FILE, save_outcomes
from rewact.options.labels import RewardLabelsConfig


def edited(dataset, path):
    """The dataset without its episode 0, with the label files of the whole one."""
    target = path / "edited"
    shorter = delete_episodes(dataset, [0], output_dir=target, repo_id=dataset.repo_id)
    shutil.copytree(dataset.root / "rewact_extensions", target / "rewact_extensions")
    return shorter.meta


def test_keypoints_of_other_episodes(load, tmp_path):
    LeRobotDatasetWithReward(load()).add_episode_rewards(2, {0: 0.9})
    meta = edited(load(), tmp_path)
    named = f"{KEYPOINTS_FILE}, episode 2: it had 12 frames when it was labelled and has 20 in local/tiny"
    with pytest.raises(ValueError, match=named):
        build_reward_labels(meta, RewardLabelsConfig())


def test_outcomes_of_other_episodes(load, root, tmp_path):
    save_outcomes(root / OUTCOMES_FILE, {2: "failure"}, EpisodeTable.from_metadata(load().meta))
    meta = edited(load(), tmp_path)
    named = f"{OUTCOMES_FILE}, episode 2: it had 12 frames when it was labelled and has 20 in local/tiny"
    with pytest.raises(ValueError, match=named):
        build_reward_labels(meta, RewardLabelsConfig())


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
