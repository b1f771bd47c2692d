"""`lerobot-eval --policy.stop_on_completion`: episodes end where the policy says so, and the report says what
the environment made of it."""

import dataclasses

import pytest

from lerobot.configs.default import EvalConfig

from .conftest import run_script
from .test_lerobot_eval import EPISODE_LENGTH, evaluate, frames_of, save_policy

DWELL = 3
TWO_AT_ONCE = ("--eval.n_episodes=2", "--eval.batch_size=2")
# An untrained policy predicts something above 0 and below 1.
ALWAYS = ("--policy.stop_on_completion=true", "--policy.completion_detector.threshold=0.001")
NEVER = ("--policy.stop_on_completion=true", "--policy.completion_detector.threshold=1.0")
# Of the frames, which the environment configuration does not know to be smaller than it thinks.
SIZE = ("--env.observation_height=96", "--env.observation_width=96")
HAS_RECORDING = "recording" in {field.name for field in dataclasses.fields(EvalConfig)}


def test_it_stops_and_says_when(tmp_path):
    save_policy(tmp_path / "policy", "act")
    info = evaluate(tmp_path / "policy", tmp_path / "eval", *TWO_AT_ONCE, *ALWAYS)
    metrics, overall = info["per_task"][0]["metrics"], info["overall"]
    assert metrics["stopped_at_step"] == [DWELL - 1, DWELL - 1]
    assert (overall["n_stopped"], overall["n_stopped_successes"]) == (2, 0)
    assert overall["avg_stopped_at_step"] == DWELL - 1
    assert overall["pc_success"] == 0
    for video in overall["video_paths"]:
        assert len(frames_of(video)) <= DWELL + 1 < EPISODE_LENGTH


def test_it_does_not_stop_below_the_threshold(tmp_path):
    save_policy(tmp_path / "policy", "act")
    plain = evaluate(tmp_path / "policy", tmp_path / "plain", *TWO_AT_ONCE)
    info = evaluate(tmp_path / "policy", tmp_path / "eval", *TWO_AT_ONCE, *NEVER)
    assert info["per_task"][0]["metrics"]["stopped_at_step"] == [None, None]
    assert (info["overall"]["n_stopped"], info["overall"]["avg_stopped_at_step"]) == (0, None)
    for key in ("avg_sum_reward", "avg_max_reward"):
        assert info["overall"][key] == plain["overall"][key]
    # The reward is read from every observation, which otherwise happens once a chunk.
    readings = [run["overall"]["avg_n_reward_readings"] for run in (plain, info)]
    assert readings[0] < readings[1] == EPISODE_LENGTH
    assert (
        "avg_forecast_reward_final" in plain["overall"] and "avg_forecast_reward_final" not in info["overall"]
    )
    assert "n_stopped" not in plain["overall"]


def test_a_policy_without_a_reward_head_is_refused(tmp_path):
    save_policy(tmp_path / "plain", "act", use_reward_head=False)
    output = run_script(
        "lerobot.scripts.lerobot_eval",
        f"--policy.path={tmp_path / 'plain'}",
        "--policy.device=cpu",
        "--env.type=pusht",
        f"--output_dir={tmp_path / 'eval'}",
        "--eval.use_async_envs=false",
        *TWO_AT_ONCE,
        *ALWAYS,
        expect=1,
    )
    assert "no reward head: train one with --policy.use_reward_head=true" in output
    assert not (tmp_path / "eval" / "eval_info.json").exists()


@pytest.mark.skipif(not HAS_RECORDING, reason="this LeRobot's evaluation records no datasets")
def test_a_recorded_episode_ends_at_the_stop(tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    save_policy(tmp_path / "policy", "act")
    evaluate(tmp_path / "policy", tmp_path / "eval", *TWO_AT_ONCE, *ALWAYS, "--eval.recording=true", *SIZE)
    roots = [path.parent.parent for path in (tmp_path / "eval" / "recordings").rglob("meta/info.json")]
    assert len(roots) == 2
    for root in roots:
        meta = LeRobotDatasetMetadata("eval_recording", root=root)
        assert (meta.total_episodes, meta.total_frames) == (1, DWELL)
