# SPDX-License-Identifier: MIT
"""What values are to say of each frame, and when a task is done."""

import numpy as np

from rewact.labels.build import RewardLabels
from rewact.labels.columns import read_frame_column
from rewact.labels.outcomes import FAILURE, SUCCESS, UNKNOWN
from rewact.values.crossfit import Readings


def make_targets(
    labels: RewardLabels, rows: np.ndarray, is_success: bool, done_column: str | None, done_from: float
) -> Readings:
    """What ensembles are to learn of some episodes.

    Args:
        labels: Labels and outcomes of the dataset.
        rows: Rows of its episode table.
        is_success: Whether the target is 1 in successes and 0 in failures, instead of the labels.
        done_column: Column whose frames are done from ``done_from`` on; by default see `done_by_label`.
        done_from: See there.

    Raises:
        ValueError: Naming the episodes that have no label, or whose outcome is not known but asked for; or
            the column that is missing.
    """
    table = labels.table
    if is_success:
        unknown = table.episodes[rows[labels.outcomes[rows] == UNKNOWN]]
        if len(unknown):
            raise ValueError(
                f"{table.repo_id}: the outcome of {len(unknown)} episodes is not known (the first is "
                f"{unknown[0]}): say it in rewact_extensions/outcomes.json, or see --dataset.reward.outcomes"
            )
        values = np.full(table.n_frames, np.nan, dtype=np.float32)
        each = np.arange(len(table.episodes))
        values[table.frames(each)] = np.repeat(labels.outcomes == SUCCESS, table.lengths)
    else:
        labels.require(table.episodes[rows].tolist())
        values = labels.rewards.numpy()
    if done_column is None:
        return Readings(values, done_by_label(labels))
    if done_column not in table.columns:
        raise ValueError(
            f"done_column: {table.repo_id} has no column {done_column!r}; its columns are "
            f"{', '.join(table.columns)}"
        )
    return Readings(values, _is_from(read_frame_column(table, done_column), done_from))


def done_by_label(labels: RewardLabels) -> np.ndarray:
    """Where the label has reached 1, but for failures, which are never done: float32 (N,), NaN without it."""
    done = _is_from(labels.rewards.numpy(), 1.0)
    done[labels.table.frames(np.flatnonzero(labels.outcomes == FAILURE))] = 0.0
    return done


def _is_from(values: np.ndarray, start: float) -> np.ndarray:
    return np.where(np.isnan(values), np.nan, values >= start).astype(np.float32)
