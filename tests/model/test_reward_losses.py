"""The training objective: masks, padding, reductions, missing labels, and what the reward path can see."""

import pytest
import torch

from rewact.keys import LABELS_KEY

from .conftest import (
    ACTION_DIM,
    CAMERA,
    CHUNK_SIZE,
    ROBOT_STATE,
    make_batch,
    make_observation,
    make_policy,
    with_labels,
)

HEAD_INPUTS = pytest.mark.parametrize("head_input", ["observation", "decoder"])
TYPES = pytest.mark.parametrize("policy_type", ["act", "rewact"])


@TYPES
@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("forecast", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_loss_dict_holds_floats_and_every_parameter_learns(policy_type, use_vae, forecast, batch_size):
    policy = make_policy(policy_type, use_vae=use_vae, reward_forecast=forecast)
    policy.train()
    loss, loss_dict = policy.forward(make_batch(policy, batch_size))
    loss.backward()
    assert set(loss_dict) == {
        "l1_loss",
        "reward_loss",
        "reward_mae",
        "reward_entropy",
        *(["kld_loss"] if use_vae else []),
    }
    assert all(type(value) is float for value in loss_dict.values())
    assert all(p.grad is not None for p in policy.parameters())
    assert policy.model.reward_head.readout.bias.grad.abs().sum() > 0
    kld = policy.config.kl_weight * loss_dict.get("kld_loss", 0.0)
    expected = (
        loss_dict["l1_loss"] + kld + policy.config.effective_reward_loss_weight * loss_dict["reward_loss"]
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@TYPES
def test_per_sample_losses(policy_type):
    policy = make_policy(policy_type, dropout=0.0, use_vae=False)
    policy.train()
    batch = make_batch(policy, 5)
    per_sample, loss_dict = policy.forward(batch, reduction="none")
    mean, mean_dict = policy.forward(batch)
    assert per_sample.shape == (5,)
    assert all(type(value) is float for value in loss_dict.values())
    # Nothing is padded here, so both ways to average agree.
    torch.testing.assert_close(per_sample.mean(), mean)
    assert loss_dict == pytest.approx(mean_dict, rel=1e-5)
    for i in range(5):
        alone, _ = policy.forward({key: value[i : i + 1] for key, value in batch.items()})
        torch.testing.assert_close(per_sample[i], alone)


def test_per_sample_losses_without_a_head():
    policy = make_policy("act", use_reward_head=False, dropout=0.0, use_vae=False)
    policy.train()
    batch = make_batch(policy, 4, rewards=False)
    torch.testing.assert_close(policy.forward(batch, reduction="none")[0].mean(), policy.forward(batch)[0])


def test_unknown_reduction_is_an_error():
    policy = make_policy()
    with pytest.raises(ValueError, match="'sum'"):
        policy.forward(make_batch(policy), reduction="sum")


def test_l1_is_a_mean_over_valid_elements():
    policy = make_policy("act", dropout=0.0, use_vae=False)
    policy.train()
    batch = make_batch(policy, 2)
    batch["action_is_pad"][0, 2:] = True
    batch = with_labels(
        batch, action_mask=torch.tensor([[True] * CHUNK_SIZE, [True, False, True, True, True, True]])
    )
    actions = policy.model(policy.add_image_list(batch))[0]
    keep = torch.tensor([[True, True] + [False] * 4, [True, False, True, True, True, True]])
    expected = (actions - batch["action"]).abs()[keep].mean().item()
    assert policy.forward(batch)[1]["l1_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("per_frame", [True, False])
def test_masked_actions_teach_rewards_only(per_frame):
    policy = make_policy("act", dropout=0.0)
    policy.train()
    batch = make_batch(policy, 3)
    batch = with_labels(
        batch, action_mask=torch.zeros(3, *([CHUNK_SIZE] if per_frame else []), dtype=torch.bool)
    )
    loss, loss_dict = policy.forward(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss_dict["l1_loss"] == 0 and loss_dict["kld_loss"] == 0
    assert loss_dict["reward_loss"] > 0
    assert policy.model.action_head.weight.grad.abs().sum() == 0
    assert policy.model.reward_head.readout.bias.grad.abs().sum() > 0


def test_one_masked_sample_leaves_the_others():
    policy = make_policy("act", dropout=0.0, use_vae=False)
    policy.train()
    batch = make_batch(policy, 3)
    rest = policy.forward({key: value[1:] for key, value in batch.items()})[1]
    batch = with_labels(batch, action_mask=torch.tensor([False, True, True]))
    assert policy.forward(batch)[1]["l1_loss"] == pytest.approx(rest["l1_loss"], rel=1e-5)
    assert policy.forward(batch, reduction="none")[0].shape == (3,)


def test_masks_work_without_a_head():
    policy = make_policy("act", use_reward_head=False)
    policy.train()
    batch = make_batch(policy, 3, rewards=False)
    batch = with_labels(batch, action_mask=torch.zeros(3, dtype=torch.bool))
    loss, loss_dict = policy.forward(batch)
    assert loss.item() == 0 and set(loss_dict) == {"l1_loss", "kld_loss"}


def test_labels_past_the_end_of_the_episode_do_not_count():
    policy = make_policy("act", dropout=0.0, use_vae=False)
    policy.train()
    batch = make_batch(policy, 2)
    batch["reward_is_pad"][:, 3:] = True
    before = policy.forward(batch)[1]["reward_loss"]
    batch["reward"][:, 3:] = 1 - batch["reward"][:, 3:]
    assert policy.forward(batch)[1]["reward_loss"] == before
    batch["reward"][:, 2] = 1 - batch["reward"][:, 2]
    assert policy.forward(batch)[1]["reward_loss"] != before


def test_the_last_frame_of_an_episode_has_only_its_own_label():
    policy = make_policy("act")
    policy.train()
    batch = make_batch(policy, 1)
    batch["reward_is_pad"][:, 1:] = True
    batch["action_is_pad"][:, 1:] = True
    loss, _ = policy.forward(batch)
    assert torch.isfinite(loss)


@TYPES
def test_training_without_labels_says_what_to_enable(policy_type):
    policy = make_policy(policy_type)
    batch = make_batch(policy, rewards=False)
    policy.train()
    with pytest.raises(ValueError, match="LeRobotDatasetWithReward.*use_reward_head=false"):
        policy.forward(batch)
    policy.eval()
    assert "reward_loss" not in policy.forward(batch)[1]


@TYPES
def test_frames_without_a_label_do_not_count(policy_type):
    """NaN: the model that labelled the data failed at that frame."""
    policy = make_policy(policy_type, dropout=0.0, use_vae=False)
    policy.train()
    batch = make_batch(policy)
    _, expected = policy.forward({key: value[1:] for key, value in batch.items()})
    batch["reward"][0] = float("nan")
    loss, found = policy.forward(batch)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in policy.parameters() if p.grad is not None)
    for name in ("reward_loss", "reward_mae"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
    batch["reward"][:] = float("nan")
    assert policy.forward(batch)[1]["reward_loss"] == 0
    assert policy.forward(batch, reduction="none")[0].isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": torch.rand(3, 1)}, r"predicts 6 step\(s\).*\(3, 1\)"),
        ({"reward": torch.rand(3, 4)}, r"\(3, 4\)"),
        ({"reward_is_pad": None}, "without 'reward_is_pad'"),
        ({"reward": torch.full((3, CHUNK_SIZE), 1.5)}, "1.5"),
        ({"reward": torch.full((3, CHUNK_SIZE), float("inf"))}, "inf"),
    ],
)
def test_wrong_labels_are_errors(change, message):
    policy = make_policy()
    policy.train()
    batch = {**make_batch(policy), **change}
    if batch["reward_is_pad"] is None:
        batch = {**batch, LABELS_KEY: ["reward"] * 3}
    with pytest.raises(ValueError, match=message):
        policy.forward(batch)


@TYPES
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_training_refuses_labels_that_cannot_train_the_forecast(policy_type, reduction):
    policy = make_policy(policy_type)
    batch = make_batch(policy)
    current = {**batch, "reward": batch["reward"][:, 0], LABELS_KEY: ["reward"] * 3}
    policy.train()
    with pytest.raises(ValueError, match="next 5 steps.*policy=policy.config.*reward_forecast=false"):
        policy.forward(current, reduction=reduction)
    policy.eval()  # held-out loss: that of the current step
    assert (
        policy.forward(current, reduction=reduction)[1]["reward_loss"]
        < policy.forward(batch)[1]["reward_loss"]
    )


@TYPES
def test_what_the_dataset_calls_a_label_is_not_one(policy_type):
    """A dataset may have columns of these names; only what the wrapper marked is trained on."""
    policy = make_policy(policy_type, dropout=0.0, use_vae=False)
    policy.train()
    batch = make_batch(policy)
    own = {**batch, "action_mask": torch.zeros(3, 7), "advantage": torch.ones(3, 2)}
    assert torch.equal(policy.forward(own)[0], policy.forward(batch)[0])
    unmarked = {key: value for key, value in batch.items() if key != LABELS_KEY}
    with pytest.raises(ValueError, match="no label 'reward'"):
        policy.forward(unmarked)


@TYPES
@HEAD_INPUTS
@pytest.mark.parametrize("n_decoder_layers", [1, 2])
def test_the_reward_cannot_see_the_future(policy_type, head_input, n_decoder_layers):
    """Other actions and padding change the posterior and the action loss but not the reward's logits."""
    policy = make_policy(policy_type, reward_head_input=head_input, n_decoder_layers=n_decoder_layers)
    policy.train()
    batch = make_batch(policy)
    other = {
        **batch,
        "action": torch.randn_like(batch["action"]),
        "action_is_pad": batch["action_is_pad"].clone(),
    }
    other["action_is_pad"][:, 1:] = True

    def run(data):
        torch.manual_seed(5)  # the same latent noise and dropout
        return policy.model(data)

    (actions, (mu, _), logits), (other_actions, (other_mu, _), other_logits) = run(batch), run(other)
    assert not torch.equal(mu, other_mu)
    assert not torch.equal(actions, other_actions)
    assert torch.equal(logits, other_logits)


def test_the_reward_sends_no_gradient_into_the_posterior():
    policy = make_policy("act", kl_weight=0.0)
    policy.train()
    batch = make_batch(policy)
    batch = with_labels(batch, action_mask=torch.zeros(3, dtype=torch.bool))
    policy.forward(batch)[0].backward()
    vae = [p.grad for name, p in policy.named_parameters() if ".vae_encoder" in name]
    assert vae and all(grad is None or not grad.any() for grad in vae)


@HEAD_INPUTS
def test_training_reads_what_inference_reads(head_input):
    policy = make_policy("rewact", dropout=0.0, reward_head_input=head_input)
    batch = make_batch(policy)
    policy.train()
    in_training = policy.model(batch)[2]
    policy.eval()
    torch.testing.assert_close(in_training, policy.model(batch)[2])


@pytest.mark.parametrize("n_decoder_layers", [1, 2])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_reading_one_query_equals_query_zero_of_the_whole_decoder(n_decoder_layers, pre_norm):
    policy = make_policy(
        "act", reward_head_input="decoder", n_decoder_layers=n_decoder_layers, pre_norm=pre_norm
    )
    policy.eval()
    tokens = {}
    policy.model.action_head.register_forward_hook(lambda _, args, __: tokens.update(all=args[0]))
    policy.model.reward_head.register_forward_hook(lambda _, args, __: tokens.update(read=args[0]))
    policy.model(make_batch(policy))
    torch.testing.assert_close(tokens["read"], tokens["all"][:, 0])


@TYPES
@pytest.mark.parametrize("use_vae", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_the_head_leaves_the_actions_of_a_step_as_they_are(policy_type, use_vae, training):
    """With dropout and a sampled latent: the head draws no random numbers."""
    inputs = {"observation.images.front": CAMERA, "observation.state": ROBOT_STATE}
    policy = make_policy(policy_type, inputs, use_vae=use_vae)
    options = {"use_vae": use_vae, "fast_path": policy.config.fast_path}
    plain = make_policy("act", inputs, use_reward_head=False, **options)
    plain.load_state_dict({k: v for k, v in policy.state_dict().items() if "reward_head" not in k})
    batch = policy.add_image_list(make_batch(policy))

    def run(of):
        of.train(training)
        torch.manual_seed(5)
        return of.model(batch)[:2]

    (actions, latent), (plain_actions, plain_latent) = run(policy), run(plain)
    assert torch.equal(actions, plain_actions)
    assert latent == (None, None) or all(map(torch.equal, latent, plain_latent))


@TYPES
@HEAD_INPUTS
def test_only_the_head_is_trained_where_that_is_asked_for(policy_type, head_input):
    policy = make_policy(policy_type, train_only_reward_head=True, reward_head_input=head_input)
    observation, batch = make_observation(policy), make_batch(policy)
    before = policy.predict_action_chunk(observation)
    reward = policy.predict_reward(observation)
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=0.1, weight_decay=0.1)
    policy.train()
    loss, loss_dict = policy.forward(batch)
    loss.backward()
    optimizer.step()
    assert set(loss_dict) == {"reward_loss", "reward_mae", "reward_entropy"}
    assert torch.equal(policy.predict_action_chunk(observation), before)
    assert not torch.equal(policy.predict_reward(observation), reward)
    trained = {name.split(".")[1] for name, p in policy.named_parameters() if p.requires_grad}
    assert trained == {"reward_head"}
    policy.eval()
    assert "l1_loss" in policy.forward(batch)[1]  # held-out loss: of the whole policy


def test_forward_in_eval_mode_with_the_vae():
    policy = make_policy("rewact")
    policy.eval()
    loss, loss_dict = policy.forward(make_batch(policy))
    assert torch.isfinite(loss) and "kld_loss" not in loss_dict


def test_dimensions_are_not_hard_coded():
    policy = make_policy("rewact", dim_model=20, chunk_size=9, n_action_steps=9, num_value_bins=7)
    policy.train()
    batch = make_batch(policy, 2)
    assert policy.forward(batch)[0].isfinite()
    assert policy.model(batch)[2].shape == (2, 9, 7)
    assert batch["action"].shape[-1] == ACTION_DIM
