"""`action, reward = policy.select_action(batch)`: queue, forecast, refreshing, ensembling, batches."""

import copy
import pickle

import pytest
import torch

from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.modeling_actvantage import ACTvantagePolicy

from .conftest import CHUNK_SIZE, N_ACTION_STEPS, POLICY_CLASSES, make_observation, make_policy

TYPES = pytest.mark.parametrize("policy_type", ["act", "rewact"])


def rollout(policy, n_steps, batch_size=2, **kwargs):
    """Observations, and what the policy answered to each."""
    policy.reset()
    observations = [make_observation(policy, batch_size) for _ in range(n_steps)]
    return observations, [policy.select_action(observation, **kwargs) for observation in observations]


@TYPES
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_reward_per_environment_at_every_step(policy_type, batch_size):
    policy = make_policy(policy_type)
    for action, reward in rollout(policy, 2 * N_ACTION_STEPS + 1, batch_size)[1]:
        assert action.shape == (batch_size, 2)
        assert reward.shape == (batch_size,) and reward.dtype == torch.float32
        assert ((reward > 0) & (reward < 1)).all()
        assert not reward.requires_grad


@TYPES
def test_where_the_network_runs_the_reward_is_a_reading_of_that_observation(policy_type):
    policy = make_policy(policy_type)
    observations, outputs = rollout(policy, 2 * N_ACTION_STEPS)
    for step in (0, N_ACTION_STEPS):
        assert torch.equal(outputs[step][1], policy.predict_reward(observations[step]))


@TYPES
def test_queued_actions_carry_the_forecast_for_their_own_step(policy_type):
    policy = make_policy(policy_type)
    observations, outputs = rollout(policy, N_ACTION_STEPS)
    actions, _, logits = policy.model(observations[0])
    forecast = policy.model.reward_head.mean(logits)
    assert forecast.shape == (2, CHUNK_SIZE)
    for step, (action, reward) in enumerate(outputs):
        torch.testing.assert_close(action, actions[:, step])
        torch.testing.assert_close(reward, forecast[:, step])
    assert len({reward[0].item() for _, reward in outputs}) == N_ACTION_STEPS


@TYPES
@pytest.mark.parametrize("refresh_steps", [1, 2, 3])
def test_refreshing_rereads_the_reward_and_leaves_the_actions(policy_type, refresh_steps):
    policy = make_policy(policy_type)
    refreshing = copy.deepcopy(policy)
    refreshing.config.reward_refresh_steps = refresh_steps
    policy.reset()
    refreshing.reset()
    for step in range(2 * N_ACTION_STEPS):
        observation = make_observation(policy, 2)
        (action, forecast), (same_action, reward) = (
            p.select_action(observation) for p in (policy, refreshing)
        )
        assert torch.equal(action, same_action)
        due = step % N_ACTION_STEPS % refresh_steps == 0
        assert torch.equal(reward, policy.predict_reward(observation) if due else forecast)


@TYPES
def test_without_a_forecast_every_reward_is_read_fresh(policy_type):
    policy = make_policy(policy_type, reward_forecast=False)
    for observation, (_, reward) in zip(*rollout(policy, N_ACTION_STEPS + 1), strict=True):
        assert torch.equal(reward, policy.predict_reward(observation))


@TYPES
def test_force_model_run_is_a_fresh_reading_at_this_call_only(policy_type):
    policy = make_policy(policy_type)
    policy.reset()
    first, second, third = (make_observation(policy) for _ in range(3))
    policy.select_action(first)
    queued = [action.clone() for action, *_ in policy._action_queue]
    action, reward = policy.select_action(second, force_model_run=True)
    assert torch.equal(action, queued[0])
    assert torch.equal(reward, policy.predict_reward(second))
    action, reward = policy.select_action(third)
    assert torch.equal(action, queued[1])
    assert not torch.equal(reward, policy.predict_reward(third))


@TYPES
def test_readings_never_touch_the_queue(policy_type):
    policy = make_policy(policy_type)
    policy.reset()
    observation = make_observation(policy)
    policy.predict_reward(observation)
    assert len(policy._action_queue) == 0
    policy.select_action(observation)
    before = [tuple(map(torch.as_tensor, entry)) for entry in policy._action_queue]
    last = policy.last_predicted_reward
    assert torch.equal(policy.get_reward_pred(observation), policy.predict_reward(observation))
    if policy_type == "rewact":
        distribution = policy.predict_reward_distribution(observation)
        assert distribution.probs.shape == (3, policy.config.num_value_bins)
        torch.testing.assert_close(distribution.mean, policy.predict_reward(observation))
        low, high = distribution.quantile(0.1), distribution.quantile(0.9)
        assert (low <= high).all()
    assert policy.last_predicted_reward is last
    after = [tuple(map(torch.as_tensor, entry)) for entry in policy._action_queue]
    assert len(before) == len(after) == N_ACTION_STEPS - 1
    assert all(
        torch.equal(x, y) for b, a in zip(before, after, strict=True) for x, y in zip(b, a, strict=True)
    )


