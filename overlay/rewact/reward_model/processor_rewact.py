# SPDX-License-Identifier: MIT
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from rewact.reward_model.configuration_rewact import RewACTHeadConfig


def make_rewact_pre_post_processors(
    config: RewACTHeadConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[Any, Any]:
    """The pre- and postprocessor that were saved with the policy, whose statistics they hold."""
    if not config.pretrained_path:
        raise ValueError(
            "The processors of 'rewact' are those of a trained policy: give its pretrained_path."
        )
    from rewact.values.checkpoint import open_processors

    policy_config = PreTrainedConfig.from_pretrained(config.pretrained_path)
    policy_config.device = config.device
    return open_processors(config.pretrained_path, policy_config)
