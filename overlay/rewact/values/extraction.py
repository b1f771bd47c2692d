# SPDX-License-Identifier: MIT
"""Filling a cache of features: each frame is decoded and encoded once."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import PartialState
from tqdm import tqdm

from lerobot.utils import constants
from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE
from rewact.labels.episodes import EpisodeTable
from rewact.options.values import FeatureOptions
from rewact.values.backbones import Backbone, load_backbone
from rewact.values.batches import EpisodeBatches, load_batches
from rewact.values.feature_cache import FeatureCache, Stream, episodes_digest
from rewact.values.processes import together
from rewact.values.runner import EpisodeLoader

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata


def camera_keys(meta: "LeRobotDatasetMetadata") -> list[str]:
    """The dataset's cameras with colours; a backbone cannot read depth."""
    depth = set(getattr(meta, "depth_keys", ()))
    return [key for key in meta.camera_keys if key not in depth]


def state_keys(meta: "LeRobotDatasetMetadata") -> list[str]:
    """The dataset's states."""
    return [key for key in (OBS_STATE, OBS_ENV_STATE) if key in meta.features]


def open_cache(
    meta: "LeRobotDatasetMetadata", options: FeatureOptions, backbone: Backbone | None, folder: Any = None
) -> FeatureCache:
    """The cache of a dataset's features.

    Args:
        meta: Metadata of the dataset.
        options: How features are made.
        backbone: What makes them; None where the dataset has no camera.
        folder: Folder of all caches, by default LeRobot's own.
    """
    dim = 0 if backbone is None else feature_dim(backbone)
    streams = [Stream(key, dim, "float16") for key in camera_keys(meta)]
    streams += [Stream(key, int(meta.features[key]["shape"][0]), "float32") for key in state_keys(meta)]
    stats = {key: np.ravel((meta.stats or {}).get(key, {}).get("mean", [])) for key in camera_keys(meta)}
    table = EpisodeTable.from_metadata(meta)
    source = {
        "dataset": episodes_digest(table),
        "pictures": {key: [round(float(mean), 4) for mean in means] for key, means in stats.items()},
        "backbone": None if backbone is None else [options.backbone, backbone.fingerprint()],
        "image_size": options.image_size,
        "grid": options.grid,
        "parts": ["cells", "places"],
    }
    return FeatureCache.open(folder or constants.HF_LEROBOT_HOME / "rewact_features", table, streams, source)


def feature_dim(backbone: Backbone) -> int:
    """Length of a feature vector."""
    size = backbone.image_size
    return backbone(torch.zeros(1, 3, size, size, device=backbone.mean.device)).shape[1]


def fill_cache(
    cache: FeatureCache,
    load: EpisodeLoader,
    backbone: Backbone | None,
    rows: np.ndarray,
    batch_size: int,
    num_workers: int,
) -> int:
    """Compute the features that are missing, together with the other processes, each its share.

    Args:
        cache: Where they go.
        load: Loads episodes of the dataset.
        backbone: On the device that it is to run on.
        rows: Rows of the episode table.
        batch_size: Frames per forward pass.
        num_workers: Processes that decode, 0 for a thread.

    Returns:
        How many frames were computed.

    Raises:
        ValueError: Naming episode and camera, if a feature is not finite.
        ChildProcessError: If another process has failed.
    """
    state = PartialState()
    with together():  # before any of them finishes an episode: they have to divide the same list
        missing = cache.missing(rows)
    with together():
        mine = missing[state.process_index :: state.num_processes]
        return _fill(cache, load, backbone, mine, batch_size, num_workers) if len(mine) else 0


def _fill(
    cache: FeatureCache,
    load: EpisodeLoader,
    backbone: Backbone | None,
    mine: np.ndarray,
    batch_size: int,
    num_workers: int,
) -> int:
    """Compute the features of some episodes, and keep those of each as it is finished."""
    table = cache.table
    episodes = table.episodes[mine].tolist()
    batches = EpisodeBatches(load(episodes), episodes, batch_size, cache.keys("float16"))
    started: dict[int, list[dict[str, np.ndarray]]] = {}  # workers take turns
    total = int(table.lengths[mine].sum())
    with tqdm(
        total=total, desc="Features", unit="frame", disable=not PartialState().is_main_process
    ) as progress:
        for episode, first, batch in load_batches(batches, num_workers):
            part = {stream.key: _encode(backbone, stream, batch[stream.key]) for stream in cache.streams}
            for key, values in part.items():
                if not np.isfinite(values).all():
                    raise ValueError(f"{table.repo_id}, episode {episode}: a feature of {key} is not finite")
            parts = started.setdefault(episode, [])
            parts.append(part)
            n_frames = len(next(iter(part.values())))
            row = table.row(episode)
            if first + n_frames == table.lengths[row]:
                done = started.pop(episode)
                cache.write(row, {key: np.concatenate([p[key] for p in done]) for key in part})
            progress.update(n_frames)
    return total


def _encode(backbone: Backbone | None, stream: Stream, values: torch.Tensor) -> np.ndarray:
    if stream.dtype == "float32":
        return values.float().numpy()
    # Float16 ends at 65504, which no feature of a picture comes near.
    return backbone(values.to(backbone.mean.device)).cpu().numpy().astype(np.float16)


def make_backbone(
    meta: "LeRobotDatasetMetadata", options: FeatureOptions, device: str | torch.device
) -> Backbone | None:
    """The backbone that a dataset needs, None where it has no camera."""
    return load_backbone(options).to(device) if camera_keys(meta) else None
