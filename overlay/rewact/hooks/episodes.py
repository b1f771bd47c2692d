# SPDX-License-Identifier: MIT
"""What an evaluation reports of the predicted reward: per episode, as lists, on average.

A reading is what the reward head makes of the current observation; a forecast was made when the chunk was
planned. `predicted_reward_*` is of readings, `forecast_reward_*` of forecasts.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rewact.keys import PREDICTED_REWARD

logger = logging.getLogger(__name__)

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
    """Summarise the predicted reward of each episode of a batched rollout.

    Args:
        data: (B, T) bool "done" and float "predicted_reward", (T,) bool "predicted_reward_is_forecast", and
            where episodes end on completion (B,) "stopped_at_step", -1 where one was not stopped. Steps after
            the end of an episode are left out.

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
    """One list for each key that all episodes have."""
    return {
        key: [episode[key] for episode in episodes]
        for key in EPISODE_KEYS
        if all(key in episode for episode in episodes)
    }


def episodes_of(tasks: Iterable[Mapping[str, Any]]) -> list[Episode]:
    """The episodes of several tasks, whose metrics are lists as of `list_episodes`, and "successes"."""
    episodes: list[Episode] = []
    for metrics in tasks:
        lists = {key: metrics[key] for key in EPISODE_KEYS if key in metrics}
        for success, *values in zip(metrics["successes"], *lists.values(), strict=True):
            episodes.append({"success": success, **dict(zip(lists, values, strict=True))})
    return episodes


def average_episodes(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """Average what episodes report.

    Returns:
        `avg_<key>` for each key that an episode has a number for. With `stop_on_completion` also how many
        episodes were stopped, `n_stopped`, how many of these the environment calls a success,
        `n_stopped_successes`, and at which step on average, `avg_stopped_at_step`, `None` if none was.
    """
    averages: dict[str, float | int | None] = {}
    for key in EPISODE_KEYS:
        numbers = [episode[key] for episode in episodes if episode.get(key) is not None]
        if numbers:
            averages[f"avg_{key}"] = float(np.mean(numbers))
    if any(STOPPED_AT_STEP in episode for episode in episodes):
        stopped = [episode for episode in episodes if episode.get(STOPPED_AT_STEP) is not None]
        averages["n_stopped"] = len(stopped)
        averages["n_stopped_successes"] = sum(bool(episode["success"]) for episode in stopped)
        averages.setdefault(f"avg_{STOPPED_AT_STEP}", None)
    return averages


def log_stops(averages: Mapping[str, Any], n_episodes: int) -> None:
    """Say how many episodes ended on completion, where any may."""
    if "n_stopped" in averages:
        logger.info(
            "Stopped on completion: %d of %d episodes, of which the environment calls %d a success",
            averages["n_stopped"],
            n_episodes,
            averages["n_stopped_successes"],
        )
