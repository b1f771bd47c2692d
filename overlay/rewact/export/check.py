# SPDX-License-Identifier: MIT
"""How far an exported policy is from the one it was made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from rewact.export.exported_policy import ExportedPolicy
from rewact.export.source import Source
from rewact.judge.values import value_metrics

# Largest difference of a float32 graph, of actions in normalised units and of rewards.
TOLERANCE = 1e-4


@dataclass
class Comparison:
    """Outputs of a policy and of what was exported, on the same observations.

    Attributes:
        errors: float64 (N, chunk, A) differences of actions in normalised units, beyond what float32 can tell
            apart in the robot's.
        torch_rewards: float32 (N, T), `None` without a reward head.
        rewards: Those of the export.
        readings: float32 (N,) rewards of the current step, read alone.
    """

    errors: np.ndarray
    torch_rewards: np.ndarray | None
    rewards: np.ndarray | None
    readings: np.ndarray | None

    @property
    def reward_errors(self) -> np.ndarray | None:
        """(N, T + 1) differences of rewards, the last those of rewards that were read alone."""
        if self.torch_rewards is None:
            return None
        exported = np.concatenate([self.rewards, self.readings[:, None]], axis=1)
        return np.abs(exported - np.concatenate([self.torch_rewards, self.torch_rewards[:, :1]], axis=1))

    def largest(self) -> dict[str, float]:
        """The largest difference of actions and, with a reward head, of rewards."""
        found = {"actions": float(self.errors.max())}
        if self.reward_errors is not None:
            found["rewards"] = float(self.reward_errors.max())
        return found

    def mean(self) -> dict[str, float]:
        """The mean difference of each."""
        found = {"actions": float(self.errors.mean())}
        if self.reward_errors is not None:
            found["rewards"] = float(self.reward_errors.mean())
        return found

    def order(self, lengths: Sequence[int]) -> dict[str, float] | None:
        """VOC of the policy and of the export over whole episodes of these lengths; `None` without a head."""
        if self.torch_rewards is None:
            return None
        ends = np.cumsum(lengths)
        episodes = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        label = self.torch_rewards[:, 0]
        return {
            "torch": value_metrics(label, label, episodes)["voc"],
            "exported": value_metrics(self.readings, label, episodes)["voc"],
        }


def compare(source: Source, exported: ExportedPolicy, batches: Sequence[Mapping[str, Tensor]]) -> Comparison:
    """Run both on batches of raw observations, by the dataset's names."""
    scale = source.action_scale().numpy()
    errors, theirs, ours, readings = [], [], [], []
    for batch in batches:
        expected, expected_rewards = source.predict(batch)
        arrays = {name: value.numpy() for name, value in batch.items()}
        actions, rewards = exported.predict_chunk(arrays)
        wanted = expected.numpy().astype(np.float64)
        gap = np.maximum(np.abs(actions - wanted) - np.spacing(np.abs(expected.numpy())), 0)
        errors.append(np.divide(gap, scale, out=np.zeros_like(gap), where=scale > 0))
        if expected_rewards is not None:
            theirs.append(expected_rewards.numpy())
            ours.append(rewards)
            readings.append(exported.predict_reward(arrays))
    return Comparison(
        np.concatenate(errors), *(np.concatenate(x) if x else None for x in (theirs, ours, readings))
    )
