# SPDX-License-Identifier: MIT
"""The predicted reward outside the policy: unpacked, summarised per episode, drawn and logged."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from torch import Tensor

PREDICTED_REWARD = "predicted_reward"
PREDICTED_REWARD_KEYS = tuple(f"{PREDICTED_REWARD}_{stat}" for stat in ("first", "final", "max", "mean"))

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


def summarize_predicted_rewards(rewards: Tensor | None, done_indices: Tensor) -> list[dict[str, float]]:
    """Summarise the predicted rewards of each episode of a batched rollout.

    Args:
        rewards: (B, T) predicted rewards, or `None` if the policy predicts none.
        done_indices: (B,) index of the step at which each episode ended. Later steps are left out.

    Returns:
        One dictionary with `PREDICTED_REWARD_KEYS` per episode, empty ones without rewards.
    """
    if rewards is None:
        return [{} for _ in done_indices]
    summaries = []
    for episode, done_index in zip(rewards.float().cpu(), done_indices.tolist(), strict=True):
        episode = episode[: done_index + 1]
        values = (episode[0], episode[-1], episode.max(), episode.mean())
        summaries.append(
            {key: value.item() for key, value in zip(PREDICTED_REWARD_KEYS, values, strict=True)}
        )
    return summaries


def add_predicted_rewards(info: dict[str, Any], summaries: Sequence[dict[str, float]]) -> None:
    """Add the summaries to the result of `eval_policy`, per episode and averaged, in place."""
    for episode, summary in zip(info["per_episode"], summaries, strict=False):
        episode.update(summary)
    info["aggregated"].update(average_predicted_rewards(collect_predicted_rewards(info["per_episode"])))


def collect_predicted_rewards(per_episode: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Turn per-episode dictionaries into one list per key; no key at all where nothing was predicted."""
    return {
        key: [episode[key] for episode in per_episode]
        for key in PREDICTED_REWARD_KEYS
        if all(key in episode for episode in per_episode)
    }


def average_predicted_rewards(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Average each key of `PREDICTED_REWARD_KEYS` that has values, as `avg_<key>`."""
    return {f"avg_{key}": float(np.mean(values[key])) for key in PREDICTED_REWARD_KEYS if values.get(key)}


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
