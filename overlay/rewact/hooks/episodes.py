# SPDX-License-Identifier: MIT
"""What an evaluation watches of the predicted reward, and reports: per episode, as lists, on average.

A reading is what the reward head makes of the current observation; a forecast was made when the chunk was
planned. `predicted_reward_*` is of readings, `forecast_reward_*` of forecasts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rewact.judge.completion import CompletionWatch
from rewact.keys import PREDICTED_REWARD

IS_FORECAST = "predicted_reward_is_forecast"
# Step, from 0, at which `stop_on_completion` ended an episode; None if it ran to its own end.
STOPPED_AT_STEP = "stopped_at_step"

READING_KEYS = tuple(f"predicted_reward_{statistic}" for statistic in ("first", "final", "max", "mean"))
# At how many steps of the episode the reward was read.
N_READINGS = "n_reward_readings"
FORECAST_KEYS = tuple(f"forecast_reward_{statistic}" for statistic in ("final", "max", "mean"))
EPISODE_KEYS = (*READING_KEYS, N_READINGS, *FORECAST_KEYS, STOPPED_AT_STEP)

Episode = dict[str, Any]


def summarize_episodes(data: Mapping[str, Any]) -> list[Episode]:
    """Summarise the predicted reward of each episode of a batched rollout, up to its end.

    Args:
        data: (B, T) bool "done" and float "predicted_reward", (T,) bool "predicted_reward_is_forecast", and
            where episodes end on completion (B,) "stopped_at_step", -1 where one was not stopped.

    Returns:
        A dictionary for each episode with `READING_KEYS` and `N_READINGS`; with `FORECAST_KEYS` where any
        step has a forecast, `None` in an episode without one; with `STOPPED_AT_STEP` where it applies.
    """
    is_forecast = data[IS_FORECAST]
    stopped_at = data.get(STOPPED_AT_STEP)
    episodes = []
    for row, (rewards, done) in enumerate(zip(data[PREDICTED_REWARD].float(), data["done"], strict=True)):
        n_steps = int(torch.argmax(done.to(int))) + 1  # argmax is the first of equals
        rewards, forecast = rewards[:n_steps], is_forecast[:n_steps]
        readings, forecasts = rewards[~forecast], rewards[forecast]
        values = (readings[0], readings[-1], readings.max(), readings.mean())
        episode: Episode = {key: value.item() for key, value in zip(READING_KEYS, values, strict=True)}
        episode[N_READINGS] = len(readings)
        if is_forecast.any():
            values = (forecasts[-1], forecasts.max(), forecasts.mean()) if len(forecasts) else ()
            numbers = [value.item() for value in values] or [None] * len(FORECAST_KEYS)
            episode |= dict(zip(FORECAST_KEYS, numbers, strict=True))
        if stopped_at is not None:
            episode[STOPPED_AT_STEP] = int(stopped_at[row]) if stopped_at[row] >= 0 else None
        episodes.append(episode)
    return episodes


def list_episodes(episodes: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """One list for each key that any of the episodes has, with `None` for those that lack it."""
    return {
        key: [episode.get(key) for episode in episodes]
        for key in EPISODE_KEYS
        if any(key in episode for episode in episodes)
    }


def average_episodes(tasks: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """Average what the episodes of some tasks report, of each in lists as of `list_episodes`.

    Returns:
        `avg_<key>` for each key that an episode has a number for. With `stop_on_completion` also how many
        episodes were stopped, `n_stopped`, how many of these the environment calls a success (by the list
        "successes" of their task), `n_stopped_successes`, and at which step on average,
        `avg_stopped_at_step`, `None` if none was.
    """
    averages: dict[str, float | int | None] = {}
    for key in EPISODE_KEYS:
        numbers = [number for lists in tasks for number in lists.get(key, ()) if number is not None]
        if numbers:
            averages[f"avg_{key}"] = float(np.mean(numbers))
    watched = [lists for lists in tasks if STOPPED_AT_STEP in lists]
    if watched:
        ends = (
            end for lists in watched for end in zip(lists["successes"], lists[STOPPED_AT_STEP], strict=True)
        )
        stopped = [bool(success) for success, step in ends if step is not None]
        averages |= {"n_stopped": len(stopped), "n_stopped_successes": sum(stopped)}
        averages.setdefault(f"avg_{STOPPED_AT_STEP}", None)
    return averages


class WatchedEnv:
    """Stands in for a vector environment during one rollout.

    Notes the predicted reward at each step, truncates the episodes that are done, and draws the reward on
    rendered frames; where it is recorded, observations hold it. All else is the environment's, its type
    included: LeRobot renders by type.
    """

    def __init__(self, env: Any, policy: Any, is_recorded: bool = False):
        self._env = env
        self._policy = policy
        self._completion = CompletionWatch(policy)
        self._ended = np.zeros(env.num_envs, dtype=bool)
        self._rewards: list[torch.Tensor] = []
        self._is_forecast: list[bool] = []
        self._recorded = np.zeros((env.num_envs, 1), np.float32).view(_Readings) if is_recorded else None

    @property
    def __class__(self) -> type:
        return type(self._env)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        observation, info = self._env.reset(**kwargs)
        return self._with_reading(observation), info

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        observation, reward, terminated, truncated, info = self._env.step(actions)
        predicted = self._policy.last_predicted_reward
        self._rewards.append(predicted.to("cpu"))
        if self._recorded is not None:
            np.copyto(self._recorded, self._rewards[-1].float()[:, None].numpy())
        self._is_forecast.append(self._policy.last_reward_is_forecast)
        truncated = truncated | self._completion.stops(predicted, self._ended)
        self._ended |= terminated | truncated
        return self._with_reading(observation), reward, terminated, truncated, info

    def _with_reading(self, observation: dict[str, Any]) -> dict[str, Any]:
        return observation if self._recorded is None else {**observation, PREDICTED_REWARD: self._recorded}

    @property
    def envs(self) -> list["_DrawnEnv"]:
        return [_DrawnEnv(self, index, env) for index, env in enumerate(self._env.envs)]

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        results = self._env.call(name, *args, **kwargs)
        return [self.draw(i, frame) for i, frame in enumerate(results)] if name == "render" else results

    def draw(self, index: int, frame: np.ndarray) -> np.ndarray:
        """Draw the reward of one environment on its (H, W, 3) uint8 frame, once there is one."""
        from rewact.draw.bar import draw_reward

        if not self._rewards:
            return frame
        return draw_reward(frame, self._rewards[-1][index].item(), self._is_forecast[-1])

    def add_to(self, data: dict[str, Any]) -> None:
        """Add what was noted to what the rollout returns, where nothing that came after a stop may count."""
        data[PREDICTED_REWARD] = torch.stack(self._rewards, dim=1)
        data[IS_FORECAST] = torch.tensor(self._is_forecast)
        if self._completion.stopped_at is None:
            return
        stopped_at = data[STOPPED_AT_STEP] = torch.from_numpy(self._completion.stopped_at)
        steps = torch.arange(data["success"].shape[1])
        is_after = (stopped_at >= 0)[:, None] & (steps > stopped_at[:, None])
        for key in ("reward", "success"):
            data[key] = data[key].masked_fill(is_after, 0)


class _Readings(np.ndarray):
    """(B, 1) float32 rewards of the last step. LeRobot's recording copies an observation before the policy
    reads it, and looks into the copy afterwards; so copies are this array itself, and what is taken out of it
    is a copy."""

    def __deepcopy__(self, memo: dict) -> "_Readings":
        return self

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(super().__getitem__(index))


class _DrawnEnv:
    """One environment of several, on whose frames the predicted reward is drawn."""

    def __init__(self, watched: WatchedEnv, index: int, env: Any):
        self._watched, self._index, self._env = watched, index, env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def render(self) -> np.ndarray:
        return self._watched.draw(self._index, self._env.render())
