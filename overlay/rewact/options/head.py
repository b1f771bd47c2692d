# SPDX-License-Identifier: MIT
"""Options of the reward head that `ACTConfig` and its descendants carry.

Kept apart from `lerobot.policies` so that the configuration layer can use it without importing a policy.
"""

import logging
import math
from dataclasses import dataclass, field, fields
from typing import Any

from rewact.options.completion import CompletionDetectorConfig
from rewact.options.saving import former_option, write_without

REWARD_HEAD_TYPES = ("sigmoid", "distributional")
REWARD_HEAD_INPUTS = ("observation", "decoder")
VALUE_TARGETS = ("two_hot", "hl_gauss")

# MSE on a value in [0, 1] and cross-entropy over a few hundred bins live on different scales.
DEFAULT_REWARD_LOSS_WEIGHT = {"sigmoid": 2.0, "distributional": 0.1}

# Options of earlier releases, with what they always are now: read in their files, refused on a command line.
GONE_OPTIONS = {"value_min": 0.0, "value_max": 1.0}


def say_gone(option: str) -> str | None:
    """The sentence that refuses a policy's option on a command line, None where it is not gone."""
    if option not in GONE_OPTIONS:
        return None
    return f"--policy.{option} is gone: it is always {GONE_OPTIONS[option]:g}. Leave it out."


