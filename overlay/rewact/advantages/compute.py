# SPDX-License-Identifier: MIT
"""Advantages out of values and of what is known of a dataset: outcomes, interventions and RECAP columns."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rewact.advantages.estimate import (
    advantages_of_progress,
    advantages_of_returns,
    label_positive,
    monte_carlo_advantages,
    smooth,
)
from rewact.advantages.file import AdvantageTable, dataset_fingerprint
from rewact.keys import RETURN_KEY, TERMINAL_KEY
from rewact.labels.build import say_outcomes, shorten
from rewact.labels.columns import read_frame_column
from rewact.labels.control import read_interventions
from rewact.labels.episodes import EpisodeTable
from rewact.labels.outcomes import FAILURE, SUCCESS, UNKNOWN, read_outcomes
from rewact.labels.returns import RETURN_TOLERANCE, Returns, compute_returns
from rewact.options.advantages import AdvantageOptions
from rewact.options.labels import RewardLabelsConfig

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)


def require_look_ahead(table: EpisodeTable, n_steps: int) -> None:
    """Check that N lies within the episodes. Beyond, progress says only how much is left to do: a clock.

    Raises:
        ValueError: naming a task all of whose episodes are too short. Of single ones it warns.
    """
    for task in np.unique(table.tasks).tolist():
        lengths = table.lengths[table.tasks == task]
        n_short = int((lengths <= n_steps).sum())
        what = (
            f"n_steps={n_steps} reaches past the end of {n_short} of the {len(lengths)} episodes of the task "
            f"{table.task_names[task]!r}"
        )
        if n_short == len(lengths):
            raise ValueError(
                f"{what}, so that nothing tells good actions from bad ones; leave it out, or choose it well "
                f"below {lengths.max()}"
            )
        if n_short:
            logger.warning(f"{what}: these are judged over half their length")


class Evidence(NamedTuple):
    """What is known of a dataset's episodes besides values.

    Attributes:
        table: Its episodes.
        outcomes: int8 ``(E,)``: 1 success, 0 failure, -1 unknown.
        interventions: bool ``(N,)``.
        returns: Return to go of each frame.
    """

    table: EpisodeTable
    outcomes: np.ndarray
    interventions: np.ndarray
    returns: Returns


def gather_evidence(
    meta: "LeRobotDatasetMetadata", labels: RewardLabelsConfig, rows: np.ndarray, use_recorded_returns: bool
) -> Evidence:
    """Read outcomes, interventions and the RECAP columns of a dataset.

    Args:
        meta: Its metadata.
        labels: Where outcomes and control modes come from, and the penalty of a failure.
        rows: Rows of the episode table that are needed.
        use_recorded_returns: Whether the column `mc_return`, where there is one, says the returns.

    Raises:
        ValueError: Naming file, episode and value, if something is broken.
    """
    table = EpisodeTable.from_metadata(meta)
    outcomes = read_outcomes(table, labels)
    is_cut_off = np.zeros(len(table.episodes), dtype=bool)
    if TERMINAL_KEY in table.columns:
        recorded = read_frame_column(table, TERMINAL_KEY)[table.ends - 1] > 0
        if recorded[rows].any():
            # Where recording stopped early nothing was achieved yet, and this is a failure only where
            # somebody has judged it so.
            judged = read_outcomes(table, labels, from_columns=False) != UNKNOWN
            is_cut_off = ~recorded & ~judged & (outcomes != SUCCESS)
        else:  # as in recordings that carry the column without ever setting it
            logger.info(f"{TERMINAL_KEY} is false in all of {table.repo_id} and says nothing")
    values = read_frame_column(table, RETURN_KEY).astype(np.float64) if RETURN_KEY in table.columns else None
    if values is not None:
        final = values[table.ends - 1]
        unknown = (outcomes == UNKNOWN) & ~is_cut_off & np.isfinite(final)
        outcomes[unknown] = np.where(final[unknown] < -RETURN_TOLERANCE, FAILURE, SUCCESS)
    interventions = read_interventions(table, labels)
    returns = compute_returns(table, outcomes, labels.c_fail, labels.failure_return, interventions)
    is_terminal = returns.is_terminal
    if use_recorded_returns and values is not None:
        _check_range(table, values, rows)
        returns = replace(returns, values=values, rewards_to_go=values)
        is_terminal = np.ones_like(is_terminal)
    return Evidence(table, outcomes, interventions, replace(returns, is_terminal=is_terminal & ~is_cut_off))


def _check_range(table: EpisodeTable, returns: np.ndarray, rows: np.ndarray) -> None:
    frames = table.frames(rows)
    broken = frames[~((returns[frames] >= -1 - RETURN_TOLERANCE) & (returns[frames] <= RETURN_TOLERANCE))]
    if len(broken):
        row = np.searchsorted(table.ends, broken[0], side="right")
        raise ValueError(
            f"{table.repo_id}, episode {table.episodes[row]}: {RETURN_KEY} must be in [-1, 0], got "
            f"{returns[broken[0]]:g} at frame {broken[0] - table.starts[row]}"
        )


def estimate_advantages(
    evidence: Evidence, rows: np.ndarray, values: np.ndarray, value_type: str, options: AdvantageOptions
) -> tuple[np.ndarray, np.ndarray]:
    """N-step advantages of the given rows.

    Args:
        evidence: What is known of the dataset.
        rows: Rows of the episode table.
        values: float ``(N,)`` V in [0, 1] by absolute frame index.
        value_type: "progress"; or "returns", as the labels of this source: 1 plus the return.
        options: How.

    Returns:
        float32 ``(N,)`` values after smoothing, and advantages. NaN outside the rows.
    """
    table, returns = evidence.table, evidence.returns
    smoothed, advantages = np.full((2, table.n_frames), np.nan, dtype=np.float32)
    for row in rows:
        episode, is_terminal = table.span(row), bool(returns.is_terminal[row])
        smoothed[episode] = smooth(values[episode], options.smoothing_window)
        current = smoothed[episode].astype(np.float64)
        if value_type == "returns":
            to_go = returns.rewards_to_go[episode]
            advantages[episode] = advantages_of_returns(current - 1.0, to_go, options.n_steps, is_terminal)
        else:
            outcome = evidence.outcomes[row] if is_terminal else UNKNOWN
            advantages[episode] = advantages_of_progress(current, options.n_steps, outcome)
    return smoothed, advantages


def advantages_from_returns(evidence: Evidence, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Advantages without a value function, see `monte_carlo_advantages`.

    Returns:
        float32 ``(N,)`` baselines, which stand for values, and advantages. NaN outside the rows.

    Raises:
        ValueError: Naming the episodes whose outcome is not known.
    """
    table = evidence.table
    unknown = table.episodes[rows[~evidence.returns.is_terminal[rows]]].tolist()
    if unknown:
        raise ValueError(
            f"{table.repo_id}: the outcome of {len(unknown)} of {len(rows)} episodes ({shorten(unknown)}) is "
            f"not known; say it with {say_outcomes(table.repo_id)}, or see --dataset.reward.outcomes"
        )
    baselines, advantages = monte_carlo_advantages(table, evidence.returns, rows)
    return baselines.astype(np.float32), advantages.astype(np.float32)


