# SPDX-License-Identifier: MIT
"""Episodes by id, not by position, and metadata that may be missing."""

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lerobot.configs.default import DatasetConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from rewact.hooks.train import require_episodes
from rewact.labels import LeRobotDatasetWithReward
from rewact.labels.episodes import EpisodeTable


def change_metadata(root, change):
    for path in root.glob("meta/episodes/*/*.parquet"):
        change(pd.read_parquet(path)).to_parquet(path)


def lose_episode(root, episode):
    """As after a crash: its frames and its metadata are gone, the others keep their numbers."""
    for path in root.glob("data/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.not_equal(table["episode_index"], episode)), path)
    change_metadata(root, lambda frame: frame[frame.episode_index != episode])


def table_of(root):
    return EpisodeTable.from_metadata(LeRobotDatasetMetadata("local/tiny", root=root))


def test_ids_with_a_gap(root):
    lose_episode(root, 1)
    table = table_of(root)
    assert table.episodes.tolist() == [0, 2, 3, 4, 5] and table.row(3) == 2
    assert [table.task_names[task] for task in table.tasks] == ["push", "push", "pull", "push", "pull"]
    data = LeRobotDataset("local/tiny", root=root, episodes=[0, 2, 3])
    dataset = LeRobotDatasetWithReward(data)
    # The last frames of the three.
    assert [float(dataset[i]["reward"]) for i in (6, 18, 38)] == [1, 1, 1]


def test_an_episode_is_asked_for_by_its_id(root):
    lose_episode(root, 1)
    require_episodes(DatasetConfig("local/tiny", root=str(root), episodes=[0, 5]))
    with pytest.raises(ValueError, match="has no episode 1; .*choose among these with --dataset.episodes"):
        require_episodes(DatasetConfig("local/tiny", root=str(root), episodes=[0, 1]))


def test_tasks_from_the_frames_where_the_metadata_lack_them(root):
    """As in an official dataset, on which nothing of ours worked."""
    expected = table_of(root)
    change_metadata(root, lambda frame: frame.drop(columns="tasks"))
    table = table_of(root)
    assert table.tasks.tolist() == expected.tasks.tolist() and table.task_names == ("pull", "push")


def test_no_tasks_anywhere(root, caplog):
    change_metadata(root, lambda frame: frame.drop(columns="tasks"))
    for path in root.glob("data/*/*.parquet"):
        path.unlink()
    assert table_of(root).tasks.tolist() == [0] * 6
    assert "does not say which tasks its episodes are of: they count as one" in caplog.text


def test_episodes_are_recognised_by_their_statistics(root):
    identities = table_of(root).identities
    assert len(set(identities)) == 6 and all(identities)
    change_metadata(root, lambda frame: frame[[name for name in frame if not name.startswith("stats/")]])
    assert table_of(root).identities == [""] * 6
    assert table_of(root).mark(0) == {"length": 7}
    # Without statistics the length has to do.
    assert table_of(root).find(2, {"length": 12, "identity": "x"}, "file") == 2
    assert np.array_equal(table_of(root).positions, np.arange(6))
