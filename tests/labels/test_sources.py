# SPDX-License-Identifier: MIT
"""The sources `parquet`, `returns` and `column`, and how sources combine."""

import json

import numpy as np
import pandas as pd
import pytest

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels import LeRobotDatasetWithReward, build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.progress import load_progress, save_progress
from rewact.options.labels import RewardLabelsConfig

LENGTHS = (7, 1, 12, 20, 5, 9)
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)])


def progress(episodes=range(6), **columns):
    """A progress file's rows; by default the sparse progress is `frame / 32`."""
    rows = pd.DataFrame(
        [
            {"index": STARTS[episode] + frame, "episode_index": episode, "frame_index": frame}
            for episode in episodes
            for frame in range(LENGTHS[episode])
        ]
    )
    for name, values in (columns or {"progress_sparse": rows["frame_index"] / 32}).items():
        rows[name] = values
    return rows


def labels(dataset, **config):
    return build_reward_labels(dataset.meta, RewardLabelsConfig(**config))


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def episode(built, number):
    return built.rewards[STARTS[number] : STARTS[number + 1]].tolist()


# parquet


def test_a_progress_file_in_the_dataset_folder(load, root):
    progress([2, 3]).to_parquet(root / "sarm_progress.parquet")
    built = labels(load(), sources=["parquet", "linear"])
    assert episode(built, 2) == [i / 32 for i in range(12)]
    assert episode(built, 3) == [i / 32 for i in range(20)]
    assert built.sources == ["linear", "linear", "parquet", "parquet", "linear", "linear"]
    assert built.describe() == "Reward labels of 6 episodes: 2 from parquet, 4 linear (5%-95%)"
    assert built.describe([1, 3]) == "Reward labels of 2 episodes: 1 from parquet, 1 linear (5%-95%)"


def test_subsets_and_rows_in_any_order(load, root):
    progress().sample(frac=1, random_state=0).to_parquet(root / "sarm_progress.parquet")
    config = RewardLabelsConfig(sources=["parquet"])
    dataset = LeRobotDatasetWithReward(load(episodes=[3, 5]), config=config)
    assert all(item["reward"] == item["frame_index"].item() / 32 for item in dataset)


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [
        ({"progress_sparse": 0.25, "progress_dense": 0.75}, None, 0.25),
        ({"progress_sparse": 0.25, "progress_dense": 0.75}, "progress_dense", 0.75),
        ({"progress_dense": 0.75}, None, 0.75),
    ],
)
def test_sparse_and_dense(load, tmp_path, columns, wanted, expected):
    progress(**columns).to_parquet(tmp_path / "p.parquet")
    built = labels(
        load(), sources=["parquet"], progress_path=str(tmp_path / "p.parquet"), progress_column=wanted
    )
    assert (built.rewards == expected).all()


def test_a_folder_of_labelled_episodes(load, root):
    folder = root / "candywrapper_plugins" / "labelled_rewards"
    folder.mkdir(parents=True)
    for number in (0, 3):
        rows = progress([number], reward=0.5).rename(
            columns={
                "index": "frame_index",
                "episode_index": "episode_idx",
                "frame_index": "frame_index_in_episode",
            }
        )
        rows.to_parquet(folder / f"episode_{number:06d}.parquet")
    built = labels(load(), sources=["parquet", "linear"])
    assert built.sources == ["parquet", "linear", "linear", "parquet", "linear", "linear"]
    assert set(episode(built, 3)) == {0.5}