def label_advantages(
    meta: "LeRobotDatasetMetadata",
    evidence: Evidence,
    rows: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    options: AdvantageOptions,
    provenance: dict[str, Any],
) -> AdvantageTable:
    """Call the best frames of each task positive. Warns of tasks in which all frames are positive, or none.

    Args:
        meta: Metadata of the dataset.
        evidence: What is known of its episodes.
        rows: Rows of the episode table, rising.
        values: float32 ``(N,)``.
        advantages: float32 ``(N,)``.
        options: How they were computed, and what is positive.
        provenance: What else is to stand in the metadata of the file, as JSON values.
    """
    table = evidence.table
    positive, by_task = label_positive(
        table, advantages, evidence.interventions, rows, options.n_steps, options.positive_fraction
    )
    thresholds, c_fail = {}, {}
    for task in np.unique(table.tasks[rows]).tolist():
        of_task = rows[table.tasks[rows] == task]
        frames, name = table.frames(of_task), table.task_names[task]
        thresholds[name] = by_task.get(task)
        c_fail[name] = float(evidence.returns.c_fail[of_task[0]])
        if len(np.unique(positive[frames])) == 1:
            which = "All" if positive[frames[0]] else "None"
            counts, edges = np.histogram(advantages[frames], bins=8)
            parts = zip(edges[:-1], edges[1:], counts, strict=True)
            bins = ", ".join(f"{low:.3g} to {high:.3g}: {count}" for low, high, count in parts)
            logger.warning(
                f"{which} of the {len(frames)} frames of the task {name!r} are positive, which teaches the "
                f"policy nothing (threshold {thresholds[name]}; advantages {bins})"
            )
    frames = table.frames(rows)
    columns = {
        "index": frames,
        "episode_index": np.repeat(table.episodes[rows], table.lengths[rows]),
        "frame_index": frames - np.repeat(table.starts[rows], table.lengths[rows]),
        "value": values[frames],
        "advantage": advantages[frames],
        "positive": positive[frames],
    }
    provenance = {
        "repo_id": meta.repo_id,
        "dataset": dataset_fingerprint(meta),
        "total_frames": len(frames),
        "n_steps": options.n_steps,
        "positive_fraction": options.positive_fraction,
        "smoothing_window": options.smoothing_window,
        "thresholds": thresholds,
        "c_fail": c_fail,
        "intervention_frames": int(evidence.interventions[frames].sum()),
        **provenance,
    }
    return AdvantageTable(columns, provenance)
