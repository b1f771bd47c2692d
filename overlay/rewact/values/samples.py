# SPDX-License-Identifier: MIT
"""The frames that value networks are trained on."""

from dataclasses import dataclass

from torch import Tensor

from rewact.values.window import Window


@dataclass(frozen=True)
class Samples:
    """Frames of whole episodes, one episode after the other. What a network sees is made batch by batch.

    Attributes:
        latents: float16 ``(n, n_latent)``, half the memory.
        first: int64 ``(n,)`` position of the first frame of each frame's episode.
        last: int64 ``(n,)`` position of its last frame.
        labels: float32 ``(n,)`` in [0, 1].
        done: float32 ``(n,)``: 1 where the task is done, 0 where it is not, NaN where that is not known.
    """

    latents: Tensor
    first: Tensor
    last: Tensor
    labels: Tensor
    done: Tensor

    def inputs(self, window: Window, chosen: Tensor, backwards: Tensor | None = None) -> Tensor:
        """Unscaled inputs of some frames.

        Args:
            window: Makes them.
            chosen: int64 ``(...)`` positions of frames.
            backwards: bool ``(...)``, which of them to show as if their episode was played backwards.

        Returns:
            float32 ``(..., n_inputs)``.
        """
        first, last = self.first[chosen], self.last[chosen]
        before = [(chosen - lag).maximum(first) for lag in window.lags]
        if backwards is not None:
            after = [(chosen + lag).minimum(last) for lag in window.lags]
            before = [a.where(backwards, b) for a, b in zip(after, before, strict=True)]
        return window.join(self.latents, chosen, before, first)
