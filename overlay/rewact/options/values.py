# SPDX-License-Identifier: MIT
"""Values from frozen features: what they see, and how they are trained."""

import math
from dataclasses import dataclass, field

BACKBONES = ("efficientnet_lite0", "resnet18", "dinov2_small", "siglip2")
AGGREGATES = ("mean", "min")


@dataclass
class FeatureOptions:
    """How a camera's picture becomes a feature vector.

    Raises:
        ValueError: On construction, if a value is out of its range.
    """

    # efficientnet_lite0, which is installed with its weights; or resnet18, dinov2_small or siglip2, which
    # download theirs.
    backbone: str = "efficientnet_lite0"
    # Weights to use instead: a file of a state dict for "efficientnet_lite0" and "resnet18", a folder or a
    # name on the Hub for the others.
    weights: str | None = None
    # Side in pixels of the square that pictures are scaled to.
    image_size: int = 128
    # Side of the grid of cells that the backbone's map is averaged into.
    grid: int = 4

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {self.backbone!r}")
        if self.image_size < 32:
            raise ValueError(f"image_size must be at least 32 pixels, got {self.image_size}")
        finest = self.image_size // 8  # more cells than the map of any backbone has
        if not 1 <= self.grid <= finest:
            raise ValueError(
                f"grid must be from 1 to {finest} for an image_size of {self.image_size}, got {self.grid}"
            )


@dataclass
class ValueOptions:
    """How an ensemble reads values from features.

    Raises:
        ValueError: On construction, if a value is out of its range.
    """

    # Parts that the episodes are dealt out to; the values of each are of an ensemble that has not seen it.
    folds: int = 5
    # Networks of an ensemble.
    members: int = 4
    # What an ensemble says: the "mean" of its members, or their "min".
    aggregate: str = "mean"
    # Principal components that are kept of each camera's features.
    components: int = 256
    # How many of these are seen of earlier frames.
    context_components: int = 64
    # How many seconds before a frame it is compared with what was seen then.
    window_s: list[float] = field(default_factory=lambda: [0.5, 1.0, 2.0, 3.0])
    # Whether the episode's first frame is an input.
    use_first_frame: bool = True
    # Whether the state is an input.
    use_state: bool = True
    # Share of the training samples that are shown as if the episode ran backwards up to them.
    rewind: float = 0.0
    # Units of each of the two layers.
    hidden_dim: int = 256
    # Of these layers.
    dropout: float = 0.3
    # Of what the first of them sees.
    input_dropout: float = 0.3
    # Optimizer steps of each network. Default: what shows each frame twice on average, at least 300.
    steps: int | None = None
    # Frames per step.
    batch_size: int = 128
    # Highest learning rate.
    lr: float = 1e-3
    # Of AdamW.
    weight_decay: float = 0.05
    # Most frames that a network is trained on; of larger datasets, a sample of episodes.
    max_frames: int = 200_000

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"folds must be at least 2, got {self.folds}")
        counts = ("members", "components", "context_components", "hidden_dim", "batch_size", "max_frames")
        for name in (*counts, "steps"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.aggregate not in AGGREGATES:
            raise ValueError(f"aggregate must be one of {', '.join(AGGREGATES)}, got {self.aggregate!r}")
        if any(not 0 < seconds < math.inf for seconds in self.window_s):
            raise ValueError(f"window_s must hold times above 0 seconds, got {self.window_s}")
        for name in ("rewind", "dropout", "input_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf):
            raise ValueError(
                f"lr must be above 0 and weight_decay at least 0, got {self.lr} and {self.weight_decay}"
            )

    def lags(self, fps: float) -> list[int]:
        """The times of `window_s` in frames, rising, each once."""
        return sorted({max(round(seconds * fps), 1) for seconds in self.window_s})
