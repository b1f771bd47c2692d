# SPDX-License-Identifier: MIT
"""What an export starts from: a checkpoint with its processors, and observations to compare it on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    NormalizerProcessorStep,
    RenameObservationsProcessorStep,
    UnnormalizerProcessorStep,
)
from rewact.values.checkpoint import load_policy, open_processors

POLICY_TYPES = ("act", "rewact", "actvantage")
_PLAIN_STEPS = (AddBatchDimensionProcessorStep, DeviceProcessorStep, RenameObservationsProcessorStep)


@dataclass
class Source:
    """A trained policy on the CPU, with its processors.

    Attributes:
        preprocessor: From raw observations, by the dataset's names, to the policy's.
        postprocessor: From the policy's actions to those that a robot takes.
        normalizer: The step of the preprocessor that normalises.
        unnormalizer: The step of the postprocessor that undoes it.
        names: The dataset's name of each of the policy's inputs, in the policy's order.
        device: Where the checkpoint wants to run.
    """

    policy: Any
    preprocessor: Any
    postprocessor: Any
    normalizer: NormalizerProcessorStep
    unnormalizer: UnnormalizerProcessorStep
    names: dict[str, str]
    device: str

    @property
    def config(self) -> Any:
        return self.policy.config

    @torch.inference_mode()
    def predict(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """(B, chunk_size, action_dim) unnormalised actions and, with a reward head, (B, T) rewards."""
        batch = self.preprocessor(dict(observation))
        if not self.config.use_reward_head:
            return self.postprocessor(self.policy.predict_action_chunk(batch)), None
        actions, rewards = self.policy._predict_chunk_and_rewards(batch)
        return self.postprocessor(actions), rewards

    def action_scale(self) -> Tensor:
        """(action_dim,) what one normalised unit of each action is worth."""
        size = self.config.action_feature.shape[0]
        ends = torch.stack([torch.zeros(size), torch.ones(size)]).double()
        zero, one = self.unnormalizer._normalize_action(ends, inverse=True)
        return (one - zero).abs()

    def is_image(self, name: str) -> bool:
        """Whether one of the policy's inputs is an image."""
        return self.config.input_features[name].type is FeatureType.VISUAL


def require_exportable(config: PreTrainedConfig) -> None:
    """Stop with a ValueError where a checkpoint is not of a policy that can be exported."""
    if config.type not in POLICY_TYPES:
        raise ValueError(
            f"{config.pretrained_path} is a {config.type!r}; lerobot-export writes {', '.join(POLICY_TYPES)}"
        )


def load_source(config: PreTrainedConfig, rename_map: Mapping[str, str]) -> Source:
    """Load a checkpoint onto the CPU.

    Args:
        config: Its configuration, with `pretrained_path` set.
        rename_map: The policy's names for those observations that the dataset calls otherwise. Without any,
            those that it was trained with.

    Raises:
        ValueError: If it is not of a policy that can be exported, or its processors have steps of their own.
    """
    require_exportable(config)
    path = str(config.pretrained_path)
    device, config.device = str(config.device), "cpu"
    backbone_weights, config.pretrained_backbone_weights = config.pretrained_backbone_weights, None
    policy = load_policy(config).eval()
    policy.config.pretrained_backbone_weights = backbone_weights
    processors = open_processors(path, policy.config, rename_map or None)
    kinds = (NormalizerProcessorStep, UnnormalizerProcessorStep)
    steps = [_only_step(each, kind, path) for each, kind in zip(processors, kinds, strict=True)]
    renamed: dict[str, str] = {}
    for step in processors[0].steps:
        if isinstance(step, RenameObservationsProcessorStep):
            renamed |= {new: old for old, new in step.rename_map.items()}
    names = {name: renamed.get(name, name) for name in policy.config.input_features}
    return Source(policy, *processors, *steps, names, device)


def _only_step(pipeline: Any, kind: type, path: str) -> Any:
    """The step of a kind, in a pipeline that otherwise changes no numbers."""
    for step in pipeline.steps:
        if not isinstance(step, (kind, *_PLAIN_STEPS)):
            raise ValueError(
                f"{path}: its processors have a step {type(step).__name__}, which lerobot-export does not "
                "know"
            )
    found = [step for step in pipeline.steps if isinstance(step, kind)]
    if len(found) != 1:
        raise ValueError(f"{path}: its processors have {len(found)} {kind.__name__}, and should have one")
    return found[0]


def random_observations(source: Source, n: int) -> dict[str, Tensor]:
    """(n, ...) observations by the dataset's names: noise for images, states around their mean."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, feature in source.config.input_features.items():
        draw = torch.rand if source.is_image(name) else torch.randn
        value = draw(n, *feature.shape, generator=generator)
        if not source.is_image(name):
            value = source.normalizer._normalize_observation({name: value}, inverse=True)[name]
        found[source.names[name]] = value
    return found


def in_batches(observations: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """Observations in batches of at most `size`."""
    parts = zip(*(value.split(size) for value in observations.values()), strict=True)
    return [dict(zip(observations, part, strict=True)) for part in parts]
