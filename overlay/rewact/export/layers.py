# SPDX-License-Identifier: MIT
"""The layers of ACT's transformer for inference: the same numbers from fewer and larger operations.

Positional embeddings are constants, and so is what they add to a projection: (x + position) W is
x W + position W. Batches come first, and each linear layer multiplies two matrices.

Shapes: B is the batch size, Q and S are numbers of tokens, D is the model dimension, H the number of heads.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer on (B, S, D)."""
    return F.linear(x.flatten(0, 1), weight, bias).unflatten(0, (-1, x.shape[1]))


class Projection(nn.Module):
    """Linear layers on the same tokens, as one.

    Args:
        parts: For each its (D, D) weight, its (D,) bias and the (S, D) positional embeddings that are added
            to the tokens before it.
    """

    def __init__(self, *parts: tuple[Tensor, Tensor, Tensor]):
        super().__init__()
        self.n_parts = len(parts)
        terms = [position @ weight.T + bias for weight, bias, position in parts]
        self.register_buffer("weight", torch.cat([weight for weight, _, _ in parts]))
        self.register_buffer("term", torch.cat(terms, dim=-1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, S, D) of (B, S, D) tokens, by each layer."""
        return (linear(x, self.weight) + self.term).chunk(self.n_parts, dim=-1)


class SelfAttention(nn.Module):
    """Attention of tokens to each other, with (S, D) positional embeddings."""

    def __init__(self, source: nn.MultiheadAttention, position: Tensor):
        super().__init__()
        self.source = source
        query, key, value = _projections(source)
        self.project = Projection((*query, position), (*key, position), (*value, torch.zeros_like(position)))

    def forward(self, x: Tensor) -> Tensor:
        return _attend(self.source, *self.project(x))


class CrossAttention(nn.Module):
    """Attention of queries to a memory, with (Q, D) and (S, D) positional embeddings."""

    def __init__(self, source: nn.MultiheadAttention, query_position: Tensor, memory_position: Tensor):
        super().__init__()
        self.source = source
        query, key, value = _projections(source)
        self.project_query = Projection((*query, query_position))
        self.project = Projection((*key, memory_position), (*value, torch.zeros_like(memory_position)))

    def forward(self, query: Tensor, memory: Tensor) -> Tensor:
        """(B, Q, D) of (B, Q, D) or (1, Q, D) queries, which `project_query` has projected, and (B, S, D)."""
        return _attend(self.source, query, *self.project(memory))


def _projections(source: nn.MultiheadAttention) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases for queries, keys and values; the scale of the scores is in the first."""
    weights, biases = source.in_proj_weight.detach().chunk(3), source.in_proj_bias.detach().chunk(3)
    scales = (source.head_dim**-0.5, 1.0, 1.0)
    return [(w * scale, b * scale) for w, b, scale in zip(weights, biases, scales, strict=True)]


def _attend(source: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, Q, D) of projected (B, Q, D) queries, (B, S, D) keys and values."""
    shape = (source.num_heads, source.head_dim)
    query, key, value = (x.unflatten(2, shape).transpose(1, 2) for x in (query, key, value))
    probs = (query @ key.transpose(2, 3)).softmax(-1)  # (B, H, Q, S)
    out = source.out_proj
    return linear((probs @ value).transpose(1, 2).flatten(2), out.weight, out.bias)


class EncoderLayer(nn.Module):
    """A layer of ACT's transformer encoder, for (B, S, D) tokens with (S, D) positional embeddings."""

    def __init__(self, source: nn.Module, position: Tensor):
        super().__init__()
        self.source = source
        self.attention = SelfAttention(source.self_attn, position)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.source
        if layer.pre_norm:
            x = x + self.attention(layer.norm1(x))
            return x + _feed_forward(layer, layer.norm2(x))
        x = layer.norm1(x + self.attention(x))
        return layer.norm2(x + _feed_forward(layer, x))


class DecoderLayer(nn.Module):
    """A layer of ACT's transformer decoder, for (Q, D) and (S, D) positional embeddings.

    The (1, Q, D) queries of the first layer are always zeros, so its self-attention is computed here, once.
    """

    def __init__(self, source: nn.Module, query_position: Tensor, memory_position: Tensor, is_first: bool):
        super().__init__()
        self.source = source
        self.attention = SelfAttention(source.self_attn, query_position)
        self.cross_attention = CrossAttention(source.multihead_attn, query_position, memory_position)
        prepared = self._prepare(torch.zeros_like(query_position)[None]) if is_first else (None, None)
        for name, value in zip(("attended", "projected"), prepared, strict=True):
            self.register_buffer(name, value)

    def forward(self, x: Tensor | None, memory: Tensor) -> Tensor:
        """(B, Q, D) of (B, Q, D) queries, `None` in the first layer, and (B, S, D) outputs of the encoder."""
        layer = self.source
        x, query = (self.attended, self.projected) if x is None else self._prepare(x)
        x = x + self.cross_attention(query, memory)
        if layer.pre_norm:
            return x + _feed_forward(layer, layer.norm3(x))
        x = layer.norm2(x)
        return layer.norm3(x + _feed_forward(layer, x))

    def _prepare(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The queries after self-attention, and what they ask the memory."""
        layer = self.source
        if layer.pre_norm:
            x = x + self.attention(layer.norm1(x))
            (query,) = self.cross_attention.project_query(layer.norm2(x))
        else:
            x = layer.norm1(x + self.attention(x))
            (query,) = self.cross_attention.project_query(x)
        return x, query


def _feed_forward(layer: nn.Module, x: Tensor) -> Tensor:
    hidden = layer.activation(linear(x, layer.linear1.weight, layer.linear1.bias))
    return linear(hidden, layer.linear2.weight, layer.linear2.bias)
