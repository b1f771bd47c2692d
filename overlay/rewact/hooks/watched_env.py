# SPDX-License-Identifier: MIT
"""A vector environment that knows what the policy predicts."""

from typing import Any

import numpy as np
import torch

from rewact.hooks.episodes import IS_FORECAST, PREDICTED_REWARD, STOPPED_AT_STEP
from rewact.judge.completion import CompletionWatch


class WatchedEnv:
    """Stands in for a vector environment during one rollout.

    Notes the predicted reward at each step, truncates the episodes that are done, and draws the reward on
    rendered frames. All else is the environment's, its type included: LeRobot renders by type.

    Args:
        env: The vector environment of B environments.
        policy: The policy that acts in it.
    """

    def __init__(self, env: Any, policy: Any):
        self._env = env
        self._policy = policy
        self._completion = CompletionWatch(policy)
        self._ended = np.zeros(env.num_envs, dtype=bool)
        self._rewards: list[torch.Tensor] = []
        self._is_forecast: list[bool] = []

    @property
    def __class__(self) -> type:
        return type(self._env)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        """Take a step of the environment; episodes that are done count as truncated."""
        observation, reward, terminated, truncated, info = self._env.step(actions)
        predicted = self._policy.last_predicted_reward
        self._rewards.append(predicted.to("cpu"))
        self._is_forecast.append(self._policy.last_reward_is_forecast)
        truncated = truncated | self._completion.stops(predicted, self._ended)
        self._ended |= terminated | truncated
        return observation, reward, terminated, truncated, info

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


class _DrawnEnv:
    """One environment of several, on whose frames the predicted reward is drawn."""

    def __init__(self, watched: WatchedEnv, index: int, env: Any):
        self._watched, self._index, self._env = watched, index, env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def render(self) -> np.ndarray:
        return self._watched.draw(self._index, self._env.render())
