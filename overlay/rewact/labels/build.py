# SPDX-License-Identifier: MIT
"""The reward labels of a whole dataset, computed once."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rewact.keys import INTERVENTION_KEY
from rewact.labels.control import CONTROL_MODES_FILE, POLICY, read_control_modes, read_interventions
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import label_files
from rewact.labels.hub import pull_label_files
from rewact.labels.outcomes import FAIL_PREFIX, FAILURE, UNKNOWN, read_outcomes
from rewact.labels.sources import hint_at_unused_files, label_rows
from rewact.options.labels import RewardLabelsConfig

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

# How LeRobot names recordings of a policy: when it is evaluated, and since 0.6 when it is rolled out.
EVAL_PREFIXES = ("eval_", "rollout_")


@dataclass
class RewardLabels:
    """Labels of every frame of a dataset.

    The tensors are indexed by the absolute frame index (an item's ``index``). They are tensors rather than
    numpy arrays because torch hands them to data loading workers through shared memory, without a copy.

    Attributes:
        rewards: float32 ``(N,)`` in [0, 1]; NaN at frames without a label: of episodes that no source has
            labels for, and those that the source left out.
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

    def describe(self, episodes: Iterable[int] | None = None) -> str:
        """How many of the given episodes (all by default) come from which source, as one line."""
        every = range(len(self.sources)) if episodes is None else map(self.table.row, episodes)
        rows = np.fromiter(every, dtype=np.int64)
        counts = Counter(self.sources[row] for row in rows)
        words = {"linear": f"linear ({self.config.start_pct:.0%}-{self.config.end_pct:.0%})"}
        parts = [f"{counts[s]} {words.get(s, f'from {s}')}" for s in self.config.sources if counts[s]]
        if counts[None]:
            parts.append(f"{counts[None]} without")
        if failures := int((self.outcomes[rows] == FAILURE).sum()):
            parts.append(f"{failures} of them failed")
        labelled = np.array([row for row in rows if self.sources[row] is not None], dtype=np.int64)
        if unlabelled := int(np.isnan(self.rewards.numpy()[self.table.frames(labelled)]).sum()):
            parts.append(f"{unlabelled} of their frames without a label")
        if self.action_mask is not None:
            mask = self.action_mask[self.table.frames(rows)]
            parts.append(f"{int((~mask).sum())} of {len(mask)} actions masked")
        return f"Reward labels of {len(rows)} episodes: {', '.join(parts)}"

    def require(self, episodes: Iterable[int] | None = None) -> None:
        """Check that the given episodes (all by default) are labelled.

        Raises:
            ValueError: naming the episodes that no source has labels for, or that the dataset lacks.
        """
        rows = range(len(self.sources)) if episodes is None else [self.table.row(e) for e in episodes]
        missing = [int(self.table.episodes[row]) for row in rows if self.sources[row] is None]
        if missing:
            sources, name = self.config.sources, self.table.repo_id
            what = f"no reward labels for {len(missing)} of the episodes ({shorten(missing)})"
            if "returns" in sources:  # these label all episodes that are known to have ended well or not
                remedy = f"their outcome is not known; say it with {say_outcomes(name)}"
            else:
                remedy = "label them"
            raise ValueError(
                f"{name}: {what} from {', '.join(sources)}; {remedy}, leave them out with "
                "--dataset.episodes, or add 'linear' to --dataset.reward.sources"
            )

    def refresh(self, episodes: Iterable[int]) -> None:
        """Label some episodes again from the files, in place: all datasets on these labels see it.

        Raises:
            ValueError: if a label file is broken.
        """
        rows = np.array(sorted({self.table.row(episode) for episode in episodes}), dtype=np.int64)
        if not len(rows):
            return
        self.outcomes[:] = read_outcomes(self.table, self.config)
        labels, sources = label_rows(self.table, self.config, self.outcomes, rows)
        self.rewards.numpy()[self.table.frames(rows)] = labels
        for row, source in zip(rows.tolist(), sources, strict=True):
            self.sources[row] = source
        if self.action_mask is not None:
            self.action_mask.numpy()[:] = _kept_actions(self.table, self.config, self.outcomes)


def say_outcomes(repo_id: str) -> str:
    """The command that says how episodes of a dataset ended."""
    return f"lerobot-label-rewards --dataset.repo_id={repo_id} --succeeded='[...]' --failed='[...]'"


def shorten(episodes: Iterable[int]) -> str:
    """Numbers of episodes for a message, the first ten of them."""
    episodes = list(episodes)
    return ", ".join(map(str, episodes[:10])) + (", ..." if len(episodes) > 10 else "")


def build_reward_labels(meta: "LeRobotDatasetMetadata", config: RewardLabelsConfig) -> RewardLabels:
    """Label every frame of a dataset.

    Raises:
        ValueError: naming file, episode and value, if a label file is broken or is not for this dataset.
    """
    pull_label_files(meta)
    table = EpisodeTable.from_metadata(meta)
    n_episodes = len(table.episodes)
    labels = RewardLabels(
        config,
        table,
        rewards=torch.from_numpy(table.unknown_frames()),
        action_mask=torch.ones(table.n_frames, dtype=torch.bool) if config.masks_actions else None,
        sources=[None] * n_episodes,
        outcomes=np.full(n_episodes, UNKNOWN, dtype=np.int8),
    )
    labels.refresh(table.episodes.tolist())
    hint_at_unused_files(table, config)
    return labels


def _kept_actions(table: EpisodeTable, config: RewardLabelsConfig, outcomes: np.ndarray) -> np.ndarray:
    """Which actions are trained on, bool ``(N,)``."""
    name, repo_id = table.name, table.repo_id
    kept = np.ones(table.n_frames, dtype=bool)
    if config.mask_actions_for_eval_data:
        if not name.startswith(EVAL_PREFIXES):
            raise ValueError(
                f"reward.mask_actions_for_eval_data: {repo_id} is not evaluation data, which is named "
                f"{' or '.join(f'{prefix}*' for prefix in EVAL_PREFIXES)}; leave the option out"
            )
        kept[:] = False
    if config.mask_actions_for_fail_data:
        if name.startswith(FAIL_PREFIX):
            kept[:] = False
        elif (outcomes == UNKNOWN).all():
            raise ValueError(
                f"reward.mask_actions_for_fail_data: nothing says which episodes of {repo_id} failed; "
                f"say it with {say_outcomes(repo_id)}"
            )
        kept[table.frames(np.flatnonzero(outcomes == FAILURE))] = False
    for option, is_recorded in (
        ("mask_actions_under_policy", False),
        ("mask_actions_under_intervention", INTERVENTION_KEY in table.columns),
    ):
        if (
            getattr(config, option)
            and not is_recorded
            and not label_files("control_modes", table.root, config)
        ):
            raise ValueError(
                f"reward.{option}: nothing says who controlled {repo_id}: "
                f"{table.root / CONTROL_MODES_FILE} is missing; write it with lerobot-label-rewards, or name "
                "another with --dataset.reward.control_modes_path"
            )
    if config.mask_actions_under_policy:
        kept &= read_control_modes(table, config) != POLICY
    if config.mask_actions_under_intervention:
        kept &= ~read_interventions(table, config)
    return kept