@dataclass
class RewardHeadConfig:
    """Mixin that adds the reward head's options to an ACT configuration.

    The head predicts the reward of the current observation, that is, how far along the task is.
    """

    # Whether the policy has a reward head. With it, `select_action` returns `(action, reward)` and training
    # needs a `reward` in each batch. A configuration that does not mention it has none, whatever wrote it;
    # `lerobot-train --policy.type=act` makes a new policy and turns it on.
    use_reward_head: bool = False
    # "sigmoid" regresses one value in (0, 1) with a squared error; "distributional" predicts a categorical
    # distribution over `num_value_bins` values with a cross-entropy.
    reward_head_type: str = "sigmoid"
    # "observation" pools the tokens that the transformer encoder is given, which costs no further pass of the
    # network. "decoder" reads the transformer decoder's first output, as heads did before there was a choice,
    # and runs the encoder twice in training. A checkpoint of such a head is loaded as one, whatever the
    # option says.
    reward_head_input: str = "observation"
    # Whether training leaves all other weights as they are, so that a finished policy gets a head and acts as
    # before. Implies `use_reward_head`.
    train_only_reward_head: bool = False
    # Weight of the reward loss in the total loss. `None` takes the default of the head type: 2.0 for
    # "sigmoid" and 0.1 for "distributional".
    reward_loss_weight: float | None = None
    # Whether the head also predicts the rewards of the following `chunk_size - 1` steps, so that each queued
    # action carries the reward expected at its own step.
    reward_forecast: bool = True
    # Re-read the reward from the current observation every so many steps while queued actions are being
    # executed (1: at every step). The queued actions stay as they are. `None` relies on the forecast alone,
    # or re-reads at every step where there is no forecast.
    reward_refresh_steps: int | None = None
    # Number of bins of the distributional head.
    num_value_bins: int = 201
    value_min: float = former_option(GONE_OPTIONS["value_min"])
    value_max: float = former_option(GONE_OPTIONS["value_max"])
    # Target distribution of the distributional head: "two_hot" splits the mass between the two nearest bin
    # centres, "hl_gauss" spreads it as a Gaussian histogram.
    value_target: str = "two_hot"
    # Standard deviation of the "hl_gauss" target in units of the bin width.
    hl_gauss_sigma_ratio: float = 0.75
    # Whether evaluations and rollouts end an episode where the policy predicts that the task is done. The
    # reward is then read from every observation, which costs one pass of the network at each step; the queued
    # actions stay as they are.
    stop_on_completion: bool = False
    # Whether recordings of evaluations and rollouts store the predicted reward of each frame, as their
    # feature `predicted_reward`. It is read from every observation, as with `stop_on_completion`.
    record_predicted_reward: bool = False
    # When predicted rewards say that the task is done: from which reward on, and for how many steps.
    completion_detector: CompletionDetectorConfig = field(default_factory=CompletionDetectorConfig)
    # Whether the network computes its outputs, which are the same up to rounding, in less time. Checkpoints
    # do not depend on it. On by default for `rewact` and `actvantage`; off for `act`, whose numbers are those
    # of LeRobot without this project.
    fast_path: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        write_without(cls, RewardHeadConfig._unused_options)

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]  # the next class of the MRO is a PreTrainedConfig

        self.use_reward_head = self.use_reward_head or self.train_only_reward_head
        if (problem := self._find_problem()) is not None:
            # On the command line draccus replaces the reason by a sentence of its own.
            logging.error(problem)
            raise ValueError(problem)

    def _unused_options(self) -> set[str]:
        """What a saved configuration leaves out: without a head it is plain ACT's, for LeRobot to load."""
        if self.type == "act" and not self.use_reward_head:  # type: ignore[attr-defined]
            unused = {field.name for field in fields(RewardHeadConfig)}
            return unused - {"fast_path"} if self.fast_path else unused
        return {*GONE_OPTIONS}

    def _find_problem(self) -> str | None:
        if self.reward_head_type not in REWARD_HEAD_TYPES:
            return f"`reward_head_type` must be one of {REWARD_HEAD_TYPES}. Got {self.reward_head_type!r}."
        if self.reward_head_input not in REWARD_HEAD_INPUTS:
            return f"`reward_head_input` must be one of {REWARD_HEAD_INPUTS}. Got {self.reward_head_input!r}."
        if self.value_target not in VALUE_TARGETS:
            return f"`value_target` must be one of {VALUE_TARGETS}. Got {self.value_target!r}."
        if self.reward_loss_weight is not None and not 0 <= self.reward_loss_weight < math.inf:
            return f"`reward_loss_weight` must be at least 0. Got {self.reward_loss_weight}."
        if self.reward_refresh_steps is not None and self.reward_refresh_steps < 1:
            return (
                "`reward_refresh_steps` must be at least 1, or null to rely on the forecast. "
                f"Got {self.reward_refresh_steps}."
            )
        if self.use_reward_head and not self.reward_forecast and self.reward_refresh_steps not in (None, 1):
            return (
                f"`reward_refresh_steps={self.reward_refresh_steps}` leaves steps without a reward when "
                "`reward_forecast` is off. Set `reward_forecast=true` or `reward_refresh_steps=1`."
            )
        if self.num_value_bins < 2:
            return f"`num_value_bins` must be at least 2. Got {self.num_value_bins}."
        for name, value in GONE_OPTIONS.items():
            if getattr(self, name) != value:
                return f"`{name}` is always {value:g}: rewards lie in [0, 1]. Got {getattr(self, name)}."
        if not 0 < self.hl_gauss_sigma_ratio < math.inf:
            return f"`hl_gauss_sigma_ratio` must be positive. Got {self.hl_gauss_sigma_ratio}."
        return None

    @property
    def effective_reward_loss_weight(self) -> float:
        """The weight of the reward loss: the one given, or else the default of the head type."""
        if self.reward_loss_weight is None:
            return DEFAULT_REWARD_LOSS_WEIGHT[self.reward_head_type]
        return self.reward_loss_weight

    @property
    def reward_label_horizon(self) -> int | None:
        """Number of consecutive reward labels that a training sample needs.

        `None` stands for one 0-d label per frame; `n` for a vector of the labels of this frame and of the
        `n - 1` frames that follow it.
        """
        if not (self.use_reward_head and self.reward_forecast) or self.chunk_size == 1:  # type: ignore[attr-defined]
            return None
        return self.chunk_size  # type: ignore[attr-defined]

    def make_extra_tokens(self) -> Any | None:
        """Build the `ExtraTokens` of a policy that extends ACT with encoder tokens of its own, if it does."""
        return None


def has_on(policy: Any, option: str) -> bool:
    """Whether a policy has an option of its reward head on; other policies have none of these options.

    Raises:
        ValueError: If it is on, and the policy predicts no reward.
    """
    config = getattr(policy, "config", None)
    if getattr(config, option, False) is not True:  # a mock's every attribute is true
        return False
    if not config.use_reward_head:
        raise ValueError(
            f"--policy.{option} needs a policy that predicts the reward. This {config.type!r} has no reward "
            "head: train one with --policy.use_reward_head=true, or leave the option out."
        )
    return True
