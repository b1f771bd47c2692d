# SPDX-License-Identifier: MIT
"""Frames of a dataset that an export is compared on, and measures its ranges on."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rewact.export.source import Source
from rewact.labels.episodes import EpisodeTable
from rewact.labels.hub import open_metadata
from rewact.values.checkpoint import trained_episodes
from rewact.values.runner import choose_episodes, episode_loader

if TYPE_CHECKING:
    from lerobot.configs.default import DatasetConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

BATCH_SIZE = 16


class Recordings:
    """A dataset, and which of its episodes a policy was trained on.

    Args:
        cfg: The dataset, and the episodes of it to compare on.
        policy_path: Checkpoint of the policy.
        tolerance_s: Seconds that the timestamp of a frame and its picture in the video may lie apart.
    """

    def __init__(self, cfg: "DatasetConfig", policy_path: str, tolerance_s: float):
        self.repo_id = cfg.repo_id
        self.meta = open_metadata(cfg)
        self.episodes = choose_episodes(cfg, self.meta)
        self._table = EpisodeTable.from_metadata(self.meta)
        self._seen = trained_episodes(policy_path, self._table) or set()
        self._load = episode_loader(cfg, tolerance_s)

    def sample(self, source: Source, n: int, of_training: bool = False) -> dict[str, Tensor]:
        """(n, ...) observations that lie evenly over the episodes, fewer where there are fewer frames.

        With `of_training` over those that the policy was trained on, where these are known.
        """
        if missing := [name for name in source.names.values() if name not in self.meta.features]:
            raise ValueError(
                f"{source.config.pretrained_path} reads {missing[0]!r}, which {self.repo_id} does not have; "
                "if it is called otherwise there, say so with --rename_map"
            )
        trained = [episode for episode in self._table.episodes.tolist() if episode in self._seen]
        episodes = trained if of_training and trained else self.episodes
        # A few episodes say as much as all, and each may be a file to open.
        dataset = self._load([episodes[i] for i in _spread(len(episodes), min(n, 16))])
        return _collect(source, dataset, _spread(len(dataset), min(n, len(dataset))))

    def to_judge(self, n: int) -> tuple[list[int], bool]:
        """At most n of the episodes, and whether the policy has not seen any of them."""
        held_out = [episode for episode in self.episodes if episode not in self._seen]
        return (held_out or self.episodes)[:n], bool(self._seen) and bool(held_out)

    def length(self, episode: int) -> int:
        """Frames of an episode."""
        return int(self._table.lengths[self._table.row(episode)])

    def batches(self, source: Source, episodes: Sequence[int]) -> Iterator[dict[str, Tensor]]:
        """All frames of some episodes, in their order."""
        for episode in episodes:
            dataset = self._load([episode])
            for start in range(0, len(dataset), BATCH_SIZE):
                yield _collect(source, dataset, range(start, min(start + BATCH_SIZE, len(dataset))))


def _spread(size: int, n: int) -> list[int]:
    """At most n indices that lie evenly over so many."""
    return np.unique(np.linspace(0, size - 1, n).astype(int)).tolist()


def _collect(source: Source, dataset: "LeRobotDataset", frames: Sequence[int]) -> dict[str, Tensor]:
    """Observations of some frames by the dataset's names, checked against what the policy reads."""
    items = [dataset[frame] for frame in frames]
    found = {}
    for name, theirs in source.names.items():
        found[theirs] = torch.stack([item[theirs] for item in items]).float()
        expected = tuple(source.config.input_features[name].shape)
        if found[theirs].shape[1:] != expected:
            raise ValueError(
                f"{dataset.repo_id} has {theirs!r} of shape {tuple(found[theirs].shape[1:])}; the policy "
                f"reads {expected}"
            )
    return found
