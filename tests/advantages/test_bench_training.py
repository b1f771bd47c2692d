# SPDX-License-Identifier: MIT
"""The benchmark's training in memory: the same samples as LeRobot's dataset's, checkpoints that load."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class
from rewact.advantages.compute import AdvantageOptions
from rewact.keys import LABELS_KEY
from rewact.labels import LeRobotDatasetWithReward
from verify.bench.recipes import rabc_scale
from verify.bench.settings import SETTINGS, require_same_settings
from verify.bench.training import LABELS, MAX_SHIFT, Frames, shift_images, train
from verify.bench.values import compute_advantages, predict_values

from .conftest import FPS, create_dataset, load_dataset

CHUNK_SIZE = 4
SMALL = {
    "device": "cpu",
    "dim_model": 16,
    "n_heads": 2,
    "dim_feedforward": 16,
    "n_encoder_layers": 1,
    "chunk_size": CHUNK_SIZE,
    "n_action_steps": CHUNK_SIZE,
    "use_vae": False,
}


@pytest.fixture
def frames(root):
    return Frames(root)


@pytest.fixture
def camera_root(tmp_path):
    return create_dataset(tmp_path / "camera", camera="image")


@pytest.mark.parametrize("name", ["root", "camera_root"])
def test_batches_are_those_of_the_dataset(name, request):
    root = request.getfixturevalue(name)
    frames = Frames(root)
    delta_timestamps = {"action": [i / FPS for i in range(CHUNK_SIZE)]}
    dataset = LeRobotDatasetWithReward(
        load_dataset(root, delta_timestamps=delta_timestamps),
        config=LABELS,
        horizon=CHUNK_SIZE,
    )
    batch = frames.batch(torch.arange(len(dataset)), CHUNK_SIZE)
    assert len(frames) == len(dataset)
    assert any(key.startswith("observation.image") for key in batch) == (name == "camera_root")
    for index in range(len(dataset)):
        item = dataset[index]
        assert batch[LABELS_KEY] == item[LABELS_KEY]
        for key in batch.keys() - {LABELS_KEY}:
            assert torch.equal(batch[key][index], item[key]), (index, key)


def test_images_are_shifted_each_by_its_own_way():
    height, width = 20, 30
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([rows, columns]).float()
    batch = {"observation.images.top": image.expand(64, -1, -1, -1), "observation.state": torch.ones(64, 2)}
    shifted = shift_images(batch)
    assert shifted["observation.state"] is batch["observation.state"]
    images = shifted["observation.images.top"]
    assert images.shape == (64, 2, height, width)
    ways = set()
    for down, right in images:
        way = int(down[height // 2, 0]) - height // 2, int(right[0, width // 2]) - width // 2
        assert torch.equal(down, (rows + way[0]).clamp(0, height - 1).float())
        assert torch.equal(right, (columns + way[1]).clamp(0, width - 1).float())
        ways.add(way)
    assert len(ways) > 30 and {w for way in ways for w in way} == set(range(-MAX_SHIFT, MAX_SHIFT + 1))


def test_policies_and_values_learn_from_images(camera_root, tmp_path):
    frames = Frames(camera_root)
    features = frames.input_features(("observation.images.top",))
    assert features["observation.images.top"] == PolicyFeature(FeatureType.VISUAL, (3, 64, 64))
    options = {**SMALL, "pretrained_backbone_weights": None, "input_features": features}
    train(frames, tmp_path / "value", "rewact", options, steps=2, batch_size=4, seed=0)
    values = predict_values(frames, tmp_path / "value", torch.arange(len(frames)))
    assert values.shape == (len(frames),) and np.isfinite(values).all() and values.std() > 0


def test_frames_of_episodes(frames):
    assert frames.of_episodes([3, 1]).tolist() == [25, 26, 27, 8, 9, 10, 11, 12]


def test_a_checkpoint_that_is_there_is_not_trained_again(frames, tmp_path):
    output = tmp_path / "act"
    options = {**SMALL, "use_reward_head": False}
    train(frames, output, "act", options, steps=2, batch_size=4, seed=0)
    written = (output / "model.safetensors").stat().st_mtime_ns
    train(frames, output, "act", options, steps=2, batch_size=4, seed=1)
    assert (output / "model.safetensors").stat().st_mtime_ns == written
    config = PreTrainedConfig.from_pretrained(output)
    get_policy_class(config.type).from_pretrained(output, config=config)


def test_training_sees_what_it_is_given(frames, tmp_path, root):
    """The same seed gives the same weights; other episodes, advantages and weights give others."""

    class Weighter:
        def compute_batch_weights(self, batch):
            return (batch["index"] % 2).float(), {}

    def weights(name, policy_type="act", **options):
        extra = {"use_reward_head": False} if policy_type == "act" else {}
        train(frames, tmp_path / name, policy_type, {**SMALL, **extra}, 3, 8, 0, **options)
        config = PreTrainedConfig.from_pretrained(tmp_path / name)
        policy = get_policy_class(policy_type).from_pretrained(tmp_path / name, config=config)
        return policy.model.action_head.weight

    reference = weights("all")
    assert torch.equal(weights("again"), reference)
    assert not torch.equal(weights("some", episodes=[0, 2]), reference)
    assert not torch.equal(weights("weighted", weighter=Weighter()), reference)


def test_actvantage_is_trained_on_the_advantages_file(frames, tmp_path, root, run):
    assert run("--from_returns=true") is None
    advantages = root / "rewact_extensions" / "advantages.parquet"
    train(frames, tmp_path / "policy", "actvantage", SMALL, 2, 4, 0, advantages=advantages)
    assert json.loads((tmp_path / "policy" / "config.json").read_text())["type"] == "actvantage"
    with pytest.raises(ValueError, match="no label 'advantage'"):
        train(frames, tmp_path / "none", "actvantage", SMALL, 2, 4, 0)


def test_an_episode_is_judged_by_a_value_function_that_has_not_seen_it(frames, tmp_path):
    training = {"steps": 2, "batch_size": 4, "seed": 0}
    output = tmp_path / "advantages.parquet"
    options = AdvantageOptions(n_steps=2, positive_fraction=0.5)
    small = {**SMALL, "input_features": frames.input_features(("observation.environment_state",))}
    compute_advantages(frames, tmp_path / "values", output, 4, options, small, **training)
    table = pq.read_table(output)
    for episode in range(4):
        others = [other for other in range(4) if other != episode]
        blind = tmp_path / f"blind_to_{episode}"
        train(frames, blind, "rewact", small, episodes=others, **training)
        indices = frames.of_episodes([episode])
        expected = predict_values(frames, blind, indices)
        np.testing.assert_array_equal(table["value"].to_numpy()[indices], expected)
    assert len(list((tmp_path / "plots").iterdir())) == 5


def test_results_of_other_settings_are_not_mixed(tmp_path):
    settings = SETTINGS["states"]["a"]
    require_same_settings(tmp_path, settings)
    require_same_settings(tmp_path, settings)
    message = f"{tmp_path} was made with steps={settings.steps}, not 7: choose another --output-dir"
    with pytest.raises(SystemExit, match=message):
        require_same_settings(tmp_path, replace(settings, steps=7))
    require_same_settings(tmp_path, settings)


def test_the_scale_of_rabc_is_of_gains_within_episodes(tmp_path):
    frame = np.tile(np.arange(12), 2)
    value = frame / np.repeat([20, 40], 12)
    columns = {
        "episode_index": np.repeat([0, 1], 12),
        "frame_index": frame,
        "progress_sparse": value.astype(np.float32),
    }
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    # In a chunk of 10 steps one episode gains 0.5 and the other 0.25, twice each.
    assert rabc_scale(tmp_path / "p.parquet", 10, 0.0) == pytest.approx(0.375)
    assert rabc_scale(tmp_path / "p.parquet", 10, 2.0) == pytest.approx(0.625)
