# SPDX-License-Identifier: MIT
"""From advantages to the rows of the advantages file."""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from rewact.advantages.compute import Evidence
from rewact.advantages.estimate import label_positive
from rewact.advantages.file import AdvantageTable, dataset_fingerprint
from rewact.options.advantages import AdvantageOptions

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)


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
