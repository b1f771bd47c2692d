"""Saving and loading: the configuration says whether there is a head; old checkpoints have none."""

import json
import logging
import runpy
from pathlib import Path

import draccus
import pytest
import torch
from draccus.utils import ParsingError

import lerobot
from lerobot.configs.default import DatasetConfig
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.modeling_rewact import RewACTPolicy

from .conftest import POLICY_CLASSES, make_batch, make_observation, make_policy, with_labels

REWARD_OPTIONS = {
    name for name in ACTConfig.__dataclass_fields__ if name.startswith(("reward_", "value_", "hl_"))
}
REWARD_OPTIONS |= {"use_reward_head", "num_value_bins", "stop_on_completion", "completion_detector"}


@pytest.fixture
def plain_checkpoint(tmp_path):
    """A checkpoint as LeRobot without the reward head writes it: no such options, no such weights."""
    directory = tmp_path / "plain"
    make_policy("act", use_reward_head=False).save_pretrained(directory)
    # What plain LeRobot does not know it does not load.
    assert not REWARD_OPTIONS & set(json.loads((directory / "config.json").read_text()))
    return directory


@pytest.mark.parametrize(
    ("policy_type", "options"), [("act", {}), ("act", {"use_reward_head": False}), ("rewact", {})]
)
def test_round_trip(tmp_path, policy_type, options):
    policy = make_policy(policy_type, **options)
    policy.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved.get("use_reward_head", False) is options.get("use_reward_head", True)
    loaded = POLICY_CLASSES[policy_type][1].from_pretrained(tmp_path, strict=True)
    assert loaded.config.use_reward_head == policy.config.use_reward_head
    assert loaded.config.reward_loss_weight == policy.config.reward_loss_weight
    observation = make_observation(policy)
    torch.testing.assert_close(
        loaded.predict_action_chunk(observation), policy.predict_action_chunk(observation)
    )
    if policy.config.use_reward_head:
        assert torch.equal(loaded.predict_reward(observation), policy.predict_reward(observation))


