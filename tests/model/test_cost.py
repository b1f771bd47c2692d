# SPDX-License-Identifier: MIT
"""What the reward head costs, in operations at ACT's default size, counted without computing anything."""

import pytest
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy

from .conftest import ACTION_DIM, ROBOT_STATE, make_batch


def training_step(policy, batch):
    actions, latent, *logits = policy.train().model(batch)
    sum(output.sum() for output in (actions, *latent, *logits)).backward()


def chunk(policy, batch):
    policy.eval().requires_grad_(False).model(batch)


def reading(policy, batch):
    policy.eval().requires_grad_(False).model(batch, reward_only=True)


def count_operations(steps, n_cameras, size, **options):
    cameras = {
        f"observation.images.{i}": PolicyFeature(FeatureType.VISUAL, (3, *size)) for i in range(n_cameras)
    }
    config = ACTConfig(
        device="cpu",
        pretrained_backbone_weights=None,
        input_features={**cameras, "observation.state": ROBOT_STATE},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION_DIM,))},
        **options,
    )
    counts = []
    with FakeTensorMode(allow_non_fake_inputs=True):
        policy = ACTPolicy(config)
        batch = policy.add_image_list(make_batch(policy, 1, rewards=False))
        for step in steps:
            with FlopCounterMode(display=False) as counter:
                step(policy, batch)
            counts.append(counter.get_total_flops())
    return counts


@pytest.mark.parametrize("n_cameras", [1, 3])
@pytest.mark.parametrize("size", [(96, 96), (240, 320), (480, 640)])
def test_the_head_costs_next_to_nothing(n_cameras, size):
    head = {"use_reward_head": True, "reward_head_type": "distributional"}
    plain_step, plain_chunk = count_operations((training_step, chunk), n_cameras, size, use_reward_head=False)
    step, whole, alone = count_operations((training_step, chunk, reading), n_cameras, size, **head)
    assert step <= 1.03 * plain_step
    assert whole <= 1.01 * plain_chunk
    assert alone <= 0.75 * plain_chunk
