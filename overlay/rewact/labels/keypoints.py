# SPDX-License-Identifier: MIT
"""Rewards given at a few frames of an episode, and the file that holds them.

The file is ``rewact_extensions/reward_keypoints.json`` in the dataset's folder::

    {"<episode>": {"fps": 10, "length": 40, "identity": "90d2a1...",
                   "keypoints": [{"frame_index": 3, "timestamp": 0.3, "reward": 0.0}]}}

``length`` and ``identity`` may be left out; by them the episode is found again when its number has changed.
An episode with an empty list is labelled by the next source.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import EXTENSIONS_DIR, is_integer, is_number, parse_episode, read_json, write_json

KEYPOINTS_FILE = f"{EXTENSIONS_DIR}/reward_keypoints.json"


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


def resolve_keypoints(
    keypoints: Iterable[KeypointReward] | Mapping[int, float], fps: float, length: int, where: str
) -> Keypoints:
    """Sort and check the keypoints of one episode.

    Args:
        keypoints: In any order; a mapping is from frame to reward.
        fps: Frames per second of the dataset.
        length: Frames of the episode.
        where: Start of an error message, naming file and episode.

    Raises:
        ValueError: if there is none, one is outside the episode or two are at the same frame.
    """
    resolved: Keypoints = {}
    try:
        if isinstance(keypoints, Mapping):
            keypoints = [KeypointReward(reward, frame_index=frame) for frame, reward in keypoints.items()]
        for keypoint in keypoints:
            frame = keypoint.frame(fps, length)
            if frame in resolved:
                raise ValueError(f"two keypoints at frame {frame}")
            resolved[frame] = float(keypoint.reward)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not resolved:
        raise ValueError(f"{where}: no keypoints")
    return dict(sorted(resolved.items()))


def refuse_failure_that_reaches_1(keypoints: Keypoints, where: str) -> None:
    """Check the keypoints of an episode that failed.

    Raises:
        ValueError: starting with ``where``, if they say that the task was done.
    """
    if done := [frame for frame, reward in keypoints.items() if reward >= 1.0]:
        raise ValueError(
            f"{where}: it failed, but its keypoints reach 1 at frame {done[0]}; correct the outcome or the "
            "keypoint"
        )


def parse_keypoints(entries: Any, where: str) -> list[KeypointReward]:
    """Keypoints from their JSON form, a list of ``{"frame_index" | "timestamp", "reward"}``.

    Raises:
        ValueError: starting with ``where``, if the form is not as described or a value is out of range.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{where}: 'keypoints' must be a list, got {entries!r}")
    keypoints = []
    for entry in entries:
        if not isinstance(entry, dict) or "reward" not in entry:
            raise ValueError(f"{where}: a keypoint must be an object with a 'reward', got {entry!r}")
        unknown = sorted(set(entry) - {"reward", "frame_index", "timestamp"})
        if unknown:
            raise ValueError(f"{where}: unknown key {unknown[0]!r} in keypoint {entry!r}")
        try:
            keypoints.append(KeypointReward(**entry))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return keypoints


def load_keypoints(path: Path, table: EpisodeTable) -> dict[int, Keypoints]:
    """Read and check the keypoints of all episodes.

    Raises:
        ValueError: naming file, episode and value, at the first thing that is wrong.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected an object from episode to keypoints, got {type(content).__name__}"
        )
    episodes: dict[int, Keypoints] = {}
    for key, entry in content.items():
        where = f"{path}, episode {key}"
        if not isinstance(entry, dict) or "keypoints" not in entry or "fps" not in entry:
            raise ValueError(f"{where}: expected an object with 'fps' and 'keypoints', got {entry!r}")
        if not is_number(entry["fps"]) or not math.isclose(entry["fps"], table.fps, rel_tol=1e-6):
            raise ValueError(
                f"{where}: labelled at {entry['fps']!r} fps, but {table.repo_id} has {table.fps:g}"
            )
        episode = table.find(parse_episode(key, where), entry, where)
        length = table.length(episode, where)
        points = parse_keypoints(entry["keypoints"], where)
        if episode in episodes:
            raise ValueError(f"{where}: appears twice")
        if points:
            episodes[episode] = resolve_keypoints(points, table.fps, length, where)
    return episodes


def save_keypoints(path: Path, episodes: Mapping[int, Keypoints], table: EpisodeTable) -> None:
    """Replace the keypoints file in one step.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
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
