# SPDX-License-Identifier: MIT
"""A vector environment that knows what the policy predicts."""

from typing import Any

import numpy as np
import torch

from rewact.hooks.episodes import IS_FORECAST, STOPPED_AT_STEP
from rewact.judge.completion import CompletionWatch
from rewact.keys import PREDICTED_REWARD


class WatchedEnv:
    """Stands in for a vector environment during one rollout.

    Notes the predicted reward at each step, truncates the episodes that are done, and draws the reward on
    rendered frames. All else is the environment's, its type included: LeRobot renders by type.

    Args:
        env: The vector environment of B environments.
        policy: The policy that acts in it.
        is_recorded: Whether observations hold what the policy reads of them, for the recording.
    """

    def __init__(self, env: Any, policy: Any, is_recorded: bool = False):
        self._env = env
        self._policy = policy
        self._completion = CompletionWatch(policy)
        self._ended = np.zeros(env.num_envs, dtype=bool)
        self._rewards: list[torch.Tensor] = []
        self._is_forecast: list[bool] = []
        self._recorded = np.zeros((env.num_envs, 1), np.float32).view(_Readings) if is_recorded else None

    @property
    def __class__(self) -> type:
        return type(self._env)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode in each environment."""
        observation, info = self._env.reset(**kwargs)
        return self._with_reading(observation), info

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        """Take a step of the environment; episodes that are done count as truncated."""
        observation, reward, terminated, truncated, info = self._env.step(actions)
        predicted = self._policy.last_predicted_reward
        self._rewards.append(predicted.to("cpu"))
        if self._recorded is not None:
            np.copyto(self._recorded, self._rewards[-1].float()[:, None].numpy())
        self._is_forecast.append(self._policy.last_reward_is_forecast)
        truncated = truncated | self._completion.stops(predicted, self._ended)
        self._ended |= terminated | truncated
        return self._with_reading(observation), reward, terminated, truncated, info

    def _with_reading(self, observation: dict[str, Any]) -> dict[str, Any]:
        return observation if self._recorded is None else {**observation, PREDICTED_REWARD: self._recorded}

    @property
    def envs(self) -> list["_DrawnEnv"]:
        return [_DrawnEnv(self, index, env) for index, env in enumerate(self._env.envs)]

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of each environment; the reward is drawn on what "render" gives."""
        results = self._env.call(name, *args, **kwargs)
        return [self.draw(i, frame) for i, frame in enumerate(results)] if name == "render" else results

    def draw(self, index: int, frame: np.ndarray) -> np.ndarray:
        """Draw the reward of one environment on its (H, W, 3) uint8 frame, once there is one."""
        from rewact.draw.bar import draw_reward

        if not self._rewards:
            return frame
        return draw_reward(frame, self._rewards[-1][index].item(), self._is_forecast[-1])

    def add_to(self, data: dict[str, Any]) -> None:
        """Add what was noted to the data of the rollout, and let nothing that came after a stop count.

        Args:
            data: (B, T) "reward" and "success" of the rollout. Modified in place.
        """
        data[PREDICTED_REWARD] = torch.stack(self._rewards, dim=1)
        data[IS_FORECAST] = torch.tensor(self._is_forecast)
        if self._completion.stopped_at is None:
            return
        stopped_at = data[STOPPED_AT_STEP] = torch.from_numpy(self._completion.stopped_at)
        steps = torch.arange(data["success"].shape[1])
        is_after = (stopped_at >= 0)[:, None] & (steps > stopped_at[:, None])
        for key in ("reward", "success"):
            data[key] = data[key].masked_fill(is_after, 0)


class _Readings(np.ndarray):
    """(B, 1) float32 rewards of the last step. LeRobot's recording copies an observation before the policy
    reads it, and looks into the copy afterwards; so copies are this array itself, and what is taken out of it
    is a copy."""

    def __deepcopy__(self, memo: dict) -> "_Readings":
        return self

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.array(super().__getitem__(index))


class _DrawnEnv:
    """One environment of several, on whose frames the predicted reward is drawn."""

    def __init__(self, watched: WatchedEnv, index: int, env: Any):
        self._watched, self._index, self._env = watched, index, env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def render(self) -> np.ndarray:
        return self._watched.draw(self._index, self._env.render())
