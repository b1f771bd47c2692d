"""`stop_on_completion`: an episode ends where the policy predicts that the task is done."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rewact.hooks.episodes import (
    IS_FORECAST,
    PREDICTED_REWARD,
    WatchedEnv,
    average_episodes,
    list_episodes,
    summarize_episodes,
)
from rewact.judge.completion import CompletionWatch
from rewact.options.completion import CompletionDetectorConfig

from .conftest import CHUNK_SIZE, make_observation, make_policy


def policy_that_stops(stop=True, use_reward_head=True, **detector):
    config = SimpleNamespace(
        type="act",
        use_reward_head=use_reward_head,
        n_action_steps=4,
        stop_on_completion=stop,
        completion_detector=CompletionDetectorConfig(**{"dwell": 2, **detector}),
    )
    return SimpleNamespace(config=config)


def make_watch(**detector):
    return CompletionWatch(policy_that_stops(**detector))


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


class FakeEnv:
    """Two environments that never end by themselves."""

    num_envs = 2

    def step(self, actions):
        flags = np.zeros(2, bool)
        return {}, np.ones(2), flags, flags, {}


def test_nothing_after_a_stop_counts():
    policy = policy_that_stops()
    env = WatchedEnv(FakeEnv(), policy)
    truncated = []
    for reward in ([0.95, 0.1],) * 4:
        policy.last_predicted_reward, policy.last_reward_is_forecast = torch.tensor(reward), False
        truncated.append(env.step(None)[3].tolist())
    assert truncated == [[False, False], [True, False], [False, False], [False, False]]
    data = {"reward": torch.ones(2, 4), "success": torch.tensor([[False, False, True, True]] * 2)}
    env.add_to(data)
    assert data["stopped_at_step"].tolist() == [1, -1]
    assert data["reward"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert data["success"].tolist() == [[False] * 4, [False, False, True, True]]


def test_a_watched_environment_passes_for_its_own():
    env = WatchedEnv(FakeEnv(), policy_that_stops(stop=False))
    assert isinstance(env, FakeEnv) and env.num_envs == 2


def test_without_the_option_a_rollout_stays_as_it_was():
    for watch in (CompletionWatch(policy_that_stops(stop=False)), CompletionWatch(object())):
        assert follow(watch, [[1.0], [1.0], [1.0]]) == [[], [], []]
        assert watch.stopped_at is None


def test_every_rollout_starts_afresh():
    policy = policy_that_stops()
    assert follow(CompletionWatch(policy), [[1.0]]) == [[]]
    assert follow(CompletionWatch(policy), [[1.0]]) == [[]]  # not the second step in a row
    watch = CompletionWatch(policy)
    assert follow(watch, [[1.0], [1.0]]) == [[], [0]]
    watch.reset()
    assert follow(watch, [[1.0], [1.0]]) == [[], [0]]


def rollout_of(rewards, ends, stopped_at=None):
    """Data of a batched rollout whose every reward is a reading."""
    rewards = torch.tensor(rewards)
    steps = torch.arange(rewards.shape[1])
    data = {
        PREDICTED_REWARD: rewards,
        IS_FORECAST: torch.zeros(rewards.shape[1], dtype=torch.bool),
        "done": steps[None] >= torch.tensor(ends)[:, None],
    }
    return data if stopped_at is None else {**data, "stopped_at_step": torch.tensor(stopped_at)}


def average(episodes, successes):
    return average_episodes([{**list_episodes(episodes), "successes": successes}])


def test_the_report_says_when_it_stopped_and_what_the_environment_said():
    rewards = [[0.2, 0.95, 0.95], [0.1, 0.2, 0.3], [0.95, 0.95, 0.0]]
    episodes = summarize_episodes(rollout_of(rewards, [2, 2, 1], [2, -1, 1]))
    assert [episode["stopped_at_step"] for episode in episodes] == [2, None, 1]
    averages = average(episodes, [True, True, False])
    assert averages["n_stopped"] == 2
    assert averages["n_stopped_successes"] == 1
    assert averages["avg_stopped_at_step"] == 1.5


def test_nothing_stopped_is_not_nothing_asked_for():
    averages = average(summarize_episodes(rollout_of([[0.2]], [0], [-1])), [True])
    assert averages["n_stopped"] == 0 and averages["avg_stopped_at_step"] is None
    plain = average(summarize_episodes(rollout_of([[0.2]], [0])), [True])
    assert "n_stopped" not in plain


def test_a_policy_without_rewards_is_refused():
    with pytest.raises(ValueError, match="use_reward_head=true"):
        CompletionWatch(policy_that_stops(use_reward_head=False))
    with pytest.raises(ValueError, match="threshold must be in"):
        CompletionDetectorConfig(threshold=1.5)


def test_a_stuck_robot_is_not_called_done():
    """The same observation at each step, and a forecast as demonstrations teach it: 1 at the chunk's end."""
    policy = make_policy(n_action_steps=CHUNK_SIZE, stop_on_completion=True).eval()
    head = policy.model.reward_head
    with torch.no_grad():
        head.readout.weight.zero_()
        head.readout.bias.fill_(-3.0)
        head.forecast.weight.zero_()
        head.forecast.bias.copy_(torch.linspace(2, 12, CHUNK_SIZE - 1))
    stuck = make_observation(policy, 1)
    watch = CompletionWatch(policy)
    for _ in range(CHUNK_SIZE):
        _, reward = policy.select_action(stuck)
        assert not watch.stops(reward, np.array([False]))[0]
        assert torch.equal(reward, policy.predict_reward(stuck)) and not policy.last_reward_is_forecast


def test_reading_at_every_step_leaves_the_queued_actions():
    torch.manual_seed(1)
    policies = []
    for stop in (False, True):
        torch.manual_seed(0)
        policies.append(make_policy(stop_on_completion=stop).eval())
    for _ in range(5):
        observation = make_observation(policies[0], 2)
        actions = [policy.select_action(observation)[0] for policy in policies]
        assert torch.equal(*actions)
