# SPDX-License-Identifier: MIT
"""The RewACT policy, and short ways to make one for a dataset and to act with a trained one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import make_policy
from lerobot.policies.pretrained import PreTrainedPolicy
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.modeling_rewact import RewACTPolicy

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

__all__ = ["LoadedPolicy", "RewACTConfig", "RewACTPolicy", "load", "make_rewact_policy"]


def make_rewact_policy(
    config: PreTrainedConfig, meta: "LeRobotDatasetMetadata", device: str | None = None
) -> PreTrainedPolicy:
    """Make a policy, of any LeRobot configuration, for a dataset (`dataset.meta`), ready to be trained.

    Features that the configuration does not name are the dataset's; its ``pretrained_path`` loads weights,
    and its device is the one of "cpu", "cuda" and the like unless another is given.
    """
    if device is not None:
        config.device = str(device)
    return make_policy(config, ds_meta=meta)


def load(path: str | Path, device: str | None = None) -> "LoadedPolicy":
    """Load a trained policy with its processors, to act on observations as they are recorded.

    Args:
        path: The checkpoint: a folder (.../pretrained_model), or a repo id on the Hub.
        device: Torch device such as "cpu" or "cuda"; by default the one it was trained on, if it is there.
    """
    from rewact.values.checkpoint import load_policy, open_processors

    config = PreTrainedConfig.from_pretrained(path)
    if device is not None:
        config.device = str(device)
    config.pretrained_path = path
    policy = load_policy(config)
    return LoadedPolicy(policy, *open_processors(path, policy.config))


class LoadedPolicy:
    """A trained policy between recorded observations and actions that a robot takes: nothing is normalised.

    Made by :func:`load`. Observations are frames of a dataset or batches of them: tensors by the names of the
    policy's inputs, images float32 ``(3, H, W)`` in [0, 1]; other keys do no harm. What is returned has a
    batch dimension where the observation has one.

    Attributes:
        policy: The policy itself, whose own methods take and return normalised numbers.
        preprocessor: Normalises observations.
        postprocessor: Undoes the normalisation of actions.
    """

    def __init__(self, policy: PreTrainedPolicy, preprocessor: Any, postprocessor: Any):
        self.policy = policy.eval()
        self.preprocessor = preprocessor
        self.postprocessor = postprocessor

    def reset(self) -> None:
        """Forget the queued actions; call it at the start of an episode."""
        self.policy.reset()

    @torch.inference_mode()
    def select_action(self, observation: Mapping[str, Any]) -> tuple[Tensor, Tensor] | Tensor:
        """The action for this step and its reward in [0, 1]; without a head the action alone."""
        batch, is_single = self._read(observation)
        out = self.policy.select_action(batch)
        action = self.postprocessor(out[0] if isinstance(out, tuple) else out)
        action = action[0] if is_single else action
        if not isinstance(out, tuple):
            return action
        reward = out[1].cpu()
        return action, reward[0] if is_single else reward

    @torch.inference_mode()
    def predict_reward(self, observation: Mapping[str, Any]) -> Tensor:
        """The reward of this observation alone; the queued actions stay as they are."""
        batch, is_single = self._read(observation)
        reward = self.policy.predict_reward(batch).cpu()
        return reward[0] if is_single else reward

    def _read(self, observation: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
        features = self.policy.config.input_features
        if missing := [name for name in features if name not in observation]:
            raise ValueError(f"the observation lacks {missing[0]!r}; the policy reads {', '.join(features)}")
        inputs = {name: torch.as_tensor(observation[name]) for name in features}
        is_single = all(len(inputs[name].shape) == len(feature.shape) for name, feature in features.items())
        if is_single:
            inputs = {name: value[None] for name, value in inputs.items()}
        return self.preprocessor(inputs), is_single
