# SPDX-License-Identifier: MIT
from pathlib import Path
from typing import Any

from torch import Tensor

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.rewards.pretrained import PreTrainedRewardModel
from rewact.reward_model.configuration_rewact import RewACTHeadConfig


class RewACTHeadRewardModel(PreTrainedRewardModel):
    """Task progress as the reward head of a trained policy reads it; not trainable on its own."""

    name = "rewact"
    config_class = RewACTHeadConfig

    def __init__(self, config: RewACTHeadConfig, policy: PreTrainedPolicy | None = None, **kwargs: Any):
        super().__init__(config)
        if policy is None:
            raise ValueError(
                "The reward model 'rewact' is the head of a trained policy: give its checkpoint as "
                "pretrained_path."
            )
        self.policy = policy

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: RewACTHeadConfig | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> "RewACTHeadRewardModel":
        """Load the checkpoint of a policy with a reward head, to the policy's device by default.

        The policy's ``from_pretrained`` takes ``kwargs``. LeRobot's factory adds ``dataset_stats``, which is
        not needed, and ``dataset_meta``, by which values know the episodes that they were trained on.

        Raises:
            ValueError: If the policy has no reward head.
        """
        kwargs.pop("dataset_stats", None)
        meta = kwargs.pop("dataset_meta", None)
        policy_config = PreTrainedConfig.from_pretrained(pretrained_name_or_path, revision=revision)
        if not getattr(policy_config, "use_reward_head", False):
            raise ValueError(f"{pretrained_name_or_path} ({policy_config.type}) has no reward head.")
        if config is None:
            config = RewACTHeadConfig(
                device=policy_config.device, pretrained_path=str(pretrained_name_or_path)
            )
        policy_config.device = config.device
        if policy_config.type == "values":
            kwargs["dataset_meta"] = meta
        policy = get_policy_class(policy_config.type).from_pretrained(
            pretrained_name_or_path, config=policy_config, revision=revision, **kwargs
        )
        model = cls(config, policy)
        model.to(config.device)
        return model.eval()

    def compute_reward(self, batch: dict[str, Tensor]) -> Tensor:
        """Read the reward of a batch of preprocessed observations: (B,) float32, [0, 1] by default."""
        return self.policy.predict_reward(batch)

    def reset(self) -> None:
        self.policy.reset()

    def _save_pretrained(self, save_directory: Path) -> None:
        # What is saved is the policy's checkpoint, from which `from_pretrained` makes this model again.
        self.policy._save_pretrained(save_directory)
