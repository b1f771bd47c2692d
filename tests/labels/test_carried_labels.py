# SPDX-License-Identifier: MIT
"""Labels go along when LeRobot's dataset tools make a dataset out of others."""

import shutil

import numpy as np
import pytest

import rewact
from lerobot.datasets.dataset_tools import add_features, delete_episodes, merge_datasets, split_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels import LeRobotDatasetWithReward, build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.label_file import edit_labels, load_labels
from rewact.labels.progress import save_progress
from rewact.options.labels import RewardLabelsConfig


@pytest.fixture
def labelled(load, root):
    """All kinds of labels for episodes 0 (deleted below), 2 and 5, and progress for all."""
    dataset = load()
    table = EpisodeTable.from_metadata(dataset.meta)
    with edit_labels(table) as labels:
        labels.keypoints |= {0: {0: 0.1}, 2: {0: 0.2, 11: 0.7}}
        labels.outcomes |= {2: "failure", 5: "success"}
        labels.control_modes |= {5: [(0, 3, "policy")]}
    rewards = (np.arange(table.n_frames) / table.n_frames).astype(np.float32)
    save_progress(root / "sarm_progress.parquet", table, rewards)
    return dataset


def labels_of(dataset):
    labels = load_labels(EpisodeTable.from_metadata(dataset.meta))
    return labels.keypoints, labels.outcomes, labels.control_modes


def progress_of(dataset):
    return build_reward_labels(dataset.meta, RewardLabelsConfig(sources=["parquet"])).rewards.tolist()


def test_deleting(labelled, tmp_path):
    shorter = delete_episodes(labelled, [0, 3], tmp_path / "made", "local/made")
    assert labels_of(shorter) == (
        {1: {0: 0.2, 11: 0.7}},
        {1: "failure", 3: "success"},
        {3: [(0, 3, "policy")]},
    )
    before = progress_of(labelled)
    assert progress_of(shorter) == before[7:20] + before[40:]


def test_splitting(labelled, tmp_path):
    parts = split_dataset(labelled, {"train": 0.5, "val": 0.5}, tmp_path / "made")
    assert labels_of(parts["train"]) == ({0: {0: 0.1}, 2: {0: 0.2, 11: 0.7}}, {2: "failure"}, {})
    assert labels_of(parts["val"]) == ({}, {2: "success"}, {2: [(0, 3, "policy")]})
    parts = split_dataset(labelled, {"a": [5, 2], "b": [0]}, tmp_path / "other")
    assert labels_of(parts["a"])[1] == {0: "failure", 1: "success"}


def test_merging(labelled, make_dataset, tmp_path):
    other = LeRobotDataset("local/other", root=make_dataset(tmp_path / "other", "local/other", (3, 4)))
    rewact.set_outcomes(other, failed=[1])
    both = merge_datasets([other, labelled, labelled], "local/both", tmp_path / "both")
    keypoints, outcomes, modes = labels_of(both)
    assert keypoints == {2: {0: 0.1}, 4: {0: 0.2, 11: 0.7}, 8: {0: 0.1}, 10: {0: 0.2, 11: 0.7}}
    assert outcomes == {1: "failure", 4: "failure", 7: "success", 10: "failure", 13: "success"}
    assert sorted(modes) == [7, 13]


def test_another_feature(labelled, tmp_path):
    """Without the one by whose statistics episodes are recognised, too."""
    new = (np.zeros((54, 1), np.float32), {"dtype": "float32", "shape": (1,), "names": None})
    more = add_features(labelled, {"observation.extra": new}, tmp_path / "more", "local/more")
    assert labels_of(more) == labels_of(labelled)


def test_in_place(labelled, root, tmp_path):
    """LeRobot moves the dataset away first; its metadata still names the old folder."""
    labelled.root = shutil.move(root, tmp_path / "dataset_old")
    shorter = delete_episodes(labelled, [0], root, "local/tiny")
    assert labels_of(shorter)[1] == {1: "failure", 4: "success"}


def test_labels_of_other_tools(load, root, tmp_path):
    path = root / "candywrapper_plugins/episode_outcome/outcomes.json"
    path.parent.mkdir(parents=True)
    path.write_text('[{"episode_index": 3, "outcome": "failure"}]')
    shorter = delete_episodes(load(), [0], tmp_path / "made", "local/made")
    assert labels_of(shorter)[1] == {2: "failure"}


def test_what_cannot_be_carried_is_said(labelled, root, tmp_path, caplog):
    (root / "rewact_extensions/advantages.parquet").write_bytes(b"")
    delete_episodes(labelled, [0], tmp_path / "made", "local/made")
    assert "The advantages of local/tiny are not carried" in caplog.text
    (root / "rewact_extensions/outcomes.json").write_text("[")
    shorter = delete_episodes(labelled, [0], tmp_path / "again", "local/again")
    assert "labels could not be carried" in caplog.text and "outcomes.json is not valid JSON" in caplog.text
    assert shorter.meta.total_episodes == 5


def test_a_failure_stays_one(make_dataset, tmp_path):
    """It counted as a success after LeRobot's tool had deleted an equally long episode before it."""
    data = LeRobotDataset("local/tiny", root=make_dataset(tmp_path / "d", lengths=(10, 10, 10)))
    LeRobotDatasetWithReward(data).add_episode_rewards(1, {0: 0.0, 5: 0.9, 9: 0.0})
    edited = LeRobotDatasetWithReward(delete_episodes(data, [0], tmp_path / "edited", "local/tiny"))
    assert [round(float(edited[i]["reward"]), 2) for i in (9, 19)] == [0.0, 1.0]
