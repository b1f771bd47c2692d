# SPDX-License-Identifier: MIT
"""The fast path computes what ACT computes, from the same weights."""

import json
from contextlib import nullcontext
from functools import partial

import draccus
import pytest
import torch
from torch.nn import functional

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig
from rewact.act import fast_ops
from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.modeling_actvantage import ACTvantagePolicy
from rewact.options.head import RewardHeadConfig

from .conftest import (
    CAMERA,
    POLICY_CLASSES,
    ROBOT_STATE,
    STATE_INPUTS,
    make_batch,
    make_observation,
    make_policy,
    with_labels,
)

CAMERAS = {
    "observation.images.front": CAMERA,
    "observation.images.wrist": CAMERA,
    "observation.state": ROBOT_STATE,
}

POLICIES = {
    "cameras": ("rewact", CAMERAS, {}),
    "states": ("rewact", None, {}),
    "no head": ("act", CAMERAS, {"use_reward_head": False}),
    "head on the decoder": ("rewact", CAMERAS, {"reward_head_input": "decoder"}),
    "norms first": ("rewact", CAMERAS, {"pre_norm": True}),
    "deep": (
        "rewact",
        None,
        {"n_decoder_layers": 2, "n_encoder_layers": 2, "n_vae_encoder_layers": 2, "pre_norm": True},
    ),
    "no variational objective": ("rewact", CAMERAS, {"use_vae": False}),
    "bottlenecks": ("rewact", CAMERAS, {"vision_backbone": "resnet50"}),
    "no robot state": ("rewact", STATE_INPUTS, {}),
    "advantages": ("actvantage", CAMERAS, {"advantage_dropout": 0.0}),
    "guidance": ("actvantage", CAMERAS, {"advantage_dropout": 0.0, "cfg_beta": 2.0, "n_decoder_layers": 2}),
}


@pytest.fixture(autouse=True)
def _with_advantages(monkeypatch):
    monkeypatch.setitem(POLICY_CLASSES, "actvantage", (ACTvantageConfig, ACTvantagePolicy))


def make(name, dtype=torch.float32, dropout=0.0):
    """A policy, and a batch with padding, both of a dtype."""
    policy_type, inputs, options = POLICIES[name]
    policy = make_policy(policy_type, inputs, dropout=dropout, **options).to(dtype)
    batch = make_batch(policy, rewards=policy.config.use_reward_head)
    batch["action_is_pad"][0, 2:] = True
    if policy_type == "actvantage":
        batch = with_labels(batch, advantage=torch.tensor([1.0, -1.0, torch.nan]))
    is_number = {key: torch.is_tensor(value) and value.is_floating_point() for key, value in batch.items()}
    return policy, {key: value.to(dtype) if is_number[key] else value for key, value in batch.items()}


def run(policy, batch, fast, context=nullcontext):
    """Loss, gradients, actions and rewards by name."""
    policy.config.fast_path = fast
    if not fast:
        # LeRobot's zero latent is a float32 tensor, whatever the network is.
        projection = policy.model.encoder_latent_input_proj
        handle = projection.register_forward_pre_hook(lambda _, args: (args[0].to(projection.weight.dtype),))
    policy.zero_grad()
    torch.manual_seed(1)
    with context():
        loss, logged = policy.train()(batch)
    loss.backward()
    found = {name: torch.tensor(value) for name, value in logged.items()}
    found |= {f"gradient of {name}": p.grad for name, p in policy.named_parameters() if p.grad is not None}
    observation = {key: batch[key] for key in policy.config.input_features}
    with context():
        found["actions"] = policy.predict_action_chunk(observation)
        if policy.config.use_reward_head:
            found["reading"] = policy.predict_reward(observation)
            policy.reset()
            found["action"], found["reward"] = policy.select_action(observation)
    if not fast:
        handle.remove()
    return found


@pytest.mark.parametrize("name", POLICIES)
def test_outputs_and_gradients_are_those_of_act(name):
    policy, batch = make(name, torch.float64)
    assert fast_ops.is_stock(policy.model)
    plain, fast = (run(policy, batch, is_fast) for is_fast in (False, True))
    # The position of pixels and rewards are float32 in any network.
    torch.testing.assert_close(fast, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["cameras", "advantages"])
def test_mixed_precision_costs_it_no_more_accuracy(name):
    policy, batch = make(name)
    mixed = partial(torch.autocast, "cpu", torch.bfloat16)
    exact = run(policy, batch, False)
    plain, fast = (run(policy, batch, is_fast, mixed) for is_fast in (False, True))
    assert exact.keys() == plain.keys() == fast.keys()
    for key, value in exact.items():
        errors = [(found[key].float() - value).norm() for found in (fast, plain)]
        assert errors[0] <= 2 * errors[1] + 0.01 * value.norm() + 1e-3, key


def test_images_of_several_sizes():
    """Their numbers of pixels are equal."""
    policy, batch = make("cameras", torch.float64)
    batch["observation.images.wrist"] = torch.rand(3, 3, 64, 16, dtype=torch.float64)
    torch.testing.assert_close(run(policy, batch, True), run(policy, batch, False), rtol=1e-6, atol=1e-7)


