# SPDX-License-Identifier: MIT
"""Extension point of ACT's transformer encoder: 1-D tokens beside those of latent and states."""

import abc

import torch
from torch import Tensor, nn


class ExtraTokens(nn.Module, abc.ABC):
    """Tokens that a descendant of ACT adds to the encoder, after the 1-D tokens and before the image
    features.

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
    """Replace the extra tokens among (ES, B, D) encoder tokens by neutral ones."""
    if model.extra_tokens is None:
        return tokens
    neutral = torch.stack(model.extra_tokens.neutral(tokens.shape[1])).to(tokens.dtype)
    start = model.encoder_1d_feature_pos_embed.num_embeddings
    return torch.cat([tokens[:start], neutral, tokens[start + len(neutral) :]])


def observation_tokens(model: nn.Module, tokens: Tensor) -> Tensor:
    """Those of (ES, ...) encoder tokens, or of their positional embeddings, that stand for the observation.

    All but the latent, which is the first one, and the extra tokens.
    """
    if model.extra_tokens is None:
        return tokens[1:]
    start = model.encoder_1d_feature_pos_embed.num_embeddings
    n_extra = len(model.extra_tokens.neutral(batch_size=1))
    return torch.cat([tokens[1:start], tokens[start + n_extra :]])
