# SPDX-License-Identifier: MIT
"""Labels handed in as one JSON file, and what a dataset has of them.

The file names the dataset and, for each episode, any of keypoints, outcome and control modes::

    {
      "repo_id": "me/pick",
      "episodes": {
        "0": {
          "keypoints": [{"timestamp": 0.3, "reward": 0.0}, {"frame_index": 80, "reward": 1.0}],
          "outcome": "success",
          "control_modes": [{"start_index": 0, "end_index": 57, "mode": "policy"}]
        }
      }
    }

It may also say ``fps``, ``total_episodes`` and ``total_frames``, which then have to be the dataset's.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rewact.labels.control import (
    CONTROL_MODES_FILE,
    Segments,
    load_control_modes,
    parse_segments,
    save_control_modes,
)
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import is_number, parse_episode, read_json
from rewact.labels.hub import remember_cleared
from rewact.labels.keypoints import (
    Keypoints,
    load_keypoints,
    parse_keypoints,
    resolve_keypoints,
    save_keypoints,
)
from rewact.labels.outcomes import OUTCOMES, OUTCOMES_FILE, load_outcomes, save_outcomes
from rewact.labels.sources import keypoints_path
from rewact.options.labels import RewardLabelsConfig


@dataclass
class LabelSet:
    """Labels by episode.

    Attributes:
        keypoints: Reward by frame within the episode.
        outcomes: "success", "failure" or "unknown".
        control_modes: Segments of the episode.
    """

    keypoints: dict[int, Keypoints] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    control_modes: dict[int, Segments] = field(default_factory=dict)

    def episodes(self) -> list[int]:
        """The episodes that have any label, sorted."""
        return sorted({*self.keypoints, *self.outcomes, *self.control_modes})

    def updated(self, other: "LabelSet") -> "LabelSet":
        """These labels, with those of ``other`` instead where it has some."""
        return LabelSet(
            self.keypoints | other.keypoints,
            self.outcomes | other.outcomes,
            self.control_modes | other.control_modes,
        )

    def without(self, episodes: Iterable[int]) -> "LabelSet":
        """These labels, except those of some episodes."""
        gone = set(episodes)
        return LabelSet(
            *(
                {episode: value for episode, value in part.items() if episode not in gone}
                for part in (self.keypoints, self.outcomes, self.control_modes)
            )
        )


def read_label_file(path: Path, table: EpisodeTable) -> LabelSet:
    """Read and check the file that this module describes.

    Raises:
        ValueError: naming file, episode and value, if it is broken or is for another dataset.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("episodes"), dict):
        raise ValueError(f"{path}: expected an object with 'episodes', from episode to labels")
    _check_dataset(content, path, table)
    labels = LabelSet()
    for key, entry in content["episodes"].items():
        where = f"{path}, episode {key}"
        episode = parse_episode(key, where)
        length = table.length(episode, where)
        known = {"keypoints", "outcome", "control_modes"}
        if not isinstance(entry, dict) or not entry or set(entry) - known:
            raise ValueError(f"{where}: expected an object with {', '.join(sorted(known))}, got {entry!r}")
        if "keypoints" in entry:
            keypoints = parse_keypoints(entry["keypoints"], where)
            labels.keypoints[episode] = resolve_keypoints(keypoints, table.fps, length, where)
        if "outcome" in entry:
            if entry["outcome"] not in OUTCOMES:
                raise ValueError(
                    f"{where}: the outcome must be one of {', '.join(OUTCOMES)}, got {entry['outcome']!r}"
                )
            labels.outcomes[episode] = entry["outcome"]
        if "control_modes" in entry:
            labels.control_modes[episode] = parse_segments(entry["control_modes"], length, where)
    if not labels.episodes():
        raise ValueError(f"{path} has no labels")
    return labels


def load_labels(table: EpisodeTable) -> LabelSet:
    """The labels under ``rewact_extensions/`` in a dataset's folder.

    Raises:
        ValueError: naming file and episode, if a file is broken.
    """
    keypoints, outcomes, modes = label_paths(table.root)
    return LabelSet(
        load_keypoints(keypoints, table) if keypoints.exists() else {},
        load_outcomes(outcomes, table) if outcomes.exists() else {},
        load_control_modes(modes, table) if modes.exists() else {},
    )


def save_labels(table: EpisodeTable, labels: LabelSet, before: LabelSet) -> list[Path]:
    """Write the label files of a dataset that differ from before.

    A file whose last label went is deleted. Each file is replaced in one step.

    Returns:
        The files written or deleted.

    Raises:
        OSError: naming the file, if one cannot be written.
    """
    keypoints, outcomes, modes = label_paths(table.root)
    changed = []
    for path, new, old, save in (
        (keypoints, labels.keypoints, before.keypoints, lambda p, v: save_keypoints(p, v, table)),
        (outcomes, labels.outcomes, before.outcomes, lambda p, v: save_outcomes(p, v, table)),
        (modes, labels.control_modes, before.control_modes, save_control_modes),
    ):
        if new == old:
            continue
        if new:
            save(path, new)
        else:
            path.unlink()
            remember_cleared(table.root)
        changed.append(path)
    return changed


def label_paths(root: Path) -> tuple[Path, Path, Path]:
    """Where keypoints, outcomes and control modes of a dataset lie."""
    return keypoints_path(RewardLabelsConfig(), root), root / OUTCOMES_FILE, root / CONTROL_MODES_FILE


def _check_dataset(content: dict, path: Path, table: EpisodeTable) -> None:
    known = {"repo_id", "fps", "total_episodes", "total_frames", "episodes"}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    actual = {
        "repo_id": table.repo_id,
        "fps": table.fps,
        "total_episodes": len(table.episodes),
        "total_frames": int(table.lengths.sum()),
    }
    for key, value in actual.items():
        given = content.get(key, value)
        same = (
            math.isclose(given, value, rel_tol=1e-6)
            if is_number(given) and is_number(value)
            else given == value
        )
        if not same:
            raise ValueError(
                f"{path} is for another dataset: its {key} is {given!r}, that of {table.repo_id} {value!r}"
            )
