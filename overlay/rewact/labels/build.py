# SPDX-License-Identifier: MIT
"""The reward labels of a whole dataset, computed once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rewact.labels.control import POLICY, read_control_modes, read_interventions
from rewact.labels.episodes import EpisodeTable
from rewact.labels.hub import pull_label_files
from rewact.labels.outcomes import FAILURE, read_outcomes
from rewact.labels.sources import hint_at_unused_files, label_rows
from rewact.options.labels import RewardLabelsConfig

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata


@dataclass
class RewardLabels:
    """Labels of every frame of a dataset.

    The tensors are indexed by the absolute frame index (an item's ``index``). They are tensors rather than
    numpy arrays because torch hands them to data loading workers through shared memory, without a copy.

    Attributes:
        config: What they were built from.
        table: The dataset's episodes.
        rewards: float32 ``(N,)`` in [0, 1]; NaN at frames of episodes that no source has labels for.
        action_mask: bool ``(N,)``, False where the action must not be trained on; None without masks.
        sources: For each row of ``table``, the source its labels come from, None without any.
        outcomes: For each row of ``table``, int8 ``(E,)``: 1 success, 0 failure, -1 unknown.
    """

    config: RewardLabelsConfig
    table: EpisodeTable
    rewards: Tensor
    action_mask: Tensor | None
    sources: list[str | None]
    outcomes: np.ndarray

    def describe(self) -> str:
        """How many episodes come from which source, as one line."""
        counts = Counter(self.sources)
        words = {"linear": f"linear ({self.config.start_pct:.0%}-{self.config.end_pct:.0%})"}
        parts = [f"{counts[s]} {words.get(s, f'from {s}')}" for s in self.config.sources if counts[s]]
        if counts[None]:
            parts.append(f"{counts[None]} without")
        if failures := int((self.outcomes == FAILURE).sum()):
            parts.append(f"{failures} of them failed")
        if self.action_mask is not None:
            parts.append(f"{int((~self.action_mask).sum())} of {len(self.action_mask)} actions masked")
        return f"Reward labels of {len(self.sources)} episodes: {', '.join(parts)}"

    def require(self, episodes: Iterable[int] | None = None) -> None:
        """Check that the given episodes (all by default) are labelled.

        Raises:
            ValueError: naming the episodes that no source has labels for, or that the dataset lacks.
        """
        rows = range(len(self.sources)) if episodes is None else [self.table.row(e) for e in episodes]
        missing = [int(self.table.episodes[row]) for row in rows if self.sources[row] is None]
        if missing:
            shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
            raise ValueError(
                f"{self.table.repo_id}: no reward labels for {len(missing)} of the episodes ({shown}) from "
                f"{', '.join(self.config.sources)}; label them, leave them out with --dataset.episodes, or "
                "add 'linear' to --dataset.reward.sources"
            )

    def refresh(self, episode: int) -> None:
        """Label one episode anew from the files, in place: all datasets on these labels see it.

        Raises:
            ValueError: if a label file is broken.
        """
        row = self.table.row(episode)
        labels, sources = label_rows(self.table, self.config, self.outcomes, np.array([row]))
        self.rewards[int(self.table.starts[row]) : int(self.table.ends[row])] = torch.from_numpy(labels)
        self.sources[row] = sources[0]


def build_reward_labels(meta: "LeRobotDatasetMetadata", config: RewardLabelsConfig) -> RewardLabels:
    """Label every frame of a dataset.

    Args:
        meta: Metadata of the dataset.
        config: The sources and their settings.

    Raises:
        ValueError: naming file, episode and value, if a label file is broken or is not for this dataset.
    """
    pull_label_files(meta)
    table = EpisodeTable.from_metadata(meta)
    outcomes = read_outcomes(table, config)
    rows = np.arange(len(table.episodes))
    labels, sources = label_rows(table, config, outcomes, rows)
    rewards = np.full(table.n_frames, np.nan, dtype=np.float32)
    rewards[table.frames(rows)] = labels
    hint_at_unused_files(table, config)
    mask = _action_mask(table, config, outcomes)
    return RewardLabels(
        config=config,
        table=table,
        rewards=torch.from_numpy(rewards),
        action_mask=None if mask is None else torch.from_numpy(mask),
        sources=sources,
        outcomes=outcomes,
    )


def _action_mask(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> np.ndarray | None:
    if not config.masks_actions:
        return None
    kept = np.ones(table.n_frames, dtype=bool)
    if config.mask_actions_for_eval_data and table.name.startswith("eval_"):
        kept[:] = False
    if config.mask_actions_for_fail_data:
        if table.name.startswith("fail_"):
            kept[:] = False
        kept[table.frames(np.flatnonzero(outcomes == FAILURE))] = False
    if config.mask_actions_under_policy:
        kept &= read_control_modes(table, config) != POLICY
    if config.mask_actions_under_intervention:
        kept &= ~read_interventions(table, config)
    return kept
