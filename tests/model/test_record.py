"""The record loop, which drives the robot where there is no rollout package."""

from types import SimpleNamespace

import numpy as np
import pytest

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts import lerobot_record
from rewact.options.completion import CompletionDetectorConfig

from .conftest import N_ACTION_STEPS

RAW = {"a": 0.1, "b": 0.2, "c": 0.3, "front": np.zeros((32, 32, 3), np.uint8)}
FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
    "observation.images.front": {"dtype": "image", "shape": (32, 32, 3), "names": ["h", "w", "c"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
}


def record(policy, preprocessor, postprocessor, monkeypatch, n_actions, dataset=None):
    """Run the record loop until the robot was sent so many actions, or the loop ends by itself.

    Returns:
        The actions sent, the frames recorded and the observations shown.
    """
    events, sent, frames, shown = {"exit_early": False}, [], [], []

    def send_action(action):
        sent.append(action)
        if len(sent) == n_actions:  # somebody presses a key
            events["exit_early"] = True

    if dataset is None:
        dataset = SimpleNamespace(fps=30, features=FEATURES, add_frame=frames.append)
    robot = SimpleNamespace(
        name="robot", robot_type="robot", get_observation=lambda: dict(RAW), send_action=send_action
    )
    monkeypatch.setattr(lerobot_record, "precise_sleep", lambda seconds: None)
    monkeypatch.setattr(
        lerobot_record, "log_rerun_data", lambda observation, **others: shown.append(dict(observation))
    )
    lerobot_record.record_loop(
        robot=robot,
        events=events,
        fps=30,
        teleop_action_processor=None,
        robot_action_processor=lambda action_and_observation: action_and_observation[0],
        robot_observation_processor=lambda observation: observation,
        dataset=dataset,
        policy=policy,
        preprocessor=preprocessor,
        postprocessor=postprocessor,
        control_time_s=3600,
        single_task="task",
        display_data=True,
    )
    return sent, frames, shown


def test_record_sends_the_action_and_shows_the_reward(policy_and_processors, monkeypatch):
    policy = policy_and_processors[0]
    sent, frames, shown = record(*policy_and_processors, monkeypatch, N_ACTION_STEPS + 1)
    assert len(sent) == len(frames) == len(shown) == N_ACTION_STEPS + 1
    for step, (action, frame, observation) in enumerate(zip(sent, frames, shown, strict=True)):
        assert set(action) == {"x", "y"}
        assert frame.keys() == {"observation.state", "observation.images.front", "action", "task"}
        if policy.config.use_reward_head:
            name = "forecast_reward" if step % N_ACTION_STEPS else "predicted_reward"
            assert observation.keys() - RAW.keys() == {name} and 0 < observation[name] < 1
        else:
            assert observation.keys() == RAW.keys()


@pytest.mark.parametrize(("threshold", "expected"), [(1e-6, 3), (1.0, N_ACTION_STEPS + 1)])
def test_an_episode_ends_on_completion(policy_and_processors, monkeypatch, threshold, expected):
    policy = policy_and_processors[0]
    policy.config.stop_on_completion = True
    policy.config.completion_detector = CompletionDetectorConfig(threshold=threshold, dwell=3)
    if not policy.config.use_reward_head:
        with pytest.raises(ValueError, match="use_reward_head=true"):
            record(*policy_and_processors, monkeypatch, N_ACTION_STEPS + 1)
        return
    for _ in range(2):  # the second episode starts afresh
        sent, frames, _ = record(*policy_and_processors, monkeypatch, N_ACTION_STEPS + 1)
        assert len(sent) == len(frames) == expected


def test_a_recording_holds_the_predicted_reward(policy_and_processors, monkeypatch, tmp_path):
    policy = policy_and_processors[0]
    policy.config.record_predicted_reward = True
    dataset = LeRobotDataset.create("local/record", 30, FEATURES, tmp_path / "record", use_videos=False)
    if not policy.config.use_reward_head:
        with pytest.raises(ValueError, match="record_predicted_reward needs a policy that predicts"):
            record(*policy_and_processors, monkeypatch, N_ACTION_STEPS + 1, dataset)
        return
    read = []
    for _ in range(2):
        shown = record(*policy_and_processors, monkeypatch, N_ACTION_STEPS + 1, dataset)[2]
        dataset.save_episode()
        read += [observation["predicted_reward"] for observation in shown]
    dataset.finalize()
    recorded = LeRobotDataset("local/record", root=tmp_path / "record")
    assert recorded.num_episodes == 2 and len(recorded) == len(read)
    assert [frame["predicted_reward"].item() for frame in recorded] == pytest.approx(read)
    assert recorded.meta.stats["predicted_reward"]["max"].item() == pytest.approx(max(read))
