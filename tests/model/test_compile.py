# SPDX-License-Identifier: MIT
"""`policy.model.compile()` compiles what `select_action`, `predict_reward` and training run, in one piece."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.modeling_actvantage import ACTvantagePolicy

from .conftest import (
    CAMERA,
    POLICY_CLASSES,
    ROBOT_STATE,
    make_batch,
    make_observation,
    make_policy,
    with_labels,
)

INPUTS = {"observation.images.front": CAMERA, "observation.state": ROBOT_STATE}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("policy_type", ["rewact", "actvantage"])
def test_the_network_is_one_graph(monkeypatch, policy_type, fast_path):
    monkeypatch.setitem(POLICY_CLASSES, "actvantage", (ACTvantageConfig, ACTvantagePolicy))
    policy = make_policy(policy_type, INPUTS, fast_path=fast_path, dropout=0.0)
    batch, observation = make_batch(policy), make_observation(policy)
    if policy_type == "actvantage":
        batch = with_labels(batch, advantage=torch.tensor([1.0, -1.0, torch.nan]))

    def act():
        policy.reset()
        return policy.select_action(observation)

    def train():
        torch.manual_seed(0)
        return policy.train()(batch)[0]

    steps = (act, lambda: policy.predict_reward(observation), train)
    plain = [step() for step in steps]
    counter = CompileCounter()
    policy.model.compile(backend=counter, fullgraph=True)
    for n_graphs, (step, expected) in enumerate(zip(steps, plain, strict=True), start=1):
        torch.testing.assert_close(step(), expected)
        assert counter.frame_count == n_graphs
        step()
        assert counter.frame_count == n_graphs
