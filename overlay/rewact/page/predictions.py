# SPDX-License-Identifier: MIT
"""What a model says about the episodes on the page."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from rewact.advantages.file import ADVANTAGES_FILE
from rewact.labels.episodes import EpisodeTable
from rewact.labels.progress import load_progress, progress_paths
from rewact.options.errors import one_line
from rewact.values.feature_cache import FeatureCache
from rewact.values.prediction import Prediction
from rewact.values.predictor import RewardPredictor
from rewact.values.runner import EpisodeLoader, predict_episodes


class Predictions:
    """A model's curves: here those of no model.

    Attributes:
        name: What the page calls the model, None where there is none.
        problem: A sentence about what went wrong, None if nothing did.
    """

    name: str | None = None
    problem: str | None = None

    def get(self, episode: int) -> Prediction | None:
        """The curve of an episode, None where there is none, or not yet."""
        return None

    def want(self, episode: int) -> None:
        """Say that somebody waits for this episode."""


class StoredPredictions(Predictions):
    """Predictions from a ``*_progress.parquet``, or the values of an advantages file.

    Args:
        path: The file; where there is none, it is looked for in the dataset's folder.
        episodes: Those on the page.

    Raises:
        ValueError: naming the file, if it is missing, broken, for another dataset, or says nothing of these.
    """

    def __init__(self, path: Path, table: EpisodeTable, episodes: Sequence[int]) -> None:
        found = [place for place in (path.expanduser(), table.root / path) if place.exists()]
        if not found:
            raise ValueError(f"there is no file of predictions {path}, nor is it in {table.root}")
        self.name = found[0].stem
        column = "value" if not found[0].is_dir() and _has_column(found[0], "value") else None
        self._table = table
        self._values = load_progress(found[0], table, column)
        if not any(map(self.get, episodes)):
            raise ValueError(f"{found[0]} has a curve of none of the {len(episodes)} episodes on the page")

    def get(self, episode: int) -> Prediction | None:
        values = self._values[self._table.frames_of(episode)]
        return None if np.isnan(values).any() else Prediction(values)


class CheckpointPredictions(Predictions):
    """Predictions of a policy, made in the background, the episode that is looked at first.

    Args:
        predictor: The policy.
        load: Loads episodes of the dataset.
        episodes: Those to predict, in this order.
        store: Where predictions are kept from one run to the next.
        batch_size: Frames per forward pass.
        changed: Called with each episode whose prediction is there.
    """

    def __init__(
        self,
        predictor: RewardPredictor,
        load: EpisodeLoader,
        episodes: Sequence[int],
        store: FeatureCache,
        batch_size: int,
        changed: Callable[[int], None],
    ) -> None:
        self.name = predictor.config.type
        self._predict = lambda episodes: predict_episodes(
            load, predictor, store, episodes, batch_size, show_progress=False
        )
        self._waiting = list(episodes)
        self._known: dict[int, Prediction] = {}
        self._changed = changed
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def get(self, episode: int) -> Prediction | None:
        return self._known.get(episode)

    def want(self, episode: int) -> None:
        with self._lock:
            if episode in self._waiting:
                self._waiting.remove(episode)
                self._waiting.insert(0, episode)

    def join(self) -> None:
        """Wait until all episodes are predicted."""
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                episode = self._waiting.pop(0)
            try:
                prediction = self._predict([episode])[episode]
            except Exception as error:  # whatever stops the model, the page goes on
                logging.exception("Predicting episode %d failed", episode)
                self.problem = f"{self.name} could not read episode {episode}: {one_line(error)}"
                self._changed(episode)
                continue
            self._known[episode] = prediction
            self._changed(episode)


def find_stored(table: EpisodeTable) -> Path | None:
    """The file of predictions in a dataset's folder, if there is just one kind."""
    progress = progress_paths(table.root)
    if len(progress) == 1:
        return progress[0]
    advantages = table.root / ADVANTAGES_FILE
    return advantages if advantages.is_file() and not progress else None


def _has_column(path: Path, name: str) -> bool:
    try:
        return name in pq.read_schema(path).names
    except (OSError, ValueError):
        return False  # which reading it says better
