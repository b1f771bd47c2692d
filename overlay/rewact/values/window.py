# SPDX-License-Identifier: MIT
"""What a value network sees of a frame: its features, what changed within a few seconds, and the first frame.

A frame's number is not among it.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# Directions are found on this many frames at most.
MAX_PROJECTION_FRAMES = 4096


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
        self.register_buffer("scale", torch.ones(n_kept))
        self.register_buffer("directions", torch.zeros(0 if self.components is None else dim, n_kept))

    def fit(self, features: Tensor) -> None:
        """Find mean, directions and scale on (n, dim) float32 features."""
        self.mean = features.mean(0)
        centred = features - self.mean
        if self.components is None:
            self.scale = 1 / (centred.std(0) + 1e-3)
            return
        n_found = min(self.components, *centred.shape)
        n_tried = min(n_found + 16, *centred.shape)
        _, singular, directions = torch.svd_lowrank(centred, q=n_tried, niter=3)
        self.directions = torch.zeros_like(self.directions)
        self.directions[:, :n_found] = directions[:, :n_found]
        # Between keeping their size and whitening: the small ones are noise in part.
        deviation = singular[:n_found] / max(len(features) - 1, 1) ** 0.5 + 1e-6
        self.scale = torch.zeros_like(self.scale)
        self.scale[:n_found] = 1 / (deviation * deviation[0]).sqrt()

    def forward(self, features: Tensor) -> Tensor:
        """(n, dim) to (n, kept)."""
        centred = features - self.mean
        return (centred if self.components is None else centred @ self.directions) * self.scale


class Window(nn.Module):
    """The input of value networks, fitted on the frames that these are trained on.

    Args:
        dims: Length of each stream's feature vectors.
        states: Which of the streams are states.
        components: Principal components of each of the others.
        lags: Frames to look back, rising.
        use_first_frame: Whether the first frame of the episode is seen.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        states: Sequence[str],
        components: int,
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
        self.n_latent = sum(len(projection.scale) for projection in self.projections)
        self.n_blocks = 1 + len(self.lags) + use_first_frame
        self.register_buffer("block_scale", torch.ones(len(self.keys), self.n_blocks))

    @property
    def n_inputs(self) -> int:
        return self.n_latent * self.n_blocks

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
        for stream, blocks in enumerate(self._by_stream(inputs)):
            self.block_scale[stream] = 1 / (blocks.square().mean((0, 2)).sqrt() + 1e-6)

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
        return self._join(latents, now, [(now - lag).clamp(min=0) for lag in self.lags], first)

    def look_ahead(self, latents: Tensor, first: Tensor) -> Tensor:
        """The same for all frames of an episode as if it was played backwards, up to each of them."""
        now = torch.arange(len(latents), device=latents.device)
        return self._join(latents, now, [(now + lag).clamp(max=len(now) - 1) for lag in self.lags], first)

    def scale_inputs(self, inputs: Tensor) -> Tensor:
        """Scale what `look_back` gives, as `fit_scale` has found."""
        scaled = [
            (blocks * scale[:, None]).flatten(1)
            for blocks, scale in zip(self._by_stream(inputs), self.block_scale, strict=True)
        ]
        return torch.cat(scaled, 1)

    def _join(self, latents: Tensor, now: Tensor, others: list[Tensor], first: Tensor) -> Tensor:
        current = latents[now]
        blocks = [current, *(current - latents[other] for other in others)]
        if self.use_first_frame:
            blocks.append(first.expand_as(current))
        stacked = torch.stack(blocks, 1)  # (n, n_blocks, n_latent)
        sizes = [len(projection.scale) for projection in self.projections]
        return torch.cat([part.flatten(1) for part in stacked.split(sizes, 2)], 1)

    def _by_stream(self, inputs: Tensor) -> list[Tensor]:
        """(n, n_inputs) as one (n, n_blocks, kept) per stream."""
        sizes = [len(projection.scale) * self.n_blocks for projection in self.projections]
        return [part.unflatten(1, (self.n_blocks, -1)) for part in inputs.split(sizes, 1)]
