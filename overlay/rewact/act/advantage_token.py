# SPDX-License-Identifier: MIT
"""The encoder token that tells ACTvantage which kind of action is wanted.

A condition is a (B,) float tensor: above 0 is positive, 0 and below is negative, NaN is unconditional. So the
labels of a dataset (1, -1, NaN), a boolean "is positive" and an advantage minus its threshold all mean what
they seem to.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rewact.act.configuration_actvantage import ADVANTAGE_CONDITIONS
from rewact.act.extra_tokens import ExtraTokens
from rewact.keys import ADVANTAGE_KEY

CONDITION_VALUES = {"negative": -1.0, "positive": 1.0, "unconditional": math.nan}


class AdvantageToken(ExtraTokens):
    """One token out of three learned embeddings, with a position of its own.

    Reads the condition from the batch's "advantage"; a batch without one is unconditional. In training mode a
    fraction `dropout` of the samples is made unconditional.
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
                f"{tuple(batch[ADVANTAGE_KEY].shape)}. "
                "It takes one value per sample."
            )
        rows = self._rows(condition)
        if self.training and self.dropout > 0:
            is_dropped = torch.rand(batch_size, device=rows.device) < self.dropout
            rows = rows.masked_fill(is_dropped, ADVANTAGE_CONDITIONS.index("unconditional"))
        return [(self.embedding(rows), self.position.weight)]

    def neutral(self, batch_size: int) -> list[Tensor]:
        return [self.embedding.weight[ADVANTAGE_CONDITIONS.index("unconditional")].expand(batch_size, -1)]

    def _rows(self, condition: Tensor) -> Tensor:
        """(B,) rows of the embedding for (B,) conditions."""
        rows = torch.where(
            condition > 0, ADVANTAGE_CONDITIONS.index("positive"), ADVANTAGE_CONDITIONS.index("negative")
        )
        return torch.where(condition.isnan(), ADVANTAGE_CONDITIONS.index("unconditional"), rows)


def make_condition(
    advantage: str | float | bool | Sequence[float] | Tensor, batch_size: int, device: torch.device | str
) -> Tensor:
    """Bring whatever names a condition into its (B,) float32 form.

    Args:
        advantage: "positive", "negative" or "unconditional"; or a number, or one number per sample, as
            described at the top of this module.
        batch_size: B.
        device: Where the result is wanted.

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
