"""The predicted reward on its way out of the policy: evaluation, video, rollout, telemetry."""

from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from lerobot.processor.converters import policy_action_to_transition
from lerobot.processor.pipeline import TransitionKey
from rewact.draw.bar import draw_reward
from rewact.hooks.episodes import average_episodes, list_episodes, summarize_episodes
from rewact.hooks.evaluation import (
    averages_predicted_reward,
    lists_predicted_reward,
    reports_predicted_reward,
    watches_predicted_reward,
)
from rewact.hooks.robot import show_predicted_reward, unpack_action
from tests.versions import predict_action

ACTION, REWARD = torch.zeros(2, 3), torch.tensor([0.25, 0.75])


def test_unpacking_looks_at_the_value():
    assert unpack_action((ACTION, REWARD)) is ACTION
    assert unpack_action(ACTION) is ACTION
    mocked = MagicMock()  # whose every attribute is true
    assert unpack_action(mocked.select_action()) is mocked.select_action()


def test_a_postprocessor_takes_action_and_reward(policy_and_processors):
    """Loops of others hand it what `select_action` returned."""
    assert policy_action_to_transition((ACTION, REWARD))[TransitionKey.ACTION] is ACTION
    with pytest.raises(ValueError, match="PolicyAction"):
        policy_action_to_transition(("action", REWARD))
    _, _, post = policy_and_processors
    action = torch.rand(2, 2)
    assert torch.equal(post((action, REWARD)), post(action))


def rollout_data(rewards, is_forecast, ends):
    steps = torch.arange(len(is_forecast))
    return {
        "predicted_reward": torch.tensor(rewards),
        "predicted_reward_is_forecast": torch.tensor(is_forecast),
        "done": steps[None] >= torch.tensor(ends)[:, None],
    }


def test_a_summary_tells_readings_from_forecasts_and_ends_with_the_episode():
    data = rollout_data([[0.1, 0.5, 0.3, 0.9], [0.2, 0.4, 0.6, 0.8]], [False, True, False, True], [2, 3])
    first, second = summarize_episodes(data)
    assert first == pytest.approx(
        {
            "predicted_reward_first": 0.1,
            "predicted_reward_final": 0.3,
            "predicted_reward_max": 0.3,
            "predicted_reward_mean": 0.2,
            "n_reward_readings": 2,
            "forecast_reward_final": 0.5,
            "forecast_reward_max": 0.5,
            "forecast_reward_mean": 0.5,
        }
    )
    assert second["predicted_reward_final"] == pytest.approx(0.6)
    assert second["forecast_reward_final"] == pytest.approx(0.8)


def test_without_forecasts_none_are_reported():
    (episode,) = summarize_episodes(rollout_data([[0.1, 0.5]], [False, False], [1]))
    assert episode["n_reward_readings"] == 2 and "forecast_reward_final" not in episode
    # An episode that ends before the first forecast, beside one that has some.
    short, _ = summarize_episodes(rollout_data([[0.1, 0.5], [0.1, 0.5]], [False, True], [0, 1]))
    assert short["forecast_reward_mean"] is None


def test_averages_are_of_the_lists_of_all_episodes():
    episodes = summarize_episodes(rollout_data([[0.0, 0.5], [0.2, 1.0]], [False, False], [1, 1]))
    lists = list_episodes(episodes)
    assert lists["predicted_reward_max"] == [0.5, 1.0]
    more = list_episodes([{"predicted_reward_final": 0.0, "forecast_reward_max": 0.5}, {}])
    assert more == {"predicted_reward_final": [0.0, None], "forecast_reward_max": [0.5, None]}
    averages = average_episodes([lists, more])
    assert averages["avg_predicted_reward_final"] == pytest.approx(0.5)
    assert averages["avg_forecast_reward_max"] == 0.5


class FakeEnv:
    num_envs = 2

    def step(self, actions):
        return {}, np.ones(2), np.zeros(2, bool), np.zeros(2, bool), {}


class FakePolicy:
    """Reads at even steps, forecasts at odd ones."""

    def __init__(self, use_reward_head=True):
        self.config = SimpleNamespace(use_reward_head=use_reward_head, stop_on_completion=False)
        self.step = -1

    def select_action(self):
        self.step += 1
        self.last_predicted_reward = torch.tensor([0.1, 0.2]) * (self.step + 1)
        self.last_reward_is_forecast = self.step % 2 == 1


