"""ACTvantage: the advantage token in training and at inference, and the checkpoints it starts from."""

import copy
import json
import math

import pytest
import torch

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.act.modeling_act import ACTTemporalEnsembler
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.modeling_actvantage import ACTvantagePolicy
from rewact.act.processor_actvantage import make_actvantage_pre_post_processors

from . import conftest
from .conftest import (
    ACTION_DIM,
    CAMERA,
    CHUNK_SIZE,
    ROBOT_STATE,
    STATE_INPUTS,
    make_batch,
    make_observation,
    with_labels,
)

conftest.POLICY_CLASSES.setdefault("actvantage", (ACTvantageConfig, ACTvantagePolicy))

POSITIVE, NEGATIVE, UNCONDITIONAL = 1.0, -1.0, math.nan
CONDITIONS = {"positive": POSITIVE, "negative": NEGATIVE, "unconditional": UNCONDITIONAL}


def make_policy(inputs=None, **options):
    return conftest.make_policy("actvantage", inputs, **{"use_reward_head": False, **options})


def make_training_batch(policy, advantage=(POSITIVE, NEGATIVE, UNCONDITIONAL)):
    batch = make_batch(policy, len(advantage), rewards=policy.config.use_reward_head)
    return with_labels(batch, advantage=torch.tensor(advantage))


def plain_forward(policy, observation, value):
    """The network itself at one condition, as in evaluation."""
    policy.eval()
    batch_size = len(next(iter(observation.values())))
    batch = {**policy.add_image_list(observation), "advantage": torch.full((batch_size,), value)}
    return policy.model(batch)[0].detach()


# --- Training


def test_the_token_changes_the_output_and_learns():
    policy = make_policy(dropout=0.0, use_vae=False)
    observation = make_observation(policy)
    outputs = [plain_forward(policy, observation, value) for value in CONDITIONS.values()]
    for i in range(3):
        assert not torch.allclose(outputs[i], outputs[i - 1], atol=1e-4)

    policy.train()
    policy.config.advantage_dropout = policy.model.extra_tokens.dropout = 0.0
    policy.forward(make_training_batch(policy))[0].backward()
    token = policy.model.extra_tokens
    assert (token.embedding.weight.grad.abs().sum(-1) > 0).all()
    assert token.position.weight.grad.abs().sum() > 0


def test_each_embedding_learns_from_its_own_samples_only():
    policy = make_policy(advantage_dropout=0.0, use_vae=False)
    policy.train()
    policy.forward(make_training_batch(policy, (POSITIVE, POSITIVE)))[0].backward()
    has_gradient = policy.model.extra_tokens.embedding.weight.grad.abs().sum(-1) > 0
    assert has_gradient.tolist() == [False, True, False]


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_dropout_rate(dropout):
    policy = make_policy(advantage_dropout=dropout)
    token = policy.model.extra_tokens
    n = 20_000
    batch = {"advantage": torch.ones(n)}
    token.train()
    embedded = token(batch, n)[0][0]
    is_dropped = (embedded == token.neutral(n)[0]).all(-1)
    kept = token.embedding.weight[1]
    assert torch.equal(embedded[~is_dropped], kept.expand(int((~is_dropped).sum()), -1))
    assert is_dropped.float().mean().item() == pytest.approx(dropout, abs=0.015)

    token.eval()
    assert torch.equal(token(batch, n)[0][0], kept.expand(n, -1))


def test_inference_never_drops_the_condition():
    policy = make_policy(advantage_dropout=1.0, n_action_steps=1)
    observation = make_observation(policy)
    expected = plain_forward(policy, observation, POSITIVE)[:, 0]
    policy.train()  # as left by a training loop that evaluates in between
    for _ in range(5):
        policy.reset()
        assert torch.equal(policy.select_action(observation), expected)
    policy.train()
    assert torch.equal(policy.predict_action_chunk(observation)[:, 0], expected)