def test_a_sigmoid_head_has_no_distribution():
    policy = make_policy("act")
    with pytest.raises(ValueError, match="distributional"):
        policy.predict_reward_distribution(make_observation(policy))


@TYPES
def test_temporal_ensembling_reads_the_reward_at_every_step(policy_type):
    options = {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}
    policy = make_policy(policy_type, **options)
    plain = make_policy("act", use_reward_head=False, **options)
    plain.load_state_dict(policy.state_dict(), strict=False)
    policy.reset()
    plain.reset()
    for _ in range(CHUNK_SIZE + 2):
        observation = make_observation(policy)
        action, reward = policy.select_action(observation)
        torch.testing.assert_close(action, plain.select_action(observation))
        assert torch.equal(reward, policy.predict_reward(observation))


@TYPES
def test_actions_are_those_of_plain_act(policy_type):
    policy = make_policy(policy_type)
    plain = make_policy("act", use_reward_head=False, fast_path=policy.config.fast_path)
    plain.load_state_dict(policy.state_dict(), strict=False)
    plain.reset()
    for observation, (action, _) in zip(*rollout(policy, 2 * N_ACTION_STEPS), strict=True):
        assert torch.equal(action, plain.select_action(observation))


@TYPES
def test_predict_action_chunk_stays_a_tensor(policy_type):
    policy = make_policy(policy_type)
    assert policy.predict_action_chunk(make_observation(policy)).shape == (3, CHUNK_SIZE, 2)


def test_dropping_the_queue_drops_the_rewards_with_it():
    policy = make_policy("act")
    policy.reset()
    policy.select_action(make_observation(policy))
    policy._action_queue.clear()
    observation = make_observation(policy)
    assert torch.equal(policy.select_action(observation)[1], policy.predict_reward(observation))


@TYPES
def test_the_last_reward_is_on_the_policy_until_it_is_reset(policy_type):
    policy = make_policy(policy_type)
    assert policy.last_predicted_reward is None
    _, reward = policy.select_action(make_observation(policy))
    assert policy.last_predicted_reward is reward
    policy.reset()
    assert policy.last_predicted_reward is None


def test_without_a_head_the_action_is_a_tensor_and_readings_are_errors():
    policy = make_policy("act", use_reward_head=False)
    observation = make_observation(policy)
    assert isinstance(policy.select_action(observation), torch.Tensor)
    assert policy.last_predicted_reward is None
    assert len(policy.model(observation)) == 2
    for read in (policy.predict_reward, policy.get_reward_pred, policy.predict_reward_distribution):
        with pytest.raises(ValueError, match="use_reward_head"):
            read(observation)
    with pytest.raises(ValueError, match="use_reward_head"):
        policy.select_action(observation, force_model_run=True)


@TYPES
def test_reading_leaves_dropout_off(policy_type):
    policy = make_policy(policy_type, dropout=0.5)
    policy.train()
    observation = make_observation(policy)
    assert torch.equal(policy.predict_reward(observation), policy.predict_reward(observation))


@TYPES
def test_policies_can_be_copied_and_pickled(policy_type):
    policy = make_policy(policy_type)
    observation = make_observation(policy)
    for clone in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert torch.equal(clone.predict_reward(observation), policy.predict_reward(observation))


@TYPES
def test_bfloat16_autocast_still_gives_float32_rewards(policy_type):
    policy = make_policy(policy_type)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, reward = policy.select_action(make_observation(policy))
    assert reward.dtype == torch.float32


def test_one_step_chunks():
    policy = make_policy("rewact", chunk_size=1, n_action_steps=1)
    assert policy.config.reward_label_horizon is None
    for observation, (_, reward) in zip(*rollout(policy, 3), strict=True):
        assert torch.equal(reward, policy.predict_reward(observation))


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("policy_type", ["rewact", "actvantage"])
def test_a_policy_in_training_mode_plans_without_dropout(monkeypatch, policy_type, fast_path):
    """The fast path looks at the mode where the network runs, ACT at each action."""
    monkeypatch.setitem(POLICY_CLASSES, "actvantage", (ACTvantageConfig, ACTvantagePolicy))
    policy = make_policy(policy_type, dropout=0.5, fast_path=fast_path)
    observation = make_observation(policy)
    expected = [policy.select_action(observation) for _ in range(N_ACTION_STEPS)]
    calls = []
    monkeypatch.setattr(policy, "eval", lambda: calls.append(1) or type(policy).eval(policy))
    policy.train()
    found = [policy.select_action(observation) for _ in range(N_ACTION_STEPS)]
    torch.testing.assert_close(found, expected)
    assert len(calls) == (1 if fast_path else N_ACTION_STEPS + 1)
    torch.testing.assert_close(policy.train().predict_reward(observation), expected[0][1])
