# SPDX-License-Identifier: MIT
"""Adapters train and save what a plain checkpoint lacks."""

from types import SimpleNamespace

import pytest
import torch

from lerobot.configs.policies import PreTrainedConfig
from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.modeling_actvantage import ACTvantagePolicy
from rewact.values.checkpoint import load_policy

from . import conftest
from .conftest import make_batch, make_observation, make_policy, with_labels

conftest.POLICY_CLASSES.setdefault("actvantage", (ACTvantageConfig, ACTvantagePolicy))


@pytest.mark.parametrize(
    ("policy_type", "use_reward_head", "given", "expected"),
    [
        ("act", True, None, ["reward_head"]),
        ("act", False, None, []),
        ("rewact", True, ["action_head"], ["action_head", "reward_head"]),
        ("actvantage", True, [], ["extra_tokens", "reward_head"]),
        ("actvantage", False, ["extra_tokens"], ["extra_tokens"]),
    ],
)
def test_what_starts_fresh_is_trained_and_saved_as_a_whole(policy_type, use_reward_head, given, expected):
    policy = make_policy(policy_type, use_reward_head=use_reward_head)
    policy.config.pretrained_path = "some/checkpoint"
    adapter = SimpleNamespace(modules_to_save=given)
    policy._validate_peft_config(adapter)
    assert adapter.modules_to_save == expected


@pytest.mark.parametrize("policy_type", ["act", "rewact", "actvantage"])
def test_lora_gives_a_plain_checkpoint_a_head(tmp_path, policy_type):
    peft = pytest.importorskip("peft", reason="an extra of LeRobot")
    plain, adapted = tmp_path / "plain", tmp_path / "adapted"
    make_policy("act", use_reward_head=False).save_pretrained(plain)
    policy_class = conftest.POLICY_CLASSES[policy_type][1]

    def start():
        config = make_policy(policy_type, use_reward_head=True).config
        config.pretrained_path = plain
        return policy_class.from_pretrained(plain, config=config)

    policy = start()
    wrapped = policy.wrap_with_peft(peft_cli_overrides={"target_modules": ["linear1"], "r": 2})
    batch = make_batch(policy)
    if policy_type == "actvantage":
        batch = with_labels(batch, advantage=torch.ones(3))
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.1)
    wrapped.train()
    wrapped.forward(batch)[0].backward()
    optimizer.step()
    wrapped.save_pretrained(adapted)
    observation = make_observation(policy)
    loaded = peft.PeftModel.from_pretrained(start(), adapted)
    loaded.eval()
    fresh = start().predict_reward(observation)
    assert torch.equal(loaded.predict_reward(observation), policy.predict_reward(observation))
    assert not torch.equal(policy.predict_reward(observation), fresh)
    # As the tools read it, for which LeRobot's training leaves this beside the adapter.
    config = start().config
    config.use_peft = True
    config.save_pretrained(adapted)
    config = PreTrainedConfig.from_pretrained(adapted)
    config.pretrained_path = adapted
    merged = load_policy(config).eval()
    assert type(merged) is policy_class and not merged.config.use_peft
    assert torch.allclose(merged.predict_reward(observation), policy.predict_reward(observation), atol=1e-5)
    if policy_type != "act":
        action, reward = loaded.select_action(observation)
        assert action.shape == (3, 2) and torch.equal(reward, policy.predict_reward(observation))
