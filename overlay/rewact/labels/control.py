# SPDX-License-Identifier: MIT
"""Who was in control: a human or a policy.

The file is ``rewact_extensions/control_modes.json`` in the dataset's folder::

    {"<episode>": {"length": 40, "identity": "90d2a1...",
                   "segments": [{"start_index": a, "end_index": b, "mode": "policy"}]}}

``mode`` is "policy", "human" or "unknown", as are frames outside the segments. The list may also stand in the
object's place.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rewact.keys import INTERVENTION_KEY
from rewact.labels.columns import read_frame_column, set_unknown
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import (
    LABEL_FILES,
    is_integer,
    label_files,
    parse_episodes,
    read_by_episode,
    write_json,
)
from rewact.options.labels import RewardLabelsConfig

UNKNOWN_MODE, POLICY, HUMAN = 0, 1, 2
MODES = {"unknown": UNKNOWN_MODE, "policy": POLICY, "human": HUMAN}
CONTROL_MODES_FILE = LABEL_FILES["control_modes"][0]

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
    paths = label_files("control_modes", table.root, config)
    for path in paths:
        for episode, segments in load_control_modes(path, table).items():
            start = table.frames_of(episode).start
            for first, last, mode in segments:
                frames = slice(start + first, start + last + 1)
                set_unknown(modes, frames, MODES[mode], UNKNOWN_MODE, paths, episode)
    return modes


def read_interventions(table: EpisodeTable, config: RewardLabelsConfig, is_needed: bool = True) -> np.ndarray:
    """Frames at which a human intervened: the column ``intervention``, and what the control modes call human.

    Args:
        config: Where control modes come from.
        is_needed: Whether it is an error if the column's data is not on this machine.

    Returns:
        bool ``(N,)`` by absolute frame index.

    Raises:
        ValueError: as :func:`read_control_modes`, or if the column's data is not on this machine.
    """
    interventions = read_control_modes(table, config) == HUMAN
    if INTERVENTION_KEY in table.columns:
        recorded = read_frame_column(table, INTERVENTION_KEY, 0.0, is_needed)
        if recorded is not None:
            interventions |= recorded > 0
    return interventions


def load_control_modes(path: Path, table: EpisodeTable) -> dict[int, Segments]:
    """Read the segments of all episodes, see :func:`.files.parse_episodes`."""

    def parse(entry: Any, length: int, _: EpisodeTable, where: str) -> Segments:
        is_whole = isinstance(entry, dict) and "segments" in entry
        return parse_segments(entry["segments"] if is_whole else entry, length, where)

    return parse_episodes(read_by_episode(path, "segments"), path, table, parse)


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


def as_entries(segments: Segments) -> list[dict[str, Any]]:
    """Segments in their JSON form."""
    return [{"start_index": first, "end_index": last, "mode": mode} for first, last, mode in segments]


def save_control_modes(path: Path, episodes: Mapping[int, Segments], table: EpisodeTable) -> None:
    """Replace a control modes file in one step, see :func:`.files.write_atomically`."""
    content = {
        str(episode): {
            **table.mark(episode),
            "segments": as_entries(segments),
        }
        for episode, segments in sorted(episodes.items())
    }
    write_json(path, content)
