# SPDX-License-Identifier: MIT
"""Predictions on disk, shared by all tools: what one has predicted the others read."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lerobot.utils import constants
from rewact.labels.episodes import EpisodeTable
from rewact.values.feature_cache import FeatureCache, Stream, episodes_digest

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from rewact.values.predictor import RewardPredictor

REWARDS = "rewards"


def open_store(
    predictor: "RewardPredictor", meta: "LeRobotDatasetMetadata", home: Path | None = None
) -> FeatureCache:
    """The predictions of a checkpoint for the frames of a dataset: `Prediction.as_array` as `REWARDS`.

    The same checkpoint on the same dataset, in any tool and any run, finds them there; another checkpoint or
    an edited dataset has another folder. Nothing is ever deleted.

    Args:
        predictor: The checkpoint.
        meta: Metadata of the dataset.
        home: Where the folder stands; by default beside what else LeRobot caches.

    Raises:
        ValueError: Naming the folder, if it has to be made and cannot be.
    """
    table, stats = EpisodeTable.from_metadata(meta), meta.stats or {}
    source = {
        "dataset": episodes_digest(table),
        "predictor": predictor.fingerprint,
        # Rounded, as they are stored as text.
        "statistics": {
            key: {
                name: np.array2string(np.ravel(values).astype(np.float64), precision=4, threshold=10_000)
                for name, values in stats.get(key, {}).items()
            }
            for key in predictor.inputs
        },
    }
    home = home or Path(constants.HF_LEROBOT_HOME) / "rewact_values"
    streams = [Stream(REWARDS, 3 if predictor.has_band else 1, "float32")]
    return FeatureCache.open(home, table, streams, source, "--values_dir")
