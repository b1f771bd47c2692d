# SPDX-License-Identifier: MIT
"""Recordings of evaluations hold the predicted reward of each frame; stock LeRobot and the labels read it."""

import inspect
import logging

import gymnasium as gym
import numpy as np
import pytest

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.scripts.lerobot_eval import rollout
from rewact.labels import LeRobotDatasetWithReward
from rewact.options.labels import RewardLabelsConfig

from .conftest import ACTION_DIM, N_ACTION_STEPS, STATE_DIM, make_policy

N_STEPS = 2 * N_ACTION_STEPS + 1
RECORDS_EVALUATIONS = "recording_dir" in inspect.signature(rollout).parameters
FEATURES = {
    "action": PolicyFeature(FeatureType.ACTION, (ACTION_DIM,)),
    "agent_pos": PolicyFeature(FeatureType.STATE, (STATE_DIM,)),
    "environment_state": PolicyFeature(FeatureType.ENV, (5,)),
}


class Drift(gym.Env):
    """The observation is the number of the step; the episode ends after `N_STEPS`."""

    metadata = {"render_fps": 10}
    _max_episode_steps = N_STEPS
    task, task_description = "drift", "drift away"
    action_space = gym.spaces.Box(-9, 9, (ACTION_DIM,))
    observation_space = gym.spaces.Dict(
        {
            "agent_pos": gym.spaces.Box(-99, 99, (STATE_DIM,)),
            "environment_state": gym.spaces.Box(-99, 99, (5,)),
        }
    )

    def _observe(self):
        return {
            "agent_pos": np.full(STATE_DIM, self.steps, np.float32),
            "environment_state": np.full(5, self.start, np.float32),
        }

    def reset(self, seed=None, options=None):
        self.steps, self.start = 0, 0.1 * (seed or 0)
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        return self._observe(), 0.0, self.steps == N_STEPS, False, {}


def evaluate(policy, **recording):
    env = gym.vector.SyncVectorEnv([Drift, Drift])
    identity = lambda x: x  # noqa: E731
    return rollout(env, policy, identity, identity, identity, lambda out: out[0], seeds=[1, 2], **recording)


@pytest.mark.skipif(not RECORDS_EVALUATIONS, reason="this release records no evaluations")
def test_an_evaluation_records_a_reading_of_each_frame(tmp_path):
    policy = make_policy(record_predicted_reward=True)
    result = evaluate(policy, recording_dir=tmp_path / "recording", env_features=FEATURES)
    for number in range(2):
        root = tmp_path / "recording" / f"env_{number}"
        dataset = LeRobotDataset("local/recording", root=root)
        assert dataset.features["predicted_reward"] == {"dtype": "float32", "shape": (1,), "names": None}
        recorded = [dataset[frame]["predicted_reward"].item() for frame in range(N_STEPS)]
        assert len(dataset) == N_STEPS and recorded == result["predicted_reward"][number].tolist()
        # Read from the very observation that is recorded beside it.
        frame = {
            "observation.state": dataset[3]["agent_pos"][None],
            "observation.environment_state": dataset[3]["environment_state"][None],
        }
        assert policy.predict_reward(frame).item() == pytest.approx(recorded[3], abs=1e-6)
        config = RewardLabelsConfig(sources=["column"], column="predicted_reward")
        labelled = LeRobotDatasetWithReward(dataset, config=config)
        assert [labelled[frame]["reward"].item() for frame in range(N_STEPS)] == recorded
    assert not result["predicted_reward_is_forecast"].any()


@pytest.mark.skipif(not RECORDS_EVALUATIONS, reason="this release records no evaluations")
def test_without_the_option_the_recording_is_lerobots(tmp_path):
    evaluate(make_policy(), recording_dir=tmp_path / "recording", env_features=FEATURES)
    dataset = LeRobotDataset("local/recording", root=tmp_path / "recording" / "env_0")
    assert "predicted_reward" not in dataset.features


def test_where_nothing_is_recorded_it_is_said(caplog):
    with caplog.at_level(logging.WARNING):
        evaluate(make_policy(record_predicted_reward=True))
    assert "--policy.record_predicted_reward: this evaluation records nothing" in caplog.text


def test_a_policy_without_a_head_is_refused():
    policy = make_policy(use_reward_head=False, record_predicted_reward=True)
    with pytest.raises(ValueError, match="record_predicted_reward needs a policy that predicts the reward"):
        evaluate(policy)
