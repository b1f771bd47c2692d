"""The rollout package: it sends the action to the robot and shows the reward in its telemetry."""

from types import SimpleNamespace

import numpy as np

from lerobot.rollout.inference.sync import SyncInferenceEngine
from lerobot.rollout.strategies.core import send_next_action
from lerobot.utils.action_interpolator import ActionInterpolator
from lerobot.utils.predicted_reward import PREDICTED_REWARD

from .conftest import N_ACTION_STEPS


def test_rollout_sends_the_action_and_shows_the_reward(policy_and_processors):
    policy, pre, post = policy_and_processors
    features = {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
        "observation.images.front": {"dtype": "image", "shape": (32, 32, 3), "names": ["h", "w", "c"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
    }
    engine = SyncInferenceEngine(policy, pre, post, features, ["x", "y"], "task", "cpu", "robot")
    engine.reset()
    sent = []
    context = SimpleNamespace(
        policy=SimpleNamespace(inference=engine),
        data=SimpleNamespace(dataset_features=features, ordered_action_keys=["x", "y"]),
        processors=SimpleNamespace(robot_action_processor=lambda action_and_raw: action_and_raw[0]),
        hardware=SimpleNamespace(robot_wrapper=SimpleNamespace(send_action=sent.append)),
    )
    for _ in range(N_ACTION_STEPS + 1):
        raw = {"a": 0.1, "b": 0.2, "c": 0.3, "front": np.zeros((32, 32, 3), np.uint8)}
        observation = dict(raw)  # what the strategy then hands to its telemetry
        action = send_next_action(observation, raw, context, ActionInterpolator(multiplier=1))
        assert set(action) == {"x", "y"} and sent[-1] == action
        if policy.config.use_reward_head:
            assert 0 < observation[PREDICTED_REWARD] < 1
        else:
            assert observation.keys() == raw.keys()
