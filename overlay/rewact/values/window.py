# SPDX-License-Identifier: MIT
"""What a value network sees of a frame: its features, what changed within a few seconds, and the first frame.

A frame's number is not among it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# Directions are found on this many frames at most.
MAX_PROJECTION_FRAMES = 4096
# Of a feature, added to its deviation: one that hardly ever changes tells little.
MIN_DEVIATION = 1e-2


class Projection(nn.Module):
    """From a stream of features to few numbers of comparable size, fitted on some frames.

    Args:
        dim: Length of a feature vector.
        components: How many numbers are kept; None keeps all, as for a state.
    """

    def __init__(self, dim: int, components: int | None):
        super().__init__()
        self.components = None if components is None else min(components, dim)
        n_kept = dim if self.components is None else self.components
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("deviation", torch.ones(dim))
        self.register_buffer("directions", torch.zeros(0 if self.components is None else dim, n_kept))

    @property
    def n_kept(self) -> int:
        """How many numbers it makes of a feature vector."""
        return self.directions.shape[1]

    def fit(self, features: Tensor) -> None:
        """Find mean, deviation and directions on (n, dim) float32 features."""
        self.mean = features.mean(0)
        centred = features - self.mean
        self.deviation = centred.square().mean(0).sqrt() + MIN_DEVIATION
        if self.components is None:
            return
        centred /= self.deviation
        n_found = min(self.components, *centred.shape)
        n_tried = min(n_found + 16, *centred.shape)
        _, singular, directions = torch.svd_lowrank(centred, q=n_tried, niter=3)
        # Between keeping their size and whitening: the small ones are noise in part.
        size = singular[:n_found] / max(len(features), 1) ** 0.5 + 1e-6
        self.directions = torch.zeros_like(self.directions)
        self.directions[:, :n_found] = directions[:, :n_found] / (size * size[0]).sqrt()

    def forward(self, features: Tensor) -> Tensor:
        """(n, dim) to (n, n_kept)."""
        standard = (features - self.mean) / self.deviation
        return standard if self.components is None else standard @ self.directions


class Window(nn.Module):
    """The input of value networks, fitted on the frames that these are trained on.

    Args:
        dims: Length of each stream's feature vectors.
        states: Which of the streams are states.
        components: Principal components of each of the others.
        context_components: How many of these are seen of earlier frames.
        lags: Frames to look back, rising.
        use_first_frame: Whether the first frame of the episode is seen.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        states: Sequence[str],
        components: int,
        context_components: int,
        lags: Sequence[int],
        use_first_frame: bool,
    ):
        super().__init__()
        self.keys = list(dims)
        self.lags = list(lags)
        self.use_first_frame = use_first_frame
        self.projections = nn.ModuleList(
            Projection(dim, None if key in states else components) for key, dim in dims.items()
        )
        self.sizes = [projection.n_kept for projection in self.projections]
        self.context_sizes = [
            size if key in states else min(context_components, size)
            for key, size in zip(self.keys, self.sizes, strict=True)
        ]
        n_context = len(self.lags) + use_first_frame
        # Of each stream: the frame, what has changed since each earlier one, the first frame.
        self.block_sizes = [
            size
            for now, before in zip(self.sizes, self.context_sizes, strict=True)
            for size in (now, *[before] * n_context)
        ]
        self.register_buffer("block_scale", torch.ones(len(self.block_sizes)))

    @property
    def n_latent(self) -> int:
        return sum(self.sizes)

    @property
    def n_inputs(self) -> int:
        return sum(self.block_sizes)

    @property
    def reach(self) -> int:
        """How many frames back the window looks."""
        return max(self.lags, default=0)

    def fit_projections(self, features: Mapping[str, Tensor]) -> None:
        """Fit on (n, dim) features of each stream."""
        for key, projection in zip(self.keys, self.projections, strict=True):
            projection.fit(features[key])

    def fit_scale(self, inputs: Tensor) -> None:
        """Give every block of (n, n_inputs) inputs the same mean square, which they get from now on."""
        squares = [block.square().mean() for block in inputs.split(self.block_sizes, -1)]
        self.block_scale = 1 / (torch.stack(squares).sqrt() + 1e-6)

    def latents(self, features: Mapping[str, Tensor]) -> Tensor:
        """(n, dim) features of each stream to (n, n_latent)."""
        return torch.cat(
            [module(features[key]) for key, module in zip(self.keys, self.projections, strict=True)], 1
        )

    def look_back(self, latents: Tensor, first: Tensor, n: int) -> Tensor:
        """The unscaled inputs of the last n frames of a stretch.

        Args:
            latents: ``(m, n_latent)``, m >= n, of consecutive frames; before the n there must be as many as
                the window reaches back, or all from the episode's start.
            first: ``(n_latent,)`` of the episode's first frame.
            n: How many frames to make inputs for.

        Returns:
            ``(n, n_inputs)``.
        """
        now = torch.arange(len(latents) - n, len(latents), device=latents.device)
        stretch = torch.cat([latents, first[None]])
        before = [(now - lag).clamp(min=0) for lag in self.lags]
        return self.join(stretch, now, before, torch.full_like(now, len(latents)))

    def join(self, latents: Tensor, now: Tensor, before: Sequence[Tensor], first: Tensor) -> Tensor:
        """Unscaled inputs of some frames.

        Args:
            latents: ``(m, n_latent)``.
            now: int64 ``(...)`` positions of the frames.
            before: For each lag the positions of the frames that they are compared with.
            first: Positions of the first frames of their episodes.

        Returns:
            float32 ``(..., n_inputs)``.
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
