# SPDX-License-Identifier: MIT
"""What robot loops are decorated with: telemetry shows the reward, recordings store it, and episodes end on
completion."""

import inspect
import logging
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rewact.hooks import decorator
from rewact.keys import PREDICTED_REWARD
from rewact.options.head import has_on

if TYPE_CHECKING:
    import torch

    from lerobot.datasets.lerobot_dataset import LeRobotDataset

logger = logging.getLogger(__name__)

# Strategies of `lerobot-rollout` whose episodes end; the others go on until a person ends them.
EPISODIC_STRATEGIES = ("base", "episodic")
# Those that record each frame as the policy acts on it. `highlight` keeps frames for later; in `dagger` a
# person acts, too.
RECORDING_STRATEGIES = ("episodic", "sentry")

# Of each inference engine whose rollout stops on completion.
_STOPS: "WeakKeyDictionary[Any, _Stop]" = WeakKeyDictionary()


def unpack_action(output: "torch.Tensor | tuple[torch.Tensor, torch.Tensor]") -> "torch.Tensor":
    """The (B, action_dim) action out of what the `select_action` of any policy returned."""
    return output[0] if isinstance(output, tuple) else output


def show_predicted_reward(observation: MutableMapping[str, Any], policy: Any) -> None:
    """Put the policy's last reward, if it has any, among the observations that telemetry shows, in place.

    `predicted_reward` is a reading of this observation, `forecast_reward` was planned earlier.
    """
    import torch

    reward = getattr(policy, "last_predicted_reward", None)
    if isinstance(reward, torch.Tensor):  # a mock has any attribute
        name = "forecast_reward" if policy.last_reward_is_forecast else PREDICTED_REWARD
        observation[name] = reward[0].item()


@decorator
def prepares_completion(init_engine: Callable, strategy: Any, ctx: Any) -> Any:
    """Let the episodes of a rollout end on completion, and its recording store the predicted reward, where
    the policy asks for it: decorates the method of a rollout strategy that starts the inference engine."""
    if has_on(ctx.policy.policy, "record_predicted_reward"):
        _require_strategy(ctx.runtime.cfg, "record_predicted_reward", RECORDING_STRATEGIES)
        store_predicted_reward(ctx.data.dataset, ctx.policy.policy)
    if not has_on(ctx.policy.policy, "stop_on_completion"):
        return init_engine(strategy, ctx)
    _require_strategy(ctx.runtime.cfg, "stop_on_completion", EPISODIC_STRATEGIES)
    result = init_engine(strategy, ctx)

    def end() -> None:
        events = getattr(strategy, "_events", None)
        if events is None:  # strategy `base`: the whole run
            ctx.runtime.shutdown_event.set()
        else:
            events["exit_early"] = True

    _STOPS[ctx.policy.inference] = _Stop(ctx.policy.policy, end)
    return result


class _Stop:
    """Ends the episode of a policy that predicts that its task is done."""

    def __init__(self, policy: Any, end: Callable[[], None]):
        from rewact.judge.completion import CompletionWatch

        self._policy, self._end, self._watch = policy, end, CompletionWatch(policy)

    def reset(self) -> None:
        """Forget the past: an episode begins."""
        self._watch.reset()

    def look(self) -> None:
        """Take in what the policy has read for its last action."""
        import numpy as np

        reward = self._policy.last_predicted_reward[:1]
        if self._watch.stops(reward, np.array([False]))[0]:
            logger.info("Stopped on completion: predicted reward %.2f", reward.item())
            self._watch.reset()
            self._end()


def _require_strategy(cfg: Any, option: str, strategies: Sequence[str]) -> None:
    if cfg.strategy.type not in strategies:
        raise ValueError(
            f"--policy.{option} does not work with --strategy.type={cfg.strategy.type}; use one of "
            f"{', '.join(strategies)}."
        )
    if cfg.inference.type != "sync":
        raise ValueError(
            f"--policy.{option} needs the reward of each step, which "
            f"--inference.type={cfg.inference.type} does not give; use --inference.type=sync."
        )


