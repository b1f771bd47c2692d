# SPDX-License-Identifier: MIT
"""A few steps with the reward head on, in the LeRobot on the import path; see `verify.smoke`."""

import importlib
import sys

import torch

from rewact.keys import mark_labels
from verify.parity_trace import BATCH_SIZE, ENVIRONMENT, STATE, ACTPolicy, make_config, observations

SCRIPTS = ("lerobot.scripts.lerobot_train", "lerobot.scripts.lerobot_eval", "rewact")


def batch_of(policy: ACTPolicy) -> dict:
    """A training batch with a reward for each step that the policy forecasts."""
    chunk = policy.config.chunk_size
    horizon = policy.config.reward_label_horizon
    shape = (BATCH_SIZE,) if horizon is None else (BATCH_SIZE, horizon)
    labels = {"reward": torch.rand(shape)}
    if horizon is not None:
        labels["reward_is_pad"] = torch.zeros(shape, dtype=torch.bool)
    actions = {"action": torch.randn(BATCH_SIZE, chunk, 3)}
    actions["action_is_pad"] = torch.zeros(BATCH_SIZE, chunk, dtype=torch.bool)
    return mark_labels({**observations(policy), **actions, **labels}, labels)


def main() -> None:
    for name in SCRIPTS:
        importlib.import_module(name)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = make_config(STATE | ENVIRONMENT, {})
    config.use_reward_head = True
    policy = ACTPolicy(config)
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-4)
    policy.train()
    for _ in range(int(sys.argv[1])):
        loss, facts = policy.forward(batch_of(policy))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss), f"the loss is {loss.item()}"
        assert "reward_loss" in facts, "the loss has no term of the reward"
    policy.reset()
    action, reward = policy.select_action(observations(policy))
    assert action.shape == (BATCH_SIZE, 3), f"an action has the shape {tuple(action.shape)}"
    assert reward.shape == (BATCH_SIZE,), f"a reward has the shape {tuple(reward.shape)}"


if __name__ == "__main__":
    main()
