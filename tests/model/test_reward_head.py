"""The heads by themselves: shapes, ranges, targets, distributions, configuration."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lerobot.policies.act.configuration_act import ACTConfig
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.head import DistributionalRewardHead, RewardDistribution, make_reward_head

from .conftest import CHUNK_SIZE, make_batch, make_policy


def make_head(**options):
    return make_reward_head(
        RewACTConfig(device="cpu", dim_model=16, n_heads=2, chunk_size=4, n_action_steps=4, **options)
    )


def test_sigmoid_head_has_the_documented_layers():
    head = make_policy("act", reward_forecast=False, reward_head_input="decoder").model.reward_head
    shapes = [tuple(p.shape) for name, p in head.named_parameters() if name.endswith("weight")]
    assert shapes == [(16, 32), (8, 16), (1, 8)]


@pytest.mark.parametrize("head_type", ["sigmoid", "distributional"])
@pytest.mark.parametrize("forecast", [True, False])
def test_shapes_and_range(head_type, forecast):
    head = make_head(reward_head_type=head_type, reward_forecast=forecast)
    logits = head(torch.randn(5, 16) * 100)
    n_steps = 4 if forecast else 1
    assert head.mean(logits).shape == (5, n_steps)
    assert head.mean(logits).dtype == torch.float32
    assert ((head.mean(logits) >= 0) & (head.mean(logits) <= 1)).all()
    assert head.loss(logits, torch.rand(5, n_steps)).shape == (5, n_steps)
    assert head.entropy(logits).shape == (5, n_steps)
    assert (head.entropy(logits) >= 0).all()


def test_readout_is_shared_with_and_without_forecast():
    with_forecast, without = make_head(), make_head(reward_forecast=False)
    missing, unexpected = without.load_state_dict(with_forecast.state_dict(), strict=False)
    assert not missing
    assert unexpected == ["forecast.weight", "forecast.bias"]
    token = torch.randn(2, 16)
    torch.testing.assert_close(with_forecast(token)[:, :1], without(token))


@pytest.mark.parametrize("head_type", ["sigmoid", "distributional"])
def test_an_untrained_head_forecasts_that_nothing_changes(head_type):
    """And not noise: the rewards of queued actions start from the current one."""
    head = make_head(reward_head_type=head_type)
    mean = head.mean(head(torch.randn(3, 16)))
    torch.testing.assert_close(mean, mean[:, :1].expand(-1, 4))
    head.loss(head(torch.randn(3, 16)), torch.rand(3, 4)).sum().backward()
    assert head.forecast.bias.grad.abs().sum() > 0


def test_bin_values_are_the_centres_of_as_many_bins():
    head = make_head(num_value_bins=4)
    assert head.bin_centers.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert head(torch.randn(1, 16)).shape[-1] == 4


def test_pooling_knows_where_a_token_is_and_does_not_mix_samples():
    pooling = make_head().pooling
    tokens, pos_embed = torch.randn(5, 3, 16), torch.randn(5, 1, 16)
    pooled = pooling(tokens, pos_embed)
    assert pooled.shape == (3, 16)
    assert not torch.allclose(pooled, pooling(tokens.flip(0), pos_embed), atol=1e-4)
    torch.testing.assert_close(pooled, pooling(tokens.flip(0), pos_embed.flip(0)))
    torch.testing.assert_close(pooled[1:2], pooling(tokens[:, 1:2], pos_embed))


@given(st.floats(0, 1), st.integers(2, 60), st.sampled_from(["two_hot", "hl_gauss"]))
def test_targets_are_distributions_with_the_right_mean(reward, n_bins, target_type):
    head = make_head(num_value_bins=n_bins, value_target=target_type)
    probs = head.target_probs(torch.tensor([[reward]]))
    assert probs.shape == (1, 1, n_bins)
    assert (probs >= 0).all()
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)
    mean = RewardDistribution(probs, head.bin_centers).mean.item()
    low, high = head.bin_centers[0].item(), head.bin_centers[-1].item()
    if target_type == "two_hot":
        assert mean == pytest.approx(min(max(reward, low), high), abs=1e-5)
        assert (probs > 1e-6).sum() <= 2
    else:
        assert abs(mean - reward) <= 1 / n_bins


def test_cross_entropy_is_lowest_at_the_target():
    head = make_head(num_value_bins=11)
    target = torch.tensor([[0.4]])
    at_target = head.loss(head.target_probs(target).clamp_min(1e-9).log(), target)
    elsewhere = head.loss(head.target_probs(torch.tensor([[0.8]])).clamp_min(1e-9).log(), target)
    assert at_target < elsewhere


def test_distribution_statistics():
    centers = torch.tensor([0.25, 0.75])
    even = RewardDistribution(torch.tensor([0.5, 0.5]), centers)
    sure = RewardDistribution(torch.tensor([0.0, 1.0]), centers)
    assert even.mean.item() == pytest.approx(0.5)
    assert even.entropy.item() == pytest.approx(math.log(2))
    assert sure.entropy.item() == 0
    assert even.quantile(0.5).item() == 0.25
    assert even.quantile(0.9).item() == 0.75
    assert sure.quantile(1.0).item() == 0.75
    with pytest.raises(ValueError, match="1.5"):
        even.quantile(1.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward_head_type": "linear"}, "reward_head_type"),
        ({"value_target": "one_hot"}, "value_target"),
        ({"reward_loss_weight": -1.0}, "reward_loss_weight"),
        ({"reward_refresh_steps": 0}, "reward_refresh_steps"),
        ({"reward_forecast": False, "reward_refresh_steps": 3}, "reward_refresh_steps=3"),
        ({"num_value_bins": 1}, "num_value_bins"),
        ({"reward_head_input": "encoder"}, "reward_head_input"),
        ({"hl_gauss_sigma_ratio": 0.0}, "hl_gauss_sigma_ratio"),
        ({"n_action_steps": 101}, "chunk size"),  # the parent's checks still run
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ACTConfig(device="cpu", use_reward_head=True, **options)


def test_defaults_of_the_two_types():
    act, rewact = ACTConfig(device="cpu", use_reward_head=True), RewACTConfig(device="cpu")
    assert act.reward_head_type == "sigmoid" and act.effective_reward_loss_weight == 2.0
    assert rewact.reward_head_type == "distributional" and rewact.effective_reward_loss_weight == 0.1
    assert RewACTConfig(device="cpu", reward_loss_weight=0.3).effective_reward_loss_weight == 0.3
    assert ACTConfig(device=None).device is not None  # the parent picks a device
    with pytest.raises(ValueError, match="rewact"):
        RewACTConfig(device="cpu", use_reward_head=False)


def test_the_head_is_built_last_so_that_a_seed_gives_the_same_act():
    torch.manual_seed(1)
    plain = make_policy("act", use_reward_head=False).state_dict()
    torch.manual_seed(1)
    with_head = make_policy("act").state_dict()
    assert all(torch.equal(with_head[name], value) for name, value in plain.items())
    assert {name.split(".")[1] for name in with_head.keys() - plain.keys()} == {"reward_head"}


def test_targets_do_not_depend_on_a_checkpoint_buffer():
    assert not any(
        "bin_" in name for name in DistributionalRewardHead(make_policy("rewact").config).state_dict()
    )


@pytest.mark.parametrize("policy_type", ["act", "rewact"])
def test_the_head_can_overfit(policy_type):
    policy = make_policy(policy_type, dropout=0.0, use_vae=False)
    batch = make_batch(policy, 4)
    batch["observation.state"] = 3 * torch.eye(4)[:, :3]
    batch["reward"] = torch.linspace(0.1, 0.9, 4)[:, None].expand(4, CHUNK_SIZE)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    policy.train()
    for _ in range(400):
        loss, _ = policy.forward(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(policy.predict_reward(batch), batch["reward"][:, 0], atol=0.05, rtol=0)
