# SPDX-License-Identifier: MIT
"""The reward labels of a whole dataset, computed once."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lerobot.configs.reward_labels import RewardLabelsConfig

from .episodes import EpisodeTable
from .interpolation import interpolate_keypoints, linear_rewards
from .keypoints import KEYPOINTS_FILE, Keypoints, load_keypoints

if TYPE_CHECKING:
    from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata


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
    """

    config: RewardLabelsConfig
    table: EpisodeTable
    rewards: Tensor
    action_mask: Tensor | None
    sources: list[str | None]

    def describe(self, episodes: Iterable[int] | None = None) -> str:
        """How many episodes come from which source, as one line.

        Args:
            episodes: The episodes to count; all by default.
        """
        rows = range(len(self.sources)) if episodes is None else [self.table.row(e) for e in episodes]
        counts = Counter(self.sources[row] for row in rows)
        details = {
            "keypoints": "from keypoints",
            "linear": f"linear ({self.config.start_pct:.0%}-{self.config.end_pct:.0%})",
        }
        parts = [f"{counts[s]} {details.get(s, s)}" for s in self.config.sources if counts[s]]
        return f"Reward labels of {len(rows)} episodes: {', '.join(parts)}"

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

    def set_episode(self, episode: int, keypoints: Keypoints | None) -> None:
        """Recompute one episode after its keypoints changed, in place: all datasets on these labels see it.

        Args:
            episode: Episode id.
            keypoints: Its new keypoints, None when they were removed.
        """
        row = self.table.row(episode)
        labels, sources = _label_rows(
            self.table, self.config, {episode: keypoints} if keypoints else {}, [row]
        )
        self.rewards[int(self.table.starts[row]) : int(self.table.ends[row])] = torch.from_numpy(labels)
        self.sources[row] = sources[0]


def keypoints_path(config: RewardLabelsConfig, root: Path) -> Path:
    """The keypoints file of a dataset, there or not.

    Raises:
        ValueError: if the configuration names a file that does not exist.
    """
    if config.keypoints_path is None:
        return root / KEYPOINTS_FILE
    path = Path(config.keypoints_path).expanduser()
    if not path.is_file():
        raise ValueError(f"reward.keypoints_path: there is no file {path}")
    return path


def build_reward_labels(meta: "LeRobotDatasetMetadata", config: RewardLabelsConfig) -> RewardLabels:
    """Label every frame of a dataset.

    Args:
        meta: Metadata of the dataset.
        config: The sources and their settings.

    Raises:
        ValueError: naming file, episode and value, if a label file is broken or is not for this dataset.
    """
    table = EpisodeTable.from_metadata(meta)
    keypoints: dict[int, Keypoints] = {}
    if "keypoints" in config.sources:
        path = keypoints_path(config, table.root)
        if path.exists():
            keypoints = load_keypoints(path, table)
    rows = list(range(len(table.episodes)))
    labels, sources = _label_rows(table, config, keypoints, rows)
    rewards = np.full(table.n_frames, np.nan, dtype=np.float32)
    rewards[table.frames(np.asarray(rows))] = labels
    return RewardLabels(
        config=config,
        table=table,
        rewards=torch.from_numpy(rewards),
        action_mask=_action_mask(table, config),
        sources=sources,
    )


def _label_rows(
    table: EpisodeTable, config: RewardLabelsConfig, keypoints: dict[int, Keypoints], rows: list[int]
) -> tuple[np.ndarray, list[str | None]]:
    """Labels of some episodes, one after the other, and the source of each."""
    index = np.asarray(rows, dtype=np.int64)
    lengths = table.lengths[index]
    ends = np.cumsum(lengths)
    labels = np.full(int(lengths.sum()), np.nan, dtype=np.float32)
    sources: list[str | None] = [None] * len(rows)
    for source in reversed(config.sources):  # an earlier source overwrites a later one
        if source == "linear":
            labels[:] = linear_rewards(lengths, config.start_pct, config.end_pct)
            sources = ["linear"] * len(rows)
        elif source == "keypoints":
            for position, episode in enumerate(table.episodes[index].tolist()):
                if episode not in keypoints:
                    continue
                length, end = int(lengths[position]), int(ends[position])
                labels[end - length : end] = interpolate_keypoints(
                    np.array(list(keypoints[episode])),
                    np.array(list(keypoints[episode].values())),
                    length,
                    config.interpolation,
                )
                sources[position] = "keypoints"
    return labels, sources


def _action_mask(table: EpisodeTable, config: RewardLabelsConfig) -> Tensor | None:
    if not config.masks_actions:
        return None
    name = table.repo_id.rsplit("/", 1)[-1]
    masked = (config.mask_actions_for_eval_data and name.startswith("eval_")) or (
        config.mask_actions_for_fail_data and name.startswith("fail_")
    )
    if masked:
        logging.info(
            "Actions of %s are masked: its name starts with %s", table.repo_id, name.split("_")[0] + "_"
        )
    return torch.full((table.n_frames,), not masked, dtype=torch.bool)
