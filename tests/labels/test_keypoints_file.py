# SPDX-License-Identifier: MIT
"""The keypoints file: what is read, what is refused, and that nothing is lost."""

import json
import os
import threading

import pytest

import rewact
from rewact.labels import KeypointReward, LeRobotDatasetWithReward, editing, files
from rewact.labels.episodes import EpisodeTable
from rewact.labels.keypoints import KEYPOINTS_FILE
from rewact.labels.outcomes import OUTCOMES_FILE, load_outcomes
from rewact.options.labels import RewardLabelsConfig


def keypoint_file(root, content):
    path = root / KEYPOINTS_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def entry(*keypoints, fps=10):
    return {"fps": fps, "keypoints": list(keypoints)}


def test_file_format(load, root):
    LeRobotDatasetWithReward(load()).add_episode_rewards(3, {15: 1.0, 3: 0.0})
    assert json.loads((root / KEYPOINTS_FILE).read_text()) == {
        "3": {
            "fps": 10,
            "length": 20,
            "identity": EpisodeTable.from_metadata(load().meta).identities[3],
            "keypoints": [
                {"frame_index": 3, "timestamp": 0.3, "reward": 0.0},
                {"frame_index": 15, "timestamp": 1.5, "reward": 1.0},
            ],
        }
    }
    assert os.listdir(root / "rewact_extensions") == ["reward_keypoints.json"]


def test_labels_are_read_back_by_another_dataset(load):
    LeRobotDatasetWithReward(load()).add_episode_rewards(3, {0: 0.25, 19: 0.75})
    again = LeRobotDatasetWithReward(load(episodes=[3]))
    assert again[0]["reward"] == 0.25 and again[19]["reward"] == 0.75


def test_frames_times_and_order(load, root):
    keypoint_file(
        root,
        {
            "3": entry(
                {"timestamp": 1.0, "reward": 0.8},
                {"frame_index": 2, "reward": 0.1},
                {"frame_index": 15, "timestamp": 1.5, "reward": 1.0},
            )
        },
    )
    assert LeRobotDatasetWithReward(load()).get_episode_keypoints(3) == {2: 0.1, 10: 0.8, 15: 1.0}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not valid JSON"),
        ('{"0": {"fps": 10, "keypoints": [{"frame_index": 0, "rew', "not valid JSON"),
        ("", "not valid JSON"),
        ('{"0": 1, "0": 2}', "'0' appears twice"),
        ([], "expected an object from episode to keypoints, got list"),
        ({"0": []}, "episode 0.*'fps' and 'keypoints'"),
        ({"0": {"keypoints": []}}, "episode 0.*'fps'"),
        ({"0": {"fps": 10, "keypoints": {"0": 1}}}, "episode 0: 'keypoints' must be a list"),
        ({"0": entry({"frame_index": 0, "reward": 0.5}, fps=30)}, "episode 0: labelled at 30 fps.*has 10"),
        ({"0": entry({"frame_index": 0})}, "episode 0.*'reward'"),
        ({"0": entry({"reward": 0.5})}, "episode 0: a keypoint needs a frame_index or a timestamp"),
        ({"0": entry({"frame_index": 0, "reward": 1.5})}, r"episode 0: .*in \[0, 1\], got 1.5"),
        ({"0": entry({"frame_index": 0, "reward": float("nan")})}, "episode 0: .*got nan"),
        ({"0": entry({"frame_index": 0, "reward": "1"})}, "episode 0: .*got '1'"),
        ({"0": entry({"frame_index": 0, "reward": True})}, "episode 0: .*got True"),
        ({"0": entry({"frame_index": -1, "reward": 0.5})}, "episode 0: .*got -1"),
        ({"0": entry({"frame_index": 1.5, "reward": 0.5})}, "episode 0: .*got 1.5"),
        ({"0": entry({"timestamp": -0.1, "reward": 0.5})}, "episode 0: .*got -0.1"),
        ({"0": entry({"frame_index": 7, "reward": 0.5})}, "episode 0: frame_index 7 lies outside.*7 frames"),
        ({"0": entry({"timestamp": 0.7, "reward": 0.5})}, "episode 0: timestamp 0.7 lies outside.*7 frames"),
        (
            {"0": entry({"frame_index": 1, "timestamp": 0.3, "reward": 0.5})},
            "frame_index 1 and timestamp 0.3",
        ),
        ({"0": entry({"frame": 1, "reward": 0.5})}, "unknown key 'frame'"),
        (
            {"0": entry({"frame_index": 1, "reward": 0.5}, {"timestamp": 0.1, "reward": 0.6})},
            "episode 0: two keypoints at frame 1",
        ),
        ({"-1": entry({"frame_index": 0, "reward": 0.5})}, "'-1' is not an episode number"),
        ({"1.0": entry({"frame_index": 0, "reward": 0.5})}, "'1.0' is not an episode number"),
        ({"01": entry({"frame_index": 0, "reward": 0.5})}, "'01' is not an episode number"),
        (
            {"6": entry({"frame_index": 0, "reward": 0.5})},
            "episode 6: .*no episode 6; its 6 episodes are 0 to 5",
        ),
    ],
)
def test_a_broken_file_stops_and_is_left_alone(load, root, content, named):
    good = LeRobotDatasetWithReward(load())
    path = keypoint_file(root, content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{KEYPOINTS_FILE}.*{named}"):
        LeRobotDatasetWithReward(load())
    with pytest.raises(ValueError, match=named):
        good.add_episode_rewards(2, {0: 0.5})
    with pytest.raises(ValueError, match=named):
        good.remove_episode_rewards(0)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("episode", "keypoints", "named"),
    [
        (0, {7: 1.0}, "episode 0: frame_index 7 lies outside"),
        (0, {-1: 1.0}, "episode 0: .*got -1"),
        (0, {0: 1.2}, "episode 0: .*got 1.2"),
        (0, {}, "episode 0: no keypoints"),
        (-1, {0: 1.0}, "no episode -1"),
        (6, {0: 1.0}, "no episode 6"),
        (
            0,
            [KeypointReward(0.1, frame_index=1), KeypointReward(0.2, timestamp=0.1)],
            "two keypoints at frame 1",
        ),
    ],
)
def test_bad_keypoints_change_nothing(load, root, episode, keypoints, named):
    dataset = LeRobotDatasetWithReward(load())
    before = dataset.labels.rewards.clone()
    with pytest.raises(ValueError, match=named):
        dataset.add_episode_rewards(episode, keypoints)
    assert dataset.labels.rewards.equal(before)
    assert not (root / "rewact_extensions").exists()


