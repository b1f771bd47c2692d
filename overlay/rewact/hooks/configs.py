# SPDX-License-Identifier: MIT
"""What LeRobot's configurations are extended by. Imports neither torch nor a policy."""

from dataclasses import field

from rewact.options.head import RewardHeadConfig
from rewact.options.labels import RewardLabelsConfig
from rewact.options.saving import write_without

__all__ = ["RewardHeadConfig", "has_reward_labels"]


def has_reward_labels(cls: type) -> type:
    """Add `reward`, the `--dataset.reward.*` flags, to the configuration of a dataset.

    It is written to files only once a policy has trained on such labels, or where a flag was given.

    Args:
        cls: The class, before it is made a dataclass.
    """
    cls.__annotations__ = {**cls.__annotations__, "reward": RewardLabelsConfig}
    cls.reward = field(default_factory=RewardLabelsConfig)
    write_without(cls, lambda config: () if config.reward.is_used else ("reward",))
    return cls
