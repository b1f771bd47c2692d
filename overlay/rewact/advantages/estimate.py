# SPDX-License-Identifier: MIT
"""From values to advantages, and from advantages to what is positive.

Arrays are indexed by absolute frame index, shape ``(N,)``, or by row of the dataset's `EpisodeTable`, shape
``(E,)``. The recipe is RECAP's, see "pi*0.6: a VLA That Learns From Experience"
(https://huggingface.co/papers/2511.14759).
"""

import numpy as np

from rewact.labels.episodes import EpisodeTable
from rewact.labels.outcomes import FAILURE, SUCCESS
from rewact.labels.returns import RETURN_TOLERANCE, Returns


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving average of the ``(L,)`` values of one episode. At its ends the window shrinks evenly."""
    frames = np.arange(len(values))
    reach = np.minimum(np.minimum(frames, frames[::-1]), window // 2)
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return (total[frames + reach + 1] - total[frames - reach]) / (2 * reach + 1)


def advantages_of_returns(
    values: np.ndarray, returns: np.ndarray, n_steps: int, is_terminal: bool
) -> np.ndarray:
    """N-step advantages of one episode, where the values estimate returns.

    ``A_t = r_t + ... + r_{t+N-1} + V_{t+N} - V_t``. Where the episode ends within the N steps the sum runs to
    its end, the terminal reward included, so that the last frames of a failure carry its penalty. There the
    advantage is at most that of N steps which lead nowhere: in a hopeless state V expects the episode to drag
    on, and to be cut off would else look like a gain.

    Args:
        values: ``(L,)`` V, in units of the returns.
        returns: ``(L,)`` rewards to go; differences of them are sums of rewards.
        n_steps: N, at least 1.
        is_terminal: Whether the return of the last frame is known. Otherwise its value stands for it.

    Returns:
        float64 ``(L,)``.
    """
    length = len(values)
    bootstrap = values - returns
    # A_t = (V - G)_{t+N} - (V - G)_t, and V = G at the end of an episode whose outcome is known.
    after_end = 0.0 if is_terminal else bootstrap[-1]
    future = np.full(length, after_end)
    n_full = max(length - n_steps, 0)
    future[:n_full] = bootstrap[n_steps:]
    advantages = future - bootstrap
    if is_terminal and returns[-1] < -RETURN_TOLERANCE:  # a failure
        step_cost = returns[1] - returns[0] if length > 1 else 0.0
        advantages[n_full:] = np.minimum(advantages[n_full:], -min(n_steps, length) * step_cost)
    return advantages


def advantages_of_progress(values: np.ndarray, n_steps: int, outcome: int) -> np.ndarray:
    """N-step advantages of one episode, where the values estimate progress in [0, 1].

    ``A_t = V_{t+N} - V_t``. In the last N frames of a success, the progress from N frames before the end to
    the end, which is at 1: fewer steps are left there, and so less progress, though the actions are as good.
    In the last frames of a failure, ``-V_t``: what had been reached is lost. If the outcome is unknown, the
    last value stands for the end. An episode of fewer than 2 N frames is judged over half its length, at its
    pace: what remains to be done would else decide, which is a clock.

    Args:
        values: ``(L,)`` V.
        n_steps: N, at least 1.
        outcome: 1 success, 0 failure, -1 unknown.

    Returns:
        float64 ``(L,)``.
    """
    length = len(values)
    reach = min(n_steps, max(length // 2, 1))
    pace = n_steps / reach
    n_full = length - reach
    advantages = np.empty(length)
    advantages[:n_full] = (values[reach:] - values[:n_full]) * pace
    if outcome == FAILURE:
        advantages[n_full:] = -values[n_full:]
    else:
        final = 1.0 if outcome == SUCCESS else values[-1]
        advantages[n_full:] = (final - values[max(n_full - 1, 0)]) * pace
    return advantages


def monte_carlo_advantages(
    table: EpisodeTable, returns: Returns, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages without a value function: each return against what the task's episodes have left at that
    step.

    The baseline at step t is the mean, over the task's episodes, of the return to go at t; an episode that
    has ended by then counts with the return of its last frame.

    Returns:
        float64 ``(N,)`` baselines and ``(N,)`` advantages, NaN outside the rows.
    """
    baselines = np.full(table.n_frames, np.nan)
    for task in np.unique(table.tasks[rows]):
        of_task = rows[table.tasks[rows] == task]
        steps = np.arange(table.lengths[of_task].max())
        baseline = np.zeros(len(steps))
        for row in of_task:
            baseline += returns.values[np.minimum(table.starts[row] + steps, table.ends[row] - 1)]
        baseline /= len(of_task)
        for row in of_task:
            baselines[table.span(row)] = baseline[: table.lengths[row]]
    return baselines, returns.values - baselines


def label_positive(
    table: EpisodeTable,
    advantages: np.ndarray,
    interventions: np.ndarray,
    rows: np.ndarray,
    n_steps: int,
    positive_fraction: float,
) -> tuple[np.ndarray, dict[int, float]]:
    """Call the best ``positive_fraction`` in (0, 1) of each task's frames positive.

    Frames under human intervention are positive and do not count towards the threshold. Frames with an
    intervention among the N that follow are negative: what the policy did there had to be corrected.

    Args:
        table: The dataset's episodes.
        advantages: float32 ``(N,)``.
        interventions: bool ``(N,)``.
        rows: Rows of the table to label.
        n_steps: N, at least 1.

    Returns:
        bool ``(N,)``, which actions are positive; and for each task number with other frames than those under
        intervention, the advantage above which they are.
    """
    positive = np.zeros(len(advantages), dtype=bool)
    thresholds = {}
    for task in np.unique(table.tasks[rows]).tolist():
        frames = table.frames(rows[table.tasks[rows] == task])
        frames = frames[~interventions[frames]]
        if len(frames):
            thresholds[task] = find_threshold(advantages[frames], positive_fraction)
            positive[frames] = advantages[frames] > thresholds[task]
    for row in rows:
        episode = table.span(row)
        flags = interventions[episode]
        positive[episode] = positive[episode] & ~_precedes(flags, n_steps) | flags
    return positive, thresholds


def find_threshold(advantages: np.ndarray, positive_fraction: float) -> float:
    """The value that as close as possible to ``positive_fraction`` of the ``(n,)`` advantages are above.

    Equal advantages are never told apart, so with many ties the share can differ; of two cuts that are
    equally close the one with fewer positives is taken. If all are equal, none is above.
    """
    descending = np.sort(advantages)[::-1]
    # Number of positives for each cut between different values: none, ..., all but the lowest.
    counts = np.flatnonzero(np.diff(descending, prepend=np.inf) != 0)
    best = counts[np.argmin(np.abs(counts - round(positive_fraction * len(descending))))]
    return float(descending[best])


def _precedes(flags: np.ndarray, n_steps: int) -> np.ndarray:
    """Whether any of the N frames after each of the ``(L,)`` is flagged, bool ``(L,)``."""
    count = np.concatenate([[0], np.cumsum(flags)])
    frames = np.arange(len(flags))
    return count[np.minimum(frames + n_steps + 1, len(flags))] > count[frames + 1]