def test_dropout_is_on_in_training_alone():
    policy, batch = make("cameras", dropout=0.5)
    policy.config.fast_path = True
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(policy.train()(batch)[0].item())
    assert losses[0] == losses[1] != losses[2]
    observation = make_observation(policy)
    assert torch.equal(policy.predict_action_chunk(observation), policy.predict_action_chunk(observation))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    x = torch.ones(301, 333, requires_grad=True)
    dropped = fast_ops.dropout(x, p, training=True)
    assert (dropped == 0).float().mean().item() == pytest.approx(p, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0 if p < 1 else 0.0, abs=0.02)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())
    assert fast_ops.dropout(x, p, training=False) is x


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("bias", [True, False])
def test_products_by_onednn(bias):
    layer = torch.nn.Linear(48, 24, bias=bias)
    x = torch.randn(7, 48, requires_grad=True)
    inputs = [x, *layer.parameters()]
    outputs = fast_ops._OneDNNLinear.apply(x, layer.weight, layer.bias), functional.linear(x, *inputs[1:])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), inputs) for out in outputs))


class Doubled(torch.nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.0.linear1",
        "encoder.layers.0.self_attn",
        "vae_encoder.layers.0",
        "decoder.layers.0",
        "backbone.layer1.0.conv1",
        "encoder_img_feat_input_proj",
    ],
)
def test_a_module_of_others_runs_as_it_is(name):
    policy, batch = make("cameras")
    module, calls = policy.model.get_submodule(name), []
    if isinstance(module, torch.nn.Linear):
        module.__class__ = Doubled
    else:
        module.register_forward_hook(lambda *args: calls.append(args[0]))
    assert not fast_ops.is_stock(policy.model)
    plain = run(policy, batch, False)
    n_calls, _ = len(calls), calls.clear()
    torch.testing.assert_close(run(policy, batch, True), plain, rtol=0, atol=0)
    assert len(calls) == n_calls and (n_calls > 0) != isinstance(module, Doubled)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("action_head", torch.nn.Sequential),
        ("encoder.layers.0.norm1", lambda norm: torch.nn.RMSNorm(norm.normalized_shape)),
        ("decoder.layers.0.dropout", lambda dropout: torch.nn.Identity()),
    ],
)
def test_a_module_of_torch_may_take_the_place_of_another(name, change):
    policy, batch = make("cameras")
    parent, _, child = name.rpartition(".")
    policy.model.get_submodule(parent).register_module(child, change(policy.model.get_submodule(name)))
    assert not fast_ops.is_stock(policy.model)
    torch.testing.assert_close(run(policy, batch, True), run(policy, batch, False), rtol=0, atol=0)


def test_new_weights_count_at_once():
    policy, batch = make("cameras")
    policy.config.fast_path = True
    observation = {key: batch[key] for key in policy.config.input_features}
    before = policy.predict_action_chunk(observation)
    for name in ("backbone.conv1.weight", "decoder.layers.0.self_attn.in_proj_bias"):
        policy.model.get_parameter(name).data += 0.5
        after = policy.predict_action_chunk(observation)
        assert not torch.allclose(after, before)
        before = after


def test_a_reading_in_inference_mode_leaves_training_possible():
    policy, batch = make("cameras")
    policy.config.fast_path = True
    with torch.inference_mode():
        policy.predict_reward(make_observation(policy))
    policy.train()(batch)[0].backward()


def test_checkpoints_do_not_depend_on_it(tmp_path):
    policy, _ = make("cameras")
    policy.config.fast_path = False
    policy.save_pretrained(tmp_path)
    config = PreTrainedConfig.from_pretrained(tmp_path)
    assert not config.fast_path
    config.fast_path = True
    loaded = type(policy).from_pretrained(tmp_path, config=config)
    assert loaded.state_dict().keys() == policy.state_dict().keys()
    observation = make_observation(policy)
    torch.testing.assert_close(
        loaded.predict_action_chunk(observation), policy.predict_action_chunk(observation)
    )


def test_it_is_on_for_new_policies_of_ours(tmp_path):
    assert RewACTConfig(device="cpu").fast_path and ACTvantageConfig(device="cpu").fast_path
    assert not ACTConfig(device="cpu").fast_path
    RewACTConfig(device="cpu").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    saved = json.loads(path.read_text())
    del saved["fast_path"]  # as before there was a choice
    path.write_text(json.dumps(saved))
    assert PreTrainedConfig.from_pretrained(tmp_path).fast_path


def test_plain_act_says_that_it_is_fast_and_nothing_else():
    ours = RewardHeadConfig.__dataclass_fields__.keys()
    assert not ours & draccus.encode(ACTConfig(device="cpu")).keys()
    assert ours & draccus.encode(ACTConfig(device="cpu", fast_path=True)).keys() == {"fast_path"}


def test_the_optimizer_updates_in_one_go():
    """And to the same weights."""
    results = []
    for is_fast in (False, True):
        torch.manual_seed(0)
        policy, batch = make("cameras")
        policy.config.fast_path = is_fast
        groups = policy.get_optim_params()
        assert all(group.get("fused", False) == is_fast for group in groups)
        optimizer = policy.config.get_optimizer_preset().build(groups)
        for _ in range(3):
            torch.manual_seed(0)
            policy.train()(batch)[0].backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
            optimizer.step()
            optimizer.zero_grad()
        saved = optimizer.state_dict()
        optimizer.load_state_dict(saved)
        optimizer.step()
        results.append(dict(policy.named_parameters()))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-5)