def break_progress(rows, row, **values):
    for name, value in values.items():
        rows.loc[row, name] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (progress().drop(columns="episode_index"), "has no column 'episode_index'"),
        (progress().drop(columns="progress_sparse"), "has no column progress_sparse or progress_dense"),
        (progress([2]).head(11), "episode 2: 11 of its 12 frames"),
        (
            break_progress(progress(), 9, progress_sparse=1.5),
            "episode 2: progress_sparse of frame 1 .*got 1.5",
        ),
        (break_progress(progress(), 9, episode_index=6), "episode 6: local/tiny has no such episode"),
        (break_progress(progress(), 9, episode_index=-1), "episode -1: local/tiny has no such episode"),
        (break_progress(progress(), 9, frame_index=12), "episode 2: frame 12 lies outside"),
        (break_progress(progress(), 9, index=3), "episode 2: frame 1 has index 3; .* another dataset"),
        (pd.concat([progress([2]), progress([2]).head(1)]), "episode 2: frame index 8 twice"),
        (
            progress().astype({"index": float}),
            "column 'index' must hold integers, got .*0.0.* of float64",
        ),
        (progress(progress_sparse="x"), "column 'progress_sparse' must hold numbers, got 'x' of object"),
    ],
)
def test_a_wrong_progress_file_stops(load, root, rows, named):
    path = root / "sarm_progress.parquet"
    rows.to_parquet(path)
    with pytest.raises(ValueError, match=f"{path}.*{named}"):
        labels(load(), sources=["parquet", "linear"])


def test_frames_that_a_model_failed_at_have_no_label(load, root):
    """A NaN kept the whole dataset from training."""
    rows = break_progress(break_progress(progress(), 9, progress_sparse=np.nan), 12, progress_sparse=np.nan)
    rows.loc[rows.episode_index == 4, "progress_sparse"] = np.nan
    rows.to_parquet(root / "sarm_progress.parquet")
    built = labels(load(), sources=["parquet", "linear"])
    assert np.flatnonzero(built.rewards.isnan().numpy()).tolist() == [9, 12]
    assert built.sources[2] == "parquet" and built.sources[4] == "linear"
    assert "2 of their frames without a label" in built.describe()


def labelled_rewards(root, episode, **columns):
    path = root / f"candywrapper_plugins/labelled_rewards/episode_{episode:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(path)


def test_labelled_rewards_with_the_documented_minimum(load, root):
    labelled_rewards(root, 1, frame_index=[7], reward=[0.25])
    labelled_rewards(root, 2, frame_index=range(8, 20), reward=np.linspace(0, 1, 12))
    built = labels(load(), sources=["parquet", "linear"])
    assert built.sources[1:3] == ["parquet", "parquet"]
    assert built.rewards[7] == 0.25 and built.rewards[19] == 1


@pytest.mark.parametrize(
    ("episode", "frames", "named"),
    [(1, [8], "episode 1: frame 1 lies outside"), (2, [8, 9], "episode 2: 2 of its 12 frames have labels")],
)
def test_labelled_rewards_of_another_episode(load, root, episode, frames, named):
    labelled_rewards(root, episode, frame_index=frames, reward=[0.5] * len(frames))
    with pytest.raises(ValueError, match=named):
        labels(load(), sources=["parquet", "linear"])


def test_a_progress_file_on_the_hub(load, root, tmp_path, monkeypatch):
    asked = []
    progress().to_parquet(tmp_path / "p.parquet")

    def download(repo_id, filename, repo_type, revision):
        asked.append((repo_id, filename, repo_type, revision))
        return str(tmp_path / "p.parquet")

    monkeypatch.setattr("rewact.labels.progress.hf_hub_download", download)
    path = "hf://datasets/me/tiny/models/sarm_progress.parquet"
    assert set(labels(load(), sources=["parquet"], progress_path=path).sources) == {"parquet"}
    assert asked == [("me/tiny", "models/sarm_progress.parquet", "dataset", None)]
    with pytest.raises(ValueError, match="progress_path must be hf://datasets/<user>/<name>/<file>"):
        labels(load(), sources=["parquet"], progress_path="hf://datasets/me/tiny")


def test_a_truncated_parquet_stops(load, root):
    path = root / "sarm_progress.parquet"
    progress().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{path} cannot be read as parquet"):
        labels(load(), sources=["parquet", "linear"])
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"{path} cannot be read as parquet"):
        labels(load(), sources=["parquet", "linear"])


