# SPDX-License-Identifier: MIT
"""Filling a cache of features: each frame is decoded and encoded once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lerobot.utils import constants
from rewact.labels.episodes import EpisodeTable
from rewact.options.values import FeatureOptions
from rewact.values.backbones import Backbone, load_backbone
from rewact.values.checkpoint import digest_tensors
from rewact.values.feature_cache import FeatureCache, Stream, episodes_digest
from rewact.values.runner import EpisodeLoader, share_episodes
from rewact.values.window import STATES

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata


def camera_keys(meta: "LeRobotDatasetMetadata") -> list[str]:
    """The dataset's cameras with colours; a backbone cannot read depth."""
    depth = set(getattr(meta, "depth_keys", ()))
    return [key for key in meta.camera_keys if key not in depth]


def make_backbone(
    meta: "LeRobotDatasetMetadata", options: FeatureOptions, device: str | torch.device
) -> Backbone | None:
    """The backbone that a dataset needs, None where it has no camera."""
    return load_backbone(options).to(device) if camera_keys(meta) else None


def open_cache(
    meta: "LeRobotDatasetMetadata",
    options: FeatureOptions,
    backbone: Backbone | None,
    folder: Path | None = None,
) -> FeatureCache:
    """The cache of a dataset's features, by default where LeRobot keeps its own caches."""
    cameras, stats = camera_keys(meta), meta.stats or {}
    streams = []
    if backbone is not None:
        size = backbone.image_size
        dim = backbone(torch.zeros(1, 3, size, size, device=backbone.mean.device)).shape[1]
        streams = [Stream(key, dim, "float16") for key in cameras]
    states = (key for key in STATES if key in meta.features)
    streams += [Stream(key, int(meta.features[key]["shape"][0]), "float32") for key in states]
    means = {key: np.ravel(stats.get(key, {}).get("mean", [])) for key in cameras}
    table = EpisodeTable.from_metadata(meta)
    source = {
        "dataset": episodes_digest(table),
        "pictures": {key: [round(float(mean), 4) for mean in of_key] for key, of_key in means.items()},
        "backbone": None if backbone is None else [options.backbone, digest_tensors(backbone.state_dict())],
        "image_size": options.image_size,
        "grid": options.grid,
        "parts": ["cells", "places"],
    }
    return FeatureCache.open(folder or constants.HF_LEROBOT_HOME / "rewact_features", table, streams, source)


def fill_cache(
    cache: FeatureCache,
    load: EpisodeLoader,
    backbone: Backbone | None,
    rows: np.ndarray,
    batch_size: int,
    num_workers: int,
) -> None:
    """Compute the features that are missing, together with the other processes, see `share_episodes`.

    Args:
        cache: Where they go.
        load: Loads episodes of the dataset.
        backbone: On the device that it is to run on.
        rows: Rows of the episode table.

    Raises:
        ValueError: Naming episode and camera, if a feature is not finite.
    """

    def encode(episode: int, first: int, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        part = {stream.key: _encode(backbone, stream, batch[stream.key]) for stream in cache.streams}
        for key, values in part.items():
            if not np.isfinite(values).all():
                raise ValueError(
                    f"{cache.table.repo_id}, episode {episode}: a feature of {key} is not finite"
                )
        return part

    share_episodes(cache, rows, load, encode, cache.keys("float16"), batch_size, num_workers, "Features")


def _encode(backbone: Backbone | None, stream: Stream, values: torch.Tensor) -> np.ndarray:
    if stream.dtype == "float32":
        return values.float().numpy()
    # Float16 ends at 65504, which no feature of a picture comes near.
    return backbone(values.to(backbone.mean.device)).cpu().numpy().astype(np.float16)
