# SPDX-License-Identifier: MIT
"""What the training script calls."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset

from .build import build_reward_labels
from .dataset import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward

if TYPE_CHECKING:
    from lerobot.configs.train import TrainPipelineConfig


def wrap_train_eval_datasets(
    cfg: "TrainPipelineConfig", train: Any, eval: Any | None
) -> tuple[Any, Any | None]:
    """Add reward labels to the datasets of a training run, where something asks for them.

    Labels are needed when the policy has a reward head (``use_reward_head``) or is conditioned on advantages
    (``advantage_labels``), or when ``--dataset.reward.*`` masks actions. Otherwise, and for the training of a
    reward model, both datasets are returned as they are.

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
    advantages = _load_advantages(cfg, [train] if eval is None else [train, eval])
    has_head = getattr(cfg.policy, "use_reward_head", False)
    if cfg.policy is None or not (has_head or config.masks_actions or advantages is not None):
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
        return wrapper(
            dataset, horizon=horizon, action_horizon=action_horizon, labels=labels, advantages=advantages
        )

    return wrap(train), None if eval is None else wrap(eval)


def _load_advantages(cfg: "TrainPipelineConfig", datasets: list[Any]) -> torch.Tensor | None:
    """The advantages that the policy needs ("required"), or uses if there are any ("optional")."""
    wanted = getattr(cfg.policy, "advantage_labels", None)
    if wanted is None:
        return None
    from lerobot.advantages import ADVANTAGES_FILE, load_advantages  # it imports this package

    meta, path = datasets[0].meta, cfg.dataset.reward.advantages_path
    if wanted == "optional" and path is None and not (Path(meta.root) / ADVANTAGES_FILE).exists():
        return None
    # A streaming dataset yields all episodes, whatever its `episodes` are.
    chosen = [None if isinstance(d, IterableDataset) else getattr(d, "episodes", None) for d in datasets]
    episodes = None if None in chosen else sorted({episode for some in chosen for episode in some})
    return torch.from_numpy(load_advantages(meta, None if path is None else Path(path), episodes=episodes))
