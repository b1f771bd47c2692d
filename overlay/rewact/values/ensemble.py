# SPDX-License-Identifier: MIT
"""Small networks from inputs to values, and their training."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from rewact.options.values import ValueOptions
from rewact.values.window import Window

N_BINS = 51
# Standard deviation of a label's histogram, see https://huggingface.co/papers/2403.03950.
SIGMA = 0.05
DONE_WEIGHT = 0.3
BATCH_SIZE = 4096


class ValueNet(nn.Module):
    """A two-layer perceptron to a histogram over [0, 1], and to whether the task is done.

    Args:
        n_inputs: Length of an input.
        hidden_dim: Units of each layer.
        dropout: Of each layer.
    """

    def __init__(self, n_inputs: int, hidden_dim: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, hidden_dim),
            nn.LayerNorm(hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim),
            nn.LayerNorm(hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, N_BINS + 1),
        )
        centres = (torch.arange(N_BINS) + 0.5) / N_BINS
        self.register_buffer("centres", centres, persistent=False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n_inputs) to logits of the histogram (B, N_BINS), and of done (B,)."""
        logits = self.layers(inputs)
        return logits[:, :-1], logits[:, -1]

    def read(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n_inputs) to values (B,) in [0, 1], and the probability of done (B,)."""
        logits, done = self(inputs)
        return logits.softmax(1) @ self.centres, done.sigmoid()


class Ensemble(nn.Module):
    """Several networks on one window.

    Args:
        window: Makes their inputs.
        options: Their number and size.
    """

    def __init__(self, window: Window, options: ValueOptions):
        super().__init__()
        self.window = window
        self.aggregate = options.aggregate
        self.members = nn.ModuleList(
            ValueNet(window.n_inputs, options.hidden_dim, options.dropout) for _ in range(options.members)
        )

    def read(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Values and probabilities of done of unscaled (B, n_inputs) inputs, each (B,)."""
        inputs = self.window.scale_inputs(inputs)
        values, done = (
            torch.stack(parts) for parts in zip(*(m.read(inputs) for m in self.members), strict=True)
        )
        return (values.amin(0) if self.aggregate == "min" else values.mean(0)), done.mean(0)

    def fit(self, inputs: Tensor, labels: Tensor, done: Tensor, options: ValueOptions, seed: int) -> None:
        """Train the members on unscaled inputs.

        Args:
            inputs: ``(n, n_inputs)``.
            labels: ``(n,)`` in [0, 1].
            done: ``(n,)`` 1 where the task is done, 0 where it is not, NaN where that is not known.
            options: Steps and the like.
            seed: Of initialization and order.
        """
        self.window.fit_scale(inputs)
        inputs = self.window.scale_inputs(inputs)
        for member, network in enumerate(self.members):
            generator = torch.Generator().manual_seed(seed + member)
            _train(network, inputs, labels, done, options, generator)


def _train(
    network: ValueNet,
    inputs: Tensor,
    labels: Tensor,
    done: Tensor,
    options: ValueOptions,
    generator: torch.Generator,
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        for module in network.layers:
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        optimizer = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=options.weight_decay)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.lr, total_steps=max(options.steps, 2), pct_start=0.1
        )
        network.train()
        for _ in range(options.steps):
            chosen = torch.randint(len(inputs), (options.batch_size,), generator=generator)
            chosen = chosen.to(inputs.device)
            logits, done_logit = network(inputs[chosen])
            loss = F.cross_entropy(logits, _histogram(labels[chosen]))
            known = ~done[chosen].isnan()
            if known.any():
                is_done = F.binary_cross_entropy_with_logits(done_logit[known], done[chosen][known])
                loss = loss + DONE_WEIGHT * is_done
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        network.eval()


def _histogram(labels: Tensor) -> Tensor:
    """(B,) labels as (B, N_BINS) histograms of a normal distribution around them, cut off at 0 and 1."""
    edges = torch.linspace(0, 1, N_BINS + 1, device=labels.device)
    below = torch.special.ndtr((edges - labels[:, None]) / SIGMA)
    mass = below.diff(dim=1)
    return mass / mass.sum(1, keepdim=True)
