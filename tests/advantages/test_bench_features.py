# SPDX-License-Identifier: MIT
"""The benchmark on frozen features: pictures are read many at once, and values never by who has seen them."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class
from rewact.advantages.compute import AdvantageOptions
from rewact.advantages.file import load_advantages
from rewact.options.values import ValueOptions
from rewact.values import backbones
from rewact.values.backbones import Backbone
from verify.bench import values
from verify.bench.features import IMAGE, Encoder, load_encode, open_features
from verify.bench.rollout import run_episodes
from verify.bench.training import Frames, train
from verify.bench.values import compute_advantages_of_features

from .conftest import LENGTHS, create_dataset
from .test_bench_training import SMALL


@pytest.fixture
def passes(monkeypatch):
    """A stand-in for the backbone. Returns the number of pictures of each of its forward passes."""
    passes = []

    class Network(nn.Conv2d):
        def forward(self, images):
            passes.append(len(images))
            return super().forward(images)

    torch.manual_seed(0)
    network = Network(3, 2, 16, stride=16)
    monkeypatch.setitem(backbones.LOADERS, "efficientnet_lite0", lambda options: Backbone(network, options))
    return passes


def pictures(n):
    return np.random.default_rng(n).integers(256, size=(n, 96, 96, 3), dtype=np.uint8)


class Corridor:
    """Starts so many steps before its end; each action is a step."""

    def reset(self, start):
        self.left = start
        return np.array([self.left])

    def step(self, action):
        self.left -= int(action[0])
        return np.array([self.left]), self.left <= 0


def test_all_that_are_under_way_are_decided_at_once():
    asked = []

    def decide(observed):
        asked.append(observed["left"][:, 0].tolist())
        return np.ones((len(asked[-1]), 2, 1))

    tasks = [Corridor(), Corridor(), Corridor()]
    runs = run_episodes(tasks, [1, 9, 4, 3], 5, lambda task, left: {"left": left}, decide)
    assert [run.success for run in runs] == [True, False, True, True]
    assert [run.n_steps for run in runs] == [1, 5, 4, 3]
    assert asked == [[1, 9, 4], [7, 2], [5], [3], [1]]


def test_the_encoder_reads_many_pictures_at_once_and_is_kept_with_the_data(tmp_path, passes):
    encoder = Encoder.of_new_data()
    (tmp_path / "bench").mkdir()
    features = [encoder.read(pictures(n)) for n in (70, 30)]
    assert passes == [64, 6, 30]
    assert [len(of_episode) for of_episode in features] == [70, 30] and features[0].dtype == np.float16
    encoder.fit(features)
    encoder.save(tmp_path)
    passes.clear()
    observed = {IMAGE: pictures(5), "observation.state": np.ones((5, 4), np.float32)}
    given = load_encode(tmp_path, "features")(observed)
    assert passes == [5] and given.keys() == {"observation.state", "observation.environment_state"}
    np.testing.assert_array_equal(
        given["observation.environment_state"], encoder.project(encoder.read(observed[IMAGE]))
    )
    assert load_encode(tmp_path, "states")(observed) is observed


@pytest.fixture
def frames(tmp_path, passes):
    state = np.linspace(0, 1, sum(LENGTHS)).astype(np.float32)
    root = create_dataset(tmp_path / "data", columns={"observation.state": state})
    (root / "bench").mkdir()
    encoder = Encoder.of_new_data()
    features = [encoder.read(pictures(length)) for length in LENGTHS]
    encoder.fit(features)
    encoder.save(root)
    frames = Frames(root)
    cache = open_features(frames.meta)
    for row, values_ in enumerate(features):
        episode = slice(int(frames.table.starts[row]), int(frames.table.ends[row]))
        cache.write(row, {IMAGE: values_, "observation.state": state[episode, None]})
    return frames


def test_values_of_features_are_out_of_fold_and_learned_once(frames, tmp_path, passes, monkeypatch):
    fits = []

    def cross_fit(cache, keys, targets, rows, folds, *arguments, **options):
        fits.append(folds.tolist())
        return original(cache, keys, targets, rows, folds, *arguments, **options)

    original = values.cross_fit
    monkeypatch.setattr(values, "cross_fit", cross_fit)
    passes.clear()
    small = ValueOptions(folds=2, members=2, components=4, hidden_dim=8, steps=2, batch_size=8)
    for aggregate in ("mean", "min"):
        options = AdvantageOptions(n_steps=2, positive_fraction=0.5)
        output = tmp_path / f"{aggregate}.parquet"
        small.aggregate = aggregate
        compute_advantages_of_features(frames, tmp_path / "values", output, options, small, 0)
        assert set(load_advantages(frames.meta, output)) == {1.0, -1.0}
    assert passes == []  # the pictures were read when the data were made
    assert len(fits) == 2 and fits[0] == fits[1] and set(fits[0]) == {0, 1}  # of progress and of success
    mean, least = (np.load(tmp_path / "values" / f"{name}.npy") for name in ("mean", "min"))
    assert (least <= mean).all() and (least < mean).any()
    report = json.loads((tmp_path / "values" / "values.json").read_text())
    assert report["success from outcomes"]["n_failures"] == 2


def test_ablations_see_what_they_should(root, tmp_path, run):
    assert run("--from_returns=true") is None
    frames, advantages = Frames(root), root / "rewact_extensions" / "advantages.parquet"

    def token(name, steps=1, **options):
        train(frames, tmp_path / name, "actvantage", SMALL, steps, 8, 0, advantages=advantages, **options)
        config = PreTrainedConfig.from_pretrained(tmp_path / name)
        policy = get_policy_class("actvantage").from_pretrained(tmp_path / name, config=config)
        return policy.model.extra_tokens.embedding.weight

    plain = token("plain")
    negative, positive, _ = token("untrained", steps=0)
    blind = token("no_negatives", use_negatives=False)
    assert torch.allclose(blind[0], negative, atol=1e-6) and not torch.allclose(plain[0], negative, atol=1e-6)
    only = token("only_positive", positive_share=1.0)
    assert torch.allclose(only[0], negative, atol=1e-6) and not torch.allclose(only[1], positive, atol=1e-6)
    assert torch.equal(token("goes_on", steps=0, start=tmp_path / "plain"), plain)
