# SPDX-License-Identifier: MIT
from typing import Any

import torch

from lerobot.policies.act.processor_act import make_act_pre_post_processors
from lerobot.processor import PolicyAction, PolicyProcessorPipeline
from rewact.act.configuration_actvantage import ACTvantageConfig


def make_actvantage_pre_post_processors(
    config: ACTvantageConfig,
    dataset_stats: dict[str, dict[str, torch.Tensor]] | None = None,
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    PolicyProcessorPipeline[PolicyAction, PolicyAction],
]:
    """Create the processors of `act`: advantages need no normalization, and pass through as they are."""
    return make_act_pre_post_processors(config, dataset_stats)