def test_training_without_advantages_is_an_error_unless_asked_for():
    policy = make_policy()
    batch = make_batch(policy, rewards=False)
    policy.train()
    with pytest.raises(ValueError, match="lerobot-compute-advantages"):
        policy.forward(batch)
    policy.eval()
    assert policy.forward(batch)[0].isfinite()  # held-out loss

    unconditional = make_policy(train_without_advantage=True, dropout=0.0, use_vae=False)
    unconditional.train()
    loss = unconditional.forward(batch)[0]
    loss.backward()
    has_gradient = unconditional.model.extra_tokens.embedding.weight.grad.abs().sum(-1) > 0
    assert has_gradient.tolist() == [False, False, True]
    nowhere = with_labels(batch, advantage=torch.full((3,), torch.nan))
    assert torch.equal(unconditional.forward(nowhere)[0], loss)


@pytest.mark.parametrize(
    "advantage",
    [
        torch.tensor([1.0, -1.0, -1.0]),
        torch.tensor([[1.0], [-1.0], [-1.0]]),
        torch.tensor([True, False, False]),
        torch.tensor([1, 0, 0]),
        torch.tensor([0.01, 0.0, -7.5]),
        torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64),
    ],
)
def test_what_counts_as_positive(advantage):
    token = make_policy().model.extra_tokens.eval()
    embedded = token({"advantage": advantage}, 3)[0][0]
    assert torch.equal(embedded, token.embedding.weight[torch.tensor([1, 0, 0])])


def test_an_advantage_that_the_dataset_has_of_its_own_is_no_condition():
    policy = make_policy(advantage_dropout=0.0, dropout=0.0, use_vae=False)
    batch = make_batch(policy, rewards=False)
    own = {**batch, "advantage": torch.full((3, 4), NEGATIVE)}
    policy.eval()
    assert torch.equal(policy.forward(own)[0], policy.forward(batch)[0])
    assert torch.equal(policy.predict_action_chunk(own), policy.predict_action_chunk(batch))
    policy.train()
    with pytest.raises(ValueError, match="no label 'advantage'"):
        policy.forward(own)


def test_a_wrong_number_of_advantages_is_refused():
    policy = make_policy()
    policy.train()
    batch = make_training_batch(policy)
    with pytest.raises(ValueError, match="3 samples"):
        policy.forward({**batch, "advantage": torch.ones(1)})
    with pytest.raises(ValueError, match="1 or 3"):
        policy.select_action(make_observation(policy), advantage=torch.ones(2))
    with pytest.raises(ValueError, match="better"):
        policy.select_action(make_observation(policy), advantage="better")


