# SPDX-License-Identifier: MIT
from collections.abc import Sequence

import torch
from torch import Tensor

from lerobot.policies.act.modeling_act import ACTPolicy
from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.extra_tokens import make_condition
from rewact.act.loss import compute_act_loss
from rewact.keys import ADVANTAGE_KEY, LABELS_KEY, mark_labels, read_labels

Advantage = str | float | bool | Sequence[float] | Tensor


class ACTvantagePolicy(ACTPolicy):
    """ACT that is told, by one encoder token, whether to act better or worse than usual.

    In training the condition of each sample is the batch's (B,) label `advantage`: above 0 positive, 0 and
    below negative, NaN unknown and hence unconditional. At inference it is, in this order, the argument
    `advantage` of the call, the batch's label `advantage`, or `config.inference_advantage`. It
    takes effect where the network runs: actions that wait in the queue stay as they are.
    """

    config_class = ACTvantageConfig
    name = "actvantage"
    fresh_parameter_prefixes = (*ACTPolicy.fresh_parameter_prefixes, "model.extra_tokens.")

    def __init__(self, config: ACTvantageConfig, **kwargs):
        if not isinstance(config, ACTvantageConfig):
            raise ValueError(
                f"ACTvantage needs an `ACTvantageConfig`. Got a {type(config).__name__}: to start from the "
                "weights of another ACT, give `from_pretrained` a `config` of type actvantage, or "
                "lerobot-train both --policy.type=actvantage and --policy.pretrained_path."
            )
        super().__init__(config, **kwargs)

    def forward(self, batch: dict[str, Tensor], reduction: str = "mean") -> tuple[Tensor, dict]:
        """Compute the loss of ACT, the action being conditioned on the batch's `advantage`.

        Raises:
            ValueError: In training, if the batch has no `advantage` and `train_without_advantage` is off.
        """
        if ADVANTAGE_KEY not in read_labels(batch):
            batch = {key: value for key, value in batch.items() if key != ADVANTAGE_KEY}
        if ADVANTAGE_KEY not in batch and self.training and self.config.advantage_labels == "required":
            raise ValueError(
                f"The batch has no label '{ADVANTAGE_KEY}'. Compute the advantages of the dataset with "
                "`lerobot-compute-advantages` (with --from_returns=true no value function is needed), or "
                "train unconditionally with --policy.train_without_advantage=true."
            )
        # Without a reward head, ACT's own forward averages and evaluates differently from release to release.
        return compute_act_loss(self, batch, reduction)

    @torch.no_grad()
    def select_action(
        self, batch: dict[str, Tensor], force_model_run: bool = False, advantage: Advantage | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """As `ACTPolicy.select_action`, for the condition `advantage`: "positive", "negative" or
        "unconditional", or numbers as in training, one or B of them."""
        return super().select_action(self._conditioned(batch, advantage), force_model_run)

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Tensor], advantage: Advantage | None = None) -> Tensor:
        """Predict the (B, chunk_size, action_dim) actions for a condition, see `select_action`."""
        self.eval()
        return self._predict(self._conditioned(batch, advantage))[0]

    def _reward_logits(self, batch: dict[str, Tensor]) -> Tensor:
        # The reward does not depend on the condition, whatever form it has.
        return super()._reward_logits({key: value for key, value in batch.items() if key != ADVANTAGE_KEY})

    def _conditioned(self, batch: dict[str, Tensor], advantage: Advantage | None) -> dict[str, Tensor]:
        """The policy's inputs out of the batch, and the (B,) condition."""
        inputs = {key: batch[key] for key in self.config.input_features if key in batch}
        if advantage is None:
            advantage = read_labels(batch).get(ADVANTAGE_KEY, self.config.inference_advantage)
        observation = next(iter(inputs.values()))
        condition = make_condition(advantage, len(observation), observation.device)
        return mark_labels({**inputs, ADVANTAGE_KEY: condition}, [ADVANTAGE_KEY])

    def _predict(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        batch = self._conditioned(batch, None)
        beta = self.config.cfg_beta
        if beta == 1.0:
            return super()._predict(batch)
        condition = batch[ADVANTAGE_KEY]
        # One forward for both: the first half of the batch is conditional, the second unconditional.
        doubled = {key: torch.cat([value, value]) for key, value in batch.items() if key != LABELS_KEY}
        doubled[ADVANTAGE_KEY] = torch.cat([condition, torch.full_like(condition, torch.nan)])
        actions, *reward_logits = super()._predict(doubled)
        conditional, unconditional = actions.chunk(2)
        guided = unconditional + beta * (conditional - unconditional)
        # The reward does not depend on the condition.
        return guided, *(logits[: len(condition)] for logits in reward_logits)
