# SPDX-License-Identifier: MIT
"""Returns to go: what labels of the source ``returns`` and advantages are made of.

The recipe is RECAP's, see "pi*0.6: a VLA That Learns From Experience"
(https://huggingface.co/papers/2511.14759).
"""

from dataclasses import dataclass

import numpy as np

from rewact.labels.episodes import EpisodeTable
from rewact.labels.outcomes import FAILURE, SUCCESS, UNKNOWN

# Recorded returns are float32: a success may end a little below 0.
RETURN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Returns:
    """Return to go of each frame, if nothing were to be estimated.

    Each step costs 1, the last frame nothing after a success and ``c_fail`` after a failure. All is divided
    by the task's ``norm``, the largest possible cost, so that returns lie in [-1, 0]. Where a failure is
    worth the "worst", ``norm`` takes the place of ``c_fail``, and returns are cut off at -1: the steps that
    were left of the recording then make no difference.

    Attributes:
        values: float64 ``(N,)``, NaN between episodes.
        rewards_to_go: float64 ``(N,)``, the same before it is cut off: differences are sums of rewards.
        is_terminal: bool ``(E,)``, whether the return of the last frame is known: the episode ended in a
            success or a failure, and was not cut off.
        norm: float64 ``(E,)`` steps per unit.
        c_fail: float64 ``(E,)`` penalty of a failure in steps.
    """

    values: np.ndarray
    rewards_to_go: np.ndarray
    is_terminal: np.ndarray
    norm: np.ndarray
    c_fail: np.ndarray


def compute_returns(
    table: EpisodeTable,
    outcomes: np.ndarray,
    c_fail: float | None = None,
    failure_return: str | None = None,
    interventions: np.ndarray | None = None,
) -> Returns:
    """Returns to go from the outcomes of the episodes.

    In a success, what a policy did until a human took over counts as a failure that ends there.

    Args:
        outcomes: int8 ``(E,)``: 1 success, 0 failure, -1 unknown, which costs nothing at the end.
        c_fail: Penalty of a failure in steps; by default the length of the task's longest episode.
        failure_return: "steps" (None is the same) or "worst", see `Returns`.
        interventions: bool ``(N,)``, frames under human intervention; None where there are none.
    """
    longest = np.zeros(table.tasks.max() + 1, dtype=np.int64)
    np.maximum.at(longest, table.tasks, table.lengths)
    horizon = longest[table.tasks].astype(np.float64)
    penalty = horizon if c_fail is None else np.full_like(horizon, c_fail)
    norm = np.maximum(horizon - 1 + penalty, 1)
    at_failure = norm if failure_return == "worst" else penalty
    rows = np.arange(len(table.episodes))
    frames, each = table.frames(rows), np.repeat(rows, table.lengths)
    cost = (table.ends[each] - 1 - frames) + np.where(outcomes == FAILURE, at_failure, 0.0)[each]
    if interventions is not None and interventions.any():
        takeover = _next_takeover(table, interventions)[frames]
        is_failing = (takeover >= 0) & ~interventions[frames] & (outcomes == SUCCESS)[each]
        cost = np.where(is_failing, takeover - 1 - frames + at_failure[each], cost)
    rewards_to_go = np.full(table.n_frames, np.nan)
    rewards_to_go[frames] = -cost / norm[each]
    return Returns(np.maximum(rewards_to_go, -1.0), rewards_to_go, outcomes != UNKNOWN, norm, penalty)


def _next_takeover(table: EpisodeTable, interventions: np.ndarray) -> np.ndarray:
    """The frame after each at which a human takes over in its episode, int64 ``(N,)``, -1 without one."""
    is_takeover = interventions & ~np.r_[False, interventions[:-1]]
    is_takeover[table.starts] = False  # the human had begun the episode
    takeovers = np.flatnonzero(is_takeover)
    every = np.arange(table.n_frames)
    after = np.r_[takeovers, table.n_frames][np.searchsorted(takeovers, every, side="right")]
    end = table.ends[np.minimum(np.searchsorted(table.ends, every, side="right"), len(table.ends) - 1)]
    return np.where(after < end, after, -1)
