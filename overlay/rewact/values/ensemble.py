# SPDX-License-Identifier: MIT
"""Small networks from inputs to values, what they are trained on, and their training."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from rewact.options.values import ValueOptions
from rewact.values.window import Window

# Standard deviation of a label's histogram, see https://huggingface.co/papers/2403.03950.
SIGMA = 0.05
# The histogram reaches so far below 0 and above 1: cut off there, its mean could not come near them.
MARGIN = 0.2
N_BINS = 71
DONE_WEIGHT = 0.3
BATCH_SIZE = 4096
# Without a number of steps each frame is shown so often on average, and networks take at least so many steps.
N_PASSES = 2
MIN_STEPS = 300


class Samples(NamedTuple):
    """Frames of whole episodes, one episode after the other. What a network sees is made batch by batch.

    Attributes:
        latents: float16 ``(n, n_latent)``, half the memory.
        first: int64 ``(n,)`` position of the first frame of each frame's episode.
        last: int64 ``(n,)`` position of its last frame.
        values: float32 ``(n,)`` in [0, 1], what is to be learned.
        done: float32 ``(n,)``: 1 where the task is done, 0 where it is not, NaN where that is not known.
    """

    latents: Tensor
    first: Tensor
    last: Tensor
    values: Tensor
    done: Tensor

    def inputs(self, window: Window, chosen: Tensor, backwards: Tensor | None = None) -> Tensor:
        """Unscaled inputs of frames, float32 ``(..., n_inputs)``.

        Args:
            window: Makes them.
            chosen: int64 ``(...)`` positions of frames.
            backwards: bool ``(...)``, which of them to show as if their episode was played backwards.
        """
        first, last = self.first[chosen], self.last[chosen]
        before = [(chosen - lag).maximum(first) for lag in window.lags]
        if backwards is not None:
            after = [(chosen + lag).minimum(last) for lag in window.lags]
            before = [a.where(backwards, b) for a, b in zip(after, before, strict=True)]
        return window.join(self.latents, chosen, before, first)


class Layer(nn.Module):
    """A linear layer of each of several networks, computed together; if hidden, a norm and a GELU follow."""

    def __init__(
        self, n_networks: int, n_inputs: int, n_outputs: int, is_hidden: bool = False, dropout: float = 0.0
    ):
        super().__init__()
        self.is_hidden = is_hidden
        self.dropout = dropout
        bound = 1 / math.sqrt(n_inputs)
        self.weight = nn.Parameter(torch.empty(n_networks, n_inputs, n_outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_networks, 1, n_outputs).uniform_(-bound, bound))
        if is_hidden:
            self.gain = nn.Parameter(torch.ones(n_networks, 1, n_outputs))
            self.shift = nn.Parameter(torch.zeros(n_networks, 1, n_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """(M, B, n_inputs) to (M, B, n_outputs)."""
        outputs = torch.baddbmm(self.bias, inputs, self.weight)
        if self.is_hidden:
            outputs = F.layer_norm(outputs, outputs.shape[-1:]) * self.gain + self.shift
            outputs = F.gelu(outputs)
        return F.dropout(outputs, self.dropout, self.training)


class Ensemble(nn.Module):
    """Perceptrons on one window, each to a histogram of the value and to whether the task is done."""

    def __init__(self, window: Window, options: ValueOptions):
        super().__init__()
        self.window = window
        self.aggregate = options.aggregate
        self.input_dropout = options.input_dropout
        members, hidden, dropout = options.members, options.hidden_dim, options.dropout
        self.layers = nn.Sequential(
            Layer(members, window.n_inputs, hidden, is_hidden=True, dropout=dropout),
            Layer(members, hidden, hidden, is_hidden=True, dropout=dropout),
            Layer(members, hidden, N_BINS + 1),
        )
        edges = torch.linspace(-MARGIN, 1 + MARGIN, N_BINS + 1)
        self.register_buffer("edges", edges, persistent=False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled (M, B, n_inputs) inputs to logits of the histogram (M, B, N_BINS), and of done (M, B)."""
        inputs = F.dropout(self.window.scale_inputs(inputs), self.input_dropout, self.training)
        logits = self.layers(inputs)
        return logits[..., :-1], logits[..., -1]

    def read(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Values in [0, 1] and probabilities of done of unscaled (B, n_inputs) inputs, each (B,)."""
        logits, done = self(inputs.expand(len(self.layers[0].weight), -1, -1))
        values = logits.softmax(-1) @ (self.edges[1:] + self.edges[:-1]) / 2
        values = values.amin(0) if self.aggregate == "min" else values.mean(0)
        return values.clamp(0, 1), done.sigmoid().mean(0)

    def fit(self, samples: Samples, options: ValueOptions, seed: int) -> None:
        """Train the networks on samples on the same device, each on batches of its own."""
        n, device = len(samples.values), samples.values.device
        steps = options.steps or max(N_PASSES * n // options.batch_size, MIN_STEPS)
        optimizer = torch.optim.AdamW(self.parameters(), lr=options.lr, weight_decay=options.weight_decay)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.lr, total_steps=max(steps, 2), pct_start=0.1
        )
        histograms = _histogram(samples.values, self.edges)
        shape = (options.members, options.batch_size)
        self.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for _ in range(steps):
                chosen = torch.randint(n, shape).to(device)
                backwards = (torch.rand(shape) < options.rewind).to(device) if options.rewind else None
                logits, done_logits = self(samples.inputs(self.window, chosen, backwards))
                # A sum over networks, so that each learns as if it was alone.
                loss = -(histograms[chosen] * logits.log_softmax(-1)).sum(-1).mean(1).sum()
                done = samples.done[chosen]
                known = ~done.isnan()
                errors = F.binary_cross_entropy_with_logits(done_logits, done.nan_to_num(), reduction="none")
                loss = loss + DONE_WEIGHT * ((errors * known).sum(1) / known.sum(1).clamp(min=1)).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
        self.eval()


def _histogram(labels: Tensor, edges: Tensor) -> Tensor:
    """(n,) labels as (n, N_BINS) histograms of normal distributions around them, cut off at the ends."""
    below = torch.special.ndtr((edges - labels[:, None]) / SIGMA)
    mass = below.diff(dim=1)
    return mass / mass.sum(1, keepdim=True)
