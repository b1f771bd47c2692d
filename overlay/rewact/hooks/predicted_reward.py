# SPDX-License-Identifier: MIT
"""The predicted reward outside the policy: unpacked, summarised per episode, drawn and logged."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from torch import Tensor

logger = logging.getLogger(__name__)

PREDICTED_REWARD = "predicted_reward"
STATISTICS_KEYS = tuple(f"{PREDICTED_REWARD}_{stat}" for stat in ("first", "final", "max", "mean"))
# Step, from 0, at which `stop_on_completion` ended an episode; None if it ran to its own end.
STOPPED_AT_STEP = "stopped_at_step"
# What the predicted reward adds to an episode's entry in eval_info.json.
PREDICTED_REWARD_KEYS = (*STATISTICS_KEYS, STOPPED_AT_STEP)

_BAR_COLOR = (46, 204, 113)  # RGB
_TEXT_COLOR = (255, 255, 255)


def unpack_action(output: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Split what `select_action` returned into the action and the predicted reward.

    Looks at the value and not at the policy's configuration, so it serves every policy.

    Args:
        output: (B, action_dim) action, or a tuple of it and the (B,) predicted reward.

    Returns:
        The action, and the reward or `None`.
    """
    if isinstance(output, tuple):
        action, reward = output
        return action, reward
    return output, None


def summarize_predicted_rewards(
    rewards: Tensor | None, done_indices: Tensor, stopped_at: Tensor | None = None
) -> list[dict[str, float | int | None]]:
    """Summarise the predicted rewards of each episode of a batched rollout.

    Args:
        rewards: (B, T) predicted rewards, or `None` if the policy predicts none.
        done_indices: (B,) index of the step at which each episode ended. Later steps are left out.
        stopped_at: (B,) step at which each episode was stopped, -1 where it was not; `None` without
            `stop_on_completion`.

    Returns:
        One dictionary with `PREDICTED_REWARD_KEYS` per episode, empty ones without rewards.
    """
    if rewards is None:
        return [{} for _ in done_indices]
    summaries: list[dict[str, float | int | None]] = []
    for episode, done_index in zip(rewards.float().cpu(), done_indices.tolist(), strict=True):
        episode = episode[: done_index + 1]
        values = (episode[0], episode[-1], episode.max(), episode.mean())
        summaries.append({key: value.item() for key, value in zip(STATISTICS_KEYS, values, strict=True)})
    if stopped_at is not None:
        for summary, step in zip(summaries, stopped_at.tolist(), strict=True):
            summary[STOPPED_AT_STEP] = step if step >= 0 else None
    return summaries


def add_predicted_rewards(info: dict[str, Any], summaries: Sequence[dict[str, float]]) -> None:
    """Add the summaries to the result of `eval_policy`, per episode and averaged, in place."""
    for episode, summary in zip(info["per_episode"], summaries, strict=False):
        episode.update(summary)
    values = collect_predicted_rewards(info["per_episode"])
    values["successes"] = [episode["success"] for episode in info["per_episode"]]
    averages = average_predicted_rewards(values)
    info["aggregated"].update(averages)
    if "n_stopped" in averages:
        logger.info(
            "Stopped on completion: %d of %d episodes, of which the environment calls %d a success",
            averages["n_stopped"],
            len(values["successes"]),
            averages["n_stopped_successes"],
        )


def collect_predicted_rewards(per_episode: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Turn per-episode dictionaries into one list per key; no key at all where nothing was predicted."""
    return {
        key: [episode[key] for episode in per_episode]
        for key in PREDICTED_REWARD_KEYS
        if all(key in episode for episode in per_episode)
    }


def average_predicted_rewards(values: Mapping[str, Sequence[Any]]) -> dict[str, float | int | None]:
    """Average what was collected from episodes.

    Args:
        values: Lists under `PREDICTED_REWARD_KEYS`, as far as there are any, and "successes", what the
            environment said of each episode.

    Returns:
        `avg_<key>` for each key with values. With `stop_on_completion` also how many episodes were stopped,
        `n_stopped`, how many of these the environment calls a success, `n_stopped_successes`, and at which
        step on average, `avg_stopped_at_step`, `None` if none was.
    """
    averages: dict[str, float | int | None] = {
        f"avg_{key}": float(np.mean(values[key])) for key in STATISTICS_KEYS if values.get(key)
    }
    if values.get(STOPPED_AT_STEP):
        stopped = [
            (step, bool(success))
            for step, success in zip(values[STOPPED_AT_STEP], values["successes"], strict=True)
            if step is not None
        ]
        averages["n_stopped"] = len(stopped)
        averages["n_stopped_successes"] = sum(success for _, success in stopped)
        averages[f"avg_{STOPPED_AT_STEP}"] = (
            float(np.mean([step for step, _ in stopped])) if stopped else None
        )
    return averages


def draw_predicted_rewards(frames: np.ndarray, policy: Any) -> np.ndarray:
    """Draw the reward that the policy predicted last as a bar and a number at the bottom of each frame.

    Args:
        frames: (N, H, W, 3) uint8 RGB frames of the first N of the B environments.
        policy: The policy being rolled out. Without a (B,) tensor in `last_predicted_reward`, as before the
            first action and for policies that predict none, the frames stay as they are.

    Returns:
        (N, H, W, 3) uint8 frames.
    """
    rewards = getattr(policy, "last_predicted_reward", None)
    if not isinstance(rewards, Tensor):
        return frames
    return np.stack(
        [_draw_bar(frame, reward) for frame, reward in zip(frames, rewards.tolist(), strict=False)]
    )


def _draw_bar(frame: np.ndarray, reward: float) -> np.ndarray:
    frame = np.ascontiguousarray(frame).copy()
    height, width = frame.shape[:2]
    strip = max(height // 12, 11)
    text_scale = strip / 32
    text = f"{reward:.2f}"
    thickness = max(round(text_scale * 1.5), 1)
    (text_width, text_height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, text_scale, thickness)
    margin = max(strip // 5, 2)

    frame[-strip:] //= 4  # darkened, so that bar and number read well on any background
    bar_left, bar_right = margin, width - text_width - 2 * margin
    top, bottom = height - strip + margin, height - margin - 1
    filled = bar_left + round((bar_right - bar_left) * min(max(reward, 0.0), 1.0))
    cv2.rectangle(frame, (bar_left, top), (bar_right, bottom), _TEXT_COLOR, 1)
    if filled > bar_left:
        cv2.rectangle(frame, (bar_left, top), (filled, bottom), _BAR_COLOR, -1)
    baseline = height - (strip - text_height) // 2 - 1
    cv2.putText(
        frame,
        text,
        (width - text_width - margin, baseline),
        cv2.FONT_HERSHEY_SIMPLEX,
        text_scale,
        _TEXT_COLOR,
        thickness,
        cv2.LINE_AA,
    )
    return frame


def note_predicted_reward(observation: dict[str, Any], engine: Any) -> None:
    """Put the reward that a rollout's inference engine read last among the observations that telemetry shows.

    Args:
        observation: The processed robot observation of this tick. Modified in place.
        engine: The inference engine. One without `last_predicted_reward`, or with `None` there, adds nothing.
    """
    reward = getattr(engine, "last_predicted_reward", None)
    if isinstance(reward, Tensor):
        observation[PREDICTED_REWARD] = reward[0].item()
