# SPDX-License-Identifier: MIT
"""Rewards given at a few frames of an episode, and the file that holds them.

The file is ``rewact_extensions/reward_keypoints.json`` in the dataset's folder::

    {"<episode>": {"fps": 10, "length": 40, "identity": "90d2a1...",
                   "keypoints": [{"frame_index": 3, "timestamp": 0.3, "reward": 0.0}]}}

``length`` and ``identity`` may be left out; by them the episode is found again when its number has changed.
An episode with an empty list is labelled by the next source.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import (
    LABEL_FILES,
    is_integer,
    is_number,
    label_files,
    parse_episodes,
    read_by_episode,
    write_json,
)
from rewact.options.labels import RewardLabelsConfig

KEYPOINTS_FILE = LABEL_FILES["keypoints"][0]


@dataclass(frozen=True)
class KeypointReward:
    """The reward at one frame of an episode.

    Attributes:
        reward: Task progress in [0, 1].
        frame_index: Frame within the episode, 0 is the first.
        timestamp: Seconds since the episode's first frame; means the nearest frame. At least one of the two
            is needed, and they have to name the same frame when both are given.

    Raises:
        ValueError: on construction, when a value is missing or out of range.

    Example:
        >>> KeypointReward(0.5, timestamp=1.2)
        KeypointReward(reward=0.5, frame_index=None, timestamp=1.2)
    """

    reward: float
    frame_index: int | None = None
    timestamp: float | None = None

    def __post_init__(self) -> None:
        if not is_number(self.reward) or not 0.0 <= self.reward <= 1.0:
            raise ValueError(f"the reward of a keypoint must be in [0, 1], got {self.reward!r}")
        if self.frame_index is None and self.timestamp is None:
            raise ValueError("a keypoint needs a frame_index or a timestamp")
        if self.frame_index is not None and (not is_integer(self.frame_index) or self.frame_index < 0):
            raise ValueError(f"frame_index must be an integer of at least 0, got {self.frame_index!r}")
        if self.timestamp is not None and (not is_number(self.timestamp) or self.timestamp < 0):
            raise ValueError(f"timestamp must be a number of seconds of at least 0, got {self.timestamp!r}")

    def frame(self, fps: float, length: int) -> int:
        """Frame within an episode of ``length`` frames.

        Raises:
            ValueError: if frame and time disagree, or the frame lies outside the episode.
        """
        frame = self.frame_index
        if self.timestamp is not None:
            position = self.timestamp * fps
            if frame is None:
                frame = round(position)
            elif abs(position - frame) > 0.5 + 1e-6:
                raise ValueError(
                    f"frame_index {frame} and timestamp {self.timestamp} are different frames at {fps:g} fps"
                )
        if frame >= length:
            given = f"timestamp {self.timestamp}" if self.frame_index is None else f"frame_index {frame}"
            raise ValueError(f"{given} lies outside the episode, which has {length} frames at {fps:g} fps")
        return int(frame)


# Of one episode: reward by frame within the episode, in ascending order of frames.
Keypoints = dict[int, float]


def parse_keypoints(given: Any, fps: float, length: int, where: str) -> Keypoints:
    """The keypoints of one episode, sorted and checked.

    Args:
        given: A list of :class:`KeypointReward` or of what JSON has for them, ``{"frame_index" | "timestamp",
            "reward"}``; it may be empty.
        fps: Frames per second of the dataset.
        length: Frames of the episode.
        where: Start of an error message, naming file and episode.

    Raises:
        ValueError: if the form is wrong, a value is out of range, a keypoint is outside the episode or two
            are at the same frame.
    """
    if not isinstance(given, list):
        raise ValueError(f"{where}: 'keypoints' must be a list, got {given!r}")
    keypoints: Keypoints = {}
    try:
        for entry in given:
            keypoint = entry if isinstance(entry, KeypointReward) else _from_json(entry)
            frame = keypoint.frame(fps, length)
            if frame in keypoints:
                raise ValueError(f"two keypoints at frame {frame}")
            keypoints[frame] = float(keypoint.reward)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return dict(sorted(keypoints.items()))


def _from_json(entry: Any) -> KeypointReward:
    if not isinstance(entry, dict) or "reward" not in entry:
        raise ValueError(f"a keypoint must be an object with a 'reward', got {entry!r}")
    if unknown := sorted(set(entry) - {"reward", "frame_index", "timestamp"}):
        raise ValueError(f"unknown key {unknown[0]!r} in keypoint {entry!r}")
    return KeypointReward(**entry)


def as_entries(keypoints: Mapping[int, float]) -> list[dict[str, Any]]:
    """Rewards by frame in their JSON form."""
    return [{"frame_index": frame, "reward": reward} for frame, reward in keypoints.items()]


def refuse_failure_that_reaches_1(keypoints: Keypoints, where: str) -> None:
    """Refuse keypoints of a failed episode that say that the task was done; ``where`` begins the message."""
    if done := [frame for frame, reward in keypoints.items() if reward >= 1.0]:
        raise ValueError(
            f"{where}: it failed, but its keypoints reach 1 at frame {done[0]}; correct the outcome or the "
            "keypoint"
        )


def keypoints_path(config: RewardLabelsConfig, root: Path) -> Path:
    """The keypoints file of a dataset, there or not.

    Raises:
        ValueError: if the configuration names a file that does not exist.
    """
    return next(iter(label_files("keypoints", root, config)), root / KEYPOINTS_FILE)


def read_keypoints(table: EpisodeTable, config: RewardLabelsConfig) -> dict[int, Keypoints]:
    """The keypoints of all episodes that have some, as :func:`load_keypoints`."""
    path = keypoints_path(config, table.root)
    return load_keypoints(path, table) if path.exists() else {}


def load_keypoints(path: Path, table: EpisodeTable) -> dict[int, Keypoints]:
    """Read and check a keypoints file, see :func:`.files.parse_episodes`."""

    def parse(entry: Any, length: int, table: EpisodeTable, where: str) -> Keypoints:
        if not isinstance(entry, dict) or "keypoints" not in entry or "fps" not in entry:
            raise ValueError(f"{where}: expected an object with 'fps' and 'keypoints', got {entry!r}")
        require_fps(entry["fps"], table, where)
        return parse_keypoints(entry["keypoints"], table.fps, length, where)

    episodes = parse_episodes(read_by_episode(path, "keypoints"), path, table, parse)
    return {episode: points for episode, points in episodes.items() if points}


def require_fps(fps: Any, table: EpisodeTable, where: str) -> None:
    """Refuse labels that were made at another rate than the dataset's; ``where`` begins the message."""
    if not is_number(fps) or not math.isclose(fps, table.fps, rel_tol=1e-6):
        raise ValueError(f"{where}: labelled at {fps!r} fps, but {table.repo_id} has {table.fps:g}")


def save_keypoints(path: Path, episodes: Mapping[int, Keypoints], table: EpisodeTable) -> None:
    """Replace the keypoints file in one step, see :func:`.files.write_atomically`."""
    fps = int(table.fps) if table.fps.is_integer() else table.fps
    content = {
        str(episode): {
            "fps": fps,
            **table.mark(episode),
            "keypoints": [
                {"frame_index": frame, "timestamp": frame / fps, "reward": reward}
                for frame, reward in sorted(keypoints.items())
            ],
        }
        for episode, keypoints in sorted(episodes.items())
    }
    write_json(path, content)