def test_a_file_that_is_not_there(load, tmp_path):
    with pytest.raises(ValueError, match="there is no file .*absent.parquet"):
        labels(load(), sources=["parquet"], progress_path=str(tmp_path / "absent.parquet"))
    with pytest.raises(ValueError, match="holds no episode_"):
        labels(load(), sources=["parquet"], progress_path=str(tmp_path))
    with pytest.raises(ValueError, match="no reward labels for 6 of the episodes"):
        LeRobotDatasetWithReward(load(), config=RewardLabelsConfig(sources=["parquet"]))


def test_two_files_must_agree(load, root):
    progress().to_parquet(root / "a_progress.parquet")
    progress([3, 4]).to_parquet(root / "b_progress.parquet")
    assert labels(load(), sources=["parquet"]).sources == ["parquet"] * 6
    progress([3, 4], progress_sparse=0.7).to_parquet(root / "b_progress.parquet")
    with pytest.raises(ValueError, match="a_progress.parquet, .*b_progress.parquet disagree about episode 3"):
        labels(load(), sources=["parquet"])
    chosen = labels(load(), sources=["parquet"], progress_path=str(root / "a_progress.parquet"))
    assert episode(chosen, 3)[1] == 1 / 32


def test_a_progress_file_without_rows(load, root):
    """Its columns have any type, and its error named no file."""
    pd.DataFrame({name: [] for name in progress().columns}).to_parquet(root / "sarm_progress.parquet")
    assert labels(load(), sources=["parquet", "linear"]).sources == ["linear"] * 6


def test_unused_progress_files_are_mentioned(load, root, caplog):
    caplog.set_level("INFO")
    progress().to_parquet(root / "sarm_progress.parquet")
    assert labels(load()).sources == ["linear"] * 6
    assert any("Not used" in message and "sarm_progress.parquet" in message for message in caplog.messages)


def test_a_progress_file_of_our_own_is_read_back(load, tmp_path):
    table = EpisodeTable.from_metadata(load().meta)
    rewards = np.linspace(0, 1, table.n_frames, dtype=np.float32)
    rewards[STARTS[2] : STARTS[3]] = rewards[STARTS[3]] = np.nan
    path = tmp_path / "rewact_progress.parquet"
    save_progress(path, table, rewards, {"checkpoint": "here"})
    assert np.array_equal(load_progress(path, table), rewards, equal_nan=True)
    assert len(pd.read_parquet(path)) == 54 - 12
    dtypes = pd.read_parquet(path).dtypes.astype(str).to_dict()
    assert dtypes == {
        "index": "int64",
        "episode_index": "int64",
        "frame_index": "int64",
        "progress_sparse": "float32",
    }


# returns


def returns_by_definition(length, longest, failed, c_fail):
    """Sum up -1 per step and the terminal reward, frame by frame."""
    rewards = [-1.0] * (length - 1) + [-c_fail if failed else 0.0]
    norm = longest - 1 + c_fail
    return np.float32([1 + sum(rewards[t:]) / norm for t in range(length)])


@pytest.mark.parametrize("c_fail", [None, 10.0])
def test_returns(load, c_fail):
    dataset = load()
    outcomes = [
        {"episode_index": e, "outcome": o} for e, o in [(0, "success"), (2, "failure"), (3, "failure")]
    ]
    write_json(dataset.root / "rewact_extensions" / "outcomes.json", outcomes)
    built = labels(dataset, sources=["returns", "linear"], c_fail=c_fail)
    # Tasks alternate: episodes 0, 2, 4 (longest 12 frames) and 1, 3, 5 (longest 20).
    assert np.allclose(episode(built, 0), returns_by_definition(7, 12, False, c_fail or 12))
    assert np.allclose(episode(built, 2), returns_by_definition(12, 12, True, c_fail or 12))
    assert np.allclose(episode(built, 3), returns_by_definition(20, 20, True, c_fail or 20))
    assert built.sources == ["returns", "linear", "returns", "returns", "linear", "linear"]


def test_a_failure_can_be_worth_the_worst_in_all_of_its_frames(load):
    built = labels(load(), sources=["returns"], outcomes="failure", failure_return="worst")
    assert not built.rewards.any()
    built = labels(load(), sources=["returns"], outcomes="success", failure_return="worst")
    assert np.allclose(episode(built, 0), returns_by_definition(7, 12, False, 12))


