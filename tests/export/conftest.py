# SPDX-License-Identifier: MIT
"""Small policies with their processors, and graphs of them."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.factory import get_policy_class, make_policy, make_pre_post_processors
from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.configuration_rewact import RewACTConfig
from rewact.cli import export as tool
from rewact.cli.common import load_policy_config, run_tool
from rewact.export.graph import PolicyGraph
from rewact.export.onnx_file import describe_policy, to_onnx, write_policy
from rewact.export.source import Source, load_source
from rewact.options.tools import PolicyOptions
from tests.labels.conftest import create_dataset
from tests.small import SMALL_ACT

LENGTHS = (9, 12, 7, 10)
CONFIGS = {"act": ACTConfig, "rewact": RewACTConfig, "actvantage": ACTvantageConfig}
ENVIRONMENT = PolicyFeature(FeatureType.ENV, (5,))
STATE = PolicyFeature(FeatureType.STATE, (3,))
CAMERA = PolicyFeature(FeatureType.VISUAL, (3, 32, 48))
NO_CAMERA = {"observation.environment_state": ENVIRONMENT, "observation.state": STATE}
SMALL = {**SMALL_ACT, "chunk_size": 6, "n_action_steps": 4, "num_value_bins": 11}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def statistics(features: dict) -> dict:
    """Different for each number, and far from 0 and 1."""
    found = {}
    for key, feature in features.items():
        shape = (3, 1, 1) if feature.type is FeatureType.VISUAL else feature.shape
        low = torch.rand(shape) * 3 - 1
        found[key] = {"mean": low + 0.5, "std": torch.rand(shape) + 0.2, "min": low, "max": low + 1.7}
    return found


def save_checkpoint(folder: Path, policy_type: str = "rewact", inputs: dict | None = None, **options) -> Path:
    """Write a policy with random weights and its processors."""
    torch.manual_seed(0)
    inputs = inputs or NO_CAMERA
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (2,))}
    config = CONFIGS[policy_type](
        device="cpu",
        push_to_hub=False,
        pretrained_backbone_weights=None,
        input_features=inputs,
        output_features=outputs,
        **{**SMALL, **options},
    )
    policy = get_policy_class(policy_type)(config)
    if config.reward_label_horizon is not None:
        # As after some training: an untrained head forecasts that nothing changes.
        torch.nn.init.normal_(policy.model.reward_head.forecast.weight)
    for module in policy.modules():
        if hasattr(module, "running_var"):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    processors = make_pre_post_processors(config, dataset_stats=statistics({**inputs, **outputs}))
    for part in (policy, *processors):
        part.save_pretrained(folder)
    return folder


def load(folder: Path, **overrides) -> Source:
    """Load a checkpoint as `lerobot-export` does."""
    options = PolicyOptions(str(folder), overrides={name: str(value) for name, value in overrides.items()})
    return load_source(load_policy_config(options), {})


def write(source: Source, folder: Path, model=None) -> Path:
    """Export without the comparison; `model` is a graph of a policy that differs in settings alone."""
    graph = PolicyGraph(source.policy, source.normalizer, source.unnormalizer)
    folder.mkdir(parents=True, exist_ok=True)
    model = to_onnx(graph, source.names, 18) if model is None else model
    write_policy(folder, model, describe_policy(source, graph, None, "fp32"))
    return folder


def observe(source: Source, batch_size: int) -> dict[str, torch.Tensor]:
    """A random observation."""
    return {
        source.names[name]: torch.rand(batch_size, *feature.shape)
        for name, feature in source.config.input_features.items()
    }


def as_numpy(observation):
    return {name: value.numpy() for name, value in observation.items()}


def assert_equal_steps(source, exported, batch_size, n_steps=11, n_episodes=3):
    """Roll both out over the same observations, with a reset after each episode."""
    for episode in range(n_episodes):
        source.policy.reset()
        exported.reset()
        assert exported.last_predicted_reward is None and exported.done is None
        for step in range(n_steps):
            observation = observe(source, batch_size)
            force = episode == 2 and step % 3 == 2 and source.config.use_reward_head
            batch = source.preprocessor(dict(observation))
            expected = source.policy.select_action(batch, force_model_run=force)
            found = exported.select_action(as_numpy(observation), force_model_run=force)
            if not source.config.use_reward_head:
                expected, found = (expected, torch.zeros(batch_size)), (found, np.zeros(batch_size))
            where = f"episode {episode}, step {step}"
            action = source.postprocessor(expected[0]).numpy()
            np.testing.assert_allclose(found[0], action, atol=2e-5, err_msg=where)
            np.testing.assert_allclose(found[1], expected[1].numpy(), atol=1e-5, err_msg=where)
            if source.config.use_reward_head:
                assert exported.last_reward_is_forecast == source.policy.last_reward_is_forecast, where


def invoke(monkeypatch, *arguments):
    """Run the command; returns its results, or raises SystemExit."""
    results = {}
    monkeypatch.setattr(sys, "argv", ["lerobot-export", *map(str, arguments)])
    run_tool(tool.ExportConfig, lambda cfg: results.update(tool.export(cfg)), tool.__doc__)
    return results


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A dataset with one camera, which it calls otherwise than the policy does."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    return create_dataset(folder, "local/pick", LENGTHS, cameras=["observation.images.top"])


@pytest.fixture(scope="session")
def trained(root, tmp_path_factory):
    """A policy, as if it was trained on all but the last two episodes."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("policy") / "pretrained_model"
    meta = LeRobotDatasetMetadata("local/pick", root=root)
    rename = {"observation.images.top": "observation.images.front"}
    config = RewACTConfig(device="cpu", push_to_hub=False, pretrained_backbone_weights=None, **SMALL)
    policy = make_policy(config, ds_meta=meta, rename_map=rename)
    features = policy.config.input_features
    features.update({rename.get(name, name): features.pop(name) for name in list(features)})
    torch.nn.init.normal_(policy.model.reward_head.forecast.weight)
    stats = {rename.get(name, name): value for name, value in meta.stats.items()}
    preprocessor, postprocessor = make_pre_post_processors(policy.config, dataset_stats=stats)
    preprocessor.steps[0].rename_map = rename
    for part in (policy, preprocessor, postprocessor):
        part.save_pretrained(folder)
    dataset = {"repo_id": "local/pick", "root": str(root), "episodes": [0, 1], "video_backend": "pyav"}
    (folder / "train_config.json").write_text(json.dumps({"dataset": dataset}))
    return folder
