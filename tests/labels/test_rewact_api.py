# SPDX-License-Identifier: MIT
"""`import rewact`: the short API, and the examples in the docstrings."""

import doctest
import importlib
import subprocess
import sys

import pytest

import rewact

MODULES = [
    "rewact",
    "rewact.judge.completion",
    "rewact.options.labels",
    "rewact.labels.interpolation",
    "rewact.labels.keypoints",
]


@pytest.mark.parametrize("module", MODULES)
def test_docstring_examples(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0 and result.failed == 0


def test_importing_it_is_light():
    code = "import sys, rewact; assert not {'torch', 'lerobot', 'numpy'} & set(sys.modules), 'heavy import'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names():
    assert all(hasattr(rewact, name) for name in rewact.__all__) and set(dir(rewact)) == set(rewact.__all__)
    assert rewact.__version__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rewact.nothing


def test_a_policy_for_a_dataset(load):
    from rewact.policy import RewACTConfig, RewACTPolicy

    dataset = rewact.LeRobotDatasetWithReward(load())
    # An ACT needs an image or the environment's state; this dataset's only other vector plays that part.
    dataset.meta.features["observation.environment_state"] = dataset.meta.features["observation.state"]
    config = RewACTConfig(
        chunk_size=4, n_action_steps=4, dim_model=16, n_heads=2, dim_feedforward=16, n_encoder_layers=1,
        pretrained_backbone_weights=None, push_to_hub=False,
    )  # fmt: skip
    policy = rewact.make_rewact_policy(config, dataset.meta, device="cpu")
    assert isinstance(policy, RewACTPolicy)
    assert policy.config.output_features["action"].shape == (2,)
    assert next(policy.parameters()).device.type == "cpu"
