# SPDX-License-Identifier: MIT
"""`import rewact`: the short API, and the examples in the docstrings."""

import doctest
import importlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from torch.utils.data import default_collate

import rewact
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

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


def test_a_loaded_policy_acts_on_recorded_frames_in_recorded_units(camera_root, checkpoint):
    dataset = LeRobotDataset("local/cameras", root=camera_root, video_backend="pyav")
    policy = rewact.load(checkpoint, device="cpu")
    frame = dataset[3]
    action, reward = policy.select_action(frame)
    assert action.shape == frame["action"].shape and reward.shape == ()
    raw, _ = (
        policy.policy.__class__.from_pretrained(checkpoint)
        .eval()
        .select_action(
            policy.preprocessor({key: frame[key][None] for key in policy.policy.config.input_features})
        )
    )
    stats = dataset.meta.stats["action"]
    expected = raw[0].numpy() * stats["std"] + stats["mean"]  # not what the network says itself
    np.testing.assert_allclose(action.numpy(), expected, rtol=1e-4)
    assert policy.predict_reward(frame) == reward

    policy.reset()
    batch = default_collate([dataset[3], dataset[9]])
    actions, rewards = policy.select_action(batch)
    assert actions.shape == (2, 2) and rewards.shape == (2,)
    np.testing.assert_allclose(actions[0], action, atol=1e-4)
    with pytest.raises(ValueError, match="the observation lacks 'observation.state'"):
        policy.select_action({key: value for key, value in frame.items() if key != "observation.state"})


@pytest.mark.parametrize("missing", ["policy_preprocessor.json", "model.safetensors", "half of the weights"])
def test_a_checkpoint_that_was_not_saved_to_the_end_is_named(camera_root, checkpoint, tmp_path, missing):
    """A kill in the middle of saving left one that ended in a traceback."""
    from rewact.values.predictor import RewardPredictor

    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    if missing.startswith("half"):
        weights = broken / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        (broken / missing).unlink()
    config = PreTrainedConfig.from_pretrained(broken)
    config.pretrained_path = broken
    meta = LeRobotDatasetMetadata("local/cameras", root=camera_root)
    for read in (lambda: rewact.load(broken, device="cpu"), lambda: RewardPredictor(config, meta)):
        with pytest.raises(ValueError, match=rf"^the checkpoint {broken} cannot be read .*the one before$"):
            read()
