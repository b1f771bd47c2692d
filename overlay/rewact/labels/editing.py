# SPDX-License-Identifier: MIT
"""Keypoints of a dataset, read and written through the dataset."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from rewact.labels.build import RewardLabels
from rewact.labels.files import writing_in
from rewact.labels.keypoints import (
    KeypointReward,
    Keypoints,
    as_entries,
    keypoints_path,
    parse_keypoints,
    read_keypoints,
    refuse_failure_that_reaches_1,
    save_keypoints,
)
from rewact.labels.outcomes import FAILURE
from rewact.labels.sources import label_rows


class KeypointEditing:
    """Methods of a dataset with reward labels that read and change keypoints.

    Attributes:
        labels: The labels, of which changed episodes are labelled again at once.
    """

    labels: RewardLabels

    def add_episode_rewards(
        self, episode: int, keypoints: Iterable[KeypointReward] | Mapping[int, float]
    ) -> None:
        """Label one episode by a list of :class:`KeypointReward`, or ``{frame within the episode: reward}``.

        See :meth:`add_rewards`.
        """
        self.add_rewards({episode: keypoints})

    def add_rewards(self, episodes: Mapping[int, Iterable[KeypointReward] | Mapping[int, float]]) -> None:
        """Label episodes by keypoints, write them to the keypoints file in one step and use them at once.

        Keypoints that an episode already has stay, except at the same frames.

        Args:
            episodes: For each episode id a list of :class:`KeypointReward`, or ``{frame within the episode:
                reward}``.

        Raises:
            ValueError: naming the episode, if it is not in the dataset, a keypoint is outside it or out of
                [0, 1], two are at the same frame, they reach 1 though the episode failed, or the keypoints
                file is broken; nothing is written then.
            OSError: if the file cannot be written; the labels are then unchanged.
        """
        table = self.labels.table
        with self._writing_keypoints() as stored:  # a broken file is reported before all else
            if "keypoints" not in self.labels.config.sources:
                raise ValueError(
                    "keypoints are not among the reward sources of this dataset "
                    f"({self.labels.config.sources})"
                )
            for episode, given in episodes.items():
                row, where = table.row(episode), f"{table.repo_id}, episode {episode}"
                entries = as_entries(given) if isinstance(given, Mapping) else list(given)
                new = parse_keypoints(entries, table.fps, table.length(episode), where)
                if not new:
                    raise ValueError(f"{where}: no keypoints")
                merged = dict(sorted((stored.get(int(episode), {}) | new).items()))
                if self.labels.outcomes[row] == FAILURE:
                    refuse_failure_that_reaches_1(merged, where)
                stored[int(episode)] = merged
        self.labels.refresh(episodes)

    def remove_episode_rewards(self, episode: int) -> None:
        """Remove the keypoints of an episode from the file; the next source labels it. None there: no change.

        Raises:
            ValueError: if the episode is not in the dataset, no other source has labels for it, or the
                keypoints file is broken.
            OSError: if the file cannot be written; the labels are then unchanged.
        """
        labels = self.labels
        row = labels.table.row(episode)
        with self._writing_keypoints() as stored:
            others = [source for source in labels.config.sources if source != "keypoints"]
            if not others:
                raise ValueError(
                    f"episode {episode} would have no labels: keypoints are the only reward source"
                )
            if stored.pop(int(episode), None) is not None:
                config = replace(labels.config, sources=others)
                if label_rows(labels.table, config, labels.outcomes, np.array([row]))[1] == [None]:
                    raise ValueError(
                        f"episode {episode} would have no labels: {', '.join(others)} has none for it; add "
                        "'linear' to the reward sources"
                    )
        labels.refresh([episode])

    def get_episode_keypoints(self, episode: int) -> dict[int, float]:
        """Keypoints of an episode as ``{frame within the episode: reward}``, sorted; empty without any.

        Raises:
            ValueError: if the episode is not in the dataset or the keypoints file is broken.
        """
        self.labels.table.row(episode)
        # Read each time, so that what another process has stored is neither hidden nor overwritten.
        return read_keypoints(self.labels.table, self.labels.config).get(int(episode), {})

    def get_episode_keypoints_objects(self, episode: int) -> list[KeypointReward]:
        """Those of :meth:`get_episode_keypoints` with frame and time."""
        fps = self.labels.table.fps
        return [
            KeypointReward(reward, frame_index=frame, timestamp=frame / fps)
            for frame, reward in self.get_episode_keypoints(episode).items()
        ]

    @contextmanager
    def _writing_keypoints(self) -> Iterator[dict[int, Keypoints]]:
        """The stored keypoints, to be changed and then stored, while no other process does the same."""
        table, config = self.labels.table, self.labels.config
        path = keypoints_path(config, table.root)
        with writing_in(path.parent):
            stored = read_keypoints(table, config)
            before = dict(stored)
            yield stored
            if stored != before:
                save_keypoints(path, stored, table)
