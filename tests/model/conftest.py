"""Tiny policies and batches: a few thousand parameters beside the ResNet, milliseconds a step."""

import pytest
import torch
from hypothesis import settings

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.modeling_rewact import RewACTPolicy
from rewact.keys import LABELS_KEY
from tests import versions
from tests.small import SMALL_ACT

# Tests of the control loops that this LeRobot does not have.
collect_ignore = ["test_record.py" if versions.HAS_ROLLOUT else "test_rollout.py"]

# No test fails because a machine is slow.
settings.register_profile("model", deadline=None)
settings.load_profile("model")

CHUNK_SIZE = 6
N_ACTION_STEPS = 4
STATE_DIM = 3
ACTION_DIM = 2

POLICY_CLASSES = {"act": (ACTConfig, ACTPolicy), "rewact": (RewACTConfig, RewACTPolicy)}

STATE_INPUTS = {"observation.environment_state": PolicyFeature(FeatureType.ENV, (5,))}
CAMERA = PolicyFeature(FeatureType.VISUAL, (3, 32, 32))
ROBOT_STATE = PolicyFeature(FeatureType.STATE, (STATE_DIM,))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def make_policy(policy_type="act", inputs=None, **options):
    """A policy on an environment state, hence without a ResNet, unless `inputs` says otherwise."""
    config_class, policy_class = POLICY_CLASSES[policy_type]
    options = {"use_reward_head": True, **options}
    sizes = {**SMALL_ACT, "chunk_size": CHUNK_SIZE, "n_action_steps": N_ACTION_STEPS}
    config = config_class(
        device="cpu",
        pretrained_backbone_weights=None,
        input_features=inputs or {**STATE_INPUTS, "observation.state": ROBOT_STATE},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION_DIM,))},
        **{**sizes, **options},
    )
    policy = policy_class(config)
    if policy.config.reward_label_horizon is not None:
        # As after some training: an untrained head forecasts that nothing changes.
        torch.nn.init.normal_(policy.model.reward_head.forecast.weight)
    return policy


def make_observation(policy, batch_size=3):
    return {
        key: torch.rand(batch_size, *feature.shape) for key, feature in policy.config.input_features.items()
    }


def make_batch(policy, batch_size=3, rewards=True):
    """A training batch with the labels that the policy asks for."""
    chunk_size = policy.config.chunk_size
    batch = {
        **make_observation(policy, batch_size),
        "action": torch.randn(batch_size, chunk_size, ACTION_DIM),
        "action_is_pad": torch.zeros(batch_size, chunk_size, dtype=torch.bool),
    }
    if rewards:
        horizon = policy.config.reward_label_horizon
        labels = {"reward": torch.rand(batch_size, *([] if horizon is None else [horizon]))}
        if horizon is not None:
            labels["reward_is_pad"] = torch.zeros(batch_size, horizon, dtype=torch.bool)
        batch = with_labels(batch, **labels)
    return batch


def with_labels(batch, **labels):
    """The batch with further labels, marked as the dataset wrapper marks them."""
    batch_size = len(next(iter(batch.values())))
    names = [*batch.get(LABELS_KEY, [""])[0].split(), *labels]
    return {**batch, **labels, LABELS_KEY: [" ".join(names)] * batch_size}


@pytest.fixture(params=["act", "rewact", "plain"])
def policy_and_processors(request):
    options = {"use_reward_head": False} if request.param == "plain" else {}
    inputs = {"observation.images.front": CAMERA, "observation.state": ROBOT_STATE}
    policy = make_policy("act" if request.param == "plain" else request.param, inputs, **options)
    return policy, *make_pre_post_processors(policy.config, dataset_stats={})
