# SPDX-License-Identifier: MIT
"""Labels of a batch reach the policy through LeRobot's processors; nothing else joins them."""

import pytest
import torch

from lerobot.processor.converters import batch_to_transition, create_transition, transition_to_batch
from lerobot.processor.pipeline import TransitionKey
from rewact.keys import LABEL_KEYS


def test_every_label_survives_there_and_back():
    labels = {key: torch.rand(2) for key in LABEL_KEYS} | {"reward_is_pad": torch.zeros(2, dtype=torch.bool)}
    batch = {"observation.state": torch.rand(2, 3), "action": torch.rand(2, 4), **labels}
    transition = batch_to_transition(batch)
    assert transition[TransitionKey.COMPLEMENTARY_DATA].keys() == labels.keys()
    back = transition_to_batch(transition)
    assert all(back[key] is value for key, value in labels.items())


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_the_reward_of_a_transition_is_no_label(reward):
    """Pipelines are also called with transitions, whose key for the environment's reward equals "reward"."""
    transition = create_transition(action=torch.rand(2), reward=reward)
    assert batch_to_transition(transition)[TransitionKey.COMPLEMENTARY_DATA] == {}
