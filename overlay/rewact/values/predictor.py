# SPDX-License-Identifier: MIT
"""Rewards that a trained policy predicts for a dataset."""

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors
from rewact.values.prediction import Prediction

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

    Raises:
        ValueError: if there is no checkpoint, or it has no reward head.
    """

    def __init__(
        self,
        config: PreTrainedConfig,
        meta: "LeRobotDatasetMetadata",
        rename_map: dict[str, str] | None = None,
    ):
        if not config.pretrained_path:
            raise ValueError("a trained policy is needed: give its checkpoint with --policy.path")
        if not getattr(config, "use_reward_head", False):
            raise ValueError(f"{config.pretrained_path} has no reward head and predicts no rewards")
        self.config = config
        self.rename_map = rename_map = rename_map or {}
        self.policy = make_policy(config, ds_meta=meta, rename_map=rename_map).eval()
        self.preprocessor, _ = make_pre_post_processors(
            config,
            pretrained_path=str(config.pretrained_path),
            preprocessor_overrides={
                "device_processor": {"device": str(config.device)},
                "rename_observations_processor": {"rename_map": rename_map},
            },
        )
        # The cameras of the dataset that it looks at.
        self.cameras = [key for key in meta.camera_keys if rename_map.get(key, key) in config.input_features]
        self._fingerprint: str | None = None
        self.has_band = getattr(config, "reward_head_type", None) == "distributional"

    def fingerprint(self) -> str:
        """Hexadecimal digest that differs between checkpoints and precisions; computed once."""
        if self._fingerprint is not None:
            return self._fingerprint
        digest = hashlib.sha256(repr((BAND, self.config.use_amp)).encode())
        for name, parameter in sorted(self.policy.state_dict().items()):
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any]) -> Prediction:
        """Predict for a batch of dataset items, with `use_amp` in mixed precision, as in `lerobot-eval`.

        Args:
            batch: Collated items, images float32 in [0, 1] or uint8, not preprocessed.
        """
        batch = {key: _to_float(value) for key, value in batch.items()}
        batch = self.preprocessor(batch)
        device_type = torch.device(self.config.device).type
        with torch.autocast(device_type) if self.config.use_amp else nullcontext():
            if not self.has_band:
                return Prediction(_to_numpy(self.policy.predict_reward(batch)))
            distribution = self.policy.predict_reward_distribution(batch)
        lower, upper = (distribution.quantile(q) for q in BAND)
        return Prediction(_to_numpy(distribution.mean), _to_numpy(lower), _to_numpy(upper))


def held_out_episodes(
    meta: "LeRobotDatasetMetadata", episodes: Sequence[int] | None, eval_split: float
) -> list[int]:
    """Episodes that ``lerobot-train`` keeps for evaluation: of each task the last ``eval_split``, rounded up.

    Args:
        meta: Metadata of the dataset.
        episodes: The episodes of the training run, None for all.
        eval_split: Fraction in [0, 1), the run's ``--dataset.eval_split``.
    """
    tasks: dict[str, list[int]] = {}
    names = meta.episodes["tasks"][:]
    for episode in range(meta.total_episodes) if episodes is None else episodes:
        tasks.setdefault(names[episode][0] if names[episode] else "", []).append(episode)
    held_out = []
    for members in tasks.values():
        n_held_out = int(np.ceil(len(members) * eval_split))
        held_out.extend(members[len(members) - n_held_out :])
    return held_out


def _to_float(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.uint8:
        return value.to(torch.float32) / 255.0
    return value


def _to_numpy(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
