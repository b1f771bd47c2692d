# SPDX-License-Identifier: MIT
"""Values on disk, shared by all tools: what one has predicted the others read."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lerobot.utils import constants
from rewact.labels.files import write_atomically, write_json
from rewact.values.prediction import Prediction

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from rewact.values.predictor import RewardPredictor

MANIFEST = "source.json"


class ValueStore:
    """Predictions of a checkpoint for the episodes of a dataset.

    They stand in a folder that is named by what they are of. The same checkpoint on the same dataset, in any
    tool and any run, finds them there; another checkpoint or an edited dataset has another folder. Nothing is
    ever deleted.

    Args:
        predictor: The checkpoint.
        meta: Metadata of the dataset.
        home: Where the folder stands; by default beside what else LeRobot caches.
    """

    def __init__(
        self, predictor: "RewardPredictor", meta: "LeRobotDatasetMetadata", home: Path | None = None
    ):
        self._source = {
            "checkpoint": str(predictor.config.pretrained_path),
            "predictor": predictor.fingerprint,
            "repo_id": meta.repo_id,
            "dataset": _digest_dataset(meta, predictor.inputs),
        }
        key = hashlib.sha256(f"{self._source['predictor']} {self._source['dataset']}".encode()).hexdigest()
        name = meta.repo_id.rsplit("/", 1)[-1]
        home = home or Path(constants.HF_LEROBOT_HOME) / "rewact_values"
        self.directory = home / f"{name}-{key[:16]}"

    def path(self, episode: int) -> Path:
        return self.directory / f"episode_{episode:06d}.npy"

    def missing(self, episodes: Iterable[int]) -> list[int]:
        return [episode for episode in episodes if not self.path(episode).is_file()]

    def save(self, episode: int, values: np.ndarray) -> None:
        """Store `Prediction.as_array` of an episode in one step.

        Raises:
            OSError: naming the file, if it cannot be written.
        """

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)

        if not (self.directory / MANIFEST).is_file():
            write_json(self.directory / MANIFEST, self._source)
        write_atomically(self.path(episode), write)

    def load(self, episode: int) -> Prediction:
        return Prediction(*np.load(self.path(episode), allow_pickle=False).T)


def _digest_dataset(meta: "LeRobotDatasetMetadata", inputs: Iterable[str]) -> str:
    """Hexadecimal digest of a dataset's episodes and of the statistics of what a predictor reads of it."""
    ids, lengths = (np.asarray(meta.episodes[name][:], np.int64) for name in ("episode_index", "length"))
    digest = hashlib.sha256(json.dumps([meta.fps, ids.tolist(), lengths.tolist()]).encode())
    for key in sorted(inputs):
        digest.update(key.encode())
        for name, values in sorted((meta.stats or {}).get(key, {}).items()):
            # Rounded, as statistics are stored as text.
            text = np.array2string(np.ravel(values).astype(np.float64), precision=4, threshold=10_000)
            digest.update(f"{name} {text}".encode())
    return digest.hexdigest()
