"""`stop_on_completion`: an episode ends where the policy predicts that the task is done."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rewact.hooks.completion import CompletionWatch, set_stop_on_completion
from rewact.hooks.predicted_reward import (
    PREDICTED_REWARD,
    add_predicted_rewards,
    summarize_predicted_rewards,
)
from rewact.options.completion import CompletionDetectorConfig


def make_policy(use_reward_head=True):
    return SimpleNamespace(config=SimpleNamespace(type="act", use_reward_head=use_reward_head))


def make_config(stop=True, **detector):
    return SimpleNamespace(
        stop_on_completion=stop, completion_detector=CompletionDetectorConfig(**{"dwell": 2, **detector})
    )


def make_watch(**detector):
    policy = make_policy()
    set_stop_on_completion(policy, make_config(**detector))
    return CompletionWatch(policy)


def follow(watch, rewards, done_at=()):
    """Which environments are stopped at each step; `done_at` are (step, environment) of the environments'
    own ends, which count from the next step on."""
    rewards = torch.tensor(rewards)
    done = np.zeros(rewards.shape[1], dtype=bool)
    stopped = []
    for step, reward in enumerate(rewards):
        stops = watch.stops(reward, done)
        stopped.append(np.flatnonzero(stops).tolist())
        done |= stops
        for at, environment in done_at:
            done[environment] |= at == step
    return stopped


def test_each_environment_is_stopped_once_where_its_own_reward_has_dwelled():
    watch = make_watch()
    rewards = [[0.95, 0.1], [0.95, 0.95], [0.95, 0.95], [0.95, 0.95]]
    assert follow(watch, rewards) == [[], [0], [1], []]
    assert watch.stopped_at.tolist() == [1, 2]


def test_an_environment_that_ended_by_itself_was_not_stopped():
    watch = make_watch()
    assert follow(watch, [[0.1], [0.95], [0.95], [0.95]], done_at=[(0, 0)]) == [[], [], [], []]
    assert watch.stopped_at.tolist() == [-1]


def test_nothing_after_a_stop_counts():
    watch = make_watch()
    follow(watch, [[0.95, 0.1], [0.95, 0.1], [0.95, 0.1], [0.95, 0.1]])
    data = {"reward": torch.ones(2, 4), "success": torch.tensor([[False, False, True, True]] * 2)}
    watch.add_to(data)
    assert data["stopped_at_step"].tolist() == [1, -1]
    assert data["reward"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert data["success"].tolist() == [[False] * 4, [False, False, True, True]]


def test_without_the_option_a_rollout_stays_as_it_was():
    policy = make_policy()
    set_stop_on_completion(policy, make_config(stop=False))
    for watch in (CompletionWatch(policy), CompletionWatch(object())):
        assert follow(watch, [[1.0], [1.0], [1.0]]) == [[], [], []]
        assert not watch.reached({PREDICTED_REWARD: 1.0})
        data = {"reward": torch.ones(1, 3), "success": torch.ones(1, 3, dtype=torch.bool)}
        watch.add_to(data)
        assert data.keys() == {"reward", "success"} and data["reward"].sum() == 3


def test_every_rollout_starts_afresh():
    policy = make_policy()
    set_stop_on_completion(policy, make_config())
    assert follow(CompletionWatch(policy), [[1.0]]) == [[]]
    assert follow(CompletionWatch(policy), [[1.0]]) == [[]]  # not the second step in a row


def test_the_report_says_when_it_stopped_and_what_the_environment_said():
    rewards = torch.tensor([[0.2, 0.95, 0.95], [0.1, 0.2, 0.3], [0.95, 0.95, 0.0]])
    summaries = summarize_predicted_rewards(rewards, torch.tensor([2, 2, 1]), torch.tensor([2, -1, 1]))
    info = {"per_episode": [{"success": s} for s in (True, True, False)], "aggregated": {}}
    add_predicted_rewards(info, summaries)
    assert [episode["stopped_at_step"] for episode in info["per_episode"]] == [2, None, 1]
    assert info["aggregated"]["n_stopped"] == 2
    assert info["aggregated"]["n_stopped_successes"] == 1
    assert info["aggregated"]["avg_stopped_at_step"] == 1.5


def test_nothing_stopped_is_not_nothing_asked_for():
    info = {"per_episode": [{"success": True}], "aggregated": {}}
    add_predicted_rewards(
        info, summarize_predicted_rewards(torch.tensor([[0.2]]), torch.tensor([0]), torch.tensor([-1]))
    )
    assert info["aggregated"]["n_stopped"] == 0 and info["aggregated"]["avg_stopped_at_step"] is None
    plain = {"per_episode": [{"success": True}], "aggregated": {}}
    add_predicted_rewards(plain, summarize_predicted_rewards(torch.tensor([[0.2]]), torch.tensor([0])))
    assert "n_stopped" not in plain["aggregated"]


def test_a_policy_without_rewards_is_refused():
    with pytest.raises(ValueError, match="use_reward_head=true"):
        set_stop_on_completion(make_policy(use_reward_head=False), make_config())
    with pytest.raises(ValueError, match="threshold must be in"):
        set_stop_on_completion(make_policy(), make_config(threshold=1.5))


def test_a_robot_is_stopped_by_the_reward_in_its_telemetry():
    watch = make_watch()
    ticks = [{PREDICTED_REWARD: 0.95}, {}, {PREDICTED_REWARD: 0.95}]  # in between an interpolated action
    assert [watch.reached(tick) for tick in ticks] == [False, False, True]
