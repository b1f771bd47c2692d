# SPDX-License-Identifier: MIT
"""Few keypoints that follow a curve."""

import numpy as np

from rewact.labels.interpolation import STEP_DROP, interpolate_keypoints
from rewact.labels.keypoints import Keypoints

DECIMALS = 3


def fit_keypoints(curve: np.ndarray, tolerance: float, method: str = "pchip") -> Keypoints:
    """Keypoints on a curve whose interpolation stays within a tolerance of it.

    Between straight lines they are the fewest there are. For "pchip", whose pieces depend on their
    neighbours, the fewest for straight lines are completed where the smooth curve strays, and then none of
    them can be left out.

    Args:
        curve: Rewards in [0, 1], ``(T,)``.
        tolerance: Largest distance at any frame, above 0.
        method: As in :func:`.interpolate_keypoints`.

    Example:
        >>> fit_keypoints(np.array([0.0, 0.25, 0.5, 0.75, 1.0, 1.0]), 0.01, "linear")
        {0: 0.0, 4: 1.0}
    """
    values = np.round(np.clip(np.asarray(curve, dtype=np.float64), 0.0, 1.0), DECIMALS)
    room = tolerance - 0.5 * 10**-DECIMALS if tolerance > 10**-DECIMALS else tolerance

    def error(frames: list[int]) -> np.ndarray:
        drawn = interpolate_keypoints(np.array(frames), values[frames], len(values), method)
        return np.abs(drawn - values)

    frames = _fewest_straight(values, room)
    while (distance := error(frames)).max() > room:
        frames = sorted({*frames, int(distance.argmax())})
    for frame in list(frames):
        fewer = [other for other in frames if other != frame]
        if fewer and error(fewer).max() <= room:
            frames = fewer
    return {frame: float(values[frame]) for frame in frames}


def _fewest_straight(values: np.ndarray, tolerance: float) -> list[int]:
    """The fewest frames between which straight lines, and steps at drops, stay within the tolerance.

    A shortest path over the frames: the first keypoint holds before itself, the last one after itself, and an
    edge leads to every frame that a line or a step may reach.
    """
    n = len(values)
    steps = np.full(n, n + 1)
    came_from = np.full(n, -1)
    for frame in range(n):
        if np.abs(values[:frame] - values[frame]).max(initial=0.0) <= tolerance:
            steps[frame], came_from[frame] = 1, -1
        if steps[frame] > n:
            continue
        reached = frame + 1 + np.flatnonzero(_reachable(values[frame:], tolerance))
        better = reached[steps[reached] > steps[frame] + 1]
        steps[better], came_from[better] = steps[frame] + 1, frame
    ends = [frame for frame in range(n) if np.abs(values[frame:] - values[frame]).max() <= tolerance]
    path = [min(ends, key=lambda end: steps[end])]
    while came_from[path[-1]] >= 0:
        path.append(int(came_from[path[-1]]))
    return path[::-1]


def _reachable(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Which frames after the first one line, or one step, connects to it; bool ``(T - 1,)``."""
    away = np.arange(1, len(values))
    rise = values[1:] - values[0]
    # Between the two, the line has to pass through every frame's window: a cone of slopes that narrows.
    steepest = np.minimum.accumulate(np.r_[np.inf, (rise + tolerance) / away])[:-1]
    flattest = np.maximum.accumulate(np.r_[-np.inf, (rise - tolerance) / away])[:-1]
    slope = rise / away
    is_line = (flattest <= slope) & (slope <= steepest)
    is_held = np.maximum.accumulate(np.r_[0.0, np.abs(rise)])[:-1] <= tolerance
    return np.where(rise < -STEP_DROP, is_held, is_line)
