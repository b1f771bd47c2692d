# SPDX-License-Identifier: MIT
"""Outcomes, control modes, interventions, and the actions they mask."""

import json
import shutil

import numpy as np
import pytest

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels import LeRobotDatasetWithReward, build_reward_labels
from rewact.labels.control import load_control_modes, save_control_modes
from rewact.labels.episodes import EpisodeTable
from rewact.labels.outcomes import _say_once, load_outcomes, save_outcomes
from rewact.options.labels import RewardLabelsConfig

LENGTHS = (7, 1, 12, 20, 5, 9)
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)])
OURS = "rewact_extensions/outcomes.json"
FOREIGN = "candywrapper_plugins/episode_outcome/outcomes.json"
MODES = "rewact_extensions/control_modes.json"
FOREIGN_MODES = "candywrapper_plugins/dagger_data_source/episode_modes.json"


def labels(dataset, **config):
    return build_reward_labels(dataset.meta, RewardLabelsConfig(**config))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def outcome(episode, value):
    return {"episode_index": episode, "outcome": value}


def segment(first, last, mode):
    return {"start_index": first, "end_index": last, "mode": mode}


@pytest.fixture
def recorded(make_dataset, tmp_path):
    """A dataset whose episodes 0 and 3 succeeded, at their last frame."""

    def success(episode, frame):
        return episode in (0, 3) and frame == LENGTHS[episode] - 1

    root = make_dataset(tmp_path / "recorded", columns={"next.success": ("bool", success)})
    return lambda **kwargs: LeRobotDataset("local/tiny", root=root, **kwargs)


# outcomes


@pytest.mark.parametrize("path", [OURS, FOREIGN])
def test_an_outcomes_file_where_it_lies(load, root, path):
    write(root / path, [outcome(0, "success"), outcome(2, "failure"), outcome(3, "unknown")])
    built = labels(load())
    assert built.outcomes.tolist() == [1, -1, 0, -1, -1, -1]
    assert built.describe().endswith("6 linear (5%-95%), 1 of them failed")


def test_a_failed_episode_never_reaches_one(load, root):
    write(root / OURS, [outcome(2, "failure")])
    rewards = labels(load(), failure_ceiling=0.4).rewards
    whole = labels(load(), outcomes="none").rewards
    assert rewards[STARTS[2] : STARTS[3]].max() == np.float32(0.4)
    assert rewards[: STARTS[2]].equal(whole[: STARTS[2]]) and rewards[STARTS[3] :].equal(whole[STARTS[3] :])


def test_success_column(recorded):
    assert labels(recorded()).outcomes.tolist() == [1, 0, 0, 1, 0, 0]
    assert labels(recorded(), outcomes="none").outcomes.tolist() == [-1] * 6


def test_a_subset_knows_the_outcomes_of_its_episodes(recorded):
    dataset = LeRobotDatasetWithReward(recorded(episodes=[2]))
    assert dataset[-1]["reward"] == 0.5


def test_success_column_of_a_streamed_dataset(recorded):
    """Its data is elsewhere; the statistics of the episodes are not."""
    dataset = recorded()
    shutil.rmtree(dataset.root / "data")
    assert labels(dataset).outcomes.tolist() == [1, 0, 0, 1, 0, 0]


def test_a_file_overrides_the_column(recorded):
    dataset = recorded()
    write(dataset.root / OURS, [outcome(0, "failure"), outcome(2, "success")])
    assert labels(dataset).outcomes.tolist() == [0, 0, 1, 1, 0, 0]
    assert labels(dataset, outcomes="file").outcomes.tolist() == [0, -1, 1, -1, -1, -1]
    assert labels(dataset, outcomes="next.success").outcomes.tolist() == [1, 0, 0, 1, 0, 0]


def test_a_column_that_is_never_true_says_nothing(make_dataset, tmp_path, caplog):
    caplog.set_level("INFO")
    _say_once.cache_clear()
    root = make_dataset(tmp_path / "d", columns={"next.success": ("bool", lambda e, f: False)})
    dataset = LeRobotDataset("local/tiny", root=root)
    for _ in range(2):
        assert labels(dataset).outcomes.tolist() == [-1] * 6
    assert caplog.text.count("says nothing about outcomes") == 1
    assert labels(dataset, outcomes="next.success").outcomes.tolist() == [0] * 6


