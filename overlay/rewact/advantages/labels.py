# SPDX-License-Identifier: MIT
"""From advantages to the rows of the advantages file, and to a summary that shows whether they make sense."""

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rewact.advantages.compute import AdvantageOptions, Evidence
from rewact.advantages.estimate import label_positive
from rewact.advantages.file import AdvantageTable, dataset_fingerprint
from rewact.labels.outcomes import FAILURE, SUCCESS

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskSummary:
    """What came out for one task.

    Attributes:
        task: Its name.
        n_frames: Number of its frames.
        c_fail: Penalty of a failure in steps.
        threshold: Advantage above which a frame is positive; None if all frames are interventions.
        positive: Share of positive frames, interventions included.
        positive_in_successes: The same among frames of successful episodes, NaN without any.
        positive_in_failures: The same among frames of failed episodes.
    """

    task: str
    n_frames: int
    c_fail: float
    threshold: float | None
    positive: float
    positive_in_successes: float
    positive_in_failures: float


def label_advantages(
    meta: "LeRobotDatasetMetadata",
    evidence: Evidence,
    rows: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    options: AdvantageOptions,
    provenance: dict[str, Any],
) -> tuple[AdvantageTable, list[TaskSummary]]:
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
    labelled = label_positive(
        table, advantages, evidence.interventions, rows, options.n_steps, options.positive_fraction
    )
    names = table.task_names
    summaries = []
    for task in np.unique(table.tasks[rows]).tolist():
        of_task = rows[table.tasks[rows] == task]
        frames = table.frames(of_task)
        outcomes = np.repeat(evidence.outcomes[of_task], table.lengths[of_task])
        positive = labelled.positive[frames]
        summaries.append(
            TaskSummary(
                task=names[task],
                n_frames=len(frames),
                c_fail=float(evidence.returns.c_fail[of_task[0]]),
                threshold=labelled.thresholds.get(task),
                positive=_share(positive),
                positive_in_successes=_share(positive[outcomes == SUCCESS]),
                positive_in_failures=_share(positive[outcomes == FAILURE]),
            )
        )
        if positive.all() or not positive.any():
            _warn(summaries[-1], advantages[frames])
    frames = table.frames(rows)
    columns = {
        "index": frames,
        "episode_index": np.repeat(table.episodes[rows], table.lengths[rows]),
        "frame_index": frames - np.repeat(table.starts[rows], table.lengths[rows]),
        "value": values[frames],
        "advantage": advantages[frames],
        "positive": labelled.positive[frames],
    }
    provenance = {
        "repo_id": meta.repo_id,
        "dataset": dataset_fingerprint(meta),
        "total_frames": len(frames),
        "n_steps": options.n_steps,
        "positive_fraction": options.positive_fraction,
        "smoothing_window": options.smoothing_window,
        "thresholds": {summary.task: summary.threshold for summary in summaries},
        "c_fail": {summary.task: summary.c_fail for summary in summaries},
        "intervention_frames": int(evidence.interventions[frames].sum()),
        **provenance,
    }
    return AdvantageTable(columns, provenance), summaries


def _share(flags: np.ndarray) -> float:
    return float(flags.mean()) if len(flags) else math.nan


def _warn(summary: TaskSummary, advantages: np.ndarray) -> None:
    counts, edges = np.histogram(advantages, bins=8)
    bins = ", ".join(
        f"{low:.3g} to {high:.3g}: {count}"
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )
    logger.warning(
        f"{'All' if summary.positive else 'None'} of the {summary.n_frames} frames of the task "
        f"{summary.task!r} are "
        f"positive, which teaches the policy nothing (threshold {summary.threshold}; advantages {bins})"
    )