def evaluate(policy):
    """LeRobot's four functions of an evaluation, as far as they matter, on two tasks."""

    @watches_predicted_reward
    def rollout(env, policy):
        for _ in range(3):
            policy.select_action()
            env.step(None)
        done = torch.tensor([[False, False, True]] * 2)
        return {"done": done, "reward": torch.ones(2, 3), "success": torch.ones(2, 3, dtype=torch.bool)}

    @reports_predicted_reward
    def eval_policy():
        for _ in range(2):
            policy.step = -1
            rollout(FakeEnv(), policy=policy)
        return {"per_episode": [{"success": i > 0} for i in range(3)], "aggregated": {}}

    infos = []

    @lists_predicted_reward
    def eval_one():
        infos.append(eval_policy())
        return {"successes": [episode["success"] for episode in infos[-1]["per_episode"]]}

    @averages_predicted_reward
    def eval_all():
        per_task = [{"task_group": group, "metrics": eval_one()} for group in ("a", "b")]
        return {"per_task": per_task, "per_group": {"a": {}, "b": {}}, "overall": {}}

    return infos, eval_all()


def test_an_evaluation_reports_each_episode_and_the_averages():
    infos, info = evaluate(FakePolicy())
    episodes = infos[0]["per_episode"]
    assert len(episodes) == 3  # of four that were run
    assert episodes[1]["predicted_reward_final"] == pytest.approx(0.6)
    assert episodes[1]["forecast_reward_final"] == pytest.approx(0.4)
    assert infos[0]["aggregated"]["avg_predicted_reward_final"] == pytest.approx((0.3 + 0.6 + 0.3) / 3)
    metrics = info["per_task"][1]["metrics"]
    assert metrics["predicted_reward_final"] == pytest.approx([0.3, 0.6, 0.3])
    for averages in (info["per_group"]["b"], info["overall"]):
        assert averages["avg_predicted_reward_final"] == pytest.approx(0.4)
        assert averages["avg_forecast_reward_max"] == pytest.approx((0.2 + 0.4 + 0.2) / 3)


def test_a_policy_without_rewards_changes_no_report():
    infos, info = evaluate(FakePolicy(use_reward_head=False))
    assert infos[0] == {"per_episode": [{"success": i > 0} for i in range(3)], "aggregated": {}}
    assert info["overall"] == {} and info["per_task"][0]["metrics"].keys() == {"successes"}


@pytest.mark.parametrize("size", [(96, 96), (384, 384), (240, 426)])
def test_the_bar_grows_with_the_reward(size):
    frame = np.full((*size, 3), 200, dtype=np.uint8)
    drawn = [draw_reward(frame, reward) for reward in (0.0, 0.5, 1.0)]
    assert all(d.shape == frame.shape and d.dtype == np.uint8 for d in drawn)
    assert (frame == 200).all()  # the caller's frame is not drawn on
    green = [int(((d[..., 1] > 150) & (d[..., 0] < 120)).sum()) for d in drawn]
    assert green[0] < green[1] < green[2]
    assert all((d[: size[0] // 2] == 200).all() for d in drawn)


def test_a_forecast_is_drawn_otherwise_than_a_reading():
    frame = np.full((384, 384, 3), 200, dtype=np.uint8)
    reading, forecast = draw_reward(frame, 0.5), draw_reward(frame, 0.5, is_forecast=True)
    green = [int(((d[..., 1] > 150) & (d[..., 0] < 120)).sum()) for d in (reading, forecast)]
    assert 0 < green[1] < green[0] / 2


def test_telemetry_gets_the_reward_where_there_is_one():
    observation = {}
    for policy in (None, object(), SimpleNamespace(last_predicted_reward=None), MagicMock()):
        show_predicted_reward(observation, policy)
    assert observation == {}
    policy = SimpleNamespace(last_predicted_reward=torch.tensor([0.5]), last_reward_is_forecast=False)
    show_predicted_reward(observation, policy)
    assert observation == {"predicted_reward": 0.5}
    policy.last_reward_is_forecast = True
    observation = {}
    show_predicted_reward(observation, policy)
    assert observation == {"forecast_reward": 0.5}


def test_predict_action_of_the_robot_loop(policy_and_processors):
    policy, pre, post = policy_and_processors
    observation = {
        "observation.state": np.zeros(3, np.float32),
        "observation.images.front": np.zeros((32, 32, 3), np.uint8),
    }
    action = predict_action(observation, policy, torch.device("cpu"), pre, post, use_amp=False)
    assert action.shape == (1, 2)
    assert (policy.last_predicted_reward is not None) == policy.config.use_reward_head
