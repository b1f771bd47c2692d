"""The rollout package: it sends the action to the robot and shows the reward in its telemetry."""

import logging
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.rollout.configs import (
    BaseStrategyConfig,
    EpisodicStrategyConfig,
    HighlightStrategyConfig,
    SentryStrategyConfig,
)
from lerobot.rollout.inference.factory import RTCInferenceConfig, SyncInferenceConfig
from lerobot.rollout.inference.sync import SyncInferenceEngine
from lerobot.rollout.strategies.base import BaseStrategy
from lerobot.rollout.strategies.core import send_next_action
from lerobot.rollout.strategies.episodic import EpisodicStrategy
from lerobot.utils.action_interpolator import ActionInterpolator
from rewact.options.completion import CompletionDetectorConfig

from .conftest import N_ACTION_STEPS

FEATURES = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
    "observation.images.front": {"dtype": "image", "shape": (32, 32, 3), "names": ["h", "w", "c"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
}


def test_rollout_sends_the_action_and_shows_the_reward(policy_and_processors):
    policy, pre, post = policy_and_processors
    engine = SyncInferenceEngine(policy, pre, post, FEATURES, ["x", "y"], "task", "cpu", "robot")
    engine.reset()
    sent = []
    context = SimpleNamespace(
        policy=SimpleNamespace(inference=engine, policy=policy),
        data=SimpleNamespace(dataset_features=FEATURES, ordered_action_keys=["x", "y"]),
        processors=SimpleNamespace(robot_action_processor=lambda action_and_raw: action_and_raw[0]),
        hardware=SimpleNamespace(robot_wrapper=SimpleNamespace(send_action=sent.append)),
    )
    for step in range(N_ACTION_STEPS + 1):
        raw = {"a": 0.1, "b": 0.2, "c": 0.3, "front": np.zeros((32, 32, 3), np.uint8)}
        observation = dict(raw)  # what the strategy then hands to its telemetry
        action = send_next_action(observation, raw, context, ActionInterpolator(multiplier=1))
        assert set(action) == {"x", "y"} and sent[-1] == action
        if policy.config.use_reward_head:
            name = "forecast_reward" if step % N_ACTION_STEPS else "predicted_reward"
            assert observation.keys() - raw.keys() == {name} and 0 < observation[name] < 1
        else:
            assert observation.keys() == raw.keys()


class Robot:
    """Counts the actions that it is sent; after `until` so many somebody ends the episode."""

    until = None

    def __init__(self):
        self.actions = []

    def get_observation(self):
        return {"a": 0.1, "b": 0.2, "c": 0.3, "front": np.zeros((32, 32, 3), np.uint8)}

    def send_action(self, action):
        self.actions.append(action)
        if self.until is not None and len(self.actions) == self.until[0]:
            self.until[1]["exit_early"] = True


class Dataset:
    def __init__(self):
        self.frames = []

    def add_frame(self, frame):
        self.frames.append(frame)


def make_context(policy, pre, post, **options):
    """What a strategy's loop needs of a rollout, for 20 seconds at most."""
    engine = SyncInferenceEngine(policy, pre, post, FEATURES, ["x", "y"], "task", "cpu", "robot")
    config = SimpleNamespace(
        fps=1000,
        duration=20.0,
        interpolation_multiplier=1,
        use_torch_compile=False,
        display_data=False,
        play_sounds=False,
        strategy=BaseStrategyConfig(),
        inference=SyncInferenceConfig(),
    )
    for name, option in options.items():
        setattr(config, name, option)
    identity = SimpleNamespace(
        robot_action_processor=lambda pair: pair[0], robot_observation_processor=lambda raw: dict(raw)
    )
    return SimpleNamespace(
        policy=SimpleNamespace(inference=engine, policy=policy),
        data=SimpleNamespace(dataset_features=FEATURES, ordered_action_keys=["x", "y"], dataset=Dataset()),
        processors=identity,
        hardware=SimpleNamespace(robot_wrapper=Robot()),
        runtime=SimpleNamespace(cfg=config, shutdown_event=threading.Event()),
    )


def stop(policy, threshold):
    policy.config.stop_on_completion = True
    policy.config.completion_detector = CompletionDetectorConfig(threshold=threshold, dwell=3)


def test_the_base_strategy_ends_on_completion(policy_and_processors, caplog):
    policy, pre, post = policy_and_processors
    stop(policy, 1e-6)
    context = make_context(policy, pre, post)
    strategy = BaseStrategy(BaseStrategyConfig())
    if not policy.config.use_reward_head:
        with pytest.raises(ValueError, match="use_reward_head=true"):
            strategy.setup(context)
        assert not context.hardware.robot_wrapper.actions
        return
    with caplog.at_level(logging.INFO):
        strategy.setup(context)
        strategy.run(context)
    assert len(context.hardware.robot_wrapper.actions) == 3
    assert "Stopped on completion" in caplog.text
    assert "one pass of the network at each step" in caplog.text  # what it costs


def test_the_episodic_strategy_ends_each_episode_on_completion(policy_and_processors):
    policy, pre, post = policy_and_processors
    if not policy.config.use_reward_head:
        pytest.skip("a policy without a reward head is refused, as the test above shows")
    stop(policy, 1e-6)
    context = make_context(policy, pre, post, strategy=EpisodicStrategyConfig())
    strategy = EpisodicStrategy(EpisodicStrategyConfig())
    strategy._init_engine(context)
    strategy._events = {"exit_early": False}
    for _ in range(2):
        context.policy.inference.reset()
        strategy._policy_loop(
            context, context.hardware.robot_wrapper, strategy._events, FEATURES, 1000, 20.0,
            context.data.dataset, "task",
        )  # fmt: skip
    assert len(context.data.dataset.frames) == 2 * 3
    assert not context.runtime.shutdown_event.is_set()


def test_a_recording_holds_the_predicted_reward(policy_and_processors, tmp_path):
    """A new one, and one that is gone on with; in stock LeRobot's format."""
    policy, pre, post = policy_and_processors
    policy.config.record_predicted_reward = True
    context = make_context(policy, pre, post, strategy=EpisodicStrategyConfig())
    dataset = LeRobotDataset.create("local/rollout", 1000, FEATURES, tmp_path / "rollout", use_videos=False)
    read = []
    for episode in range(2):
        context.data.dataset = dataset
        strategy = EpisodicStrategy(EpisodicStrategyConfig())
        if not policy.config.use_reward_head:
            with pytest.raises(ValueError, match="record_predicted_reward needs a policy that predicts"):
                strategy._init_engine(context)
            return
        strategy._init_engine(context)
        strategy._events = {"exit_early": False}
        robot = context.hardware.robot_wrapper
        robot.until = len(robot.actions) + N_ACTION_STEPS + 2, strategy._events
        strategy._log_telemetry = lambda shown, *_: read.append(shown["predicted_reward"])
        strategy._policy_loop(
            context, robot, strategy._events, FEATURES, 1000, 20.0, dataset, "task",
        )  # fmt: skip
        dataset.save_episode()
        dataset.finalize()
        if episode == 0:
            dataset = LeRobotDataset.resume("local/rollout", tmp_path / "rollout")
    recorded = LeRobotDataset("local/rollout", root=tmp_path / "rollout")
    assert recorded.num_episodes == 2 and len(recorded) == len(read) == 2 * (N_ACTION_STEPS + 2)
    assert [frame["predicted_reward"].item() for frame in recorded] == pytest.approx(read)
    assert recorded.meta.stats["predicted_reward"]["max"].item() == pytest.approx(max(read))


def test_a_recording_without_the_feature_is_not_gone_on_with(policy_and_processors):
    policy = policy_and_processors[0]
    policy.config.record_predicted_reward = True
    context = make_context(*policy_and_processors, strategy=SentryStrategyConfig())
    context.data.dataset = SimpleNamespace(features=FEATURES, num_episodes=3, repo_id="local/rollout")
    expected = "the 3 episodes of local/rollout have no" if policy.config.use_reward_head else "predicts the"
    with pytest.raises(ValueError, match=expected):
        BaseStrategy(BaseStrategyConfig())._init_engine(context)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": BaseStrategyConfig()}, "record_predicted_reward does not work with .*type=base"),
        ({"strategy": HighlightStrategyConfig()}, "type=highlight; use one of episodic, sentry"),
        ({"strategy": EpisodicStrategyConfig(), "inference": RTCInferenceConfig()}, "inference.type=rtc"),
    ],
)
def test_what_cannot_record_the_reward_is_refused(policy_and_processors, options, message):
    policy, pre, post = policy_and_processors
    if not policy.config.use_reward_head:
        pytest.skip("a policy without a reward head is refused, as the test above shows")
    policy.config.record_predicted_reward = True
    with pytest.raises(ValueError, match=message):
        BaseStrategy(BaseStrategyConfig()).setup(make_context(policy, pre, post, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": SentryStrategyConfig()}, "strategy.type=sentry"),
        ({"inference": RTCInferenceConfig()}, "inference.type=rtc"),
    ],
)
def test_what_cannot_stop_is_refused(policy_and_processors, options, message):
    policy, pre, post = policy_and_processors
    if not policy.config.use_reward_head:
        pytest.skip("a policy without a reward head is refused, as the test above shows")
    stop(policy, 0.9)
    with pytest.raises(ValueError, match=message):
        BaseStrategy(BaseStrategyConfig()).setup(make_context(policy, pre, post, **options))