def store_predicted_reward(dataset: "LeRobotDataset", policy: Any) -> None:
    """Store what the policy has read last with each frame that is added to a dataset from now on.

    The dataset has been made when we see it, so the feature is added to it while it is empty.

    Raises:
        ValueError: If the dataset has episodes without the feature.
    """
    if PREDICTED_REWARD not in dataset.features:
        if dataset.num_episodes:
            raise ValueError(
                f"--policy.record_predicted_reward: the {dataset.num_episodes} episodes of {dataset.repo_id} "
                f"have no {PREDICTED_REWARD!r}; record to another dataset, or leave the option out."
            )
        _add_feature(dataset)
    add_frame = getattr(dataset.add_frame, "without_reward", dataset.add_frame)

    def add_with_reward(frame: dict[str, Any]) -> None:
        reward = policy.last_predicted_reward[:1].float().cpu().numpy()
        add_frame({**frame, PREDICTED_REWARD: reward})

    add_with_reward.without_reward = add_frame  # type: ignore[attr-defined]
    dataset.add_frame = add_with_reward  # type: ignore[method-assign]


def _add_feature(dataset: "LeRobotDataset") -> None:
    dataset.meta.features[PREDICTED_REWARD] = {"dtype": "float32", "shape": (1,), "names": None}
    # `info.json` is written with the first episode.
    writer = dataset if hasattr(dataset, "episode_buffer") else dataset.writer
    writer.episode_buffer[PREDICTED_REWARD] = []
    if hasattr(dataset, "create_hf_dataset"):  # before 0.5 the dataset holds its own columns
        dataset.hf_dataset = dataset.create_hf_dataset()


@decorator
def shows_predicted_reward(
    send_next_action: Callable,
    obs_processed: dict,
    obs_raw: dict,
    ctx: Any,
    interpolator: Any,
    *args,
    **kwargs,
) -> Any:
    """Show the predicted reward in the telemetry of a rollout, and end the episode on completion."""
    policy = getattr(ctx.policy, "policy", None)
    if not has_on(policy, "use_reward_head"):
        return send_next_action(obs_processed, obs_raw, ctx, interpolator, *args, **kwargs)
    asks_policy = interpolator.needs_new_action()  # at some ticks alone
    stop = _STOPS.get(ctx.policy.inference)
    if stop is not None and policy.last_predicted_reward is None:
        stop.reset()  # as the policy was
    sent = send_next_action(obs_processed, obs_raw, ctx, interpolator, *args, **kwargs)
    if asks_policy:
        show_predicted_reward(obs_processed, policy)
        if stop is not None:
            stop.look()
    return sent


@decorator
def ends_on_completion(record_loop: Callable, *args: Any, **kwargs: Any) -> Any:
    """End a recorded episode on completion, and store the predicted reward, where the policy asks for it
    (releases without rollouts)."""
    called = inspect.signature(record_loop).bind(*args, **kwargs)
    policy, dataset = called.arguments.get("policy"), called.arguments.get("dataset")
    if has_on(policy, "record_predicted_reward") and dataset is not None:
        store_predicted_reward(dataset, policy)
    if not has_on(policy, "stop_on_completion"):
        return record_loop(*args, **kwargs)

    def end() -> None:
        called.arguments["events"]["exit_early"] = True

    called.arguments["postprocessor"] = _Watched(called.arguments["postprocessor"], _Stop(policy, end))
    return record_loop(*called.args, **called.kwargs)


class _Watched:
    """A postprocessor that lets an episode end at each new action."""

    def __init__(self, postprocessor: Any, stop: _Stop):
        self._postprocessor, self._stop = postprocessor, stop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._postprocessor, name)

    def __call__(self, action: Any) -> Any:
        self._stop.look()
        return self._postprocessor(action)
