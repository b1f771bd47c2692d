# SPDX-License-Identifier: MIT
"""Judging is honest: intervals, controls, doubts, and whether a policy has seen what it is judged on."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.cli.eval_rewards import EvalRewardsConfig, eval_rewards
from rewact.cli.visualize_rewards import VisualizeRewardsConfig, visualize_rewards
from rewact.draw.advantages import advantage_limit
from rewact.judge.completion import CompletionDetector
from rewact.judge.controls import control_predictions
from rewact.judge.doubts import describe_training, doubts, told_apart
from rewact.judge.intervals import auroc_interval, mean_interval, share_interval
from rewact.judge.metrics import EpisodeRewards, collect_episodes, label_predictions, overall_metrics
from rewact.judge.report import describe_stop, print_evaluation
from rewact.judge.stopping import choose_stop
from rewact.labels import build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.options.labels import RewardLabelsConfig
from rewact.options.tools import DataOptions, PolicyOptions
from rewact.values.checkpoint import trained_episodes
from rewact.values.predictor import RewardPredictor

LENGTHS = (6, 9, 4, 7, 5)


def test_intervals():
    assert share_interval(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)  # Wilson's, from his tables
    assert share_interval(0, 0) is None
    low, high = mean_interval([0.0, 1.0] * 50)
    assert low == pytest.approx(0.4, abs=0.03) and high == pytest.approx(0.6, abs=0.03)
    assert mean_interval([0.0, 1.0], weights=[0, 1]) is not None and mean_interval([1.0]) is None


def test_two_failures_that_are_told_apart_prove_little():
    low, high = auroc_interval(1.0, 8, 2)
    assert low < 0.4 and high == 1.0
    assert auroc_interval(1.0, 200, 200)[0] > 0.95
    assert auroc_interval(0.5, 8, 0) is None


def test_values_that_say_nothing():
    target = np.linspace(0, 1, 100)
    assert doubts(target, target, "the labels") == []
    flat = 0.5 + target * 3e-5
    assert len(doubts(flat, target, "the labels")) == 1
    assert "hardly vary: 90 % of them lie between 0.5" in doubts(flat, target, "the labels")[0]
    (backwards,) = doubts(1 - target, target, "the labels")
    assert backwards == "the values do not follow the labels: their rank correlation is -1.00"
    gaps = np.where(target < 0.5, np.nan, target)
    assert doubts(gaps, target, "the labels") == doubts(target, gaps, "the labels") == []
    assert doubts(np.full(3, np.nan), target[:3], "the labels") == []


def episodes(error, n=12):
    label = np.linspace(0, 1, 20, dtype=np.float32)
    return [EpisodeRewards(i, label + np.float32(error + 0.01 * (i % 3)), label) for i in range(n)]


def test_models_that_cannot_be_told_apart():
    assert told_apart({"a": episodes(0.1), "b": episodes(0.2)}, {"clock": episodes(0.5)}) == []
    shuffled = [*episodes(0.1)[6:], *episodes(0.1)[:6]]
    found = told_apart({"a": episodes(0.1), "b": shuffled}, {"clock": episodes(0.3), "flat": episodes(0.3)})
    assert found == ["a and b cannot be told apart by their errors on 12 episodes"]
    assert len(told_apart({"a": episodes(0.1, 1)}, {"clock": episodes(0.5, 1)})) == 1  # one episode is none


def test_controls_look_at_nothing(camera_root):
    labels = build_reward_labels(
        LeRobotDatasetMetadata("local/cameras", root=camera_root), RewardLabelsConfig()
    )
    judged = collect_episodes(labels, label_predictions(labels, [0, 1]))
    controls = control_predictions(labels, judged, reference=[2, 4])  # of 4 and 5 frames
    assert [len(e.prediction) for e in controls["clock"]] == [6, 9]
    assert controls["clock"][1].prediction.tolist() == pytest.approx(
        [min(i / 3.5, 1) for i in range(9)], abs=1e-6
    )
    assert len({float(e.prediction[0]) for e in controls["constant"]}) == 1
    assert all(np.ptp(e.prediction) == 0 for e in controls["constant"])


@pytest.fixture
def trained(checkpoint, camera_root, tmp_path):
    """Make the checkpoint say that it was trained on some episodes."""

    def trained(**dataset):
        folder = Path(shutil.copytree(checkpoint, tmp_path / "trained", dirs_exist_ok=True))
        base = dataset.pop("base", None)
        record = {"dataset": {"repo_id": "local/cameras", "root": str(camera_root), **dataset}}
        (folder / "train_config.json").write_text(json.dumps({**record, "policy": {"pretrained_path": base}}))
        return folder

    return trained


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"episodes": [0, 3]}, {0, 3}),
        ({"eval_split": 0.3}, {0, 1, 2}),  # of two tasks the last each
        ({"repo_id": "local/other", "root": "/elsewhere"}, set()),
        ({"episodes": [0], "base": "somebody/elses"}, None),
    ],
)
def test_a_checkpoint_says_what_it_was_trained_on(trained, camera_root, dataset, expected):
    meta = LeRobotDatasetMetadata("local/cameras", root=camera_root)
    assert trained_episodes(trained(**dataset), EpisodeTable.from_metadata(meta)) == expected


def test_one_episode_has_no_intervals_and_a_threshold_that_finds_nothing_is_not_told(capsys):
    labels = np.linspace(0, 1, 20)
    overall = overall_metrics([EpisodeRewards(0, labels / 2, labels, None)], CompletionDetector())
    print_evaluation({"half": {"overall": overall, "calibration": {"ece": 0.1}}}, "one episode")
    assert "95 %" not in capsys.readouterr().out
    stop = choose_stop([np.full(20, 0.5)] * 4, [labels > 0.9] * 4, 10.0)
    assert describe_stop(stop).startswith("no threshold finds the end of an episode")


def test_training_episodes_are_named(trained, checkpoint, camera_root, tmp_path, capsys):
    data = DataOptions("local/cameras", root=str(camera_root), video_backend="pyav", episodes=[0, 3])

    def judge(folder):
        config = EvalRewardsConfig(data, PolicyOptions(str(folder), "cpu"), output_dir=tmp_path / "out")
        return eval_rewards(config), " ".join(capsys.readouterr().out.split())

    info, printed = judge(trained(episodes=[0, 1]))
    assert info["trained_on"] == [0] and "1 of the 2 episodes were in the training set" in printed
    assert {"clock", "constant"} == set(info["controls"])
    assert "AUROC, final (1 successes, 1 failures)" in printed
    info, printed = judge(trained(episodes=[1, 2]))
    assert info["trained_on"] == [] and "none of these episodes were in the policy's training set" in printed
    info, printed = judge(checkpoint)
    assert info["trained_on"] is None and "does not say which episodes it was trained on" in printed
    assert describe_training("x", {1}, [2]) is None


def test_what_one_tool_predicted_the_other_reads(camera_root, checkpoint, tmp_path, monkeypatch):
    data = DataOptions("local/cameras", root=str(camera_root), video_backend="pyav")
    policy = PolicyOptions(str(checkpoint), "cpu")
    eval_rewards(EvalRewardsConfig(data, policy, output_dir=tmp_path / "judged"))
    monkeypatch.setattr(RewardPredictor, "__call__", lambda *_: pytest.fail("it was predicted again"))
    visualize_rewards(
        VisualizeRewardsConfig(data, policy, output_dir=tmp_path / "drawn", max_episodes_rendered=0)
    )
    assert (tmp_path / "drawn" / "overview.png").is_file()


def test_the_jump_at_the_end_does_not_stretch_the_axis_of_advantages():
    advantage = np.full(100, 0.1)
    advantage[45:50] = advantage[95:] = -3.0
    frames = pd.DataFrame({"advantage": advantage, "left": np.tile(np.arange(50, 0, -1), 2)})
    computed = SimpleNamespace(frames=frames, table=SimpleNamespace(provenance={"n_steps": 5}))
    assert advantage_limit(computed) == pytest.approx(0.11)
