# SPDX-License-Identifier: MIT
"""The labels of a dataset while several people and programs change them."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewact.labels.control import Segments, parse_segments
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import EXTENSIONS_DIR, writing_in
from rewact.labels.interpolation import STEP_DROP, interpolate_keypoints
from rewact.labels.keypoints import Keypoints, as_entries, parse_keypoints
from rewact.labels.label_file import FORMATS, LabelSet, label_paths, save_labels
from rewact.labels.outcomes import (
    FOREIGN_OUTCOMES_FILE,
    OUTCOMES,
    UNKNOWN,
    load_outcomes,
    read_outcomes,
)
from rewact.labels.progress import progress_paths
from rewact.labels.sources import label_rows
from rewact.options.labels import RewardLabelsConfig

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

PARTS = tuple(FORMATS)
# Sources that nobody made for this episode.
GUESSES = (None, "linear")
OUTCOME_NAMES = {code: name for name, code in OUTCOMES.items()}


class ConflictError(ValueError):
    """The labels that an edit started from are not those stored; ``stored`` is what is there."""

    def __init__(self, message: str, stored: "EpisodeLabels"):
        super().__init__(message)
        self.stored = stored


@dataclass(frozen=True)
class EpisodeLabels:
    """What is stored for one episode, each part None or empty where nothing is."""

    keypoints: Keypoints
    outcome: str | None
    control_modes: Segments

    @classmethod
    def parse(cls, content: Any, length: int, fps: float, where: str) -> "EpisodeLabels":
        """From JSON, in the form of an entry of ``lerobot-label-rewards``'s file.

        Raises:
            ValueError: starting with ``where``, if the form or a value is wrong.
        """
        names = {"keypoints", "outcome", "control_modes"}
        if not isinstance(content, dict) or set(content) != names:
            raise ValueError(f"{where}: expected an object with {', '.join(sorted(names))}")
        keypoints, outcome = parse_keypoints(content["keypoints"], fps, length, where), content["outcome"]
        if outcome is not None and outcome not in list(OUTCOMES):
            raise ValueError(f"{where}: the outcome must be one of {', '.join(OUTCOMES)}, got {outcome!r}")
        return cls(keypoints, outcome, parse_segments(content["control_modes"], length, where))

    def as_json(self) -> dict[str, Any]:
        """The inverse of :meth:`parse`."""
        return {
            "keypoints": as_entries(self.keypoints),
            "outcome": self.outcome,
            "control_modes": [
                {"start_index": first, "end_index": last, "mode": mode}
                for first, last, mode in self.control_modes
            ],
        }


class LabelBook:
    """The stored labels, the curves that training makes of them, and what changed since when.

    Label files that are broken are named in ``problems``; what they hold then counts as missing and is not
    written. All methods may be called from several threads.

    Args:
        meta: Metadata of the dataset.
        config: The sources of labels, as training has them.
        episodes: The episodes on the page.

    Attributes:
        problems: Sentences about what is broken.
        version: Rises with every change.
    """

    def __init__(
        self, meta: "LeRobotDatasetMetadata", config: RewardLabelsConfig, episodes: Sequence[int]
    ) -> None:
        self.table = EpisodeTable.from_metadata(meta)
        self.config = config
        self.episodes = sorted(episodes)
        self.problems: list[str] = []
        self.version = 0
        self._rows = np.array([self.table.row(episode) for episode in self.episodes])
        self._lock = threading.RLock()
        self._signature: Any = None
        self._labels = LabelSet()
        self._outcomes = np.full(len(self.table.episodes), UNKNOWN, dtype=np.int8)
        self._rewards = np.full(self.table.n_frames, np.nan, dtype=np.float32)
        self._sources: dict[int, str | None] = {}
        self._changed: dict[int, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what other programs have written since."""
        with self._lock:
            signature = self._stat()
            if signature == self._signature:
                return
            first = self._signature is None
            same_others = not first and signature[len(PARTS) :] == self._signature[len(PARTS) :]
            self._signature = signature
            before, outcomes_before = self._labels, self._outcomes
            self.problems = []
            self._labels = LabelSet(*(self._load(part) for part in PARTS))
            self._outcomes = self._read_outcomes()
            changed = [
                row
                for row in self._rows
                if not same_others
                or _of(before, self.table.episodes[row]) != _of(self._labels, self.table.episodes[row])
                or outcomes_before[row] != self._outcomes[row]
            ]
            self._label(np.array(changed, dtype=np.int64))
            self._touch(self.table.episodes[changed].tolist())

    def labels(self, episode: int) -> EpisodeLabels:
        """What is stored for an episode."""
        with self._lock:
            return _of(self._labels, episode)

    def curve(self, episode: int) -> np.ndarray:
        """float32 ``(T,)``: the labels that training sees, NaN without any."""
        row = self.table.row(episode)
        with self._lock:
            return self._rewards[self.table.starts[row] : self.table.ends[row]].copy()

    def source(self, episode: int) -> str | None:
        """Where the labels of an episode come from."""
        return self._sources[episode]

    def outcome(self, episode: int) -> str:
        """ "success", "failure" or "unknown", from whatever says so."""
        return OUTCOME_NAMES[int(self._outcomes[self.table.row(episode)])]

    def preview(self, episode: int, keypoints: Keypoints) -> np.ndarray:
        """The labels that training would see with these keypoints, float32 ``(T,)``."""
        row = self.table.row(episode)
        with self._lock:
            for source in self.config.sources:
                if source != "keypoints":
                    curve, sources = self._from_source(source, np.array([row]))
                    if sources[0] is not None:
                        return curve
                elif keypoints:
                    return interpolate_keypoints(
                        np.array(list(keypoints)),
                        np.array(list(keypoints.values())),
                        int(self.table.lengths[row]),
                        self.config.interpolation,
                    )
        return np.full(int(self.table.lengths[row]), np.nan, dtype=np.float32)

    def edit(self, episode: int, base: EpisodeLabels, new: EpisodeLabels) -> None:
        """Store the labels of an episode, if those stored are still the ones that the edit started from.

        Storing what is stored already changes nothing, so that an edit may be sent again when its answer was
        lost.

        Raises:
            ConflictError: if others have changed the episode since.
            ValueError: if a file that would be written is broken, or another file contradicts.
            OSError: naming the file, if it cannot be written.
        """
        with self._lock, writing_in(self.table.root / EXTENSIONS_DIR):
            self.refresh()
            stored = _of(self._labels, episode)
            if stored == new:
                return
            if stored != base:
                raise ConflictError(f"episode {episode} was changed by somebody else meanwhile", stored)
            self._check_foreign_outcome(episode, new.outcome)
            after = _with(self._labels, episode, new)
            for part in PARTS:
                if getattr(after, part) != getattr(self._labels, part):
                    self._load(part, strict=True)
            save_labels(self.table, after, self._labels)
            self.refresh()

    def changed_since(self, version: int) -> list[int]:
        """Episodes changed after a version."""
        with self._lock:
            return sorted(episode for episode, at in self._changed.items() if at > version)

    def touch(self, episode: int) -> None:
        """Note that something else about an episode changed, such as its prediction."""
        with self._lock:
            self._touch([episode])

    def _touch(self, episodes: Sequence[int]) -> None:
        self.version += 1
        self._changed |= dict.fromkeys(episodes, self.version)

    def _stat(self) -> tuple[Any, ...]:
        root = self.table.root
        foreign = sorted((root / "candywrapper_plugins").glob("**/*.*"))
        return tuple(
            (str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino) if (stat := _stat(path)) else None
            for path in (*label_paths(root), *progress_paths(root), *foreign)
        )

    def _load(self, part: str, strict: bool = False) -> dict[int, Any]:
        """A part of the stored labels; what is broken is remembered, or raised if ``strict``."""
        load, _ = FORMATS[part]
        path = label_paths(self.table.root)[PARTS.index(part)]
        try:
            return load(path, self.table) if path.exists() else {}
        except ValueError as error:
            if strict:
                raise
            self._add_problem(error)
            return {}

    def _read_outcomes(self) -> np.ndarray:
        try:
            return read_outcomes(self.table, self.config)
        except ValueError as error:
            self._add_problem(error)
            return np.full(len(self.table.episodes), UNKNOWN, dtype=np.int8)

    def _check_foreign_outcome(self, episode: int, outcome: str | None) -> None:
        path = self.table.root / FOREIGN_OUTCOMES_FILE
        if outcome in (None, "unknown") or not path.exists():
            return
        other = load_outcomes(path, self.table).get(episode, "unknown")
        if other not in ("unknown", outcome):
            raise ValueError(f"{path} says {other} of episode {episode}; correct it there")

    def _label(self, rows: np.ndarray) -> None:
        for source in (*self.config.sources, None):
            if not len(rows):
                return
            curves, sources = self._from_source(source, rows)
            frames = self.table.frames(rows)
            self._rewards[frames] = curves
            found = np.array([name is not None for name in sources])
            self._sources |= dict(zip(self.table.episodes[rows].tolist(), sources, strict=True))
            rows = rows[~found]

    def _from_source(self, source: str | None, rows: np.ndarray) -> tuple[np.ndarray, list[str | None]]:
        """As ``label_rows`` with one source; a broken one has labels for no episode."""
        if source is not None:
            try:
                return label_rows(self.table, replace(self.config, sources=[source]), self._outcomes, rows)
            except ValueError as error:
                self._add_problem(error)
        n_frames = int(self.table.lengths[rows].sum())
        return np.full(n_frames, np.nan, dtype=np.float32), [None] * len(rows)

    def _add_problem(self, error: Exception) -> None:
        if str(error) not in self.problems:
            self.problems.append(str(error))


def drops(curve: np.ndarray) -> list[int]:
    """Frames to which a curve falls in one step."""
    return (np.flatnonzero(np.diff(curve) < -STEP_DROP) + 1).tolist()


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:
        return None


def _of(labels: LabelSet, episode: int) -> EpisodeLabels:
    episode = int(episode)
    return EpisodeLabels(
        labels.keypoints.get(episode, {}),
        labels.outcomes.get(episode),
        labels.control_modes.get(episode, []),
    )


def _with(labels: LabelSet, episode: int, new: EpisodeLabels) -> LabelSet:
    rest = labels.without([episode])
    return rest.updated(
        LabelSet(
            {episode: new.keypoints} if new.keypoints else {},
            {} if new.outcome is None else {episode: new.outcome},
            {episode: new.control_modes} if new.control_modes else {},
        )
    )