def test_all_episodes_at_once(load):
    assert labels(load(), outcomes="success").outcomes.tolist() == [1] * 6
    failed = labels(load(), outcomes="failure")
    assert failed.outcomes.tolist() == [0] * 6 and failed.rewards.max() == 0.5


def test_a_dataset_named_fail_when_the_flag_asks(load, root):
    write(root / OURS, [outcome(0, "success")])
    assert labels(load("me/fail_push")).outcomes.tolist() == [1, -1, -1, -1, -1, -1]
    asked = labels(load("me/fail_push"), mask_actions_for_fail_data=True)
    assert asked.outcomes.tolist() == [1, 0, 0, 0, 0, 0]
    assert not asked.action_mask.any()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[", "not valid JSON"),
        ({}, "expected a list of outcomes, got dict"),
        ([{"episode_index": 0}], "'episode_index' and 'outcome'"),
        ([outcome("0", "success")], "'0' is not an episode number"),
        ([outcome(0, "won")], "episode 0: the outcome must be one of success, failure, unknown, got 'won'"),
        ([outcome(0, True)], "episode 0: .*got True"),
        ([outcome(6, "success")], "episode 6: .*no episode 6"),
        ([outcome(-1, "success")], "episode -1: .*no episode -1"),
        ([outcome(0, "success"), outcome(0, "failure")], "episode 0: appears twice"),
    ],
)
def test_a_broken_outcomes_file_stops(load, root, content, named):
    write(root / OURS, content)
    with pytest.raises(ValueError, match=f"{OURS}.*{named}"):
        labels(load())


@pytest.mark.parametrize("option", ["mask_actions_under_policy", "mask_actions_under_intervention"])
def test_masks_need_to_know_who_was_in_control(load, root, option):
    """They masked nothing, in silence."""
    with pytest.raises(ValueError, match=f"{option}: nothing says who controlled local/tiny"):
        labels(load(), **{option: True})
    path = root / "dagger_data_source/episode_modes.json"
    path.parent.mkdir()
    mode = option.rsplit("_", 1)[-1].replace("intervention", "human")
    path.write_text(json.dumps({"0": [{"start_index": 0, "end_index": 4, "mode": mode}]}))
    assert int((~labels(load(), **{option: True}).action_mask).sum()) == 5


def test_a_missing_outcome_is_told_as_one(load):
    with pytest.raises(ValueError, match=r"their outcome is not known; .*--failed='\[...\]'"):
        LeRobotDatasetWithReward(load(), config=RewardLabelsConfig(sources=["returns"]))


def test_outcome_files_that_disagree(load, root):
    write(root / OURS, [outcome(0, "success"), outcome(2, "failure")])
    write(root / FOREIGN, [outcome(0, "unknown"), outcome(2, "success")])
    with pytest.raises(ValueError, match=f"{OURS} and .*{FOREIGN} disagree about episode 2"):
        labels(load())
    assert labels(load(), outcomes_path=str(root / FOREIGN)).outcomes[2] == 1


def test_outcomes_that_are_not_there(load, tmp_path):
    with pytest.raises(ValueError, match=f"there is no .*{OURS}"):
        labels(load(), outcomes="file")
    with pytest.raises(ValueError, match="there is no file .*absent.json"):
        labels(load(), outcomes_path=str(tmp_path / "absent.json"))
    with pytest.raises(ValueError, match="local/tiny has no such column"):
        labels(load(), outcomes="next.success")


def test_saved_outcomes_are_read_back(load, tmp_path):
    outcomes, table = {3: "failure", 0: "success"}, EpisodeTable.from_metadata(load().meta)
    save_outcomes(tmp_path / "o.json", outcomes, table)
    assert load_outcomes(tmp_path / "o.json", table) == outcomes


# masks


def masked(dataset, **config):
    """Masked frames as (episode, frame)."""
    built = labels(dataset, **config)
    frames = np.flatnonzero(~built.action_mask.numpy())
    episodes = np.searchsorted(STARTS, frames, side="right") - 1
    return list(zip(episodes.tolist(), (frames - STARTS[episodes]).tolist(), strict=True))


