"""The predicted reward on its way out of the policy: evaluation, video, rollout, telemetry."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from rewact.hooks.predicted_reward import (
    PREDICTED_REWARD,
    PREDICTED_REWARD_KEYS,
    add_predicted_rewards,
    average_predicted_rewards,
    collect_predicted_rewards,
    draw_predicted_rewards,
    note_predicted_reward,
    summarize_predicted_rewards,
    unpack_action,
)
from tests.versions import predict_action

ACTION, REWARD = torch.zeros(2, 3), torch.tensor([0.25, 0.75])


def test_unpacking_looks_at_the_value():
    assert unpack_action((ACTION, REWARD)) == (ACTION, REWARD)
    assert unpack_action(ACTION) == (ACTION, None)
    mocked = MagicMock()  # whose every attribute is true
    assert unpack_action(mocked.select_action()) == (mocked.select_action(), None)


def test_summary_leaves_out_what_follows_the_end_of_an_episode():
    rewards = torch.tensor([[0.1, 0.5, 0.3, 0.9], [0.2, 0.4, 0.6, 0.8]])
    first, second = summarize_predicted_rewards(rewards, torch.tensor([2, 3]))
    assert first == pytest.approx(
        {
            "predicted_reward_first": 0.1,
            "predicted_reward_final": 0.3,
            "predicted_reward_max": 0.5,
            "predicted_reward_mean": 0.3,
        }
    )
    assert second["predicted_reward_final"] == pytest.approx(0.8)


def test_a_policy_without_rewards_changes_no_report():
    info = {"per_episode": [{"success": True}, {"success": False}], "aggregated": {"pc_success": 50.0}}
    before = repr(info)
    add_predicted_rewards(info, summarize_predicted_rewards(None, torch.tensor([3, 4])))
    assert repr(info) == before
    assert collect_predicted_rewards(info["per_episode"]) == {}
    assert average_predicted_rewards({key: [] for key in PREDICTED_REWARD_KEYS}) == {}


def test_report_has_every_episode_and_the_average():
    info = {"per_episode": [{"success": True}, {"success": False}], "aggregated": {}}
    add_predicted_rewards(
        info, summarize_predicted_rewards(torch.tensor([[0.0, 0.5], [0.2, 1.0]]), torch.tensor([1, 1]))
    )
    assert info["per_episode"][1]["predicted_reward_final"] == 1.0
    assert info["aggregated"]["avg_predicted_reward_final"] == pytest.approx(0.75)
    assert collect_predicted_rewards(info["per_episode"])["predicted_reward_max"] == [0.5, 1.0]


@pytest.mark.parametrize("size", [(96, 96), (384, 384), (240, 426)])
def test_the_bar_grows_with_the_reward(size):
    frames = np.full((3, *size, 3), 200, dtype=np.uint8)
    policy = SimpleNamespace(last_predicted_reward=torch.tensor([0.0, 0.5, 1.0, 0.3]))
    drawn = draw_predicted_rewards(frames, policy)
    assert drawn.shape == frames.shape and drawn.dtype == np.uint8
    assert (frames == 200).all()  # the caller's frames are not drawn on
    green = [int(((f[..., 1] > 150) & (f[..., 0] < 120)).sum()) for f in drawn]
    assert green[0] < green[1] < green[2]
    assert (drawn[:, : size[0] // 2] == 200).all()


@pytest.mark.parametrize(
    "policy", [SimpleNamespace(), SimpleNamespace(last_predicted_reward=None), MagicMock()]
)
def test_a_frame_without_a_prediction_is_left_alone(policy):
    frames = np.zeros((1, 96, 96, 3), dtype=np.uint8)
    assert draw_predicted_rewards(frames, policy) is frames


def test_telemetry_gets_the_reward_where_there_is_one():
    observation = {}
    note_predicted_reward(observation, SimpleNamespace(last_predicted_reward=None))
    note_predicted_reward(observation, object())
    assert observation == {}
    note_predicted_reward(observation, SimpleNamespace(last_predicted_reward=torch.tensor([0.5])))
    assert observation == {PREDICTED_REWARD: 0.5}


def test_predict_action_of_the_robot_loop(policy_and_processors):
    policy, pre, post = policy_and_processors
    observation = {
        "observation.state": np.zeros(3, np.float32),
        "observation.images.front": np.zeros((32, 32, 3), np.uint8),
    }
    action = predict_action(observation, policy, torch.device("cpu"), pre, post, use_amp=False)
    assert action.shape == (1, 2)
    assert (policy.last_predicted_reward is not None) == policy.config.use_reward_head
