# SPDX-License-Identifier: MIT
"""The labels of a dataset while several people and programs change them."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import EXTENSIONS_DIR, writing_in
from rewact.labels.interpolation import STEP_DROP, interpolate_keypoints
from rewact.labels.keypoints import Keypoints
from rewact.labels.label_file import FORMATS, LabelSet, label_paths, load_kind, save_labels
from rewact.labels.outcomes import (
    FOREIGN_OUTCOMES_FILE,
    OUTCOMES,
    UNKNOWN,
    load_outcomes,
    read_outcomes,
)
from rewact.labels.progress import progress_paths
from rewact.labels.sources import SOURCES, label_rows
from rewact.options.labels import RewardLabelsConfig

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

INFO_FILE = "meta/info.json"
# Sources that nobody made for this episode.
GUESSES = (None, "linear")
OUTCOME_NAMES = {code: name for name, code in OUTCOMES.items()}


class ConflictError(ValueError):
    """The labels that an edit started from are not those stored."""


class LabelBook:
    """The stored labels, the curves that training makes of them, and what changed since when.

    Label files that are broken are named in ``problems``; what they hold then counts as missing and is not
    written. All methods may be called from several threads.

    Args:
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
        self._rewards = self.table.unknown_frames()
        self._sources: dict[int, str | None] = {}
        self._changed: dict[int, int] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what other programs have written since."""
        with self._lock:
            if not self._is_there():
                # What is known stays on the page until the dataset is back.
                self.problems, self._signature = [self._gone()], ()
                return
            signature, before = self._stat(), self._signature
            if signature == before:
                return
            self._signature, self.problems = signature, []
            labels, outcomes = self._labels, self._outcomes
            self._labels = LabelSet(*(self._read({}, load_kind, kind, self.table) for kind in FORMATS))
            unknown = np.full_like(outcomes, UNKNOWN)
            self._outcomes = self._read(unknown, read_outcomes, self.table, self.config)
            others_changed = before is None or signature[len(FORMATS) :] != before[len(FORMATS) :]
            changed = [
                row
                for row, episode in zip(self._rows, self.episodes, strict=True)
                if others_changed
                or labels.of(episode) != self._labels.of(episode)
                or outcomes[row] != self._outcomes[row]
            ]
            curves, sources = self._label(np.array(changed, dtype=np.int64))
            self._rewards[self.table.frames(np.array(changed, dtype=np.int64))] = curves
            episodes = self.table.episodes[changed].tolist()
            self._sources |= dict(zip(episodes, sources, strict=True))
            self._touch(episodes)

    def labels(self, episode: int) -> LabelSet:
        """What is stored for an episode."""
        with self._lock:
            return self._labels.of(episode)

    def curve(self, episode: int) -> np.ndarray:
        """float32 ``(T,)``: the labels that training sees, NaN without any."""
        with self._lock:
            return self._rewards[self.table.frames_of(episode)].copy()

    def source(self, episode: int) -> str | None:
        """Where the labels of an episode come from."""
        return self._sources[episode]

    def outcome(self, episode: int) -> str:
        """ "success", "failure" or "unknown", from whatever says so."""
        return OUTCOME_NAMES[int(self._outcomes[self.table.row(episode)])]

    def preview(self, episode: int, keypoints: Keypoints) -> np.ndarray:
        """The labels that training would see with these keypoints, float32 ``(T,)``."""
        drawn = self.table.unknown_frames()
        if keypoints:
            given = np.array(list(keypoints)), np.array(list(keypoints.values())), self.table.length(episode)
            drawn[self.table.frames_of(episode)] = interpolate_keypoints(*given, self.config.interpolation)
        with self._lock:
            curve, _ = self._label(np.array([self.table.row(episode)]), keypoints=lambda *_: drawn)
        return curve

    def edit(self, episode: int, base: LabelSet, new: LabelSet) -> None:
        """Store the labels of an episode, if those stored are still the ones that the edit started from.

        Storing what is stored already changes nothing, so that an edit may be sent again when its answer was
        lost.

        Args:
            episode: Episode id.
            base: Its labels that the edit started from.
            new: Its labels to store.

        Raises:
            ConflictError: if others have changed the episode since.
            ValueError: if a file that would be written is broken, or another file contradicts.
            OSError: naming the file, if it cannot be written, or the folder, if the dataset is gone.
        """
        if not self._is_there():
            raise OSError(self._gone())
        with self._lock, writing_in(self.table.root / EXTENSIONS_DIR):
            self.refresh()
            stored = self._labels.of(episode)
            if stored == new:
                return
            if stored != base:
                raise ConflictError(f"episode {episode} was changed by somebody else meanwhile")
            self._check_foreign_outcome(episode, new.outcomes.get(episode))
            after = self._labels.without([episode]).updated(new)
            for kind in FORMATS:
                if getattr(after, kind) != getattr(self._labels, kind):
                    load_kind(kind, self.table)  # a broken file is not replaced
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

    def _is_there(self) -> bool:
        return (self.table.root / INFO_FILE).is_file()

    def _gone(self) -> str:
        return (
            f"{self.table.repo_id} is no longer in {self.table.root}: put it back, or start the page anew "
            "with --dataset.root"
        )

    def _stat(self) -> tuple[Any, ...]:
        """What tells whether a file has changed: first ours, in the order of `FORMATS`, then all others."""
        root = self.table.root
        foreign = sorted((root / "candywrapper_plugins").glob("**/*.*"))
        return tuple(
            (str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino) if (stat := _stat(path)) else None
            for path in (*label_paths(root), *progress_paths(root), *foreign)
        )

    def _read(self, missing: Any, read: Callable, *args: Any) -> Any:
        """What a function reads; what is broken is noted, and counts as missing."""
        try:
            return read(*args)
        except ValueError as error:
            self._note(error)
            return missing

    def _label(self, rows: np.ndarray, **known: Callable) -> tuple[np.ndarray, list[str | None]]:
        """As `label_rows`, with some sources given; what is broken is noted, and has no labels."""
        return label_rows(
            self.table, self.config, self._outcomes, rows, {**SOURCES, **known}, on_error=self._note
        )

    def _note(self, error: Exception) -> None:
        if str(error) not in self.problems:
            self.problems.append(str(error))

    def _check_foreign_outcome(self, episode: int, outcome: str | None) -> None:
        path = self.table.root / FOREIGN_OUTCOMES_FILE
        if outcome in (None, "unknown") or not path.exists():
            return
        other = load_outcomes(path, self.table).get(episode, "unknown")
        if other not in ("unknown", outcome):
            raise ValueError(f"{path} says {other} of episode {episode}; correct it there")


def drops(curve: np.ndarray) -> list[int]:
    """Frames to which a curve falls in one step."""
    return (np.flatnonzero(np.diff(curve) < -STEP_DROP) + 1).tolist()


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:
        return None
