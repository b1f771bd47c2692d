# SPDX-License-Identifier: MIT
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig

if TYPE_CHECKING:
    from rewact.act.extra_tokens import AdvantageToken

ADVANTAGE_CONDITIONS = ("negative", "positive", "unconditional")


@PreTrainedConfig.register_subclass("actvantage")
@dataclass
class ACTvantageConfig(ACTConfig):
    """Configuration of ACT conditioned on whether an action is better than usual.

    The policy imitates good and bad data alike, told apart by an advantage token, and is asked for good
    actions at inference. The idea is RECAP's, see "pi*0.6: a VLA That Learns From Experience"
    (https://huggingface.co/papers/2511.14759). Training needs an `advantage` in each batch:
    `lerobot-compute-advantages` writes them beside the dataset. All other options are those of `ACTConfig`.
    """

    # Whether the policy also predicts the reward, off by default. See `RewardHeadConfig`.
    use_reward_head: bool = False
    # Fraction of the training samples, in [0, 1], whose condition is replaced by the unconditional one. Has
    # no effect at inference.
    advantage_dropout: float = 0.3
    # Classifier-free guidance: the actions are u + cfg_beta * (c - u) for conditional actions c and
    # unconditional ones u. 1 turns guidance off, for free; other values double the batch of the network.
    cfg_beta: float = 1.0
    # Condition at inference, one of "positive", "negative" and "unconditional", where the call does not say
    # otherwise.
    inference_advantage: str = "positive"
    # Whether to train unconditionally on batches without an `advantage`, which is an error otherwise.
    train_without_advantage: bool = False
    # Whether the network computes its outputs, which are the same up to rounding, in less time.
    fast_path: bool = True

    def _find_problem(self) -> str | None:
        if not 0.0 <= self.advantage_dropout <= 1.0:
            return f"`advantage_dropout` must be in [0, 1]. Got {self.advantage_dropout}."
        if not 0.0 <= self.cfg_beta < math.inf:
            return f"`cfg_beta` must be a finite number of at least 0. Got {self.cfg_beta}."
        if self.inference_advantage not in ADVANTAGE_CONDITIONS:
            return (
                f"`inference_advantage` must be one of {ADVANTAGE_CONDITIONS}. Got "
                f"{self.inference_advantage!r}."
            )
        return super()._find_problem()

    @property
    def advantage_labels(self) -> str:
        """Whether the training data must have advantages ("required") or may have them ("optional")."""
        return "optional" if self.train_without_advantage or self.train_only_reward_head else "required"

    def make_extra_tokens(self) -> "AdvantageToken":
        from rewact.act.extra_tokens import AdvantageToken

        return AdvantageToken(self.dim_model, self.advantage_dropout)
