# SPDX-License-Identifier: MIT
"""Labels handed in as one JSON file, and what a dataset has of them.

The file has for each episode any of keypoints, outcome and control modes::

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

It may also say ``repo_id``, ``fps``, ``total_episodes`` and ``total_frames``, which then have to be the
dataset's. The files that a dataset keeps under ``rewact_extensions/`` are understood too, each by itself, and
so are shorter forms: ``{"0": "failed"}``, ``{"0": {"3": 0.5}}`` (reward by frame), lists of keypoints or
segments.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewact.labels.build import RewardLabels
from rewact.labels.control import Segments, load_control_modes, parse_segments, save_control_modes
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import (
    EXTENSIONS_DIR,
    LABEL_FILES,
    parse_episode,
    parse_episodes,
    read_json,
    writing_in,
)
from rewact.labels.hub import remember_cleared
from rewact.labels.keypoints import (
    Keypoints,
    as_entries,
    load_keypoints,
    parse_keypoints,
    refuse_failure_that_reaches_1,
    require_fps,
    save_keypoints,
)
from rewact.labels.outcomes import load_outcomes, parse_outcome, save_outcomes

# Of each kind of labels: what reads its file, and what writes it.
FORMATS: dict[str, tuple[Callable, Callable]] = {
    "keypoints": (load_keypoints, save_keypoints),
    "outcomes": (load_outcomes, save_outcomes),
    "control_modes": (load_control_modes, save_control_modes),
}


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

    def parts(self) -> list[dict[int, Any]]:
        """The kinds, in the order of the fields."""
        return [self.keypoints, self.outcomes, self.control_modes]

    def episodes(self) -> list[int]:
        """The episodes that have any label, sorted."""
        return sorted(set().union(*self.parts()))

    def check(self, where: str, before: "LabelSet | None" = None) -> None:
        """Refuse labels of one episode that contradict each other.

        Args:
            where: Begins the message.
            before: Episodes whose labels are as in these are not looked at.

        Raises:
            ValueError: starting with ``where``, and naming the episode.
        """
        for episode, points in self.keypoints.items():
            labels = points, self.outcomes.get(episode)
            if before and labels == (before.keypoints.get(episode), before.outcomes.get(episode)):
                continue
            if labels[1] == "failure":
                refuse_failure_that_reaches_1(points, f"{where}, episode {episode}")

    def updated(self, other: "LabelSet") -> "LabelSet":
        """These labels, with those of ``other`` instead where it has some."""
        return LabelSet(*(mine | new for mine, new in zip(self.parts(), other.parts(), strict=True)))

    def without(self, episodes: Iterable[int]) -> "LabelSet":
        """These labels, except those of some episodes."""
        return self.renumbered({episode: episode for episode in {*self.episodes()} - {*episodes}})

    def of(self, episode: int) -> "LabelSet":
        """The labels of one episode alone, as far as there are any."""
        parts = ({episode: part[episode]} if part.get(episode) else {} for part in self.parts())
        return LabelSet(*parts)

    def renumbered(self, new: dict[int, int]) -> "LabelSet":
        """The labels of some episodes, under new numbers."""
        return LabelSet(*({new[e]: part[e] for e in part if e in new} for part in self.parts()))


def read_label_file(path: Path, table: EpisodeTable) -> LabelSet:
    """Read and check a file in any of the forms that this module describes.

    Raises:
        ValueError: naming file, episode and value, if it is broken or is for another dataset.
    """
    found = parse_episodes(_entries(read_json(path), path, table), path, table, parse_entry)
    labels = LabelSet(*({e: part[kind] for e, part in found.items() if kind in part} for kind in FORMATS))
    if not labels.episodes():
        raise ValueError(f"{path} has no labels")
    labels.check(str(path))
    return labels


def _entries(content: Any, path: Path, table: EpisodeTable) -> list[tuple[Any, Any]]:
    """Episodes and what a file says of them."""
    if isinstance(content, list):  # outcomes.json
        for entry in content:
            if not isinstance(entry, dict) or "episode_index" not in entry:
                raise ValueError(f"{path}: expected an object with 'episode_index', got {entry!r}")
        return [(entry.pop("episode_index"), entry) for entry in content]
    if isinstance(content, dict) and isinstance(content.get("episodes"), dict):
        _check_dataset(content, path, table)
        return list(content["episodes"].items())
    if not isinstance(content, dict) or not all(key.isdigit() for key in content):
        raise ValueError(f"{path}: expected an object with 'episodes', from episode to labels")
    return list(content.items())


def _check_dataset(content: dict, path: Path, table: EpisodeTable) -> None:
    actual = {
        "repo_id": table.repo_id,
        "fps": table.fps,
        "total_episodes": len(table.episodes),
        "total_frames": int(table.lengths.sum()),
    }
    known = {*actual, "episodes"}
    if unknown := sorted(set(content) - known):
        raise ValueError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    for key, value in actual.items():
        if (given := content.get(key, value)) != value:
            raise ValueError(
                f"{path} is for another dataset: its {key} is {given!r}, that of {table.repo_id} {value!r}"
            )


def parse_entry(entry: Any, length: int, table: EpisodeTable, where: str) -> dict[str, Any]:
    """What a file says of one episode, of ``length`` frames: by kind, those of `FORMATS`.

    Raises:
        ValueError: starting with ``where``, if the form or a value is wrong.
    """
    if isinstance(entry, str):
        entry = {"outcome": entry}
    elif isinstance(entry, list):
        is_modes = any(isinstance(item, dict) and "mode" in item for item in entry)
        entry = {"control_modes" if is_modes else "keypoints": entry}
    elif isinstance(entry, dict) and entry and all(key.isdigit() for key in entry):
        entry = {"keypoints": entry}
    elif isinstance(entry, dict) and "segments" in entry:
        entry = {"control_modes" if key == "segments" else key: value for key, value in entry.items()}
    known = ("control_modes", "keypoints", "outcome")
    # What the files of a dataset say besides.
    extra = {"fps", "length", "identity"} if isinstance(entry, dict) and {*known} & {*entry} else set()
    if not isinstance(entry, dict) or not entry or {*entry} - {*known} - extra:
        raise ValueError(f"{where}: expected an object with {', '.join(known)}, got {entry!r}")
    require_fps(entry.get("fps", table.fps), table, where)
    labels: dict[str, Any] = {}
    if points := entry.get("keypoints"):
        if isinstance(points, dict):
            points = as_entries({parse_episode(frame, where): reward for frame, reward in points.items()})
        labels["keypoints"] = parse_keypoints(points, table.fps, length, where)
    if "outcome" in entry:
        labels["outcomes"] = parse_outcome(entry["outcome"], where)
    if "control_modes" in entry:
        labels["control_modes"] = parse_segments(entry["control_modes"], length, where)
    return labels


def load_labels(table: EpisodeTable, with_foreign: bool = False) -> LabelSet:
    """The labels under ``rewact_extensions/`` in a dataset's folder, and those of other tools if asked for.

    Raises:
        ValueError: naming file and episode, if a file is broken.
    """
    return LabelSet(*(load_kind(kind, table, with_foreign) for kind in FORMATS))


def load_kind(kind: str, table: EpisodeTable, with_foreign: bool = False) -> dict[int, Any]:
    """As :func:`load_labels`, of one kind."""
    load, _ = FORMATS[kind]
    part: dict[int, Any] = {}
    for path in (table.root / name for name in LABEL_FILES[kind][: None if with_foreign else 1]):
        part = (load(path, table) if path.exists() else {}) | part
    return part


@contextmanager
def edit_labels(table: EpisodeTable) -> Iterator[LabelSet]:
    """The labels under ``rewact_extensions/``, to be changed in place and then saved, all in one step.

    Other processes that edit labels wait meanwhile.

    Raises:
        ValueError: naming file and episode, if a file is broken, or the labels contradict each other.
        OSError: naming the file, if one cannot be written.
    """
    with writing_in(table.root / EXTENSIONS_DIR):
        before = load_labels(table)
        labels = before.updated(LabelSet())
        yield labels
        save_labels(table, labels, before)


def set_outcomes(dataset: Any, succeeded: Iterable[int] = (), failed: Iterable[int] = ()) -> None:
    """Say which episodes of a dataset succeeded and which failed. Others keep what is known of them.

    Args:
        dataset: A ``LeRobotDataset``, with or without reward labels around it, or its metadata.
        succeeded: Episodes that succeeded.
        failed: Episodes that failed.

    Raises:
        ValueError: naming the episode, if the dataset lacks it, it is named twice, or its keypoints say
            otherwise; nothing is written then.
        OSError: naming the file, if it cannot be written.
    """
    table = EpisodeTable.from_metadata(getattr(dataset, "meta", dataset))
    succeeded, failed = (
        [int(table.episodes[table.row(episode)]) for episode in some] for some in (succeeded, failed)
    )
    if both := {*succeeded} & {*failed}:
        raise ValueError(f"{table.repo_id}: episode {min(both)} is said to have succeeded and to have failed")
    with edit_labels(table) as labels:
        labels.outcomes |= dict.fromkeys(succeeded, "success") | dict.fromkeys(failed, "failure")
    if isinstance(built := getattr(dataset, "labels", None), RewardLabels):
        built.refresh([*succeeded, *failed])


def save_labels(table: EpisodeTable, labels: LabelSet, before: LabelSet) -> list[Path]:
    """Write the label files of a dataset that differ from before.

    A file whose last label went is deleted. Each file is replaced in one step.

    Returns:
        The files written or deleted.

    Raises:
        ValueError: naming the episode, if labels that changed contradict each other; nothing is written then.
        OSError: naming the file, if one cannot be written.
    """
    labels.check(table.repo_id, before)
    changed = []
    parts = zip(label_paths(table.root), FORMATS.values(), labels.parts(), before.parts(), strict=True)
    for path, (_, save), new, old in parts:
        if new == old:
            continue
        if new:
            save(path, new, table)
        else:
            path.unlink()
            remember_cleared(table.root)
        changed.append(path)
    return changed


def label_paths(root: Path) -> list[Path]:
    """Where our files of keypoints, outcomes and control modes of a dataset lie."""
    return [root / LABEL_FILES[kind][0] for kind in FORMATS]
