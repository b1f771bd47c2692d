# SPDX-License-Identifier: MIT
"""Which policies the training script gives a reward head, and what the command line says of former flags."""

import json

import pytest

from lerobot.configs import parser
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from rewact.hooks.train import gives_new_act_a_head, settle_reward_head

from .conftest import make_policy

NEW = ["--policy.type=act", "--dataset.repo_id=me/data", "--policy.push_to_hub=false", "--policy.device=cpu"]


def parse(monkeypatch, *arguments):
    """The configuration that the training script starts with, after our hook has seen it."""
    monkeypatch.setattr("sys.argv", ["lerobot-train", *arguments])

    @parser.wrap()
    @gives_new_act_a_head
    def main(cfg: TrainPipelineConfig):
        return cfg

    return main()


def test_a_new_policy_of_the_training_script_has_a_head(monkeypatch):
    assert parse(monkeypatch, *NEW).policy.use_reward_head is True
    assert parse(monkeypatch, "--policy.type", "act", *NEW[1:]).policy.use_reward_head is True


def test_what_is_said_holds(monkeypatch):
    assert parse(monkeypatch, *NEW, "--policy.use_reward_head=false").policy.use_reward_head is False
    actvantage = parse(monkeypatch, *["--policy.type=actvantage", *NEW[1:]]).policy
    assert actvantage.use_reward_head is False


def test_a_file_with_a_policy_says_itself_whether_it_has_a_head(monkeypatch, tmp_path):
    file = tmp_path / "train_config.json"
    dataset = {"repo_id": "me/data"}
    policy = {"type": "act", "device": "cpu", "push_to_hub": False}
    file.write_text(json.dumps({"dataset": dataset, "policy": policy}))
    assert parse(monkeypatch, f"--config_path={file}").policy.use_reward_head is False
    file.write_text(json.dumps({"dataset": dataset, "policy": {**policy, "use_reward_head": True}}))
    assert parse(monkeypatch, f"--config_path={file}").policy.use_reward_head is True
    # A file that is silent about the policy leaves it to the command line.
    file.write_text(json.dumps({"dataset": dataset}))
    assert parse(monkeypatch, f"--config_path={file}", *NEW).policy.use_reward_head is True


def test_what_a_program_configures_stays(monkeypatch):
    monkeypatch.setattr("sys.argv", ["lerobot-train", "--policy.type=diffusion"])
    for policy in (ACTConfig(device="cpu"), DiffusionConfig(device="cpu"), None):
        cfg = TrainPipelineConfig(dataset=DatasetConfig("me/data"), policy=policy)
        settle_reward_head(cfg)
        assert cfg.policy is policy and getattr(policy, "use_reward_head", False) is False


@pytest.mark.parametrize("head", [False, True])
def test_a_policy_that_starts_from_another_has_what_that_one_has(monkeypatch, tmp_path, caplog, head):
    make_policy("act", use_reward_head=head, reward_forecast=False).save_pretrained(tmp_path)
    cfg = parse(monkeypatch, *NEW, f"--policy.pretrained_path={tmp_path}")
    assert cfg.policy.use_reward_head is head and cfg.policy.reward_forecast is not head
    assert ("has no reward head" in caplog.text) is not head


@pytest.mark.parametrize("head", [False, True])
def test_only_the_head_is_trained_of_a_policy_that_is_there(monkeypatch, tmp_path, head):
    only = "--policy.train_only_reward_head=true"
    for policy_type in ("act", "rewact", "actvantage"):
        with pytest.raises(ValueError, match="name the trained policy that gets the head with --policy.path"):
            parse(monkeypatch, f"--policy.type={policy_type}", *NEW[1:], only)
    make_policy("act", use_reward_head=head).save_pretrained(tmp_path)
    policy = parse(monkeypatch, *NEW, only, f"--policy.pretrained_path={tmp_path}").policy
    assert policy.use_reward_head and policy.train_only_reward_head
    policy = parse(monkeypatch, *NEW[1:], only, f"--policy.path={tmp_path}").policy
    assert policy is None  # which is read later


@pytest.mark.parametrize(
    ("former", "now"),
    [
        ("--eval.stop_on_completion=true", "--policy.stop_on_completion"),
        ("--eval.completion_detector.threshold=0.8", "--policy.completion_detector.threshold"),
        ("--stop_on_completion=true", "--policy.stop_on_completion"),
        ("--completion_detector.dwell", "--policy.completion_detector.dwell"),
    ],
)
def test_a_former_flag_says_what_it_is_called_now(monkeypatch, former, now):
    with pytest.raises(SystemExit) as end:
        parse(monkeypatch, *NEW, former)
    assert str(end.value) == f"error: {former.split('=')[0]} is called {now} now."


@pytest.mark.parametrize("words", [("--policy.value_min=0",), ("--policy.value_max", "1.0")])
def test_a_flag_that_is_gone_says_so_though_files_with_it_are_read(monkeypatch, words):
    with pytest.raises(SystemExit) as end:
        parse(monkeypatch, *NEW, *words)
    name = words[0].split("=")[0]
    assert str(end.value) == f"error: {name} is gone: it is always {int('max' in name)}. Leave it out."
