# SPDX-License-Identifier: MIT
"""Labels of a batch reach the policy through LeRobot's processors; nothing else joins them."""

import pytest
import torch
from torch.utils.data import default_collate

from lerobot.processor.converters import batch_to_transition, create_transition, transition_to_batch
from lerobot.processor.pipeline import TransitionKey
from rewact.keys import mark_labels, read_labels

LABELS = ("reward", "advantage", "action_mask", "mc_return", "is_terminal", "next.success", "intervention")


def batch_of(**entries):
    return {"observation.state": torch.rand(2, 3), "action": torch.rand(2, 4), **entries}


def test_every_marked_label_survives_there_and_back():
    labels = {key: torch.rand(2) for key in LABELS} | {"reward_is_pad": torch.zeros(2, dtype=torch.bool)}
    items = [mark_labels({key: value[i] for key, value in labels.items()}, labels) for i in range(2)]
    batch = batch_of(**default_collate(items))
    back = transition_to_batch(batch_to_transition(batch))
    assert all(torch.equal(value, labels[key]) for key, value in read_labels(back).items())
    assert read_labels(back).keys() == labels.keys()


def test_columns_that_a_dataset_has_of_its_own_are_no_labels():
    own = {key: torch.rand(2, 7) for key in LABELS}
    assert batch_to_transition(batch_of(**own))[TransitionKey.COMPLEMENTARY_DATA] == {}
    marked = mark_labels(batch_of(**own), ["reward"])
    assert read_labels(transition_to_batch(batch_to_transition(marked))).keys() == {"reward"}


def test_items_with_different_labels_are_refused():
    items = [mark_labels({"reward": torch.rand(1)}, names) for names in (["reward"], [])]
    with pytest.raises(ValueError, match="different labels"):
        read_labels(default_collate(items))
    with pytest.raises(ValueError, match="no 'advantage'"):
        read_labels(mark_labels({"reward": torch.rand(1)}, ["advantage"]))


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_the_reward_of_a_transition_is_no_label(reward):
    """Pipelines are also called with transitions, whose key for the environment's reward equals "reward"."""
    transition = create_transition(action=torch.rand(2), reward=reward)
    assert batch_to_transition(transition)[TransitionKey.COMPLEMENTARY_DATA] == {}