@pytest.mark.parametrize("use_reward_head", [False, True])
@pytest.mark.parametrize("use_vae", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_losses_per_sample_average_to_the_mean(use_reward_head, use_vae, training):
    policy = make_policy(use_reward_head=use_reward_head, use_vae=use_vae, dropout=0.0, advantage_dropout=0.0)
    policy.train(training)
    batch = make_training_batch(policy)
    torch.manual_seed(1)
    per_sample, parts = policy.forward(batch, reduction="none")
    torch.manual_seed(1)
    mean, mean_parts = policy.forward(batch)
    assert per_sample.shape == (3,) and mean.ndim == 0
    torch.testing.assert_close(per_sample.mean(), mean)
    assert all(isinstance(value, float) for value in (parts | mean_parts).values())
    assert ("reward_loss" in parts) == use_reward_head


def test_masked_actions_do_not_count():
    policy = make_policy(dropout=0.0, advantage_dropout=0.0, use_vae=False)
    policy.train()
    batch = make_training_batch(policy)
    masked = with_labels(batch, action_mask=torch.tensor([True, False, True]))
    loss = policy.forward(masked)[0]
    kept = {key: value[::2] for key, value in batch.items()}
    torch.testing.assert_close(loss, policy.forward(kept)[0])
    nothing = policy.forward(with_labels(batch, action_mask=torch.zeros(3, dtype=torch.bool)))[0]
    assert nothing.isfinite() and nothing.item() == 0


def test_the_condition_does_not_tell_the_reward_head_how_the_episode_ended():
    policy = make_policy(use_reward_head=True, dropout=0.0, advantage_dropout=0.0)
    batch = make_training_batch(policy)
    for training in (True, False):
        policy.train(training)
        logits = []
        for value in CONDITIONS.values():
            torch.manual_seed(2)
            logits.append(policy.model({**batch, "advantage": torch.full((3,), value)})[2])
        assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("advantage", ["positive", 1.0, torch.ones(1), torch.ones(3)])
def test_the_reward_is_read_whatever_form_the_condition_has(advantage):
    policy = make_policy(use_reward_head=True)
    observation = make_observation(policy)
    reward = policy.predict_reward({**observation, "advantage": advantage})
    assert torch.equal(reward, policy.predict_reward(observation))


# --- Inference


@pytest.mark.parametrize("name", CONDITIONS)
def test_condition_of_a_call(name):
    policy = make_policy()
    observation = make_observation(policy)
    expected = plain_forward(policy, observation, CONDITIONS[name])
    by_name = policy.predict_action_chunk(observation, advantage=name)
    by_value = policy.predict_action_chunk(observation, advantage=CONDITIONS[name])
    by_batch = policy.predict_action_chunk(
        with_labels(observation, advantage=torch.full((3,), CONDITIONS[name]))
    )
    selected = policy.select_action(observation, advantage=name)
    policy.config.inference_advantage = name
    by_config = policy.predict_action_chunk(observation)
    for actions in (by_name, by_value, by_batch, by_config):
        assert torch.equal(actions, expected)
    assert torch.equal(selected, expected[:, 0])
    # The argument of a call wins over the batch and the configuration.
    other = policy.predict_action_chunk(
        with_labels(observation, advantage=torch.full((3,), NEGATIVE)), advantage="positive"
    )
    assert torch.equal(other, plain_forward(policy, observation, POSITIVE))


@pytest.mark.parametrize("cfg_beta", [1.0, 2.0])
def test_a_condition_for_each_environment(cfg_beta):
    policy = make_policy(cfg_beta=cfg_beta)
    observation = make_observation(policy)
    mixed = policy.predict_action_chunk(observation, advantage=torch.tensor(list(CONDITIONS.values())))
    for row, name in enumerate(CONDITIONS):
        alone = policy.predict_action_chunk(observation, advantage=name)[row]
        torch.testing.assert_close(mixed[row], alone)
    one_for_all = policy.predict_action_chunk(observation, advantage=torch.tensor([NEGATIVE]))
    assert torch.equal(one_for_all, policy.predict_action_chunk(observation, advantage="negative"))


@pytest.mark.parametrize("cfg_beta", [0.0, 0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("use_reward_head", [False, True])
def test_guidance_against_two_forwards(cfg_beta, condition, use_reward_head):
    policy = make_policy(cfg_beta=cfg_beta, use_reward_head=use_reward_head)
    observation = make_observation(policy)
    conditional = plain_forward(policy, observation, CONDITIONS[condition])
    unconditional = plain_forward(policy, observation, UNCONDITIONAL)
    guided = policy.predict_action_chunk(observation, advantage=condition)
    torch.testing.assert_close(guided, unconditional + cfg_beta * (conditional - unconditional))
    if use_reward_head:
        action, reward = policy.select_action(observation, advantage=condition)
        torch.testing.assert_close(action, guided[:, 0])
        torch.testing.assert_close(reward, policy.predict_reward(observation))


def test_without_guidance_the_forward_is_the_plain_one():
    policy = make_policy(cfg_beta=1.0)
    observation = make_observation(policy)
    expected = plain_forward(policy, observation, POSITIVE)
    assert torch.equal(policy.predict_action_chunk(observation), expected)


@pytest.mark.parametrize(("cfg_beta", "rows"), [(1.0, [3]), (2.0, [6])])
def test_guidance_takes_one_batched_forward(cfg_beta, rows):
    policy = make_policy(cfg_beta=cfg_beta)
    seen = []
    policy.model.action_head.register_forward_hook(lambda _, args, out: seen.append(len(out)))
    policy.predict_action_chunk(make_observation(policy))
    assert seen == rows


def test_the_queue_keeps_its_actions_when_the_condition_changes():
    policy = make_policy(n_action_steps=3)
    observation = make_observation(policy)
    chunk = policy.predict_action_chunk(observation, advantage="positive")
    other = policy.predict_action_chunk(observation, advantage="negative")
    first = policy.select_action(observation)
    rest = [policy.select_action(observation, advantage="negative") for _ in range(3)]
    assert torch.equal(torch.stack([first, *rest[:2]], dim=1), chunk[:, :3])
    assert torch.equal(rest[2], other[:, 0])


@pytest.mark.parametrize("cfg_beta", [1.0, 2.0])
@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("use_reward_head", [False, True])
@pytest.mark.parametrize("ensemble", [False, True])
def test_select_action(cfg_beta, batch_size, use_reward_head, ensemble):
    options = {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1} if ensemble else {"n_action_steps": 2}
    policy = make_policy(cfg_beta=cfg_beta, use_reward_head=use_reward_head, **options)
    expected = ACTTemporalEnsembler(0.01, policy.config.chunk_size)
    for step in range(4):
        observation = make_observation(policy, batch_size)
        output = policy.select_action(observation)
        if use_reward_head:
            output, reward = output
            assert reward.shape == (batch_size,)
            assert torch.equal(policy.last_predicted_reward, reward)
        assert output.shape == (batch_size, ACTION_DIM)
        if ensemble:
            # Guided at every step, also those that are averaged with earlier chunks.
            torch.testing.assert_close(output, expected.update(policy.predict_action_chunk(observation)))
        elif step == 0:
            torch.testing.assert_close(output, policy.predict_action_chunk(observation)[:, 0])
    policy.reset()
    assert policy.last_predicted_reward is None


CAMERAS = {"observation.images.a": CAMERA, "observation.images.b": CAMERA}


@pytest.mark.parametrize(
    "inputs",
    [
        STATE_INPUTS,
        {**STATE_INPUTS, "observation.state": ROBOT_STATE},
        CAMERAS,
        {**CAMERAS, "observation.state": ROBOT_STATE},
        {**CAMERAS, **STATE_INPUTS, "observation.state": ROBOT_STATE},
    ],
    ids=lambda inputs: "+".join(key.rsplit(".", 1)[-1] for key in inputs),
)
@pytest.mark.parametrize("options", [{}, {"use_reward_head": True, "use_vae": False, "pre_norm": True}])
def test_input_combinations(inputs, options):
    policy = make_policy(inputs, cfg_beta=2.0, **options)
    policy.train()
    policy.forward(make_training_batch(policy))[0].backward()
    assert policy.model.extra_tokens.position.weight.grad.abs().sum() > 0
    observation = make_observation(policy, 2)
    assert policy.predict_action_chunk(observation).shape == (2, CHUNK_SIZE, ACTION_DIM)
    # What the wrapper of a dataset adds to an observation is no input of the network.
    extra = {**observation, "task": ["push", "push"], "index": torch.arange(2)}
    assert torch.equal(policy.predict_action_chunk(extra), policy.predict_action_chunk(observation))


# --- Configuration and checkpoints


def test_defaults():
    config = make_policy().config
    assert config.use_reward_head is False
    assert config.advantage_dropout == 0.3
    assert config.cfg_beta == 1.0
    assert config.inference_advantage == "positive"
    assert config.advantage_labels == "required"
    assert make_policy(train_without_advantage=True).config.advantage_labels == "optional"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cfg_beta": -0.1}, "cfg_beta"),
        ({"cfg_beta": math.nan}, "cfg_beta"),
        ({"cfg_beta": math.inf}, "cfg_beta"),
        ({"advantage_dropout": 1.1}, "advantage_dropout"),
        ({"advantage_dropout": math.nan}, "advantage_dropout"),
        ({"inference_advantage": "good"}, "inference_advantage"),
        ({"n_action_steps": CHUNK_SIZE + 1}, "chunk"),
        ({"reward_head_type": "softmax"}, "reward_head_type"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make_policy(**options)


def test_a_bad_option_is_named_on_the_command_line_too(caplog):
    """There draccus replaces the error by one that says which class could not be made."""
    with pytest.raises(ValueError):
        make_policy(cfg_beta=-1.0)
    assert "`cfg_beta` must be a finite number of at least 0. Got -1.0." in caplog.messages


@pytest.mark.parametrize("use_reward_head", [False, True])
def test_round_trip(tmp_path, use_reward_head):
    policy = make_policy(use_reward_head=use_reward_head, cfg_beta=1.5, inference_advantage="negative")
    policy.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["type"] == "actvantage" and saved["use_reward_head"] is use_reward_head
    loaded = ACTvantagePolicy.from_pretrained(tmp_path, strict=True)
    assert loaded.config.cfg_beta == 1.5 and loaded.config.inference_advantage == "negative"
    observation = make_observation(policy)
    assert torch.equal(loaded.predict_action_chunk(observation), policy.predict_action_chunk(observation))
    overridden = PreTrainedConfig.from_pretrained(tmp_path, cli_overrides=["--cfg_beta=3", "--use_vae=false"])
    assert overridden.cfg_beta == 3.0


@pytest.mark.parametrize("source", ["act", "act with head", "rewact"])
def test_starting_from_another_act(tmp_path, caplog, source):
    options = {"use_reward_head": source != "act"}
    plain = conftest.make_policy(source.split()[0], **options)
    plain.save_pretrained(tmp_path)
    policy = ACTvantagePolicy.from_pretrained(
        tmp_path, config=make_policy(reward_head_type=plain.config.reward_head_type, **options).config
    )
    assert "extra_tokens" in caplog.text and "start fresh" in caplog.text
    state = policy.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    fresh = set(state) - set(plain.state_dict())
    assert fresh == {"model.extra_tokens.embedding.weight", "model.extra_tokens.position.weight"}
    policy.train()
    policy.forward(make_training_batch(policy))[0].backward()


def test_an_act_checkpoint_alone_does_not_say_that_it_is_to_become_an_actvantage(tmp_path):
    conftest.make_policy("act", use_reward_head=False).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="ACTvantageConfig"):
        ACTvantagePolicy.from_pretrained(tmp_path)


def test_a_model_without_its_token_is_plain_act():
    policy = make_policy(use_vae=False, fast_path=False)  # the network is not as it was made
    plain = conftest.make_policy("act", use_reward_head=False, use_vae=False)
    policy.load_state_dict(plain.state_dict(), strict=False)
    policy.model.extra_tokens = None
    observation = make_observation(policy)
    assert torch.equal(policy.predict_action_chunk(observation), plain.predict_action_chunk(observation))


def test_the_type_is_registered():
    assert get_policy_class("actvantage") is ACTvantagePolicy
    assert type(make_policy_config("actvantage", device="cpu")) is ACTvantageConfig


def test_the_processors_keep_the_advantage(tmp_path):
    policy = make_policy()
    stats = {
        key: {"mean": torch.zeros(feature.shape), "std": torch.ones(feature.shape)}
        for key, feature in {**policy.config.input_features, **policy.config.output_features}.items()
    }
    pre, post = make_actvantage_pre_post_processors(policy.config, stats)
    for processor in (pre, post):
        processor.save_pretrained(tmp_path)
    reloaded, post = make_pre_post_processors(policy.config, pretrained_path=str(tmp_path))
    batch = make_training_batch(policy)
    for processor in (pre, reloaded):
        processed = processor(batch)
        torch.testing.assert_close(processed["advantage"], batch["advantage"], equal_nan=True)
        policy.train()
        policy.zero_grad()
        policy.model.extra_tokens.dropout = 0.0
        policy.forward(processed)[0].backward()
        assert (policy.model.extra_tokens.embedding.weight.grad.abs().sum(-1) > 0).all()
    assert post(policy.select_action(reloaded(make_observation(policy)))).shape == (3, ACTION_DIM)


def test_copies_are_independent():
    policy = make_policy()
    twin = copy.deepcopy(policy)
    observation = make_observation(policy)
    policy.select_action(observation)
    assert len(twin._action_queue) == 0
    assert torch.equal(twin.predict_action_chunk(observation), policy.predict_action_chunk(observation))
