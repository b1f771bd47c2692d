# SPDX-License-Identifier: MIT
"""What robot loops are decorated with: telemetry shows the reward, recordings store it, and episodes end on
completion."""

import inspect
import logging
from collections.abc import Callable, MutableMapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rewact.hooks.recording import is_asked_for, store_predicted_reward
from rewact.keys import PREDICTED_REWARD

if TYPE_CHECKING:
    import torch

    from rewact.judge.completion import CompletionWatch

logger = logging.getLogger(__name__)

# Strategies of `lerobot-rollout` whose episodes end; the others go on until a person ends them.
EPISODIC_STRATEGIES = ("base", "episodic")
# Those that record each frame as the policy acts on it. `highlight` keeps frames for later; in `dagger` a
# person acts, too.
RECORDING_STRATEGIES = ("episodic", "sentry")

# Of each inference engine whose rollout stops on completion: the watch, and what ends the episode.
_WATCHES: "WeakKeyDictionary[Any, tuple[CompletionWatch, Callable[[], None]]]" = WeakKeyDictionary()


def unpack_action(output: "torch.Tensor | tuple[torch.Tensor, torch.Tensor]") -> "torch.Tensor":
    """The action of what `select_action` returned: of every policy, as the value is looked at.

    Args:
        output: (B, action_dim) action, or a tuple of it and the (B,) predicted reward.
    """
    return output[0] if isinstance(output, tuple) else output


def show_predicted_reward(observation: MutableMapping[str, Any], policy: Any) -> None:
    """Put the policy's last reward among the observations that telemetry shows.

    Args:
        observation: The processed robot observation of this tick. Modified in place: `predicted_reward` is a
            reading of it, `forecast_reward` was planned earlier. A policy without either adds nothing.
        policy: The policy that acts.
    """
    import torch

    reward = getattr(policy, "last_predicted_reward", None)
    if isinstance(reward, torch.Tensor):  # a mock has any attribute
        name = "forecast_reward" if policy.last_reward_is_forecast else PREDICTED_REWARD
        observation[name] = reward[0].item()


def prepares_completion(init_engine: Callable) -> Callable:
    """Let the episodes of a rollout end on completion, and its recording store the predicted reward, where
    the policy asks for it.

    Args:
        init_engine: Method of a rollout strategy that starts the inference engine.
    """

    @wraps(init_engine)
    def init_and_watch(strategy: Any, ctx: Any) -> Any:
        if is_asked_for(ctx.policy.policy):
            _require_strategy(ctx.runtime.cfg, "record_predicted_reward", RECORDING_STRATEGIES)
            store_predicted_reward(ctx.data.dataset, ctx.policy.policy)
        watch = _make_watch(ctx.policy.policy)
        if watch is None:
            return init_engine(strategy, ctx)
        _require_strategy(ctx.runtime.cfg, "stop_on_completion", EPISODIC_STRATEGIES)
        result = init_engine(strategy, ctx)

        def end() -> None:
            events = getattr(strategy, "_events", None)
            if events is None:  # strategy `base`: the whole run
                ctx.runtime.shutdown_event.set()
            else:
                events["exit_early"] = True

        _WATCHES[ctx.policy.inference] = watch, end
        return result

    return init_and_watch


def _make_watch(policy: Any) -> "CompletionWatch | None":
    if getattr(getattr(policy, "config", None), "stop_on_completion", False) is not True:
        return None
    from rewact.judge.completion import CompletionWatch

    return CompletionWatch(policy)


def _require_strategy(cfg: Any, option: str, strategies: Sequence[str]) -> None:
    """Check that a rollout can do what an option of the policy asks for, and has the reward of each step."""
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


def shows_predicted_reward(send_next_action: Callable) -> Callable:
    """Show the predicted reward in the telemetry of a rollout, and end the episode on completion.

    Args:
        send_next_action: Takes the processed observation, the raw one, the context of the rollout and the
            interpolator, which asks the policy for an action only now and then.
    """

    @wraps(send_next_action)
    def send_and_show(
        obs_processed: dict, obs_raw: dict, ctx: Any, interpolator: Any, *args, **kwargs
    ) -> Any:
        policy = getattr(ctx.policy, "policy", None)
        if getattr(getattr(policy, "config", None), "use_reward_head", False) is not True:
            return send_next_action(obs_processed, obs_raw, ctx, interpolator, *args, **kwargs)
        asks_policy = interpolator.needs_new_action()
        watch, end = _WATCHES.get(ctx.policy.inference, (None, None))
        if watch is not None and policy.last_predicted_reward is None:
            watch.reset()  # the policy was reset: an episode begins
        sent = send_next_action(obs_processed, obs_raw, ctx, interpolator, *args, **kwargs)
        if asks_policy:
            show_predicted_reward(obs_processed, policy)
            if watch is not None and _is_done(watch, policy):
                end()
        return sent

    return send_and_show


def _is_done(watch: "CompletionWatch", policy: Any) -> bool:
    import numpy as np

    reward = policy.last_predicted_reward[:1]
    done = bool(watch.stops(reward, np.array([False]))[0])
    if done:
        logger.info("Stopped on completion: predicted reward %.2f", reward.item())
        watch.reset()
    return done


def ends_on_completion(record_loop: Callable) -> Callable:
    """End a recorded episode on completion, and store the predicted reward, where the policy asks for it
    (releases without rollouts).

    Args:
        record_loop: Drives the robot for one episode. Takes the policy, its postprocessor, which each new
            action passes, and the events by which a person ends the episode.
    """

    @wraps(record_loop)
    def watched_loop(*args: Any, **kwargs: Any) -> Any:
        called = inspect.signature(record_loop).bind(*args, **kwargs)
        policy, dataset = called.arguments.get("policy"), called.arguments.get("dataset")
        if is_asked_for(policy) and dataset is not None:
            store_predicted_reward(dataset, policy)
        if (watch := _make_watch(policy)) is None:
            return record_loop(*args, **kwargs)

        def end() -> None:
            called.arguments["events"]["exit_early"] = True

        called.arguments["postprocessor"] = _Watched(called.arguments["postprocessor"], policy, watch, end)
        return record_loop(*called.args, **called.kwargs)

    return watched_loop


class _Watched:
    """A postprocessor that tells a watch of each new action's reward."""

    def __init__(self, postprocessor: Any, policy: Any, watch: "CompletionWatch", end: Callable[[], None]):
        self._postprocessor, self._policy, self._watch, self._end = postprocessor, policy, watch, end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._postprocessor, name)

    def __call__(self, action: Any) -> Any:
        if _is_done(self._watch, self._policy):
            self._end()
        return self._postprocessor(action)
