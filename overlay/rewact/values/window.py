# SPDX-License-Identifier: MIT
"""What a value network sees of a frame: its features, what changed within a few seconds, and the first frame.

A frame's number is not among it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE
from rewact.options.values import ValueOptions

# Directions are found on this many frames at most.
MAX_PROJECTION_FRAMES = 4096
# Of a feature, added to its deviation: one that hardly ever changes tells little.
MIN_DEVIATION = 1e-2
# Keys whose features are kept whole.
STATES = (OBS_STATE, OBS_ENV_STATE)


class Projection(nn.Module):
    """From a stream of features to few numbers of comparable size, fitted on some frames.

    Args:
        dim: Length of a feature vector.
        components: How many numbers are kept; None keeps all, as for a state.
    """

    def __init__(self, dim: int, components: int | None):
        super().__init__()
        self.is_whole = components is None
        self.n_kept = dim if components is None else min(components, dim)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.register_buffer("directions", torch.zeros(0 if self.is_whole else dim, self.n_kept))

    def fit(self, features: Tensor) -> None:
        """Find mean, deviation and directions on (n, dim) float32 features."""
        self.mean = features.mean(0)
        centred = features - self.mean
        self.deviation = centred.square().mean(0).sqrt() + MIN_DEVIATION
        if self.is_whole:
            return
        centred /= self.deviation
        n_found = min(self.n_kept, *centred.shape)
        n_tried = min(n_found + 16, *centred.shape)
        _, singular, directions = torch.svd_lowrank(centred, q=n_tried, niter=3)
        # Between keeping their size and whitening: the small ones are noise in part.
        size = singular[:n_found] / max(len(features), 1) ** 0.5 + 1e-6
        self.directions = torch.zeros_like(self.directions)
        self.directions[:, :n_found] = directions[:, :n_found] / (size * size[0]).sqrt()

    def forward(self, features: Tensor) -> Tensor:
        """(n, dim) to (n, n_kept)."""
        standard = (features - self.mean) / self.deviation
        return standard if self.is_whole else standard @ self.directions


class Window(nn.Module):
    """The input of value networks, fitted on the frames that these are trained on.

    Args:
        dims: Length of each stream's feature vectors, by key of the observation.
        lags: Frames to look back, rising.
        options: What is kept of the streams, and whether the first frame is seen.
    """

    def __init__(self, dims: Mapping[str, int], lags: Sequence[int], options: ValueOptions):
        super().__init__()
        self.keys, self.lags = list(dims), list(lags)
        self.use_first_frame = options.use_first_frame
        self.projections = nn.ModuleList(
            Projection(dim, None if key in STATES else options.components) for key, dim in dims.items()
        )
        self.sizes = [projection.n_kept for projection in self.projections]
        self.context_sizes = [
            size if key in STATES else min(options.context_components, size)
            for key, size in zip(self.keys, self.sizes, strict=True)
        ]
        n_context = len(self.lags) + self.use_first_frame
        # Of each stream: the frame, what has changed since each earlier one, the first frame.
        self.block_sizes = [
            size
            for now, before in zip(self.sizes, self.context_sizes, strict=True)
            for size in (now, *[before] * n_context)
        ]
        self.n_inputs = sum(self.block_sizes)
        self.register_buffer("block_scale", torch.ones(len(self.block_sizes)))

    def fit_projections(self, features: Mapping[str, Tensor]) -> None:
        """Fit on (n, dim) features of each stream."""
        for key, projection in zip(self.keys, self.projections, strict=True):
            projection.fit(features[key])

    def fit_scale(self, inputs: Tensor) -> None:
        """Give every block of (n, n_inputs) inputs the same mean square, which they get from now on."""
        squares = [block.square().mean() for block in inputs.split(self.block_sizes, -1)]
        self.block_scale = 1 / (torch.stack(squares).sqrt() + 1e-6)

    def latents(self, features: Mapping[str, Tensor]) -> Tensor:
        """(n, dim) features of each stream to (n, sum of `sizes`)."""
        return torch.cat(
            [module(features[key]) for key, module in zip(self.keys, self.projections, strict=True)], 1
        )

    def look_back(self, latents: Tensor, first: Tensor, n: int) -> Tensor:
        """The unscaled inputs of the last n frames of a stretch, ``(n, n_inputs)``.

        Args:
            latents: Of m >= n consecutive frames; before the n there must be as many as the window reaches
                back, or all from the episode's start.
            first: Of the episode's first frame, without a dimension for frames.
            n: How many frames to make inputs for.
        """
        now = torch.arange(len(latents) - n, len(latents), device=latents.device)
        stretch = torch.cat([latents, first[None]])
        before = [(now - lag).clamp(min=0) for lag in self.lags]
        return self.join(stretch, now, before, torch.full_like(now, len(latents)))

    def join(self, latents: Tensor, now: Tensor, before: Sequence[Tensor], first: Tensor) -> Tensor:
        """Unscaled inputs of some frames, float32 ``(..., n_inputs)``.

        Args:
            latents: Of m frames.
            now: int64 ``(...)`` positions of the frames among them.
            before: For each lag the positions of the frames that they are compared with.
            first: Positions of the first frames of their episodes.
        """
        blocks = []
        for stream, size in zip(latents.split(self.sizes, 1), self.context_sizes, strict=True):
            current, context = stream[now].float(), stream[:, :size]
            blocks.append(current)
            blocks += [current[..., :size] - context[frames].float() for frames in before]
            if self.use_first_frame:
                blocks.append(context[first].float())
        return torch.cat(blocks, -1)

    def scale_inputs(self, inputs: Tensor) -> Tensor:
        """Scale what `join` gives, (..., n_inputs), as `fit_scale` has found."""
        sizes = torch.tensor(self.block_sizes, device=inputs.device)
        return inputs * self.block_scale.repeat_interleave(sizes, output_size=self.n_inputs)
