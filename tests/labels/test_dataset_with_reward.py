# SPDX-License-Identifier: MIT
"""The map-style wrapper."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from rewact.keys import read_labels
from rewact.labels import KeypointReward, LeRobotDatasetWithReward, build_reward_labels
from rewact.options.labels import RewardLabelsConfig
from tests.versions import HAS_SLICES

try:
    from lerobot.datasets.multi_dataset import MultiLeRobotDataset
except ImportError:  # LeRobot before 0.5
    from lerobot.datasets.lerobot_dataset import MultiLeRobotDataset

LENGTHS = (7, 1, 12, 20, 5, 9)


def expected_linear(n, start=0.05, end=0.95):
    position = np.arange(n) / (n - 1) if n > 1 else np.ones(1)
    return np.clip((position - start) / (end - start), 0, 1).astype(np.float32)


def rewards_of(dataset):
    return np.array([dataset[i]["reward"].item() for i in range(len(dataset))], dtype=np.float32)


def test_every_frame_of_every_episode(load):
    dataset = LeRobotDatasetWithReward(load())
    assert len(dataset) == sum(LENGTHS)
    assert np.array_equal(rewards_of(dataset), np.concatenate([expected_linear(n) for n in LENGTHS]))


def test_item(load):
    plain = load()
    item = LeRobotDatasetWithReward(plain)[9]
    assert item["reward"].shape == () and item["reward"].dtype == torch.float32
    assert set(item) == {*plain[9], "reward", "rewact_labels"} and item["rewact_labels"] == "reward"


@pytest.mark.parametrize("episodes", [[3], [5, 2], [0, 4]])
def test_subsets_are_keyed_by_the_absolute_index(load, episodes):
    """`episodes=[3]` must not read the labels of episode 0, nor a local index from a global table."""
    plain = load(episodes=episodes)
    dataset = LeRobotDatasetWithReward(plain, reward_start_pct=0.2, reward_end_pct=0.7)
    for i in range(len(plain)):
        item = dataset[i]
        episode, frame = item["episode_index"].item(), item["frame_index"].item()
        assert episode in episodes
        assert item["reward"] == expected_linear(LENGTHS[episode], 0.2, 0.7)[frame]


def test_negative_indices(load):
    dataset = LeRobotDatasetWithReward(load(episodes=[3, 5]))
    assert dataset[-1]["reward"] == dataset[len(dataset) - 1]["reward"] == 1
    assert dataset[-1]["index"] == dataset[len(dataset) - 1]["index"]


@pytest.mark.skipif(not HAS_SLICES, reason="this LeRobotDataset takes no slices")
def test_slices(load):
    dataset = LeRobotDatasetWithReward(load(episodes=[3, 5]))
    tail = dataset[-3:]
    assert [item["reward"] for item in tail] == [dataset[i]["reward"] for i in range(-3, 0)]


def test_horizon(load):
    dataset = LeRobotDatasetWithReward(load(episodes=[2, 3]), horizon=5)
    labels = expected_linear(12)
    for frame in (0, 6, 7, 8, 11):
        item = dataset[frame]
        padded = np.concatenate([labels, np.repeat(labels[-1], 5)])
        assert item["reward"].tolist() == padded[frame : frame + 5].tolist()
        assert item["reward"].dtype == torch.float32
        assert item["reward_is_pad"].tolist() == [frame + k >= 12 for k in range(5)]
        assert item["reward_is_pad"].dtype == torch.bool


@pytest.mark.parametrize("horizon", [None, 4])
def test_items_do_not_alias_the_labels(load, horizon):
    dataset = LeRobotDatasetWithReward(load(), horizon=horizon)
    before = dataset.labels.rewards.clone()
    dataset[10]["reward"].fill_(9.0)
    assert dataset.labels.rewards.equal(before)


def test_attributes_are_delegated_and_features_stay(load):
    plain = load(episodes=[2])
    before = copy.deepcopy(plain.meta.features)
    dataset = LeRobotDatasetWithReward(plain, horizon=3)
    assert dataset.meta is plain.meta
    assert (dataset.fps, dataset.num_frames, dataset.num_episodes) == (10, 12, 1)
    assert dataset.episodes == [2] and dataset.hf_dataset is plain.hf_dataset
    assert dataset.meta.features == before
    with pytest.raises(AttributeError):
        _ = dataset.no_such_thing


@pytest.mark.parametrize("remake", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
def test_copies(load, remake):
    dataset = LeRobotDatasetWithReward(load(episodes=[3]), horizon=3)
    remade = remake(dataset)
    assert isinstance(remade, LeRobotDatasetWithReward)
    assert remade[4]["reward"].equal(dataset[4]["reward"])


def test_batched_fetching_of_the_wrapped_dataset_is_not_reached():
    """torch prefers `__getitems__` where it finds it; a delegated one would bring batches without labels."""
    wrapped = FakeDataset()
    wrapped.__getitems__ = lambda indices: pytest.fail("bypassed the labels")
    dataset = LeRobotDatasetWithReward(wrapped)
    assert not hasattr(dataset, "__getitems__")
    batch = next(iter(DataLoader(dataset, batch_size=4, collate_fn=list)))
    assert all("reward" in item for item in batch)


def test_torch_subsets_and_concatenations(load):
    dataset = LeRobotDatasetWithReward(load(episodes=[3]))
    both = ConcatDataset([Subset(dataset, [5, 2]), dataset])
    assert [both[i]["reward"] for i in (0, 1, 2)] == [dataset[i]["reward"] for i in (5, 2, 0)]


def test_keypoints_apply_at_once_and_leave_with_their_removal(load):
    dataset = LeRobotDatasetWithReward(load())
    before = dataset.labels.rewards.clone()
    dataset.add_episode_rewards(2, [KeypointReward(1.0, frame_index=11), KeypointReward(0.5, timestamp=0.0)])
    assert dataset[8]["reward"] == 0.5 and dataset[19]["reward"] == 1.0
    assert dataset.labels.describe() == "Reward labels of 6 episodes: 1 from keypoints, 5 linear (5%-95%)"
    changed = dataset.labels.rewards != before
    assert not changed[:8].any() and not changed[20:].any()
    dataset.remove_episode_rewards(2)
    assert dataset.labels.rewards.equal(before)


def test_keypoints_accumulate_and_the_newer_wins(load):
    dataset = LeRobotDatasetWithReward(load())
    dataset.add_episode_rewards(0, {3: 0.5})
    dataset.add_episode_rewards(0, {3: 0.6, 1: 0.1})
    dataset.add_episode_rewards(5, {0: 0.0})
    assert dataset.get_episode_keypoints(0) == {1: 0.1, 3: 0.6}
    assert dataset.get_episode_keypoints_objects(0) == [
        KeypointReward(0.1, frame_index=1, timestamp=0.1),
        KeypointReward(0.6, frame_index=3, timestamp=0.3),
    ]
    dataset.add_episode_rewards(5, dataset.get_episode_keypoints(5))
    assert dataset.get_episode_keypoints(5) == {0: 0.0}


@pytest.mark.parametrize("method", ["get_episode_keypoints", "remove_episode_rewards"])
def test_an_episode_that_is_not_there(load, method):
    with pytest.raises(ValueError, match="local/tiny has no episode -1; its 6 episodes are 0 to 5"):
        getattr(LeRobotDatasetWithReward(load()), method)(-1)


@pytest.mark.parametrize(
    ("repo_id", "flags", "kept"),
    [
        ("me/eval_push", {"mask_actions_for_eval_data": True}, False),
        ("me/fail_push", {"mask_actions_for_fail_data": True}, False),
        ("eval_push", {"mask_actions_for_eval_data": True}, False),
        ("me/rollout_push", {"mask_actions_for_eval_data": True}, False),
    ],
)
def test_action_mask_by_the_dataset_name(load, repo_id, flags, kept):
    item = LeRobotDatasetWithReward(load(repo_id), **flags)[0]
    assert item["action_mask"].dtype == torch.bool and item["action_mask"].shape == ()
    assert item["action_mask"].item() is kept


@pytest.mark.parametrize(
    ("repo_id", "flags", "named"),
    [
        ("me/eval_push", {"mask_actions_for_fail_data": True}, "nothing says which episodes"),
        ("me/push_eval_", {"mask_actions_for_eval_data": True}, "not evaluation data"),
        ("eval_me/push", {"mask_actions_for_eval_data": True}, "not evaluation data"),
    ],
)
def test_a_mask_that_nothing_backs(load, repo_id, flags, named):
    """It masked nothing, in silence."""
    with pytest.raises(ValueError, match=f"{next(iter(flags))}: .*{named}"):
        LeRobotDatasetWithReward(load(repo_id), **flags)


def test_no_action_mask_unless_asked_for(load):
    assert "action_mask" not in LeRobotDatasetWithReward(load("me/eval_push"))[0]


def test_an_episode_without_labels_is_an_error_only_where_it_is_used(load):
    LeRobotDatasetWithReward(load()).add_episode_rewards(3, {0: 0.5})
    config = RewardLabelsConfig(sources=["keypoints"])
    assert LeRobotDatasetWithReward(load(episodes=[3]), config=config)[0]["reward"] == 0.5
    with pytest.raises(
        ValueError, match=r"no reward labels for 5 of the episodes \(0, 1, 2, 4, 5\) from keypoints"
    ):
        LeRobotDatasetWithReward(load(), config=config)
    only = LeRobotDatasetWithReward(load(episodes=[3]), config=config)
    with pytest.raises(ValueError, match="episode 3 would have no labels"):
        only.remove_episode_rewards(3)
    assert only.get_episode_keypoints(3) == {0: 0.5}


def test_the_last_labels_of_an_episode_cannot_be_removed(load):
    LeRobotDatasetWithReward(load()).add_episode_rewards(2, {0: 0.5})
    config = RewardLabelsConfig(sources=["keypoints", "returns"])
    dataset = LeRobotDatasetWithReward(load(episodes=[2]), config=config)
    with pytest.raises(ValueError, match="episode 2 would have no labels: returns has none for it"):
        dataset.remove_episode_rewards(2)
    assert dataset[0]["reward"] == 0.5 and dataset.get_episode_keypoints(2) == {0: 0.5}


def test_bad_arguments(load):
    plain = load()
    with pytest.raises(ValueError, match="only one of them"):
        LeRobotDatasetWithReward(plain, reward_start_pct=0.1, config=RewardLabelsConfig())
    with pytest.raises(ValueError, match="horizon must be at least 1, got 0"):
        LeRobotDatasetWithReward(plain, horizon=0)
    with pytest.raises(ValueError, match="start_pct"):
        LeRobotDatasetWithReward(plain, 0.9, 0.1)


def test_an_own_reward_column_is_not_hidden(load):
    plain = load()
    plain.meta.features["reward"] = {"dtype": "float32", "shape": (1,), "names": None}
    with pytest.raises(ValueError, match="local/tiny has a column 'reward' of its own"):
        LeRobotDatasetWithReward(plain)


@pytest.mark.parametrize("name", ["action_mask", "advantage", "is_terminal", "reward_is_pad"])
def test_an_own_column_is_no_label_and_stands_in_the_way_of_none(name, make_dataset, tmp_path):
    root = make_dataset(tmp_path / "d", columns={name: ("float32", lambda episode, frame: 7.0)})
    item = LeRobotDatasetWithReward(LeRobotDataset("local/d", root=root))[0]
    assert item[name].item() == 7.0
    assert (name in read_labels(item)) == (name == "is_terminal")  # one of RECAP's, which are handed on


def test_the_policy_says_what_it_needs(load):
    policy = ACTConfig(device="cpu", chunk_size=4, n_action_steps=4, use_reward_head=True)
    masks = RewardLabelsConfig(mask_actions_for_eval_data=True)
    item = LeRobotDatasetWithReward(load("me/eval_push"), config=masks, policy=policy)[0]
    shapes = {key: tuple(value.shape) for key, value in read_labels(item).items()}
    assert shapes == {"reward": (4,), "reward_is_pad": (4,), "action_mask": (4,)}
    policy.use_reward_head = False
    item = LeRobotDatasetWithReward(load("me/eval_push"), config=masks, policy=policy)[0]
    assert read_labels(item).keys() == {"action_mask"}
    with pytest.raises(ValueError, match="the policy says which labels it needs"):
        LeRobotDatasetWithReward(load(), policy=policy, horizon=4)


def test_metadata_that_does_not_fit(load):
    dataset = LeRobotDatasetWithReward(FakeDataset())
    with pytest.raises(IndexError, match="frame 99 is not among its 8 frames"):
        dataset._labelled({"index": torch.tensor(99)})
    with pytest.raises(
        ValueError, match="frame 5 is of episode 0 in the data and of episode 1 in the metadata"
    ):
        dataset._labelled({"index": torch.tensor(5), "episode_index": torch.tensor(0)})
    broken = FakeDataset()
    broken.meta.episodes["dataset_from_index"] = [0, 4]
    with pytest.raises(ValueError, match="the metadata of episode 1 does not follow"):
        LeRobotDatasetWithReward(broken)


def test_several_datasets_in_one(make_dataset, tmp_path):
    for name in ("a", "b"):
        make_dataset(tmp_path / "local" / name, f"local/{name}", (3,))
    both = MultiLeRobotDataset(["local/a", "local/b"], root=tmp_path)
    with pytest.raises(ValueError, match="MultiLeRobotDataset has no metadata of its own.*ConcatDataset"):
        LeRobotDatasetWithReward(both)


class FakeDataset:
    """Two episodes of 5 and 3 frames, counting the looks at its metadata."""

    def __init__(self):
        self.looks = 0
        self._meta = SimpleNamespace(
            repo_id="local/fake",
            root="/nowhere",
            fps=10,
            features={},
            total_episodes=2,
            episodes={
                "episode_index": [0, 1],
                "dataset_from_index": [0, 5],
                "dataset_to_index": [5, 8],
                "tasks": [["push"], ["push"]],
            },
        )

    @property
    def meta(self):
        self.looks += 1
        return self._meta

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"index": torch.tensor(index), "episode_index": torch.tensor(int(index >= 5))}


@pytest.mark.parametrize("horizon", [None, 3])
def test_items_need_no_metadata(horizon):
    """Metadata used to be looked up for each item, at many times the cost of the label."""
    wrapped = FakeDataset()
    dataset = LeRobotDatasetWithReward(wrapped, horizon=horizon)
    looks = wrapped.looks
    for i in range(8):
        dataset[i]
    assert wrapped.looks == looks


def test_a_million_frames_are_a_few_arrays():
    """Building costs array operations per dataset, not Python objects per frame."""
    meta = SimpleNamespace(
        repo_id="local/large",
        root="/nowhere",
        fps=10,
        features={},
        total_episodes=2000,
        episodes={
            "episode_index": list(range(2000)),
            "dataset_from_index": list(range(0, 1_000_000, 500)),
            "dataset_to_index": list(range(500, 1_000_001, 500)),
            "tasks": [["push"]] * 2000,
        },
    )
    labels = build_reward_labels(meta, RewardLabelsConfig())
    assert labels.rewards.shape == (1_000_000,) and labels.rewards.dtype == torch.float32
    assert labels.rewards[499] == 1 and labels.rewards[500] == 0
    assert len(pickle.dumps(labels)) < 4_200_000
