# SPDX-License-Identifier: MIT
"""The graph of a policy is the policy, with every option that changes the network; not yet as ONNX."""

import pytest
import torch

from rewact.export.graph import PolicyGraph

from .conftest import CAMERA, NO_CAMERA, STATE, load, observe, save_checkpoint

ONE_CAMERA = {"observation.images.front": CAMERA, "observation.state": STATE}
TWO_CAMERAS = {"observation.images.front": CAMERA, "observation.images.wrist": CAMERA}
CASES = {
    "plain": ("act", {"use_reward_head": False}),
    "sigmoid": ("act", {"use_reward_head": True}),
    "no forecast": ("act", {"use_reward_head": True, "reward_forecast": False}),
    "distributional": ("rewact", {}),
    "decoder head": ("rewact", {"reward_head_input": "decoder"}),
    "two layers each": (
        "rewact",
        {"n_encoder_layers": 2, "n_decoder_layers": 2, "reward_head_input": "decoder"},
    ),
    "pre-norm": ("rewact", {"pre_norm": True, "n_decoder_layers": 2}),
    "gelu": ("act", {"feedforward_activation": "gelu", "use_vae": False}),
    "one step": ("rewact", {"chunk_size": 1, "n_action_steps": 1}),
    "min-max": ("rewact", {"normalization_mapping": dict.fromkeys(("STATE", "ENV", "ACTION"), "MIN_MAX")}),
    "advantage": ("actvantage", {}),
    "asked for bad actions": ("actvantage", {"inference_advantage": "negative"}),
    "guided": ("actvantage", {"cfg_beta": 3.0, "use_reward_head": True}),
    "condition and decoder head": ("actvantage", {"use_reward_head": True, "reward_head_input": "decoder"}),
    "guided decoder head": (
        "actvantage",
        {"cfg_beta": 0.5, "use_reward_head": True, "reward_head_input": "decoder"},
    ),
    "camera": ("rewact", {"inputs": ONE_CAMERA}),
    "cameras without a state": ("actvantage", {"inputs": TWO_CAMERAS, "cfg_beta": 2.0}),
    "environment without a state": (
        "rewact",
        {"inputs": {"observation.environment_state": NO_CAMERA["observation.environment_state"]}},
    ),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_graph_equals_the_policy(tmp_path, case):
    policy_type, options = CASES[case]
    source = load(save_checkpoint(tmp_path, policy_type, **options))
    graph = PolicyGraph(source.policy, source.normalizer, source.unnormalizer)
    before = {name: value.clone() for name, value in source.policy.state_dict().items()}
    observation = observe(source, batch_size=3)
    actions, *rewards = graph(*observation.values())
    expected, expected_rewards = source.predict(observation)
    torch.testing.assert_close(actions, expected, atol=2e-5, rtol=1e-5)
    assert bool(rewards) == source.config.use_reward_head
    if rewards:
        torch.testing.assert_close(rewards[0], expected_rewards, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in source.policy.state_dict().items())


def test_training_parts_are_left_out(tmp_path):
    source = load(save_checkpoint(tmp_path, "rewact"))
    graph = PolicyGraph(source.policy, source.normalizer, source.unnormalizer)
    program = torch.export.export(graph, tuple(observe(source, 2).values()))
    used = {
        spec.target
        for spec in program.graph_signature.input_specs
        if spec.target and any(node.name == spec.arg.name and node.users for node in program.graph.nodes)
    }
    assert used and not [name for name in used if "vae" in name]