def test_failed_episodes_can_be_masked_and_stay_labelled(load, root):
    write(root / OURS, [outcome(4, "failure")])
    assert masked(load(), mask_actions_for_fail_data=True) == [(4, frame) for frame in range(5)]
    assert labels(load(), mask_actions_for_fail_data=True).rewards.isfinite().all()


@pytest.mark.parametrize(
    ("path", "wrap"),
    [(MODES, False), (FOREIGN_MODES, False), ("candywrapper_plugins/control_mode/episode_modes.json", True)],
)
def test_policy_segments_can_be_masked(load, root, path, wrap):
    segments = [segment(0, 1, "policy"), segment(2, 3, "human"), segment(5, 5, "policy")]
    write(root / path, {"0": {"segments": segments} if wrap else segments})
    assert masked(load(), mask_actions_under_policy=True) == [(0, 0), (0, 1), (0, 5)]
    assert masked(load(), mask_actions_under_intervention=True) == [(0, 2), (0, 3)]


def test_interventions_from_the_column(make_dataset, tmp_path):
    root = make_dataset(
        tmp_path / "d", columns={"intervention": ("bool", lambda e, f: e == 2 and f in (3, 4))}
    )
    write(root / MODES, {"0": [segment(6, 6, "human")]})
    dataset = LeRobotDataset("local/tiny", root=root)
    assert masked(dataset, mask_actions_under_intervention=True) == [(0, 6), (2, 3), (2, 4)]


def test_the_mask_covers_a_chunk(load, root):
    write(root / MODES, {"2": [segment(3, 4, "policy"), segment(11, 11, "policy")]})
    config = RewardLabelsConfig(mask_actions_under_policy=True)
    dataset = LeRobotDatasetWithReward(load(episodes=[2, 3]), config=config, action_horizon=3)
    assert dataset[2]["action_mask"].tolist() == [True, False, False]
    assert dataset[10]["action_mask"].tolist() == [True, False, False]
    assert dataset[12]["action_mask"].tolist() == [True, True, True]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not valid JSON"),
        ([], "expected an object from episode to segments, got list"),
        ({"6": []}, "episode 6: .*no episode 6"),
        ({"-1": []}, "'-1' is not an episode number"),
        ({"0": {}}, "episode 0: expected a list of segments"),
        ({"0": [{"start_index": 0, "end_index": 1}]}, "episode 0: .*'mode'"),
        ({"0": [segment(0, 1, "robot")]}, "episode 0: the mode must be one of .*got 'robot'"),
        (
            {"0": [segment(0, 7, "policy")]},
            "episode 0: frames 0 to 7 are not a segment of an episode of 7 frames",
        ),
        ({"0": [segment(-1, 2, "policy")]}, "episode 0: frames -1 to 2"),
        ({"0": [segment(3, 2, "policy")]}, "episode 0: frames 3 to 2"),
        (
            {"0": [segment(2, 4, "policy"), segment(0, 2, "human")]},
            "episode 0: .*from frame 0 and from 2 overlap",
        ),
    ],
)
def test_a_broken_control_modes_file_stops(load, root, content, named):
    write(root / MODES, content)
    with pytest.raises(ValueError, match=f"{MODES}.*{named}"):
        labels(load(), mask_actions_under_policy=True)


def test_control_mode_files_that_disagree(load, root):
    write(root / MODES, {"0": [segment(0, 3, "policy")]})
    write(root / FOREIGN_MODES, {"0": [segment(0, 2, "unknown"), segment(3, 5, "policy")]})
    assert masked(load(), mask_actions_under_policy=True) == [(0, frame) for frame in range(6)]
    write(root / FOREIGN_MODES, {"0": [segment(3, 5, "human")]})
    with pytest.raises(ValueError, match="disagree about episode 0"):
        labels(load(), mask_actions_under_policy=True)
    chosen = str(root / FOREIGN_MODES)
    assert masked(load(), mask_actions_under_policy=True, control_modes_path=chosen) == []


def test_saved_control_modes_are_read_back(load, tmp_path):
    modes = {0: [(0, 2, "policy"), (3, 6, "human")], 3: [(19, 19, "unknown")]}
    table = EpisodeTable.from_metadata(load().meta)
    save_control_modes(tmp_path / "m.json", modes, table)
    assert load_control_modes(tmp_path / "m.json", table) == modes
