# SPDX-License-Identifier: MIT
"""`lerobot-eval-rewards` and `lerobot-visualize-rewards` in two real processes that know of each other."""

import importlib
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lerobot.policies.act.configuration_act import ACTConfig
from rewact.cli.eval_rewards import EvalRewardsConfig, eval_rewards
from rewact.options.tools import DataOptions, PolicyOptions
from rewact.values import processes
from rewact.values.feature_cache import FeatureCache
from rewact.values.predictor import RewardPredictor
from rewact.values.processes import join_processes, together
from tests import warm


def main():
    """Run a tool and write down which process finished which episode.

    The third argument is an episode that the policy predicts nothing but NaN for.
    """
    tool, log, diverged = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    del sys.argv[1:4]
    write, call = FeatureCache.write, RewardPredictor.__call__

    def logged_write(store, row, values):
        (log / f"{store.table.episodes[row]}-{os.environ['RANK']}").touch()
        write(store, row, values)

    def diverged_call(predictor, batch):
        prediction = call(predictor, batch)
        prediction.reward[batch["episode_index"].numpy() == diverged] = float("nan")
        return prediction

    FeatureCache.write, RewardPredictor.__call__ = logged_write, diverged_call
    importlib.import_module(f"rewact.cli.{tool}").main()


@pytest.fixture
def run(camera_root, checkpoint, tmp_path):
    """Run a tool in two processes; returns how they ended and the (episode, process) it predicted."""

    def run(tool, folder, diverged=-1):
        log = tmp_path / "log"
        log.mkdir()
        ends = warm.run_together(
            "tests.labels.test_tools_in_processes",
            *(tool, log, diverged),
            "--dataset.repo_id=local/cameras",
            f"--dataset.root={camera_root}",
            "--dataset.video_backend=pyav",
            f"--policy.path={checkpoint}",
            "--policy.device=cpu",
            f"--output_dir={folder}",
            f"--values_dir={tmp_path / 'values'}",
            n_processes=2,
        )
        pairs = sorted(tuple(map(int, path.name.split("-"))) for path in log.iterdir())
        return [end.code for end in ends], "".join(end.output for end in ends), pairs

    return run


SHARED_OUT = [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)]


def test_two_processes_share_the_evaluation(run, camera_root, checkpoint, tmp_path):
    codes, output, pairs = run("eval_rewards", tmp_path / "two")
    assert codes == [0, 0], output[-3000:]
    assert pairs == SHARED_OUT
    data = DataOptions("local/cameras", root=str(camera_root), video_backend="pyav")
    policy = PolicyOptions(str(checkpoint), "cpu")
    eval_rewards(EvalRewardsConfig(data, policy, output_dir=tmp_path / "one", values_dir=tmp_path / "one"))
    one, two = ((tmp_path / name / "eval_rewards.json").read_text() for name in ("one", "two"))
    # Rounding differs with the number of threads.
    about = json.loads(one, parse_float=lambda number: pytest.approx(float(number), abs=1e-4))
    assert json.loads(two) == about


def test_two_processes_share_the_drawing(run, tmp_path):
    codes, output, pairs = run("visualize_rewards", tmp_path / "out")
    assert codes == [0, 0], output[-3000:]
    assert pairs == SHARED_OUT
    videos = {f"episode_{episode:06d}.mp4" for episode in range(4)}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert videos <= names and "overview.png" in names
    assert not [name for name in names if "partial" in name]


def test_an_error_of_one_process_stops_both(run, tmp_path):
    codes, output, pairs = run("eval_rewards", tmp_path / "out", diverged=1)
    assert 0 not in codes
    assert pairs == [(0, 0), (2, 0), (4, 0)]
    assert "predicts nan for episode 1, frame 0" in output
    assert "error: process 1 of 2 has failed: " in output
    assert not (tmp_path / "out" / "eval_rewards.json").exists()


# The machines with several GPUs that tests do not have.


@pytest.fixture
def launched(monkeypatch):
    def launched(**state):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("LOCAL_RANK", "1")
        monkeypatch.setattr(processes, "PartialState", lambda **kwargs: SimpleNamespace(**kwargs, **state))

    return launched


def on(device):
    config = ACTConfig(device="cpu", push_to_hub=False)
    config.device = device
    return config


def test_each_process_has_its_own_gpu(launched):
    launched(num_processes=2, device="cuda:1")
    policies = [on("cuda"), on("cpu")]
    state = join_processes(policies)
    assert [policy.device for policy in policies] == ["cuda:1", "cpu"]
    assert not state.cpu and state.timeout.days >= 1


def test_processes_on_the_cpu_stay_there(launched):
    launched(num_processes=2, device="cpu:0")
    policies = [on("cpu")]
    assert join_processes(policies).cpu and policies[0].device == "cpu"


def test_processes_that_cannot_find_each_other_are_refused(launched):
    launched(num_processes=1, device="mps")
    with pytest.raises(ValueError, match="2 processes were launched and cannot share the work on mps"):
        join_processes([on("mps")])
    with pytest.raises(ValueError, match="share the work on mps: launch one, or use --device=cpu"):
        join_processes([on("mps")], "--device")


def test_one_process_keeps_its_error():
    with pytest.raises(KeyError, match="mine"), together():
        raise KeyError("mine")