def test_an_empty_list_leaves_the_episode_to_the_next_source(load, root):
    keypoint_file(root, {"0": entry(), "1": entry({"frame_index": 0, "reward": 0.5})})
    dataset = LeRobotDatasetWithReward(load())
    assert dataset.labels.sources[:2] == ["linear", "keypoints"] and dataset[6]["reward"] == 1


def test_many_episodes_are_one_write(load, monkeypatch):
    dataset, saved = LeRobotDatasetWithReward(load()), []
    monkeypatch.setattr(editing, "save_keypoints", lambda path, content, table: saved.append(dict(content)))
    dataset.add_rewards({episode: {0: 0.25} for episode in range(6)})
    assert saved == [{episode: {0: 0.25} for episode in range(6)}]


def test_one_wrong_episode_of_many_changes_nothing(load, root):
    dataset = LeRobotDatasetWithReward(load())
    with pytest.raises(ValueError, match="episode 0: frame_index 7 lies outside"):
        dataset.add_rewards({2: {0: 0.5}, 0: {7: 1.0}})
    assert not (root / "rewact_extensions").exists() and dataset.labels.sources == ["linear"] * 6


def test_a_failure_does_not_reach_1(load, root):
    rewact.set_outcomes(load(), failed=[3])
    dataset = LeRobotDatasetWithReward(load())
    named = "episode 3: it failed, but its keypoints reach 1 at frame 19"
    with pytest.raises(ValueError, match=named):
        dataset.add_episode_rewards(3, {0: 0.0, 19: 1.0})
    dataset.add_episode_rewards(3, {0: 0.0, 19: 0.9})
    keypoint_file(root, {"3": entry({"frame_index": 19, "reward": 1.0})})
    with pytest.raises(ValueError, match=named):
        LeRobotDatasetWithReward(load())
    # What is wrong with one episode does not hold up another.
    rewact.set_outcomes(load(), succeeded=[1])
    assert load_outcomes(root / OUTCOMES_FILE, EpisodeTable.from_metadata(load().meta))[1] == "success"


def test_reading_creates_no_folder(load, root):
    dataset = LeRobotDatasetWithReward(load())
    dataset[0]
    assert dataset.get_episode_keypoints(0) == {} and dataset.get_episode_keypoints_objects(0) == []
    dataset.remove_episode_rewards(0)
    assert not (root / "rewact_extensions").exists()


def test_a_failed_write_keeps_the_old_file_and_labels(load, root, monkeypatch):
    dataset = LeRobotDatasetWithReward(load())
    dataset.add_episode_rewards(3, {0: 0.5})
    path = root / KEYPOINTS_FILE
    old, labels = path.read_bytes(), dataset.labels.rewards.clone()

    def disk_full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", disk_full)
    with pytest.raises(OSError, match=f"{path} cannot be written: No space left on device"):
        dataset.add_episode_rewards(3, {0: 0.9})
    assert path.read_bytes() == old
    assert dataset.labels.rewards.equal(labels)
    assert os.listdir(path.parent) == [path.name]


def test_another_file_can_be_named(load, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"0": entry({"frame_index": 0, "reward": 0.5})}))
    config = RewardLabelsConfig(keypoints_path=str(path))
    assert LeRobotDatasetWithReward(load(), config=config)[0]["reward"] == 0.5
    with pytest.raises(ValueError, match="there is no file .*absent.json"):
        LeRobotDatasetWithReward(
            load(), config=RewardLabelsConfig(keypoints_path=str(tmp_path / "absent.json"))
        )


@pytest.mark.parametrize(
    "values",
    [
        {"reward": 0.5},
        {"reward": -0.1, "frame_index": 0},
        {"reward": float("inf"), "frame_index": 0},
        {"reward": 0.5, "timestamp": float("nan")},
        {"reward": 0.5, "frame_index": -1},
        {"reward": 0.5, "frame_index": 0.0},
        {"reward": None, "frame_index": 0},
    ],
)
def test_keypoint_reward_refuses(values):
    with pytest.raises(ValueError):
        KeypointReward(**values)


def test_two_writers_lose_nothing(load, monkeypatch):
    """The second one asks to write between the first one's reading and writing."""
    first, second = LeRobotDatasetWithReward(load()), LeRobotDatasetWithReward(load())
    other = threading.Thread(target=second.add_episode_rewards, args=(1, {0: 0.2}))
    save = editing.save_keypoints

    def interrupted(*args):
        if other.ident is None:
            other.start()
            other.join(timeout=1)
        save(*args)

    monkeypatch.setattr(editing, "save_keypoints", interrupted)
    first.add_episode_rewards(0, {0: 0.1})
    other.join(timeout=30)
    assert not other.is_alive()
    assert (first.get_episode_keypoints(0), first.get_episode_keypoints(1)) == ({0: 0.1}, {0: 0.2})