def test_by_default_successes_fill_the_upper_half_and_failures_the_lower(load):
    for outcome, low, high in (("success", 0.5, 1.0), ("failure", 0.0, 0.5)):
        built = labels(load(), sources=["returns"], outcomes=outcome)
        assert (built.rewards >= low).all() and (built.rewards <= high).all()
        assert (built.rewards[STARTS[4] - 1] == 1.0) == (outcome == "success")
    assert built.rewards.min() == 0.0


def test_returns_need_outcomes(load):
    with pytest.raises(ValueError, match="no reward labels for 6 of the episodes .* from returns"):
        LeRobotDatasetWithReward(load(), config=RewardLabelsConfig(sources=["returns"]))


# column


def test_a_column_of_the_dataset(make_dataset, tmp_path):
    root = make_dataset(tmp_path / "d", columns={"next.reward": ("float32", lambda e, f: f / 32)})
    dataset = LeRobotDataset("local/tiny", root=root)
    built = labels(dataset, sources=["column"], column="next.reward")
    assert episode(built, 3) == [i / 32 for i in range(20)]
    with pytest.raises(ValueError, match="local/tiny has no column 'reward'"):
        labels(dataset, sources=["column"])


def test_an_own_reward_column_as_labels(make_dataset, tmp_path):
    root = make_dataset(tmp_path / "d", columns={"reward": ("float32", lambda e, f: f / 32)})
    config = RewardLabelsConfig(sources=["column"])
    dataset = LeRobotDatasetWithReward(LeRobotDataset("local/tiny", root=root), config=config, horizon=2)
    assert dataset[3]["reward"].tolist() == [3 / 32, 4 / 32]
    with pytest.raises(ValueError, match=r"column 'reward' of its own.*sources='\[\"column\"\]'"):
        LeRobotDatasetWithReward(LeRobotDataset("local/tiny", root=root))


def test_a_column_out_of_range(make_dataset, tmp_path):
    root = make_dataset(tmp_path / "d", columns={"score": ("float32", lambda e, f: -2.0 if e == 3 else 0.0)})
    with pytest.raises(ValueError, match=r"local/tiny, episode 3: score must be in \[0, 1\].*got -2"):
        labels(LeRobotDataset("local/tiny", root=root), sources=["column"], column="score")


def test_a_column_that_has_no_label_for_each_frame(make_dataset, tmp_path):
    """Of vectors the first number was taken, and of data with other episodes than its metadata any row."""
    root = make_dataset(tmp_path / "d", columns={"score": ("float32", lambda e, f: 0.0)})
    dataset = LeRobotDataset("local/tiny", root=root)
    with pytest.raises(ValueError, match="the column 'action' must hold one number a frame, got 2 numbers"):
        labels(dataset, sources=["column"], column="action")
    (path,) = (root / "data").rglob("*.parquet")
    rows = pd.read_parquet(path)
    rows.assign(index=rows["index"].to_numpy()[::-1]).to_parquet(path)
    with pytest.raises(ValueError, match="frame 53 is of episode 0 in the data and of episode 5 in"):
        labels(dataset, sources=["column"], column="score")


# combined


def test_the_first_source_that_applies_wins_per_episode(load, root):
    progress([2, 3]).to_parquet(root / "sarm_progress.parquet")
    write_json(root / "rewact_extensions" / "outcomes.json", [{"episode_index": 5, "outcome": "success"}])
    config = RewardLabelsConfig(sources=["keypoints", "parquet", "returns", "linear"])
    dataset = LeRobotDatasetWithReward(load(), config=config)
    dataset.add_episode_rewards(3, {0: 0.9})
    expected = ["linear", "linear", "parquet", "keypoints", "linear", "returns"]
    assert dataset.labels.sources == expected
    assert LeRobotDatasetWithReward(load(), config=config).labels.rewards.equal(dataset.labels.rewards)
    dataset.remove_episode_rewards(3)
    assert dataset.labels.sources[3] == "parquet" and episode(dataset.labels, 3)[1] == 1 / 32
