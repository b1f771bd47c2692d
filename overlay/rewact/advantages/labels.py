# SPDX-License-Identifier: MIT
"""From advantages to the rows of the advantages file, and to a summary that shows whether they make sense."""

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rewact.advantages.compute import Evidence
from rewact.advantages.estimate import label_positive
from rewact.advantages.file import AdvantageTable, dataset_fingerprint
from rewact.options.advantages import AdvantageOptions

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)


class TaskSummary(NamedTuple):
    """What came out for one task.

    Attributes:
        task: Its name.
        n_frames: Number of its frames.
        threshold: Advantage above which a frame is positive; None if all frames are interventions.
        positive: Share of positive frames, interventions included.
    """

    task: str
    n_frames: int
    threshold: float | None
    positive: float


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
    positive, thresholds = label_positive(
        table, advantages, evidence.interventions, rows, options.n_steps, options.positive_fraction
    )
    summaries, c_fail = [], {}
    for task in np.unique(table.tasks[rows]).tolist():
        of_task = rows[table.tasks[rows] == task]
        frames, name = table.frames(of_task), table.task_names[task]
        c_fail[name] = float(evidence.returns.c_fail[of_task[0]])
        share = float(positive[frames].mean())
        summaries.append(TaskSummary(name, len(frames), thresholds.get(task), share))
        if share in (0.0, 1.0):
            _warn(summaries[-1], advantages[frames])
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
        "thresholds": {summary.task: summary.threshold for summary in summaries},
        "c_fail": c_fail,
        "intervention_frames": int(evidence.interventions[frames].sum()),
        **provenance,
    }
    return AdvantageTable(columns, provenance), summaries


def _warn(summary: TaskSummary, advantages: np.ndarray) -> None:
    counts, edges = np.histogram(advantages, bins=8)
    bins = ", ".join(
        f"{low:.3g} to {high:.3g}: {count}"
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    )
    logger.warning(
        f"{'All' if summary.positive else 'None'} of the {summary.n_frames} frames of the task "
        f"{summary.task!r} are positive, which teaches the policy nothing (threshold {summary.threshold}; "
        f"advantages {bins})"
    )
