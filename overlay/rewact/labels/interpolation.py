# SPDX-License-Identifier: MIT
"""From a few numbers per episode to one reward per frame."""

import numpy as np
from scipy.interpolate import PchipInterpolator

# Two neighbouring keypoints falling by more than this are a step, not a ramp: a dropped object is lost at
# once, and a ramp would announce the drop before it happens.
STEP_DROP = 0.5


def linear_rewards(
    lengths: np.ndarray,
    start_pct: float,
    end_pct: float,
    ceilings: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Rewards that rise on a straight line through each episode.

    Frame ``i`` of an episode of ``n`` frames lies at ``p = i / (n - 1)``, so that the first frame is at 0 and
    the last at 1; the only frame of a one-frame episode is its last, hence at 1. The reward is
    ``(p - start_pct) / (end_pct - start_pct)`` clipped to [0, 1], times the episode's ceiling.

    Args:
        lengths: Frames of each episode, int ``(E,)``.
        start_pct: Position in [0, 1] until which the reward is 0.
        end_pct: Position in [0, 1], above ``start_pct``, from which the reward is at its ceiling.
        ceilings: What an episode reaches at its end, ``(E,)`` or one for all, in [0, 1].

    Returns:
        float32 ``(sum(lengths),)``, the episodes one after the other.

    Example:
        >>> linear_rewards(np.array([5, 1]), start_pct=0.0, end_pct=1.0).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    frame = np.arange(lengths.sum(), dtype=np.float64) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    last = np.repeat(lengths - 1, lengths)
    position = np.divide(frame, last, out=np.ones_like(frame), where=last > 0)
    rewards = np.clip((position - start_pct) / (end_pct - start_pct), 0.0, 1.0)
    rewards *= np.repeat(np.broadcast_to(ceilings, lengths.shape), lengths)
    return rewards.astype(np.float32)


def interpolate_keypoints(
    frames: np.ndarray, rewards: np.ndarray, n_frames: int, method: str = "pchip"
) -> np.ndarray:
    """Rewards of every frame of an episode from those of a few.

    Exact at each keypoint; between two neighbours never outside their two values, hence monotone between
    rising keypoints and within [0, 1]. A fall of more than 0.5 between two neighbours is a step: the earlier
    value holds until the frame of the later keypoint. Before the first keypoint its value holds, after the
    last one likewise.

    Args:
        frames: Frames of the keypoints within the episode, int ``(K,)``, strictly increasing, K >= 1.
        rewards: Their rewards in [0, 1], ``(K,)``.
        n_frames: Frames of the episode.
        method: "pchip" (Fritsch & Butland 1984, as in scipy) or "linear".

    Returns:
        float32 ``(n_frames,)``.

    Example:
        >>> interpolate_keypoints(np.array([1, 3, 4]), np.array([0.0, 1.0, 0.2]), 6).tolist()
        [0.0, 0.0, 0.5, 1.0, 0.20000000298023224, 0.20000000298023224]
    """
    frames = np.asarray(frames, dtype=np.int64)
    rewards = np.asarray(rewards, dtype=np.float64)
    every = np.arange(n_frames)
    # The keypoint at or before each frame, and the one after it (both the same one beyond the ends).
    after = np.searchsorted(frames, every, side="right")
    before = np.maximum(after - 1, 0)
    after = np.minimum(after, len(frames) - 1)

    curve = rewards[before]
    is_step = np.flatnonzero(np.diff(rewards) < -STEP_DROP)
    for piece in np.split(np.arange(len(frames)), is_step + 1):
        first, last = frames[piece[0]], frames[piece[-1]]
        if method == "pchip" and len(piece) > 2:
            inside = PchipInterpolator(frames[piece], rewards[piece])(every[first : last + 1])
        else:
            inside = np.interp(every[first : last + 1], frames[piece], rewards[piece])
        curve[first : last + 1] = inside

    # The interpolant stays between its neighbours in exact arithmetic; rounding may leave by an ulp.
    curve = np.clip(
        curve, np.minimum(rewards[before], rewards[after]), np.maximum(rewards[before], rewards[after])
    )
    curve[frames] = rewards
    return curve.astype(np.float32)
