# SPDX-License-Identifier: MIT
"""Who was in control: a human or a policy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rewact.keys import DAGGER_DIR, FOREIGN_DIR, INTERVENTION_KEY
from rewact.labels.columns import read_frame_column
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import (
    EXTENSIONS_DIR,
    existing_files,
    is_integer,
    parse_episode,
    read_json,
    write_json,
)
from rewact.options.labels import RewardLabelsConfig

UNKNOWN_MODE, POLICY, HUMAN = 0, 1, 2
MODES = {"unknown": UNKNOWN_MODE, "policy": POLICY, "human": HUMAN}
CONTROL_MODES_FILE = f"{EXTENSIONS_DIR}/control_modes.json"
# Where recordings made with the robocandywrapper plugins keep theirs, in the same format.
FOREIGN_CONTROL_MODES_FILES = (
    f"{DAGGER_DIR}/episode_modes.json",
    f"{FOREIGN_DIR}/{DAGGER_DIR}/episode_modes.json",
    f"{FOREIGN_DIR}/control_mode/episode_modes.json",
)

# Of one episode: first frame, last frame (inclusive), mode; frames count from the episode's first.
Segments = list[tuple[int, int, str]]


def read_control_modes(table: EpisodeTable, config: RewardLabelsConfig) -> np.ndarray:
    """Control mode of each frame.

    Returns:
        uint8 ``(N,)`` by absolute frame index: 0 unknown, 1 policy, 2 human.

    Raises:
        ValueError: naming file and episode, if a file is broken or contradicts another.
    """
    modes = np.full(table.n_frames, UNKNOWN_MODE, dtype=np.uint8)
    paths = control_mode_paths(config, table.root)
    for path in paths:
        for episode, segments in load_control_modes(path, table).items():
            start = int(table.starts[table.row(episode)])
            for first, last, mode in segments:
                frames = slice(start + first, start + last + 1)
                known = modes[frames] != UNKNOWN_MODE
                if MODES[mode] == UNKNOWN_MODE:
                    continue
                if (modes[frames][known] != MODES[mode]).any():
                    files = " and ".join(map(str, paths))
                    raise ValueError(f"{files} disagree about episode {episode}; correct one of them")
                modes[frames] = MODES[mode]
    return modes


def read_interventions(table: EpisodeTable, config: RewardLabelsConfig, is_needed: bool = True) -> np.ndarray:
    """Frames at which a human intervened: the column ``intervention``, and what the control modes call human.

    Args:
        table: The dataset's episodes.
        config: Where control modes come from.
        is_needed: Whether it is an error if the column's data is not on this machine.

    Returns:
        bool ``(N,)`` by absolute frame index.

    Raises:
        ValueError: as :func:`read_control_modes`, or if the column's data is not on this machine.
    """
    interventions = read_control_modes(table, config) == HUMAN
    if INTERVENTION_KEY in table.columns:
        recorded = read_frame_column(table, INTERVENTION_KEY, missing=0.0)
        if recorded is None and not is_needed:
            return interventions
        if recorded is None:
            raise ValueError(
                f"{table.repo_id}: its column {INTERVENTION_KEY!r} is needed, but none of its data is in "
                f"{table.root}"
            )
        interventions |= recorded > 0
    return interventions


def require_control_modes(table: EpisodeTable, config: RewardLabelsConfig, option: str) -> None:
    """Check that there is a control modes file, which an option needs.

    Raises:
        ValueError: naming the option, if there is none.
    """
    if not control_mode_paths(config, table.root):
        path = table.root / CONTROL_MODES_FILE
        raise ValueError(
            f"reward.{option}: nothing says who controlled {table.repo_id}: {path} is missing; write it "
            "with lerobot-label-rewards, or name another with --dataset.reward.control_modes_path"
        )


def control_mode_paths(config: RewardLabelsConfig, root: Path) -> list[Path]:
    """The control mode files of a dataset.

    Raises:
        ValueError: if the configuration names a file that does not exist.
    """
    names = (CONTROL_MODES_FILE, *FOREIGN_CONTROL_MODES_FILES)
    return existing_files("reward.control_modes_path", config.control_modes_path, root, names)


def load_control_modes(path: Path, table: EpisodeTable) -> dict[int, Segments]:
    """Read the segments of all episodes::

        {"<episode>": {"length": 40, "identity": "90d2a1...",
                       "segments": [{"start_index": a, "end_index": b, "mode": "policy"}]}}

    ``mode`` is "policy", "human" or "unknown". The list may also stand in the object's place. By ``length``
    and ``identity``, where they are given, an episode is found again when its number has changed.

    Raises:
        ValueError: naming file, episode and value, at the first thing that is wrong.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object from episode to segments, got {type(content).__name__}")
    episodes: dict[int, Segments] = {}
    for key, entry in content.items():
        where = f"{path}, episode {key}"
        episode = table.find(parse_episode(key, where), entry, where)
        if episode in episodes:
            raise ValueError(f"{where}: appears twice")
        entries = entry["segments"] if isinstance(entry, dict) and "segments" in entry else entry
        episodes[episode] = parse_segments(entries, table.length(episode, where), where)
    return episodes


def parse_segments(entries: Any, length: int, where: str) -> Segments:
    """Segments of one episode from their JSON form.

    Raises:
        ValueError: starting with ``where``, if the form is wrong, or a segment is empty, lies outside the
            episode or overlaps another.
    """
    if not isinstance(entries, list):
        raise ValueError(f"{where}: expected a list of segments, got {entries!r}")
    segments: Segments = []
    for entry in entries:
        if not isinstance(entry, dict) or not {"start_index", "end_index", "mode"} <= set(entry):
            raise ValueError(f"{where}: expected 'start_index', 'end_index' and 'mode', got {entry!r}")
        first, last, mode = entry["start_index"], entry["end_index"], entry["mode"]
        if not isinstance(mode, str) or mode not in MODES:
            raise ValueError(f"{where}: the mode must be one of {', '.join(MODES)}, got {mode!r}")
        if not is_integer(first) or not is_integer(last) or not 0 <= first <= last < length:
            raise ValueError(
                f"{where}: frames {first!r} to {last!r} are not a segment of an episode of {length} frames"
            )
        segments.append((int(first), int(last), mode))
    segments.sort()
    for before, after in zip(segments, segments[1:], strict=False):
        if after[0] <= before[1]:
            raise ValueError(f"{where}: the segments from frame {before[0]} and from {after[0]} overlap")
    return segments


def save_control_modes(
    path: Path, episodes: Mapping[int, Segments], table: EpisodeTable | None = None
) -> None:
    """Replace a control modes file in one step.

    Args:
        path: The file.
        episodes: Segments by episode.
        table: The dataset's episodes. With it the file notes what they are recognised by.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    content = {
        str(episode): {
            **({} if table is None else table.mark(episode)),
            "segments": [{"start_index": a, "end_index": b, "mode": mode} for a, b, mode in segments],
        }
        for episode, segments in sorted(episodes.items())
    }
    write_json(path, content)
