# SPDX-License-Identifier: MIT
"""What LeRobot saves or sends is readable by LeRobot alone, unless something of this project is in use."""

import json
from dataclasses import dataclass

import draccus
import pytest

from lerobot.configs.default import DatasetConfig
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.configuration_rewact import RewACTConfig
from rewact.hooks.train import refuses_reward_options
from rewact.options.head import RewardHeadConfig
from rewact.options.labels import RewardLabelsConfig
from tests import versions

OURS = set(RewardHeadConfig.__dataclass_fields__)
IN_USE = OURS - {"value_min", "value_max"}  # options of earlier releases, which are read and not written


def pipeline(policy, **reward):
    dataset = DatasetConfig("me/data", reward=RewardLabelsConfig(**reward))
    return TrainPipelineConfig(dataset=dataset, policy=policy)


def doors(cfg, folder):
    """The configuration of a run as each of LeRobot's ways of writing it has it."""
    cfg.save_pretrained(folder)
    return [json.loads((folder / "train_config.json").read_text()), cfg.to_dict(), draccus.encode(cfg)]


@pytest.mark.parametrize("policy_class", [DiffusionConfig, ACTConfig])
def test_what_is_not_used_is_nowhere(tmp_path, policy_class):
    policy = policy_class(device="cpu", push_to_hub=False)
    for saved in doors(pipeline(policy), tmp_path):
        assert "reward" not in saved["dataset"] and not OURS & set(saved["policy"])
        assert saved["policy"]["type"] == policy.type
    policy.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved.pop("type") == policy.type and not OURS & set(saved)
    assert draccus.decode(policy_class, saved) == policy


@pytest.mark.parametrize(
    "policy",
    [
        lambda: ACTConfig(device="cpu", push_to_hub=False, use_reward_head=True),
        lambda: RewACTConfig(device="cpu", push_to_hub=False),
        lambda: ACTvantageConfig(device="cpu", push_to_hub=False),
    ],
)
def test_what_is_used_is_there_with_all_its_options(tmp_path, policy):
    policy = policy()
    cfg = pipeline(policy)
    cfg.dataset.reward.has_labelled = True  # as a training run says of itself
    for saved in doors(cfg, tmp_path):
        assert set(RewardLabelsConfig.__dataclass_fields__) == set(saved["dataset"]["reward"])
        assert OURS & set(saved["policy"]) == IN_USE
    loaded = TrainPipelineConfig.from_pretrained(tmp_path)
    assert loaded.policy == policy and loaded.dataset.reward == cfg.dataset.reward
    policy.save_pretrained(tmp_path)
    assert PreTrainedConfig.from_pretrained(tmp_path) == policy


def test_given_options_are_kept(tmp_path):
    for saved in doors(pipeline(ACTConfig(device="cpu"), start_pct=0.2), tmp_path):
        assert saved["dataset"]["reward"]["start_pct"] == 0.2


def test_a_policy_of_others_that_extends_act_keeps_all(tmp_path):
    """Nothing is known about what its file must look like."""

    @PreTrainedConfig.register_subclass("act_of_others")
    @dataclass
    class OtherConfig(ACTConfig):
        pass

    assert set(draccus.encode(OtherConfig(device="cpu"))) >= IN_USE


@pytest.mark.parametrize(
    ("policy", "reward", "remedy"),
    [
        (lambda: ACTConfig(device="cpu", use_reward_head=True), {}, "--policy.use_reward_head=false"),
        (lambda: RewACTConfig(device="cpu"), {}, "--policy.type=act"),
        (lambda: ACTConfig(device="cpu"), {"mask_actions_for_fail_data": True}, "without these options"),
    ],
)
def test_a_remote_job_that_needs_what_is_ours_is_refused(policy, reward, remedy):
    class SentError(Exception):
        pass

    @refuses_reward_options
    def submit(cfg):
        raise SentError

    cfg = pipeline(policy(), **reward)
    cfg.job = type("Job", (), {"target": "a10g-small"})()
    with pytest.raises(ValueError, match="--job.target=a10g-small: the remote machine runs LeRobot without"):
        submit(cfg)
    with pytest.raises(ValueError, match=remedy):
        submit(cfg)
    cfg = pipeline(DiffusionConfig(device="cpu"))
    with pytest.raises(SentError):
        submit(cfg)


@pytest.mark.skipif(not versions.HAS_JOBS, reason="this LeRobot sends no jobs")
def test_the_sender_of_jobs_refuses_before_it_asks_for_a_token(tmp_path):
    from lerobot.configs.default import JobConfig
    from lerobot.jobs import submit_to_hf
    from lerobot.jobs.hf import build_remote_config_file

    cfg = pipeline(RewACTConfig(device="cpu"))
    cfg.job = JobConfig(target="a10g-small")
    with pytest.raises(ValueError, match="the policy type rewact"):
        submit_to_hf(cfg)
    cfg = pipeline(DiffusionConfig(device="cpu"))
    sent = json.loads(build_remote_config_file(cfg, "me/policy", tmp_path / "config.json").read_text())
    assert "reward" not in sent["dataset"]


def test_a_run_of_an_earlier_release_can_be_resumed(tmp_path):
    """They wrote options of completion into the file of every run, whatever the policy."""
    pipeline(DiffusionConfig(device="cpu", push_to_hub=False)).save_pretrained(tmp_path)
    path = tmp_path / "train_config.json"
    saved = json.loads(path.read_text())
    detector = {"threshold": 0.9, "hysteresis": 0.1, "dwell": 3}
    former = {"stop_on_completion": False, "completion_detector": detector}
    path.write_text(json.dumps({**saved, "eval": {**saved["eval"], **former}}))
    TrainPipelineConfig.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert json.loads(path.read_text()) == saved
    path.write_text(json.dumps({**saved, "eval": {**former, "stop_on_completion": True}}))
    with pytest.raises(Exception) as error:  # draccus' own, around it
        TrainPipelineConfig.from_pretrained(tmp_path)
    assert "called policy.stop_on_completion" in str(error.value.__cause__)
