# SPDX-License-Identifier: MIT
from dataclasses import dataclass

from lerobot.configs.rewards import RewardModelConfig


@RewardModelConfig.register_subclass("rewact")
@dataclass
class RewACTHeadConfig(RewardModelConfig):
    """The reward head of a trained policy, as a reward model.

    ``pretrained_path`` is the checkpoint of an ``act``, ``rewact`` or ``actvantage`` policy with a reward
    head. The head is trained with its policy (``--policy.type=rewact``), not by ``--reward_model.type``.
    """