def as_the_present_release_wrote_it(directory):
    """Take out of a configuration what it did not say yet, and put back what it said."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    for name in ("reward_head_input", "train_only_reward_head"):
        del config[name]
    path.write_text(json.dumps({**config, "value_min": 0.0, "value_max": 1.0, "reward_loss_weight": 2.0}))


@pytest.mark.parametrize("policy_type", ["act", "rewact"])
def test_a_head_of_the_present_release_reads_as_it_did(tmp_path, policy_type, caplog):
    former = make_policy(policy_type, reward_head_input="decoder")
    former.save_pretrained(tmp_path)
    as_the_present_release_wrote_it(tmp_path)
    policy = POLICY_CLASSES[policy_type][1].from_pretrained(tmp_path, strict=True)
    assert policy.config.reward_head_input == "decoder" and "start fresh" not in caplog.text
    observation = make_observation(former)
    assert torch.equal(policy.predict_reward(observation), former.predict_reward(observation))
    policy.save_pretrained(tmp_path / "again")
    again = PreTrainedConfig.from_pretrained(tmp_path / "again")
    assert again.reward_head_input == "decoder"


def test_a_training_configuration_of_the_present_release_is_read(tmp_path):
    saved = TrainPipelineConfig(DatasetConfig("local/some"), policy=make_policy("act").config)
    saved.save_pretrained(tmp_path)
    path = tmp_path / "train_config.json"
    config = json.loads(path.read_text())
    config["policy"] |= {"value_min": 0.0, "value_max": 1.0}
    detector = {"threshold": 0.9, "hysteresis": 0.1, "dwell": 3}
    config["eval"] |= {"stop_on_completion": False, "completion_detector": detector}
    path.write_text(json.dumps(config))
    assert TrainPipelineConfig.from_pretrained(tmp_path).policy == saved.policy


def test_the_range_of_values_is_gone_from_help_and_files_and_read_where_it_stands(tmp_path, capsys):
    with pytest.raises(SystemExit):
        draccus.parse(TrainPipelineConfig, args=["--help"])
    text = capsys.readouterr().out
    assert "--policy.num_value_bins" in text and "value_min" not in text
    assert "--eval.n_episodes" in text and "--eval.completion" not in text
    config = make_policy("rewact").config
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert "num_value_bins" in saved and not {"value_min", "value_max"} & set(saved)
    assert "value_max" not in repr(config)


def test_a_saved_configuration_holds_what_the_user_gave(tmp_path):
    make_policy("act").save_pretrained(tmp_path)
    overrides = ["--reward_head_type=distributional"]
    config = PreTrainedConfig.from_pretrained(tmp_path, cli_overrides=overrides)
    assert config.reward_loss_weight is None and config.effective_reward_loss_weight == 0.1


@pytest.mark.parametrize(("name", "value"), [("value_min", -1.0), ("value_max", 0.5)])
def test_a_value_range_that_cannot_be_trained_is_refused(tmp_path, name, value, caplog):
    make_policy("rewact").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(ParsingError):  # the reason is logged
        PreTrainedConfig.from_pretrained(tmp_path)
    assert f"`{name}` is always" in caplog.text


def test_a_checkpoint_of_plain_act_loads_with_the_head_off(plain_checkpoint, caplog):
    config = PreTrainedConfig.from_pretrained(plain_checkpoint)
    assert config.use_reward_head is False
    policy = ACTPolicy.from_pretrained(plain_checkpoint, strict=True)
    assert not any("reward" in name for name in policy.state_dict())
    assert isinstance(policy.select_action(make_observation(policy)), torch.Tensor)
    assert "start fresh" not in caplog.text


def test_fine_tuning_a_plain_checkpoint_starts_a_fresh_head_and_says_so(plain_checkpoint, caplog):
    config = PreTrainedConfig.from_pretrained(plain_checkpoint, cli_overrides=["--use_reward_head=true"])
    with caplog.at_level(logging.WARNING):
        policy = ACTPolicy.from_pretrained(plain_checkpoint, config=config)
    assert "reward_head" in caplog.text and "start fresh" in caplog.text
    plain = ACTPolicy.from_pretrained(plain_checkpoint)
    state = policy.state_dict()
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    policy.train()
    policy.forward(make_batch(policy))[0].backward()
    assert policy.model.reward_head.readout.bias.grad.abs().sum() > 0


def test_rewact_can_start_from_plain_act(plain_checkpoint, caplog):
    policy = RewACTPolicy.from_pretrained(plain_checkpoint, config=make_policy("rewact").config)
    assert "start fresh" in caplog.text
    assert policy.select_action(make_observation(policy))[1].shape == (3,)


def test_strict_loading_still_refuses_missing_weights(plain_checkpoint):
    config = PreTrainedConfig.from_pretrained(plain_checkpoint, cli_overrides=["--use_reward_head=true"])
    with pytest.raises(RuntimeError, match="reward_head"):
        ACTPolicy.from_pretrained(plain_checkpoint, config=config, strict=True)


@pytest.mark.parametrize("saved", [{}, {"chunk_size": 8, "n_action_steps": 4, "use_vae": False}])
def test_a_foreign_configuration_has_no_head_whatever_door_it_comes_through(tmp_path, saved):
    """Also `migrate_policy_normalization`, which calls `make_policy_config` with what it has read."""
    (tmp_path / "config.json").write_text(json.dumps({"type": "act", "device": "cpu", **saved}))
    (tmp_path / "train_config.json").write_text(
        json.dumps({"dataset": {"repo_id": "a/b"}, "policy": {"type": "act", "device": "cpu", **saved}})
    )
    configs = [
        PreTrainedConfig.from_pretrained(tmp_path),
        ACTConfig(device="cpu", **saved),
        make_policy_config("act", device="cpu", **saved),
        draccus.decode(ACTConfig, {"device": "cpu", **saved}),
        draccus.decode(PreTrainedConfig, {"type": "act", "device": "cpu", **saved}),
        TrainPipelineConfig.from_pretrained(tmp_path).policy,
    ]
    for config in configs:
        assert type(config) is ACTConfig and config.use_reward_head is False


def test_the_types_are_registered():
    assert get_policy_class("act") is ACTPolicy
    assert get_policy_class("rewact") is RewACTPolicy
    assert type(make_policy_config("rewact", device="cpu")) is RewACTConfig
    assert make_policy_config("rewact", device="cpu").type == "rewact"


def test_the_async_policy_server_serves_the_types():
    # Read by path, as importing the package needs grpcio.
    constants = runpy.run_path(Path(lerobot.__file__).parent / "async_inference" / "constants.py")
    assert {"act", "rewact"} <= set(constants["SUPPORTED_POLICIES"])


@pytest.mark.parametrize("policy_type", ["act", "rewact"])
@pytest.mark.parametrize("reloaded", [False, True])
def test_labels_survive_the_processors(tmp_path, policy_type, reloaded):
    """Also in the pipeline that is rebuilt from a checkpoint on resume, fine-tuning and evaluation."""
    policy = make_policy(policy_type)
    stats = {
        key: {"mean": torch.zeros(feature.shape), "std": torch.ones(feature.shape)}
        for key, feature in {**policy.config.input_features, **policy.config.output_features}.items()
    }
    pre, post = make_pre_post_processors(policy.config, dataset_stats=stats)
    if reloaded:
        for processor in (pre, post):
            processor.save_pretrained(tmp_path)
        pre, post = make_pre_post_processors(policy.config, pretrained_path=str(tmp_path))
    batch = make_batch(policy, 2)
    labels = {
        "advantage": torch.rand(2),
        "action_mask": torch.tensor([True, False]),
        "mc_return": torch.rand(2),
        "is_terminal": torch.tensor([False, True]),
        "next.success": torch.tensor([False, True]),
        "intervention": torch.tensor([True, False]),
    }
    processed = pre(with_labels(batch, **labels))
    for key, value in {**labels, "reward": batch["reward"], "reward_is_pad": batch["reward_is_pad"]}.items():
        assert torch.equal(processed[key], value), key
    policy.train()
    assert policy.forward(processed)[1]["reward_loss"] > 0
    policy.reset()
    action, _ = policy.select_action(pre(make_observation(policy)))
    assert post(action).shape == (3, 2)
