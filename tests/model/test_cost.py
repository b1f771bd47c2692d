# SPDX-License-Identifier: MIT
"""What the reward head and the fast path cost, in operations and in bytes: counts, not timings."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy

from .conftest import ACTION_DIM, CAMERA, ROBOT_STATE, make_batch, make_policy


def training_step(policy, batch):
    actions, latent, *logits = policy.train().model(batch)
    sum(output.sum() for output in (actions, *latent, *logits)).backward()


def chunk(policy, batch):
    policy.eval().requires_grad_(False).model(batch)


def reading(policy, batch):
    policy.eval().requires_grad_(False).model(batch, reward_only=True)


def count_saved_bytes(policy, batch):
    """Bytes that a training step keeps for its gradients, beside the parameters and buffers."""
    own = {each.untyped_storage().data_ptr() for each in (*policy.parameters(), *policy.buffers())}
    saved = {}

    def note(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = (storage.nbytes(), x)  # kept alive, so that no address is used twice
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        policy.train()(batch)[0].backward()
    return sum(n_bytes for n_bytes, _ in saved.values())


def test_the_fast_path_keeps_less_for_the_gradients():
    """Its reward head included, at ACT's usual proportions."""
    inputs = {"observation.images.front": CAMERA, "observation.state": ROBOT_STATE}
    sizes = {"dim_feedforward": 400, "dim_model": 64, "n_encoder_layers": 4, "chunk_size": 40, "n_heads": 8}
    options = {**sizes, "n_action_steps": 40, "n_vae_encoder_layers": 4, "dropout": 0.1}
    plain = make_policy("act", inputs, use_reward_head=False, **options)
    fast = make_policy("rewact", inputs, fast_path=True, **options)
    plain_bytes, fast_bytes = (
        count_saved_bytes(policy, make_batch(policy, 8, rewards=policy is fast)) for policy in (plain, fast)
    )
    assert fast_bytes <= 0.6 * plain_bytes


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
