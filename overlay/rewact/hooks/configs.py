# SPDX-License-Identifier: MIT
"""What LeRobot's configurations are extended by, before they are dataclasses. Imports no torch, no policy."""

from collections.abc import Callable
from dataclasses import field
from typing import Any

from rewact.hooks import decorator
from rewact.options.errors import shorten_torchcodec_warning
from rewact.options.head import RewardHeadConfig
from rewact.options.labels import RewardLabelsConfig
from rewact.options.saving import former_option, write_without

__all__ = ["RewardHeadConfig", "has_reward_labels", "reads_former_options"]

# Before anything asks for LeRobot's video decoder, in scripts of the user's too.
shorten_torchcodec_warning()


def has_reward_labels(cls: type) -> type:
    """Add `reward`, the `--dataset.reward.*` flags, to the configuration of a dataset.

    It is written to files only once a policy has trained on such labels, or where a flag was given.
    """
    _add_field(cls, "reward", RewardLabelsConfig, field(default_factory=RewardLabelsConfig))
    write_without(cls, lambda config: () if config.reward.is_used else ("reward",))
    return cls


def reads_former_options(cls: type) -> type:
    """Let the configuration of evaluations read what earlier releases of this project wrote into it.

    They wrote options of completion into the file of every training run, which could not be resumed
    otherwise. These options belong to the policy now, and are never written here again.
    """
    _add_field(cls, "stop_on_completion", bool, former_option(False))
    _add_field(cls, "completion_detector", dict | None, former_option(None))
    write_without(cls, lambda config: ("stop_on_completion", "completion_detector"))
    cls.__post_init__ = _forget_former_options(cls.__post_init__)
    return cls


@decorator
def _forget_former_options(check: Callable[[Any], None], config: Any) -> None:
    if config.stop_on_completion:
        raise ValueError(
            "eval.stop_on_completion and eval.completion_detector are called policy.stop_on_completion "
            "and policy.completion_detector now."
        )
    config.completion_detector = None
    check(config)


def _add_field(cls: type, name: str, annotation: Any, default: Any) -> None:
    cls.__annotations__ = {**cls.__annotations__, name: annotation}
    setattr(cls, name, default)
