# SPDX-License-Identifier: MIT
"""What `lerobot-eval` is decorated with: it reports and draws the predicted reward, and ends what is done."""

import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rewact.hooks import decorator
from rewact.keys import PREDICTED_REWARD
from rewact.options.head import has_on

logger = logging.getLogger(__name__)

# Where a rollout leaves the summaries of its episodes, and an evaluation its episodes.
_EPISODES: ContextVar[list[dict[str, Any]] | None] = ContextVar("episodes", default=None)


@contextmanager
def _collecting_episodes() -> Iterator[list[dict[str, Any]]]:
    token = _EPISODES.set(episodes := [])
    try:
        yield episodes
    finally:
        _EPISODES.reset(token)


def _pass_on(episodes: Sequence[dict[str, Any]]) -> None:
    if (collected := _EPISODES.get()) is not None:
        collected.extend(episodes)


@decorator
def watches_predicted_reward(rollout: Callable[..., dict], *args: Any, **kwargs: Any) -> dict:
    """Follow the predicted reward through a batch of episodes, and end those that are done.

    Adds (B, T) "predicted_reward", (T,) "predicted_reward_is_forecast" and, where episodes end on completion,
    (B,) "stopped_at_step" to what a rollout returns.
    """
    called = inspect.signature(rollout).bind(*args, **kwargs)
    policy = called.arguments["policy"]
    has_on(policy, "stop_on_completion")  # needs a head, too
    is_recorded = has_on(policy, "record_predicted_reward")
    if not has_on(policy, "use_reward_head"):
        return rollout(*args, **kwargs)
    from rewact.hooks.episodes import WatchedEnv, summarize_episodes

    is_recorded = is_recorded and _record_reward(called.arguments)
    watched = called.arguments["env"] = WatchedEnv(called.arguments["env"], policy, is_recorded)
    data = rollout(*called.args, **called.kwargs)
    watched.add_to(data)
    _pass_on(summarize_episodes(data))
    return data


def _record_reward(arguments: dict[str, Any]) -> bool:
    """Add the predicted reward to the features that a rollout records, if it records any."""
    from lerobot.configs.types import FeatureType, PolicyFeature

    if arguments.get("recording_dir") is None or not arguments.get("env_features"):
        logger.warning("--policy.record_predicted_reward: this evaluation records nothing (--eval.recording)")
        return False
    feature = PolicyFeature(type=FeatureType.REWARD, shape=(1,))
    arguments["env_features"] = {**arguments["env_features"], PREDICTED_REWARD: feature}
    return True


@decorator
def reports_predicted_reward(eval_policy: Callable[..., dict], *args: Any, **kwargs: Any) -> dict:
    """Add the summary of each episode, and their averages, to the result of an evaluation by rollouts."""
    with _collecting_episodes() as summaries:
        info = eval_policy(*args, **kwargs)
    if summaries:
        from rewact.hooks.episodes import average_episodes, list_episodes

        for episode, summary in zip(info["per_episode"], summaries, strict=False):
            episode.update(summary)
        successes = [episode["success"] for episode in info["per_episode"]]
        averages = average_episodes([{**list_episodes(info["per_episode"]), "successes": successes}])
        info["aggregated"].update(averages)
        if "n_stopped" in averages:
            logger.info(
                "Stopped on completion: %d of %d episodes, of which the environment calls %d a success",
                averages["n_stopped"],
                len(info["per_episode"]),
                averages["n_stopped_successes"],
            )
    _pass_on(info["per_episode"])
    return info


@decorator
def lists_predicted_reward(eval_one: Callable[..., dict], *args: Any, **kwargs: Any) -> dict:
    """Add lists over the episodes, one for each statistic, to the metrics of one task."""
    with _collecting_episodes() as episodes:
        metrics = eval_one(*args, **kwargs)
    if any("predicted_reward_final" in episode for episode in episodes):
        from rewact.hooks.episodes import list_episodes

        metrics |= list_episodes(episodes)
    return metrics


@decorator
def averages_predicted_reward(eval_all: Callable[..., dict], *args: Any, **kwargs: Any) -> dict:
    """Add averages over each group of tasks, and over all, to the result of an evaluation."""
    info = eval_all(*args, **kwargs)
    groups = defaultdict(list)
    for task in info["per_task"]:
        if "predicted_reward_final" in task["metrics"]:
            groups[task["task_group"]].append(task["metrics"])
    if groups:
        from rewact.hooks.episodes import average_episodes

        for group, tasks in groups.items():
            info["per_group"][group].update(average_episodes(tasks))
        info["overall"].update(average_episodes([task for tasks in groups.values() for task in tasks]))
    return info
