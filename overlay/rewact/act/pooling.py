# SPDX-License-Identifier: MIT
"""What a reward head reads of an observation, without a pass of ACT's transformer."""

from torch import Tensor, nn


class ObservationPooling(nn.Module):
    """Pools the observation tokens of ACT's encoder into one, by a learned query and a feed-forward layer.

    It has no dropout: it draws no random numbers, so that the actions of a training step are those that ACT
    has without a head.
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
