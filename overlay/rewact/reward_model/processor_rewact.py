# SPDX-License-Identifier: MIT
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import make_pre_post_processors
from rewact.reward_model.configuration_rewact import RewACTHeadConfig


def make_rewact_pre_post_processors(
    config: RewACTHeadConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[Any, Any]:
    """The pre- and postprocessor that were saved with the policy, whose statistics they hold."""
    if not config.pretrained_path:
        raise ValueError(
            "The processors of 'rewact' are those of a trained policy: give its pretrained_path."
        )
    return make_pre_post_processors(
        PreTrainedConfig.from_pretrained(config.pretrained_path),
        pretrained_path=str(config.pretrained_path),
        preprocessor_overrides={"device_processor": {"device": str(config.device)}},
    )
