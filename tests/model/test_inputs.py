"""Every combination of inputs that ACT accepts: cameras, robot state, environment state, and none of some."""

import itertools

import pytest
import torch

from lerobot.configs.types import FeatureType, PolicyFeature

from .conftest import CAMERA, ROBOT_STATE, make_batch, make_observation, make_policy

ENV_STATE = PolicyFeature(FeatureType.ENV, (4,))


def combinations():
    for n_cameras, has_state, has_env_state in itertools.product((0, 1, 3), (True, False), (True, False)):
        if n_cameras or has_env_state:
            inputs = {f"observation.images.cam{i}": CAMERA for i in range(n_cameras)}
            inputs |= {"observation.state": ROBOT_STATE} if has_state else {}
            inputs |= {"observation.environment_state": ENV_STATE} if has_env_state else {}
            yield pytest.param(inputs, id=f"{n_cameras}cam-state{has_state:d}-env{has_env_state:d}")


@pytest.mark.parametrize("inputs", list(combinations()))
@pytest.mark.parametrize("use_vae", [True, False])
def test_trains_and_acts(inputs, use_vae):
    policy = make_policy("rewact", inputs=inputs, use_vae=use_vae)
    policy.train()
    loss, _ = policy.forward(make_batch(policy, 2))
    loss.backward()
    assert torch.isfinite(loss)
    action, reward = policy.select_action(make_observation(policy, 2))
    assert action.shape == (2, 2) and reward.shape == (2,)


@pytest.mark.parametrize("key", ["observation.images.cam0", "observation.state"])
def test_the_reward_depends_on_each_input(key):
    inputs = {"observation.images.cam0": CAMERA, "observation.state": ROBOT_STATE}
    policy = make_policy("act", inputs=inputs)
    observation = make_observation(policy, 2)
    other = {**observation, key: torch.rand_like(observation[key])}
    assert not torch.equal(policy.predict_reward(observation), policy.predict_reward(other))


def test_a_reading_does_not_depend_on_the_rest_of_the_batch():
    policy = make_policy("act", inputs={"observation.image": CAMERA})
    observation = make_observation(policy, 4)
    alone = {key: value[1:2] for key, value in observation.items()}
    torch.testing.assert_close(policy.predict_reward(alone), policy.predict_reward(observation)[1:2])


def test_the_caller_s_batch_is_not_modified():
    policy = make_policy("act", inputs={"observation.image": CAMERA, "observation.state": ROBOT_STATE})
    batch = make_batch(policy)
    keys = set(batch)
    policy.train()
    policy.forward(batch)
    policy.select_action(batch)
    policy.predict_reward(batch)
    assert set(batch) == keys


def test_neither_images_nor_environment_state_is_an_error():
    with pytest.raises(ValueError, match="at least one image or the environment state"):
        make_policy("rewact", inputs={"observation.state": ROBOT_STATE})
