# SPDX-License-Identifier: MIT
"""A checkpoint of plain ACT out of one of ours, for a robot whose LeRobot is not patched."""

from dataclasses import fields
from pathlib import Path

from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.processor import DeviceProcessorStep
from rewact.export.source import Source
from rewact.options.head import RewardHeadConfig


def write_plain_act(source: Source, folder: Path) -> None:
    """Write weights, configuration and processors that LeRobot loads without this project.

    Raises:
        ValueError: If the policy has what plain ACT has no place for.
    """
    config = source.config
    if source.policy.model.extra_tokens is not None:
        raise ValueError(
            f"{config.pretrained_path} ({config.type}) has a token that plain ACT has no place for: "
            "export it with --format=onnx"
        )
    theirs = {each.name for each in fields(ACTConfig) if each.init}
    theirs -= {each.name for each in fields(RewardHeadConfig)} | {"pretrained_backbone_weights"}
    options = {name: getattr(config, name) for name in theirs}
    plain = ACTPolicy(ACTConfig(**options, pretrained_backbone_weights=None, use_reward_head=False))
    plain.config.pretrained_backbone_weights = config.pretrained_backbone_weights
    weights = source.policy.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    plain.config.pretrained_path = None
    plain.config.device = source.device
    for step in source.preprocessor.steps:
        if isinstance(step, DeviceProcessorStep):
            step.device = source.device
    for part in (plain, source.preprocessor, source.postprocessor):
        part.save_pretrained(folder)
