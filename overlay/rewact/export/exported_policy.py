# SPDX-License-Identifier: MIT
"""Runs a policy that `lerobot-export` wrote, on onnxruntime and numpy alone: copy this folder to the robot.

```python
from exported_policy import ExportedPolicy

policy = ExportedPolicy("exported")
policy.reset()  # at the start of each episode
action, reward = policy.select_action({"observation.images.top": image, "observation.state": state})
```

`python exported_policy.py` measures how fast the policy is on this machine.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

GRAPH = "policy.onnx"
# The reward without the actions, where this costs less.
REWARD_GRAPH = "reward.onnx"
METADATA = "rewact"
FORMAT = 1


class ExportedPolicy:
    """A policy that acts on observations as they are recorded: nothing has to be normalised.

    An observation holds arrays by the names of the policy's inputs: states, and images either float32
    (3, height, width) in [0, 1] or uint8 (height, width, 3). Other keys do no harm. All of them may have a
    batch dimension in front, and then so has what is returned.

    Args:
        folder: Where `lerobot-export` wrote the policy. By default, where this file lies.
        providers: What onnxruntime runs it on, such as ["CUDAExecutionProvider"]. By default the CPU.
        num_threads: Threads on the CPU. By default one for each core.

    Attributes:
        metadata: Names, sizes and settings of the policy.
        last_predicted_reward: (B,) rewards of the last `select_action`, `None` after `reset`.
        last_reward_is_forecast: Whether they were planned at the start of the chunk, and not read from the
            observation of their own step.
        done: (B,) bool, whether the task counts as done. Only for policies exported with
            `stop_on_completion`, which read the reward at every step; `None` for others and after `reset`.

    Raises:
        ValueError: If the files are of another version than this one.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        providers: Sequence[str] | None = None,
        num_threads: int | None = None,
    ):
        self._folder = Path(__file__).parent if folder is None else Path(folder)
        self._providers = list(providers or ["CPUExecutionProvider"])
        self._num_threads = num_threads
        self._session = self._load(GRAPH)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA)
        self.metadata = json.loads(text) if text else {}
        if self.metadata.get("format") != FORMAT:
            raise ValueError(
                f"{self._folder / GRAPH} is not of this version; export it again, and take all files of the "
                "folder"
            )
        self._reward = self.metadata["reward"]
        if self._refresh_steps is not None:
            self._reward_session  # noqa: B018  # loaded here, and not in the middle of an episode
        coefficient = self.metadata["temporal_ensemble_coeff"]
        self._ensembler = None
        if coefficient is not None:
            self._ensembler = TemporalEnsembler(coefficient, self.metadata["chunk_size"])
        self._detector = CompletionDetector(**self.metadata["completion_detector"])
        self.reset()

    def reset(self) -> None:
        """Forget the queued actions; call it at the start of an episode."""
        self._queue: deque = deque()
        self._batch_size: int | None = None
        self.last_predicted_reward: np.ndarray | None = None
        self.last_reward_is_forecast = False
        self.done: np.ndarray | None = None
        self._detector.reset()
        if self._ensembler is not None:
            self._ensembler.reset()

    def select_action(
        self, observation: Mapping[str, Any], force_model_run: bool = False
    ) -> "tuple[np.ndarray, np.ndarray] | np.ndarray":
        """The action for this step and its reward in [0, 1]; without a reward head the action alone.

        Args:
            observation: Of this step.
            force_model_run: Read the reward from this observation, also where a forecast waits in the queue.
        """
        self._require_head(force_model_run)
        is_single, batch_size = self._batch_of(observation)
        if self._batch_size not in (None, batch_size):
            raise ValueError(
                f"the batch changed from {self._batch_size} to {batch_size} observations; call reset() "
                "between episodes"
            )
        self._batch_size = batch_size
        if self._ensembler is not None:
            actions, rewards = self._run(observation)
            action, reward, is_forecast = self._ensembler.update(actions), rewards[:, :1], False
        else:
            if not self._queue:
                actions, rewards = self._run(observation)
                for step in range(self.metadata["n_action_steps"]):
                    self._queue.append((actions[:, step], rewards[:, step : step + 1], step))
            action, reward, step = self._queue.popleft()
            is_forecast = step > 0
            if is_forecast and (force_model_run or self._is_refresh_step(step)):
                reward, is_forecast = self._read_reward(observation)[:, None], False
        action = action[0] if is_single else action
        if self._reward is None:
            return action
        reward = reward[:, 0]
        self.last_predicted_reward, self.last_reward_is_forecast = reward, is_forecast
        if self.metadata["stop_on_completion"]:
            self.done = self._detector(reward)
        return action, reward[0] if is_single else reward

    def predict_chunk(self, observation: Mapping[str, Any]) -> "tuple[np.ndarray, np.ndarray | None]":
        """What is planned at this observation; the queued actions stay as they are.

        Returns:
            (chunk, action) actions, and (steps,) rewards of this step and of those that follow it as far as
            they are forecast, `None` without a reward head.
        """
        actions, rewards = self._run(observation)
        if self._batch_of(observation)[0]:
            actions, rewards = actions[0], rewards[0]
        return actions, None if self._reward is None else rewards

    def predict_reward(self, observation: Mapping[str, Any]) -> np.ndarray:
        """The reward of this observation alone; the queued actions stay as they are."""
        self._require_head(True)
        reward = self._read_reward(observation)
        return reward[0] if self._batch_of(observation)[0] else reward

    @property
    def _refresh_steps(self) -> int | None:
        """How often the reward is read while queued actions are executed."""
        if self._reward is None:
            return None
        if self.metadata["stop_on_completion"] or self._reward["steps"] == 1:
            return 1
        return self._reward["refresh_steps"]

    def _is_refresh_step(self, step: int) -> bool:
        return self._refresh_steps is not None and step % self._refresh_steps == 0

    def _run(self, observation: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """(B, chunk, action) actions and (B, steps) rewards, no steps of them without a head."""
        actions, *rewards = self._session.run(None, self._read(observation))
        return actions, rewards[0] if rewards else np.zeros((len(actions), 0), np.float32)

    def _read_reward(self, observation: Mapping[str, Any]) -> np.ndarray:
        wanted = {value.name for value in self._reward_session.get_inputs()}
        feed = {name: value for name, value in self._read(observation).items() if name in wanted}
        return self._reward_session.run(["rewards"], feed)[0][:, 0]

    def _read(self, observation: Mapping[str, Any]) -> dict[str, np.ndarray]:
        feed = {}
        for name, feature in self.metadata["inputs"].items():
            value, shape = np.asarray(self._input(observation, name)), tuple(feature["shape"])
            if feature["is_image"] and value.dtype == np.uint8:
                value = np.moveaxis(value, -1, -3) / np.float32(255)
            value = np.ascontiguousarray(value, dtype=np.float32)
            value = value[None] if value.ndim == len(shape) else value
            if value.shape[1:] != shape:
                or_uint8 = f", or uint8 {(*shape[1:], shape[0])}" if feature["is_image"] else ""
                raise ValueError(f"{name!r} has shape {value.shape[1:]}; the policy reads {shape}{or_uint8}")
            feed[name] = value
        if len({len(value) for value in feed.values()}) > 1:
            raise ValueError(f"an observation has batches of {[len(value) for value in feed.values()]}")
        return feed

    def _input(self, observation: Mapping[str, Any], name: str) -> Any:
        if name not in observation:
            raise ValueError(
                f"the observation lacks {name!r}; the policy reads {', '.join(self.metadata['inputs'])}"
            )
        return observation[name]

    def _batch_of(self, observation: Mapping[str, Any]) -> tuple[bool, int]:
        """Whether an observation has no batch dimension, and its number of observations."""
        name, feature = next(iter(self.metadata["inputs"].items()))
        value = self._input(observation, name)
        is_single = np.ndim(value) == len(feature["shape"])
        return is_single, 1 if is_single else len(value)

    def _require_head(self, is_needed: bool) -> None:
        if is_needed and self._reward is None:
            raise ValueError("this policy has no reward head: it predicts actions alone")

    @cached_property
    def _reward_session(self) -> onnxruntime.InferenceSession:
        return self._load(REWARD_GRAPH) if self._reward["own_graph"] else self._session

    def _load(self, name: str) -> onnxruntime.InferenceSession:
        path = self._folder / name
        if not path.is_file():
            raise ValueError(f"{path} is missing; copy the whole folder that lerobot-export wrote")
        options = onnxruntime.SessionOptions()
        if self._num_threads is not None:
            options.intra_op_num_threads = self._num_threads
        return onnxruntime.InferenceSession(str(path), options, providers=self._providers)


class TemporalEnsembler:
    """Averages what successive chunks plan for the same step, as LeRobot's `ACTTemporalEnsembler` does.

    Weights are exp(-coefficient * i), where 0 is the oldest plan.
    """

    def __init__(self, coefficient: float, chunk_size: int):
        self._weights = np.exp(-coefficient * np.arange(chunk_size)).astype(np.float32)
        self._totals = np.cumsum(self._weights, dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        self._plan: np.ndarray | None = None

    def update(self, actions: np.ndarray) -> np.ndarray:
        """Take in the (B, chunk, action) plan of a step, and return its (B, action) action."""
        if self._plan is None:
            self._plan, self._counts = actions.copy(), np.ones((actions.shape[1], 1), np.int64)
        else:
            counts = self._counts
            plan = self._plan * self._totals[counts - 1] + actions[:, :-1] * self._weights[counts]
            plan /= self._totals[counts]
            self._plan = np.concatenate([plan, actions[:, -1:]], axis=1)
            counts = np.minimum(counts + 1, actions.shape[1])
            self._counts = np.concatenate([counts, np.ones((1, 1), np.int64)])
        action, self._plan, self._counts = self._plan[:, 0], self._plan[:, 1:], self._counts[1:]
        return action


class CompletionDetector:
    """Says "done" once the predicted reward has stayed high for long enough.

    It follows each observation of a batch on its own: done from the `dwell`-th step in a row at which the
    reward is at least `threshold`, until it falls below `threshold - hysteresis`.
    """

    def __init__(self, threshold: float, hysteresis: float, dwell: int):
        self.threshold, self.hysteresis, self.dwell = threshold, hysteresis, dwell
        self.reset()

    def reset(self) -> None:
        self._steps_above: Any = 0
        self._done: Any = False

    def __call__(self, reward: "np.ndarray | float") -> np.ndarray:
        """Take in the (B,) rewards of one step; returns (B,) bool."""
        reward = np.asarray(reward, np.float32)
        if np.isnan(reward).any():
            raise ValueError(f"a predicted reward is NaN: {reward.tolist()}")
        # As torch compares them: float32 with Python's float.
        threshold, low = np.float32(self.threshold), np.float32(self.threshold - self.hysteresis)
        self._steps_above = np.where(reward >= threshold, self._steps_above + 1, 0)
        self._done = (self._done & (reward >= low)) | (self._steps_above >= self.dwell)
        return self._done.copy()


def time_in_turns(calls: Mapping[str, Callable[[], Any]], n_runs: int = 30) -> dict[str, np.ndarray]:
    """(3,) milliseconds of each call, which take turns: the median between the quartiles."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for run in range(-2, n_runs):  # the first ones warm up
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if run >= 0:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.percentile(values, (25, 50, 75)) for name, values in times.items()}


def peak_memory_mb() -> dict[str, float]:
    """Megabytes that this process has used at most, where the system says it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return {}
    # Not `resource`, which counts the process that started this one too.
    lines = [line.split() for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return {"peak_mb": int(lines[0][1]) * 1024 / 1e6} if lines else {}


if __name__ == "__main__":
    begin = time.perf_counter()
    exported = ExportedPolicy(*sys.argv[1:2])
    measured = {"load_ms": 1e3 * (time.perf_counter() - begin)}
    random = np.random.default_rng(0)
    seen = {
        name: random.random(feature["shape"], dtype=np.float32)
        for name, feature in exported.metadata["inputs"].items()
    }
    to_time: dict[str, Callable[[], Any]] = {"chunk_ms": lambda: exported.predict_chunk(seen)}
    if exported.metadata["reward"] is not None:
        to_time["reward_ms"] = lambda: exported.predict_reward(seen)
    measured |= {name: float(times[1]) for name, times in time_in_turns(to_time).items()}
    print(json.dumps({**measured, **peak_memory_mb()}))
