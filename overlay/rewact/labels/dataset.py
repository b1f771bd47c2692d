# SPDX-License-Identifier: MIT
"""Datasets that add reward labels to the items of a LeRobot dataset."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from rewact.keys import (
    ACTION_MASK_KEY,
    ADVANTAGE_KEY,
    HELD_OUT_KEY,
    LABELS_KEY,
    RECAP_KEYS,
    REWARD_KEY,
    REWARD_PAD_KEY,
)
from rewact.labels.build import RewardLabels, build_reward_labels
from rewact.labels.editing import KeypointEditing
from rewact.options.labels import RewardLabelsConfig


class _WithReward(KeypointEditing):
    """What the map-style and the streaming dataset have in common."""

    def __init__(
        self,
        dataset: Any,
        reward_start_pct: float = 0.05,
        reward_end_pct: float = 0.95,
        mask_actions_for_eval_data: bool = False,
        mask_actions_for_fail_data: bool = False,
        *,
        config: RewardLabelsConfig | None = None,
        policy: Any | None = None,
        horizon: int | None = None,
        action_horizon: int | None = None,
        labels: RewardLabels | None = None,
        advantages: Tensor | None = None,
        trained_on: Sequence[int] | None = None,
    ):
        short = RewardLabelsConfig(
            start_pct=reward_start_pct,
            end_pct=reward_end_pct,
            mask_actions_for_eval_data=mask_actions_for_eval_data,
            mask_actions_for_fail_data=mask_actions_for_fail_data,
        )
        if sum((config is not None, labels is not None, short != RewardLabelsConfig())) > 1:
            raise ValueError(
                "give the reward settings as arguments, as a config or as labels, only one of them"
            )
        if policy is not None:
            if (horizon, action_horizon) != (None, None):
                raise ValueError(
                    "the policy says which labels it needs; leave out horizon and action_horizon"
                )
            horizon = getattr(policy, "reward_label_horizon", None)
            # One mask entry per action of a chunk, where it takes chunks of this and the next actions.
            steps = list(getattr(policy, "action_delta_indices", None) or [])
            action_horizon = len(steps) if steps and steps == list(range(len(steps))) else None
        for name, value in (("horizon", horizon), ("action_horizon", action_horizon)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not hasattr(dataset, "meta"):
            raise ValueError(
                f"{type(dataset).__name__} has no metadata of its own, by which frames are labelled: merge "
                "its datasets with lerobot-edit-dataset, or wrap each one and join them with torch's "
                "ConcatDataset"
            )
        self.dataset = dataset
        self.horizon = horizon
        self.action_horizon = action_horizon
        self.labels = build_reward_labels(dataset.meta, config or short) if labels is None else labels
        self.advantages = advantages
        self.with_rewards = policy is None or getattr(policy, "use_reward_head", False)
        self.trained_on = trained_on
        names = self._label_names()
        self._refuse_to_hide_columns(names)
        # RECAP's columns stay as they are and count as labels, too.
        self._marker = " ".join([*names, *(key for key in RECAP_KEYS if key in dataset.meta.features)])
        if self.with_rewards:
            self.labels.require(self._labelled_episodes())
        self._ends = self.labels.table.ends.tolist()
        self._episodes = self.labels.table.episodes.tolist()

    def __getattr__(self, name: str) -> Any:
        # Called only for what the wrapper itself lacks. Dunders are never delegated: torch would find the
        # wrapped dataset's `__getitems__` and fetch unlabelled batches, and unpickling would recurse.
        # "dataset" is missing only while an instance is being rebuilt.
        if name.startswith("_") or name == "dataset":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.dataset, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dataset!r}, {self.labels.describe()!r})"

    def _label_names(self) -> list[str]:
        """Keys that items gain."""
        names = [REWARD_KEY] if self.with_rewards else []
        names += [REWARD_PAD_KEY] if self.with_rewards and self.horizon is not None else []
        names += [HELD_OUT_KEY] if self.with_rewards and self.trained_on is not None else []
        names += [ACTION_MASK_KEY] if self.labels.action_mask is not None else []
        return names + ([ADVANTAGE_KEY] if self.advantages is not None else [])

    def _refuse_to_hide_columns(self, names: list[str]) -> None:
        config = self.labels.config
        taken = set(names) & set(self.dataset.meta.features)
        if "column" in config.sources and config.column == REWARD_KEY:
            taken -= {REWARD_KEY}
        if taken:
            remedy = "rename it"
            if REWARD_KEY in taken:
                remedy += ", or take it as the labels with --dataset.reward.sources='[\"column\"]'"
            name = self.dataset.meta.repo_id
            raise ValueError(
                f"{name} has a column {max(taken)!r} of its own, which labels would hide; {remedy}"
            )

    def _labelled_episodes(self) -> Iterable[int] | None:
        """Episodes that items come from, None for all."""
        return getattr(self.dataset, "episodes", None)

    def _labelled(self, item: dict[str, Any]) -> dict[str, Any]:
        """The item with its labels; ``item["index"]`` is the absolute frame index."""
        index = int(item["index"])
        labels = self.labels
        if not 0 <= index < len(labels.rewards):
            raise IndexError(
                f"{labels.table.repo_id}: frame {index} is not among its {len(labels.rewards)} frames; "
                "the data and the metadata of the dataset do not fit together"
            )
        row = bisect_right(self._ends, index)
        if (episode := int(item["episode_index"])) != self._episodes[row]:
            labels.table.require(np.array([index]), np.array([episode]))
        end = self._ends[row]
        item = dict(item)
        if self.with_rewards:
            item[REWARD_KEY], is_pad = self._window(labels.rewards, index, end, self.horizon)
            if is_pad is not None:
                item[REWARD_PAD_KEY] = is_pad
            if self.trained_on is not None:
                item[HELD_OUT_KEY] = torch.tensor(index)
        if labels.action_mask is not None:
            item[ACTION_MASK_KEY], _ = self._window(labels.action_mask, index, end, self.action_horizon)
        if self.advantages is not None:
            item[ADVANTAGE_KEY] = self.advantages[index].clone()
        item[LABELS_KEY] = self._marker
        return item

    @staticmethod
    def _window(values: Tensor, index: int, end: int, horizon: int | None) -> tuple[Tensor, Tensor | None]:
        """The value of a frame; or those of this frame and the next ones, and which lie past the episode."""
        if horizon is None:
            return values[index].clone(), None  # a view would share, and pickle, the whole array
        left = end - index
        if left >= horizon:
            return values[index : index + horizon].clone(), torch.zeros(horizon, dtype=torch.bool)
        repeated = values[end - 1].expand(horizon - left)
        return torch.cat([values[index:end], repeated]), torch.arange(horizon) >= left


class LeRobotDatasetWithReward(_WithReward, Dataset):
    """A LeRobot dataset whose items carry reward labels.

    Everything else is the wrapped dataset's: its attributes, its length, its indices. Items gain

    - ``reward``: float32 in [0, 1], a scalar tensor, or ``(horizon,)`` when a horizon is given: the labels of
      this frame and the next ones of the same episode, the last one repeated past its end;
    - ``reward_is_pad``: bool ``(horizon,)``, True past the end of the episode (only with a horizon);
    - ``action_mask``: bool, scalar or ``(action_horizon,)`` likewise, False where the action of that frame
      must not be trained on (only when the settings mask something);
    - ``advantage``: float32 scalar tensor, 1 where the action is positive, -1 where it is negative, NaN where
      that is not known (only when advantages are given);
    - ``held_out_frame``: int64 scalar tensor, the absolute frame index (only with ``trained_on``);
    - ``rewact_labels``: the names of these keys, separated by spaces, so that policies tell them from columns
      of the dataset's own (see :mod:`rewact.keys`).

    ``meta.features`` stays as it is: labels are targets of training, not features of the dataset.

    Args:
        dataset: A ``LeRobotDataset``, whole or with ``episodes=[...]``.
        reward_start_pct: Linear labels: position in [0, 1] until which the reward is 0.
        reward_end_pct: Position from which it is 1.
        mask_actions_for_eval_data: Mask all actions if the dataset's name, the part of its repo id
            after the slash, starts with ``eval_``.
        mask_actions_for_fail_data: Mask all actions if its name starts with ``fail_``, and those of episodes
            known to have failed.
        config: All settings in one object, instead of the four above.
        policy: Configuration of the policy to train. It says what is needed: rewards, or masks and
            advantages alone, and the two horizons.
        horizon: Labels per item, at least 1; None for a scalar.
        action_horizon: Entries of ``action_mask`` per item, at least 1; None for a scalar.
        labels: Labels built before, to share between several datasets on the same data.
        advantages: float32 ``(N,)`` by absolute frame index.
        trained_on: Episodes that a run trains on, where this dataset is held out of it. A policy then keeps
            what its reward head says of the items, to be judged.

    Raises:
        ValueError: if a setting or a label file is wrong, an episode has no labels, or the dataset has a
            column of its own named like a label.
    """

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        items = self.dataset[index]
        return [self._labelled(item) for item in items] if isinstance(items, list) else self._labelled(items)


class StreamingLeRobotDatasetWithReward(_WithReward, IterableDataset):
    """A ``StreamingLeRobotDataset`` whose items carry reward labels.

    Items and arguments are those of :class:`LeRobotDatasetWithReward`. Label files are read from the
    dataset's local folder, which holds its metadata also when the data comes from the Hub. All episodes need
    labels, for ``StreamingLeRobotDataset`` yields all of them whatever its ``episodes`` are.
    """

    def _labelled_episodes(self) -> None:
        return None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for item in self.dataset:
            yield self._labelled(item)
