# SPDX-License-Identifier: MIT
"""Tokens of ACT's transformer encoder beside those of latent, states and images; ACTvantage's is one."""

import abc
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rewact.act.configuration_actvantage import ADVANTAGE_CONDITIONS
from rewact.keys import ADVANTAGE_KEY

CONDITION_VALUES = {"negative": -1.0, "positive": 1.0, "unconditional": math.nan}
UNCONDITIONAL = ADVANTAGE_CONDITIONS.index("unconditional")


class ExtraTokens(nn.Module, abc.ABC):
    """1-D tokens that a descendant of ACT adds to the encoder, before the image features.

    They own their positional embeddings: enlarging `encoder_1d_feature_pos_embed` would keep the weights of
    plain ACT from loading.
    """

    @abc.abstractmethod
    def forward(self, batch: dict[str, Tensor], batch_size: int) -> list[tuple[Tensor, Tensor]]:
        """Return, for each of the n tokens, its (B, D) embedding and its (1, D) positional embedding."""

    @abc.abstractmethod
    def neutral(self, batch_size: int) -> list[Tensor]:
        """Return the n (B, D) embeddings of tokens that say nothing.

        The reward is read at these: a condition that is computed from how the episode went on would tell
        its end.
        """


def append_extra_tokens(
    model: nn.Module, batch: dict[str, Tensor], tokens: list[Tensor], pos_embeds: list[Tensor]
) -> None:
    """Append the extra tokens of an `ACT` network, if it has any, to its encoder's inputs, in place."""
    if model.extra_tokens is not None:
        for token, pos_embed in model.extra_tokens(batch, batch_size=len(tokens[0])):
            tokens.append(token)
            pos_embeds.append(pos_embed)


def neutralize_extra_tokens(model: nn.Module, tokens: Tensor) -> Tensor:
    """(ES, B, D) encoder tokens, the extra ones among them neutral."""
    if model.extra_tokens is None:
        return tokens
    neutral = torch.stack(model.extra_tokens.neutral(tokens.shape[1])).to(tokens.dtype)
    start = model.encoder_1d_feature_pos_embed.num_embeddings
    return torch.cat([tokens[:start], neutral, tokens[start + len(neutral) :]])


def observation_tokens(model: nn.Module, tokens: Tensor) -> Tensor:
    """(ES, ...) encoder tokens, or their positional embeddings, without the latent's and the extra ones."""
    if model.extra_tokens is None:
        return tokens[1:]
    start = model.encoder_1d_feature_pos_embed.num_embeddings
    n_extra = len(model.extra_tokens.neutral(batch_size=1))
    return torch.cat([tokens[1:start], tokens[start + n_extra :]])


class AdvantageToken(ExtraTokens):
    """One token out of three learned embeddings, which tells ACTvantage the kind of action that is wanted.

    A condition is a (B,) float tensor, the batch's "advantage": above 0 is positive, 0 and below is negative,
    NaN, or a batch without one, is unconditional. So the labels of a dataset (1, -1, NaN), a boolean "is
    positive" and an advantage minus its threshold all mean what they seem to. In training mode a fraction
    `dropout` of the samples is made unconditional.
    """

    def __init__(self, dim_model: int, dropout: float):
        super().__init__()
        self.dropout = dropout
        # Rows are in the order of ADVANTAGE_CONDITIONS. They and the position start as large as the
        # positional embeddings of ACT's other 1-D tokens.
        self.embedding = nn.Embedding(len(ADVANTAGE_CONDITIONS), dim_model)
        self.position = nn.Embedding(1, dim_model)

    def forward(self, batch: dict[str, Tensor], batch_size: int) -> list[tuple[Tensor, Tensor]]:
        condition = batch.get(ADVANTAGE_KEY)
        if condition is None:
            return [(self.neutral(batch_size)[0], self.position.weight)]
        condition = condition.reshape(-1)
        if len(condition) != batch_size:
            raise ValueError(
                f"The batch has {batch_size} samples but '{ADVANTAGE_KEY}' of shape "
                f"{tuple(batch[ADVANTAGE_KEY].shape)}. It takes one value per sample."
            )
        rows = (condition > 0).long()  # "negative" and "positive"
        rows = rows.masked_fill(condition.isnan(), UNCONDITIONAL)
        if self.training and self.dropout > 0:
            is_dropped = torch.rand(batch_size, device=rows.device) < self.dropout
            rows = rows.masked_fill(is_dropped, UNCONDITIONAL)
        return [(self.embedding(rows), self.position.weight)]

    def neutral(self, batch_size: int) -> list[Tensor]:
        return [self.embedding.weight[UNCONDITIONAL].expand(batch_size, -1)]


def make_condition(
    advantage: str | float | bool | Sequence[float] | Tensor, batch_size: int, device: torch.device | str
) -> Tensor:
    """The (B,) float32 form of a condition: of its name, a number, or one number per sample.

    Raises:
        ValueError: If the name is unknown, or there are neither 1 nor B values.
    """
    if isinstance(advantage, str):
        if advantage not in CONDITION_VALUES:
            raise ValueError(
                f"`advantage` must be one of {ADVANTAGE_CONDITIONS} or numbers. Got {advantage!r}."
            )
        advantage = CONDITION_VALUES[advantage]
    condition = torch.as_tensor(advantage, dtype=torch.float32, device=device).reshape(-1)
    if len(condition) not in (1, batch_size):
        raise ValueError(
            f"`advantage` must have 1 or {batch_size} values, one per sample. Got {len(condition)}."
        )
    return condition.expand(batch_size)
