# SPDX-License-Identifier: MIT
"""lerobot-train-values: cross-fitted values on frozen features, from the command to the checkpoint."""

import json
import os
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from rewact.cli import train_values as tool
from rewact.cli.common import load_policy_config
from rewact.labels import build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.progress import load_progress
from rewact.options.labels import RewardLabelsConfig
from rewact.options.tools import PolicyOptions
from rewact.values import backbones, extraction, processes, runner
from rewact.values.backbones import Backbone
from rewact.values.batches import EpisodeBatches, load_batches
from rewact.values.feature_cache import FeatureCache
from rewact.values.predictor import RewardPredictor
from tests import warm
from tests.versions import HAS_REWARD_MODELS

LENGTHS = (22, 26, 20, 24, 25, 21)
FAILED = 3


def create_dataset(root, lengths=LENGTHS, seed=0):
    """A dot moves across the picture as the task proceeds; in one episode it stops half-way."""
    features = {
        "observation.images.top": {
            "dtype": "image",
            "shape": (32, 32, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": (2,), "names": None},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
    }
    dataset = LeRobotDataset.create("local/dot", 10, features, root=root, use_videos=False)
    rng = np.random.default_rng(seed)
    for episode, length in enumerate(lengths):
        for frame in range(length):
            done = frame / (length - 1)
            at = min(done, 0.4) if episode == FAILED else done
            picture = rng.integers(0, 20, (32, 32, 3)).astype(np.uint8)
            column = round(at * 27)
            picture[12:20, column : column + 5] = 255
            dataset.add_frame(
                {
                    "observation.images.top": picture,
                    "observation.state": rng.normal(size=2).astype(np.float32),
                    "action": rng.normal(size=2).astype(np.float32),
                    "task": "move",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    (root / "rewact_extensions").mkdir()
    outcomes = [
        {"episode_index": index, "outcome": "failure" if index == FAILED else "success"}
        for index in range(len(lengths))
    ]
    (root / "rewact_extensions" / "outcomes.json").write_text(json.dumps(outcomes))
    return root


@pytest.fixture(scope="module")
def _dot(tmp_path_factory):
    return create_dataset(tmp_path_factory.mktemp("data") / "dot")


class Columns(nn.Module):
    def forward(self, images):
        return nn.functional.avg_pool2d(images, 8)


@pytest.fixture
def encoded(monkeypatch):
    """A stand-in for the backbone. Returns a list with the number of pictures of each forward pass."""
    sizes = []

    def load(options):
        network = Columns()
        network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
        return Backbone(network, options)

    monkeypatch.setitem(backbones.LOADERS, "efficientnet_lite0", load)
    return sizes


SMALL = (
    "--features.image_size=32",
    "--values.components=8",
    "--values.window_s=[0.3]",
    "--values.hidden_dim=32",
    "--values.steps=150",
    "--values.batch_size=64",
    "--values.folds=3",
    "--values.dropout=0.0",
    "--values.lr=0.01",
    "--smooth_s=0",
    "--device=cpu",
)


@pytest.fixture
def train(monkeypatch, tmp_path, encoded):
    """Run the command. Returns the report, None for a shard, or the message that it ends with."""

    def train(root, *flags):
        argv = [
            "lerobot-train-values",
            "--dataset.repo_id=local/dot",
            f"--dataset.root={root}",
            f"--output_dir={tmp_path / 'out'}",
            f"--cache_dir={tmp_path / 'cache'}",
            *SMALL,
        ]
        monkeypatch.setattr(sys, "argv", [*argv, *flags])
        try:
            tool.main()
        except SystemExit as exit:
            return str(exit.code)
        path = tmp_path / "out" / "values.json"
        return json.loads(path.read_text()) if path.is_file() else None

    return train


@pytest.fixture
def root(_dot, tmp_path):
    import shutil

    return shutil.copytree(_dot, tmp_path / "dot")


def read_values(path, root):
    return load_progress(path, EpisodeTable.from_metadata(LeRobotDatasetMetadata("local/dot", root=root)))


def predict(checkpoint, root, episodes, batch_size=7):
    meta = LeRobotDatasetMetadata("local/dot", root=root)
    predictor = RewardPredictor(load_config(checkpoint), meta)
    dataset = LeRobotDataset("local/dot", root=root)
    batches = load_batches(EpisodeBatches(dataset, list(episodes), batch_size), 0)
    return np.concatenate([predictor(batch).reward for _, _, batch in batches])


def load_config(checkpoint):
    return load_policy_config(PolicyOptions(path=checkpoint))


def test_values_follow_the_task_and_the_controls_show_it(train, root, tmp_path):
    report = train(root)
    assert report["values"]["voc"] > 0.85
    assert report["success"]["auroc"] == 1.0
    assert report["controls"]["clock"]["voc"] > 0.99
    # The state is noise, and in random order nothing but the picture tells.
    assert abs(report["controls"]["state alone"]["voc"]) < 0.5
    assert abs(report["controls"]["frames in random order"]["voc"]) < 0.4
    assert report["stop"]["false_stops_low"] <= report["stop"]["false_stops"]
    assert (tmp_path / "out" / "values.png").is_file()


def test_the_checkpoint_gives_an_episode_it_was_trained_on_the_value_out_of_fold(train, root, tmp_path):
    train(root)
    written = read_values(tmp_path / "out" / "values_progress.parquet", root)
    predicted = predict(tmp_path / "out" / "pretrained_model", root, range(6))
    np.testing.assert_allclose(predicted, written, atol=2e-3)


def test_values_are_written_as_means_over_time(train, root, tmp_path):
    report = train(root)
    assert report["written"]["mae"] == report["values"]["mae"]
    alone = read_values(tmp_path / "out" / "values_progress.parquet", root)
    assert train(root, "--smooth_s=0.4")["written"] != report["written"]
    written = read_values(tmp_path / "out" / "values_progress.parquet", root)
    start, end = LENGTHS[0], LENGTHS[0] + LENGTHS[1]
    np.testing.assert_allclose(written[start + 5], alone[start + 3 : start + 8].mean(), atol=1e-6)
    # Other episodes have no part in it.
    expected = alone[[start, start, start, start + 1, start + 2]].mean()
    np.testing.assert_allclose(written[start], expected, atol=1e-6)
    expected = alone[[end - 3, end - 2, end - 1, end - 1, end - 1]].mean()
    np.testing.assert_allclose(written[end - 1], expected, atol=1e-6)


def test_a_checkpoint_of_other_weights_is_refused(train, root, tmp_path):
    train(root)
    path = tmp_path / "out" / "pretrained_model"
    weights = load_file(path / "model.safetensors")
    weights["of_another_version"] = weights.pop(min(weights))
    save_file(weights, path / "model.safetensors")
    with pytest.raises(ValueError, match="model.safetensors was written by another version .* train the val"):
        predict(path, root, range(1))


def test_on_another_dataset_all_ensembles_answer(train, root, tmp_path):
    train(root)
    other = create_dataset(tmp_path / "other", lengths=(22, 20, 26), seed=1)
    predicted = predict(tmp_path / "out" / "pretrained_model", other, episodes=range(3))
    config = load_config(tmp_path / "out" / "pretrained_model")
    meta = LeRobotDatasetMetadata("local/dot", root=other)
    alone = RewardPredictor(config, meta).policy
    alone.ensembles = alone.ensembles[:1]
    assert np.isfinite(predicted).all()
    assert np.corrcoef(predicted[:22], np.arange(22))[0, 1] > 0.8


def test_a_second_run_computes_no_features(train, root, encoded, tmp_path, monkeypatch):
    first = train(root)
    n_pictures = sum(encoded)
    assert n_pictures >= sum(LENGTHS)
    monkeypatch.setattr(runner, "require_writable", Mock(side_effect=ValueError))  # read-only will do
    again = train(root)
    assert sum(encoded) - n_pictures <= 1  # one to learn the size of a feature
    assert again == first


def test_an_interrupted_run_goes_on(train, root, encoded, monkeypatch, tmp_path):
    write, written = FeatureCache.write, []

    def stop(self, row, features):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(row)
        write(self, row, features)

    monkeypatch.setattr(FeatureCache, "write", stop)
    assert train(root) == "130"
    monkeypatch.setattr(FeatureCache, "write", write)
    encoded.clear()
    assert train(root)["n_episodes"] == len(LENGTHS)
    assert sum(encoded) - 1 == sum(LENGTHS) - sum(LENGTHS[row] for row in written)


def test_shards_are_taken_over(train, root, encoded, tmp_path):
    whole = train(root)
    (tmp_path / "out" / "values.json").unlink()
    import shutil

    shutil.rmtree(tmp_path / "cache")
    for shard in ("0/3", "1/3", "2/3"):
        assert train(root, f"--shard={shard}") is None
    encoded.clear()
    assert train(root) == whole
    assert sum(encoded) == 1
    assert not list((tmp_path / "cache").glob("*/shard_*"))


@pytest.mark.parametrize("shard", ["3/3", "1", "-1/2", "a/b"])
def test_a_shard_that_is_not_one_is_refused(train, root, shard):
    assert "shard must be i/n" in (train(root, f"--shard={shard}") or "")


def test_values_serve_as_labels(train, root, tmp_path):
    train(root)
    meta = LeRobotDatasetMetadata("local/dot", root=root)
    labels = build_reward_labels(meta, RewardLabelsConfig(sources=["values"]))
    written = read_values(tmp_path / "out" / "values_progress.parquet", root)
    np.testing.assert_array_equal(labels.rewards.numpy(), written)


def test_values_as_labels_have_to_be_there(root):
    meta = LeRobotDatasetMetadata("local/dot", root=root)
    with pytest.raises(ValueError, match="values_progress.parquet is missing; make it with"):
        build_reward_labels(meta, RewardLabelsConfig(sources=["values"]))


def test_success_as_target_needs_outcomes(train, root):
    report = train(root, "--target=success")
    assert report["success"]["auroc"] is not None
    (root / "rewact_extensions" / "outcomes.json").unlink()
    assert "the outcome of 6 episodes is not known" in train(root, "--target=success")


def test_a_negative_time_is_refused(train, root):
    assert "smooth_s must be at least 0 seconds, got -1.0" in train(root, "--smooth_s=-1")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--seed=-1", "--seed must be a whole number from 0 to 4294967295, got -1"),
        ("--device=nowhere", "--device=nowhere: torch finds no such device on this machine, but cpu"),
        ("--device=meta", "--device=meta: torch finds no such device on this machine, but cpu"),
        ("--device=cuda:99", "--device=cuda:99: torch finds no such device on this machine, but cpu"),
    ],
)
def test_seeds_and_devices_that_are_none_are_refused(train, root, encoded, flag, message):
    assert train(root, flag).startswith(f"error: {message}") and not encoded


def test_a_cache_that_cannot_be_written_is_refused(train, root, encoded):
    message = train(root, f"--cache_dir={__file__}")
    assert (
        message.startswith(f"error: --cache_dir={__file__}/") and f": {__file__} is not a folder" in message
    )


def test_a_done_column_has_to_be_there(train, root):
    assert "has no column 'next.reward'" in train(root, "--done_column=next.reward")
    (root / "data").rename(root / "elsewhere")  # as where only the metadata has been downloaded yet
    assert "its column 'action' is needed, but none of its data" in train(root, "--done_column=action")


def test_more_folds_than_episodes_are_refused(train, root):
    assert "folds must be at most the number of episodes, 6, got 7" in train(root, "--values.folds=7")


@pytest.fixture
def compute_advantages(train, root, tmp_path, run):
    """Run `lerobot-compute-advantages` with values that were trained before. Returns its message, if any."""
    train(root)
    return lambda flag: run(
        "--dataset.repo_id=local/dot",
        f"--policy.path={tmp_path / 'out' / 'pretrained_model'}",
        f"--output_path={tmp_path / 'advantages.parquet'}",
        flag,
        dataset_root=root,
    )


def test_advantages_are_computed_with_it(compute_advantages, root, tmp_path):
    assert compute_advantages("--batch_size=9") is None
    import pyarrow.parquet as pq

    values = pq.read_table(tmp_path / "advantages.parquet")["value"].to_numpy()
    np.testing.assert_allclose(
        values, read_values(tmp_path / "out" / "values_progress.parquet", root), atol=2e-3
    )


def test_values_of_features_are_not_trained_in_folds_again(compute_advantages):
    message = compute_advantages("--folds=2")
    assert "--folds trains policies, and" in message and "leave --folds out" in message


@pytest.mark.skipif(not HAS_REWARD_MODELS, reason="LeRobot has no reward models before 0.6")
def test_lerobots_registry_of_reward_models_gives_values_out_of_fold(train, root, tmp_path):
    from torch.utils.data import default_collate

    from lerobot.rewards import make_reward_model
    from rewact.reward_model import RewACTHeadConfig

    train(root)
    meta = LeRobotDatasetMetadata("local/dot", root=root)
    config = RewACTHeadConfig(pretrained_path=str(tmp_path / "out" / "pretrained_model"), device="cpu")
    model = make_reward_model(config, dataset_meta=meta)
    dataset = LeRobotDataset("local/dot", root=root)
    rewards = model.compute_reward(default_collate([dataset[frame] for frame in range(LENGTHS[0])]))
    written = read_values(tmp_path / "out" / "values_progress.parquet", root)
    np.testing.assert_allclose(rewards.numpy(), written[: LENGTHS[0]], atol=2e-3)


def test_episodes_are_read_from_their_start(train, root, tmp_path):
    train(root)
    meta = LeRobotDatasetMetadata("local/dot", root=root)
    predictor = RewardPredictor(load_config(tmp_path / "out" / "pretrained_model"), meta)
    item = LeRobotDataset("local/dot", root=root)[30]
    batch = {key: value[None] if isinstance(value, torch.Tensor) else [value] for key, value in item.items()}
    with pytest.raises(ValueError, match="frame 30 of episode 1 cannot be read without those before it"):
        predictor(batch)


def test_it_follows_environments_step_by_step(train, root, tmp_path):
    """As on a robot: no index, one observation of each environment at a time, from `reset` on."""
    train(root)
    other = create_dataset(tmp_path / "other", lengths=(22, 20), seed=1)
    checkpoint = tmp_path / "out" / "pretrained_model"
    expected = predict(checkpoint, other, episodes=[0])
    dataset = LeRobotDataset("local/dot", root=other)
    keys = ("observation.images.top", "observation.state")
    items = [dataset[frame] for frame in range(22)]
    twice = [{key: item[key][None].repeat_interleave(2, 0) for key in keys} for item in items]
    for known in (other, root):  # the number of an environment is not that of an episode that was trained on
        meta = LeRobotDatasetMetadata("local/dot", root=known)
        policy = RewardPredictor(load_config(checkpoint), meta).policy
        values = torch.stack([policy.predict_reward(batch) for batch in twice])
        np.testing.assert_allclose(values[:, 1].numpy(), expected, atol=2e-3)


# In two processes, as `accelerate launch` starts them.


def main():
    """Run the command with the stand-in for the backbone, and write down which process encoded which episode.

    The second argument is an episode whose features are not finite, the third a pipe that process 1 waits at
    until process 0 has got on as far as it can.
    """
    log, broken, pipe = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    del sys.argv[1:4]
    backbones.LOADERS["efficientnet_lite0"] = lambda options: Backbone(Columns(), options)
    write, missing, gather = FeatureCache.write, FeatureCache.missing, processes.gather_object
    rank, waiting = int(os.environ["RANK"]), []

    def logged_write(cache, row, features):
        (log / f"{row}-{rank}").touch()
        write(cache, row, features)
        go_on()

    def slow_missing(cache, rows):
        if rank == 1:
            pipe.read_bytes()
        else:
            waiting.append(True)
        return missing(cache, rows)

    def go_on():
        if waiting:
            waiting.clear()
            pipe.write_bytes(b"")

    def logged_gather(objects):
        go_on()
        return gather(objects)

    def encode(backbone, stream, values):
        encoded = _encode(backbone, stream, values)
        return encoded * np.float32(np.nan) if rank == 1 and broken >= 0 else encoded

    _encode, extraction._encode = extraction._encode, encode
    FeatureCache.write, FeatureCache.missing = logged_write, slow_missing
    processes.gather_object = logged_gather
    tool.main()


@pytest.fixture
def launch(root, tmp_path):
    """Run the command in two processes; returns how they ended and the (episode, process) encoded."""

    def launch(*flags, broken=-1):
        log, pipe = tmp_path / "log", tmp_path / "pipe"
        log.mkdir()
        os.mkfifo(pipe)
        ends = warm.run_together(
            "tests.advantages.test_train_values",
            *(log, broken, pipe),
            "--dataset.repo_id=local/dot",
            f"--dataset.root={root}",
            f"--output_dir={tmp_path / 'two'}",
            f"--cache_dir={tmp_path / 'cache_of_two'}",
            *SMALL,
            *flags,
            n_processes=2,
        )
        pairs = sorted(tuple(map(int, path.name.split("-"))) for path in log.iterdir())
        return [end.code for end in ends], "".join(end.output for end in ends), pairs

    return launch


def test_two_processes_share_the_pictures(launch, train, root, tmp_path):
    codes, output, pairs = launch()
    assert codes == [0, 0], output[-3000:]
    assert pairs == [(row, row % 2) for row in range(len(LENGTHS))]
    train(root)
    np.testing.assert_allclose(
        read_values(tmp_path / "two" / "values_progress.parquet", root),
        read_values(tmp_path / "out" / "values_progress.parquet", root),
        atol=1e-3,  # rounding differs with the number of threads
    )


def test_an_error_of_one_process_ends_both(launch, tmp_path):
    codes, output, pairs = launch(broken=1)
    assert codes == [1, 1]
    assert "episode 1: a feature of observation.images.top is not finite" in output
    assert "error: process 1 of 2 has failed: " in output
    assert not (tmp_path / "two").exists()
