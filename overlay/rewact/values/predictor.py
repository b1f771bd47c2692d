# SPDX-License-Identifier: MIT
"""Rewards that a trained policy predicts for a dataset."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import make_policy
from rewact.act.fast_backbone import fuse_norms
from rewact.values.checkpoint import digest_tensors, merge_adapter, open_processors, opening_checkpoint
from rewact.values.prediction import Prediction
from rewact.values.processes import require_device

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

# The uncertainty band drawn and judged: of labels, 80 % should lie within.
BAND = (0.1, 0.9)


class RewardPredictor:
    """A trained policy, read for its reward only.

    Args:
        config: Configuration of the policy, with ``pretrained_path`` and ``device`` set.
        meta: Metadata of the dataset it will see.
        rename_map: The policy's names for those observations that the dataset calls otherwise.

    Attributes:
        inputs: The keys of the dataset that it looks at.
        cameras: Those of them that are cameras.
        has_band: Whether predictions have an uncertainty band.
        fingerprint: Hexadecimal digest that differs where predictions do: between weights, statistics,
            precisions.

    Raises:
        ValueError: if there is no checkpoint, it has no reward head, the dataset lacks one of its inputs,
            or torch its device.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        meta: "LeRobotDatasetMetadata",
        rename_map: dict[str, str] | None = None,
    ):
        require_reward_head(config)
        require_device("--policy.device", str(config.device))
        self.config = config
        rename_map = rename_map or {}
        names = {rename_map.get(key, key): key for key in meta.features}
        if missing := [name for name in config.input_features or {} if name not in names]:
            raise ValueError(
                f"{config.pretrained_path} reads {missing[0]!r}, which {meta.repo_id} does not have; if it "
                "is called otherwise there, say so with --rename_map"
            )
        self.inputs = [names[name] for name in config.input_features or {}]
        self.cameras = [key for key in meta.camera_keys if key in self.inputs]
        self.has_band = getattr(config, "reward_head_type", None) == "distributional"
        with opening_checkpoint(config.pretrained_path):
            policy = make_policy(config, ds_meta=meta, rename_map=rename_map)
        self.policy = merge_adapter(policy).eval()
        self.preprocessor, _ = open_processors(config.pretrained_path, config, rename_map)
        fast_path = getattr(config, "fast_path", False)  # rounds otherwise
        tensors = dict(self.policy.state_dict())
        for number, step in enumerate(self.preprocessor.steps):
            tensors |= {f"{number}.{name}": value for name, value in step.state_dict().items()}
        settings = BAND, config.use_amp, fast_path, sorted(rename_map.items())
        self.fingerprint = digest_tensors(tensors, repr(settings))
        if config.image_features and hasattr(self.policy, "model"):
            # Each makes convolutions on a CPU up to a third faster, and changes values by rounding only.
            fuse_norms(self.policy.model.backbone)
            self.policy.model.backbone.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, batch: dict[str, Any]) -> Prediction:
        """Predict for a batch of dataset items, with `use_amp` in mixed precision, as in `lerobot-eval`.

        Args:
            batch: Collated items, images float32 in [0, 1], not preprocessed.
        """
        batch = self.preprocessor(batch)
        device_type = torch.device(self.config.device).type
        with torch.autocast(device_type) if self.config.use_amp else nullcontext():
            if not self.has_band:
                return _as_prediction(self.policy.predict_reward(batch))
            distribution = self.policy.predict_reward_distribution(batch)
        return _as_prediction(distribution.mean, *(distribution.quantile(q) for q in BAND))


def require_reward_head(config: PreTrainedConfig) -> None:
    """Stop with a ValueError if a configuration is not of a checkpoint that predicts rewards."""
    if not config.pretrained_path:
        raise ValueError("a trained policy is needed: give its checkpoint with --policy.path")
    if not getattr(config, "use_reward_head", False):
        raise ValueError(
            f"{config.pretrained_path} ({config.type}) has no reward head and predicts no rewards: train one "
            "with --policy.type=rewact"
        )


def _as_prediction(*columns: Tensor) -> Prediction:
    return Prediction(*(values.float().cpu().numpy() for values in columns))
