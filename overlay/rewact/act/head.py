# SPDX-License-Identifier: MIT
"""Reward heads for ACT, and how they read the network.

Shapes: B is the batch size, T the number of steps the head speaks about (1, or `chunk_size` with the
forecast), K the number of value bins, D the model dimension.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from rewact.act.extra_tokens import neutralize_extra_tokens, observation_tokens
from rewact.options.head import RewardHeadConfig


@dataclass
class RewardDistribution:
    """A categorical distribution over reward values: (..., K) float32 probabilities, which sum to 1, of
    (K,) float32 values, which increase."""

    probs: Tensor
    bin_centers: Tensor

    @property
    def mean(self) -> Tensor:
        """(...) expected reward."""
        return (self.probs * self.bin_centers).sum(-1)

    @property
    def entropy(self) -> Tensor:
        """(...) entropy in nats, between 0 and log K."""
        return torch.special.entr(self.probs).sum(-1)

    def quantile(self, q: float) -> Tensor:
        """(...) smallest bin value whose cumulative probability reaches `q`, a number in [0, 1]."""
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"A quantile must lie in [0, 1]. Got {q}.")
        # Rounding may leave the last cumulative probability a hair below 1.
        index = (self.probs.cumsum(-1) < q - 1e-6).sum(-1)
        return self.bin_centers[index.clamp_max(len(self.bin_centers) - 1)]


class ObservationPooling(nn.Module):
    """Pools the observation tokens of ACT's encoder into one, by a learned query and a feed-forward layer.

    Without dropout it draws no random numbers: the actions of a training step are those without a head.
    """

    def __init__(self, dim_model: int, n_heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim_model)
        self.query = nn.Embedding(1, dim_model)
        self.attention = nn.MultiheadAttention(dim_model, n_heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim_model),
            nn.Linear(dim_model, 2 * dim_model),
            nn.ReLU(),
            nn.Linear(2 * dim_model, dim_model),
        )
        self.out_norm = nn.LayerNorm(dim_model)

    def forward(self, tokens: Tensor, pos_embed: Tensor) -> Tensor:
        """Pool (S, B, D) observation tokens with (S, 1, D) positional embeddings into (B, D)."""
        values = self.norm(tokens)
        query = self.query.weight.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        pooled = query + self.attention(query, values + pos_embed, values, need_weights=False)[0]
        return self.out_norm(pooled + self.feed_forward(pooled))[0]


class RewardHead(nn.Module, abc.ABC):
    """Two-layer trunk on one token, with an output for the current step and, optionally, the next ones.

    The token is pooled from the observation, or it is the transformer decoder's first one where `pooling` is
    `None`. The forecast is what changes against the current step, and nothing changes before it is trained.
    So all steps learn from each other, and a head with the forecast and one without share their output for
    the current step.
    """

    def __init__(self, config: RewardHeadConfig, outputs_per_step: int):
        super().__init__()
        dim, half, quarter = config.dim_model, max(config.dim_model // 2, 1), max(config.dim_model // 4, 1)
        self.outputs_per_step = outputs_per_step
        self.pooling = None
        if config.reward_head_input == "observation":
            self.pooling = ObservationPooling(dim, config.n_heads)
        self.trunk = nn.Sequential(nn.Linear(dim, half), nn.ReLU(), nn.Linear(half, quarter), nn.ReLU())
        self.readout = nn.Linear(quarter, outputs_per_step)
        n_forecast_steps = (config.reward_label_horizon or 1) - 1
        self.forecast = None
        if n_forecast_steps:
            self.forecast = nn.Linear(quarter, n_forecast_steps * outputs_per_step)
            nn.init.zeros_(self.forecast.weight)
            nn.init.zeros_(self.forecast.bias)

    def forward(self, token: Tensor) -> Tensor:
        """Map a (B, D) token to (B, T, outputs_per_step) float32 logits."""
        features = self.trunk(token)
        logits = self.readout(features).unsqueeze(1)
        if self.forecast is not None:
            change = self.forecast(features).unflatten(-1, (-1, self.outputs_per_step))
            logits = torch.cat([logits, logits + change], dim=1)
        return logits.float()

    @abc.abstractmethod
    def mean(self, logits: Tensor) -> Tensor:
        """(B, T) float32 predicted reward."""

    @abc.abstractmethod
    def entropy(self, logits: Tensor) -> Tensor:
        """(B, T) float32 entropy of the prediction in nats."""

    @abc.abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """(B, T) float32 loss against (B, T) reward labels."""


class SigmoidRewardHead(RewardHead):
    """Regresses the reward to (0, 1) with a squared error."""

    def __init__(self, config: RewardHeadConfig):
        super().__init__(config, outputs_per_step=1)

    def mean(self, logits: Tensor) -> Tensor:
        return logits.squeeze(-1).sigmoid()

    def entropy(self, logits: Tensor) -> Tensor:
        # Of a Bernoulli variable with this mean: 0 where the head is sure, log 2 at a reward of one half.
        mean = self.mean(logits)
        return torch.special.entr(mean) + torch.special.entr(1 - mean)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(self.mean(logits), target, reduction="none")


class DistributionalRewardHead(RewardHead):
    """Predicts a distribution over the centres of equal bins of [0, 1].

    Targets are two-hot (Bellemare et al., "A Distributional Perspective on Reinforcement Learning",
    https://huggingface.co/papers/1707.06887, eq. 7 for a single atom) or HL-Gauss (Farebrother et al., "Stop
    Regressing", https://huggingface.co/papers/2403.03950, section 3.1).
    """

    def __init__(self, config: RewardHeadConfig):
        super().__init__(config, outputs_per_step=config.num_value_bins)
        self.target_type = config.value_target
        edges = torch.linspace(0, 1, config.num_value_bins + 1)
        self.bin_width = 1 / config.num_value_bins
        self.sigma = config.hl_gauss_sigma_ratio * self.bin_width
        # Derived from the configuration, hence not part of the checkpoint.
        self.register_buffer("bin_edges", edges, persistent=False)
        self.register_buffer("bin_centers", (edges[:-1] + edges[1:]) / 2, persistent=False)

    def distribution(self, logits: Tensor) -> RewardDistribution:
        return RewardDistribution(logits.softmax(-1), self.bin_centers)

    def mean(self, logits: Tensor) -> Tensor:
        return self.distribution(logits).mean

    def entropy(self, logits: Tensor) -> Tensor:
        return self.distribution(logits).entropy

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return -(self.target_probs(target) * logits.log_softmax(-1)).sum(-1)

    def target_probs(self, target: Tensor) -> Tensor:
        """Turn (...) rewards into (..., K) probabilities. Rewards beyond the outer centres count as these."""
        return self._hl_gauss(target) if self.target_type == "hl_gauss" else self._two_hot(target)

    def _two_hot(self, target: Tensor) -> Tensor:
        n_bins = len(self.bin_centers)
        position = ((target - self.bin_centers[0]) / self.bin_width).clamp(0, n_bins - 1)
        lower = position.floor().long().clamp_max(n_bins - 2)
        upper_weight = (position - lower).unsqueeze(-1)
        probs = torch.zeros(*target.shape, n_bins, device=target.device, dtype=position.dtype)
        probs.scatter_(-1, lower.unsqueeze(-1), 1 - upper_weight)
        return probs.scatter_(-1, lower.unsqueeze(-1) + 1, upper_weight)

    def _hl_gauss(self, target: Tensor) -> Tensor:
        target = target.clamp(self.bin_edges[0], self.bin_edges[-1]).unsqueeze(-1)
        cdf = torch.special.ndtr((self.bin_edges - target) / self.sigma)
        # Renormalise the mass that falls outside the range.
        return cdf.diff(dim=-1) / (cdf[..., -1:] - cdf[..., :1])


def make_reward_head(config: RewardHeadConfig) -> RewardHead | None:
    """Build the head that the configuration asks for, or `None` where it asks for none."""
    if not config.use_reward_head:
        return None
    if config.reward_head_type == "distributional":
        return DistributionalRewardHead(config)
    return SigmoidRewardHead(config)


def add_reward_head(model: nn.Module) -> None:
    """Give an `ACT` network the reward head that its configuration asks for, as its last module."""
    model.reward_head = make_reward_head(model.config)
    # As it was made: by them `fast_ops.is_stock` sees whether somebody has changed it since.
    model.module_types = [type(module) for module in model.modules()]
    if model.config.train_only_reward_head:
        model.requires_grad_(False)
        model.reward_head.requires_grad_(True)


def encode_and_read_reward(
    model: nn.Module,
    tokens: Tensor,
    pos_embed: Tensor,
    mu: Tensor | None,
    reward_only: bool,
    encode: Callable[[nn.Module, Tensor, Tensor], Tensor] = nn.Module.__call__,
) -> tuple[Tensor | None, tuple[Tensor, ...]]:
    """Run the transformer encoder of an `ACT` network, and read the reward of its observation.

    The reward is read from what the encoder is given, without the latent and without extra tokens. The VAE's
    posterior has seen the future actions and their padding, from which the end of the episode can be told,
    and so may have a condition. The encoder mixes all of these into each of its outputs.

    Args:
        model: The network.
        tokens: (ES, B, D) inputs `[latent, ...]` of the encoder.
        pos_embed: (ES, 1, D) their positional embeddings.
        mu: (B, L) mean of the posterior that the latent was sampled from, or `None` where the latent is zero.
        reward_only: Whether the output of the encoder may be left out.
        encode: Runs the encoder it is given.

    Returns:
        The (ES, B, D) output of the encoder, or `None`; and, with a reward head, its (B, T, outputs_per_step)
        logits in a tuple, which is empty without one.
    """
    head = model.reward_head
    if head is None:
        return encode(model.encoder, tokens, pos_embed), ()
    if head.pooling is None:
        return _read_decoder(model, tokens, pos_embed, mu, encode)
    observed = (observation_tokens(model, each) for each in (tokens, pos_embed))
    logits = head(head.pooling(*observed))
    return None if reward_only else encode(model.encoder, tokens, pos_embed), (logits,)


def _read_decoder(
    model: nn.Module, tokens: Tensor, pos_embed: Tensor, mu: Tensor | None, encode: Callable
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Read the reward from the decoder's first token; the encoder runs a second time where the latent is not
    zero or there is a condition."""
    encoder_out = seen = encode(model.encoder, tokens, pos_embed)
    neutral = neutralize_extra_tokens(model, tokens)
    if mu is not None:
        zero_latent = model.encoder_latent_input_proj(torch.zeros_like(mu)).unsqueeze(0)
        neutral = torch.cat([zero_latent.to(tokens.dtype), neutral[1:]])
    if neutral is not tokens:
        seen = encode(model.encoder, neutral, pos_embed)
    # The inputs of the decoder are zeros, so in its first layer every query attends to the same values
    # whatever the other queries are. With a single layer the first query can therefore be decoded alone.
    n_queries = 1 if len(model.decoder.layers) == 1 else model.config.chunk_size
    decoder_out = model.decoder(
        seen.new_zeros(n_queries, seen.shape[1], model.config.dim_model),
        seen,
        encoder_pos_embed=pos_embed,
        decoder_pos_embed=model.decoder_pos_embed.weight[:n_queries].unsqueeze(1),
    )
    return encoder_out, (model.reward_head(decoder_out[0]),)
