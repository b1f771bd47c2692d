# SPDX-License-Identifier: MIT
"""What the training script calls."""

import logging
from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset

from .build import build_reward_labels
from .dataset import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward

if TYPE_CHECKING:
    from lerobot.configs.train import TrainPipelineConfig


def wrap_train_eval_datasets(
    cfg: "TrainPipelineConfig", train: Any, eval: Any | None
) -> tuple[Any, Any | None]:
    """Add reward labels to the datasets of a training run, where something asks for them.

    Labels are needed when the policy has a reward head (``use_reward_head``) or ``--dataset.reward.*`` masks
    actions. Otherwise, and for the training of a reward model, both datasets are returned as they are.

    Args:
        cfg: Configuration of the run.
        train: Dataset to train on.
        eval: Held-out dataset, None without one.

    Returns:
        The two datasets, wrapped; they share one set of labels.

    Raises:
        ValueError: if the labels cannot be built, see :class:`LeRobotDatasetWithReward`.
    """
    config = cfg.dataset.reward
    if cfg.policy is None or not (getattr(cfg.policy, "use_reward_head", False) or config.masks_actions):
        return train, eval
    labels = build_reward_labels(train.meta, config)
    horizon = getattr(cfg.policy, "reward_label_horizon", None)
    # One mask entry per action of a chunk, where the policy takes chunks of this and the next actions.
    steps = list(getattr(cfg.policy, "action_delta_indices", None) or [])
    action_horizon = len(steps) if steps and steps == list(range(len(steps))) else None
    logging.info(labels.describe())

    def wrap(dataset: Any) -> Any:
        streams = isinstance(dataset, IterableDataset)
        wrapper = StreamingLeRobotDatasetWithReward if streams else LeRobotDatasetWithReward
        return wrapper(dataset, horizon=horizon, action_horizon=action_horizon, labels=labels)

    return wrap(train), None if eval is None else wrap(eval)
