# SPDX-License-Identifier: MIT
from dataclasses import dataclass

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig


@PreTrainedConfig.register_subclass("rewact")
@dataclass
class RewACTConfig(ACTConfig):
    """Configuration of ACT with a distributional reward head.

    All options are those of `ACTConfig`. The head cannot be switched off: `--policy.type=act
    --policy.use_reward_head=false` is the policy without one.
    """

    # Always on.
    use_reward_head: bool = True
    # "distributional" predicts a categorical distribution over `num_value_bins` values with a cross-entropy;
    # "sigmoid" regresses one value in (0, 1) with a squared error.
    reward_head_type: str = "distributional"
    # Whether the network computes its outputs, which are the same up to rounding, in less time.
    fast_path: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.use_reward_head:
            raise ValueError(
                "`rewact` always has a reward head. Without one, use "
                "`--policy.type=act --policy.use_reward_head=false`."
            )
