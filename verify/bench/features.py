# SPDX-License-Identifier: MIT
"""Pictures as frozen features: what policies and values are given in place of a camera's image.

The backbone and its cache are those of `lerobot-train-values`. Values read the features themselves; a policy
is given their principal components, found on all demonstrations, as `observation.environment_state`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import write_atomically
from rewact.options.values import FeatureOptions
from rewact.values.backbones import Backbone, load_backbone
from rewact.values.feature_cache import FeatureCache, Stream
from rewact.values.window import MAX_PROJECTION_FRAMES, Projection

from .rollout import Observed

IMAGE = "observation.image"
# An object is some 7 pixels wide: each cell of the backbone's map is kept, of which there are 6 by 6.
FEATURES = FeatureOptions(image_size=96, grid=6)
COMPONENTS = 512
BATCH_SIZE = 64
PROJECTION_FILE = "bench/projection.pt"
CACHE_DIR = "bench/features"

Encode = Callable[[Observed], Observed]


class Encoder:
    """From what a camera observes of n moments to what a policy is given.

    Args:
        backbone: Reads pictures.
        projection: From features to the policy's input; None until it is fitted.
    """

    def __init__(self, backbone: Backbone, projection: Projection | None = None):
        self.backbone, self.projection = backbone, projection

    @classmethod
    def of_new_data(cls) -> "Encoder":
        """An encoder whose projection is still to be fitted."""
        return cls(load_backbone(FEATURES))

    def read(self, images: np.ndarray) -> np.ndarray:
        """``(n, H, W, 3)`` uint8 images to ``(n, D)`` float16 features."""
        batches = torch.from_numpy(images).movedim(-1, 1).split(BATCH_SIZE)
        return torch.cat([self.backbone(batch.float() / 255) for batch in batches]).numpy().astype(np.float16)

    def fit(self, features: Sequence[np.ndarray]) -> None:
        """Find the projection on the features of episodes."""
        frames = torch.from_numpy(np.concatenate(features))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            chosen = torch.randperm(len(frames))[:MAX_PROJECTION_FRAMES]
            self.projection = Projection(frames.shape[1], COMPONENTS)
            self.projection.fit(frames[chosen].float())

    @torch.inference_mode()
    def project(self, features: np.ndarray) -> np.ndarray:
        """``(n, D)`` features to ``(n, COMPONENTS)`` float32."""
        return self.projection(torch.from_numpy(features).float()).numpy()

    def __call__(self, observed: Observed) -> Observed:
        others = {name: values for name, values in observed.items() if name != IMAGE}
        return {**others, OBS_ENV_STATE: self.project(self.read(observed[IMAGE]))}

    def save(self, root: Path) -> None:
        """Keep the projection with a data set."""
        write_atomically(root / PROJECTION_FILE, lambda path: torch.save(self.projection.state_dict(), path))

    @classmethod
    def load(cls, root: Path) -> "Encoder":
        """The encoder of a data set."""
        state = torch.load(root / PROJECTION_FILE, weights_only=True)
        projection = Projection(len(state["mean"]), COMPONENTS)
        projection.load_state_dict(state)
        return cls(load_backbone(FEATURES), projection)


def load_encode(root: Path, observations: str) -> Encode:
    """From what is observed to what the policies of a data set are given."""
    return Encoder.load(root) if observations == "features" else lambda observed: observed


def open_features(meta: LeRobotDatasetMetadata) -> FeatureCache:
    """The features of a data set whose encoder is saved, as `lerobot-train-values` keeps them."""
    dim = len(torch.load(meta.root / PROJECTION_FILE, weights_only=True)["mean"])
    n_states = meta.features[OBS_STATE]["shape"][0]
    streams = [Stream(IMAGE, dim, "float16"), Stream(OBS_STATE, n_states, "float32")]
    source = {"backbone": FEATURES.backbone, "image_size": FEATURES.image_size, "grid": FEATURES.grid}
    return FeatureCache.open(meta.root / CACHE_DIR, EpisodeTable.from_metadata(meta), streams, source)
