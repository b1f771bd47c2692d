# SPDX-License-Identifier: MIT
"""What the training script calls."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.labels.build import build_reward_labels
from rewact.labels.dataset import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward
from rewact.labels.hub import pull_label_files
from rewact.options.head import RewardHeadConfig

if TYPE_CHECKING:
    from lerobot.configs.default import DatasetConfig
    from lerobot.configs.train import TrainPipelineConfig


def make_datasets_with_reward(
    cfg: "TrainPipelineConfig", make: Callable[["TrainPipelineConfig"], Any]
) -> tuple[Any, Any | None]:
    """Make the datasets of a training run and add reward labels, where something asks for them.

    Args:
        cfg: Configuration of the run.
        make: LeRobot's function that makes the dataset, or the datasets to train on and to evaluate on.

    Returns:
        The dataset to train on and the held-out one, None without one.

    Raises:
        ValueError: naming the episode, if ``--dataset.episodes`` asks for one that the dataset lacks; or if
            the labels cannot be built, see :class:`LeRobotDatasetWithReward`.
    """
    if _wants_labels(cfg) or getattr(cfg.policy, "advantage_labels", None) is not None:
        require_episodes(cfg.dataset)
    made = make(cfg)
    return wrap_train_eval_datasets(cfg, *(made if isinstance(made, tuple) else (made, None)))


def _wants_labels(cfg: "TrainPipelineConfig") -> bool:
    return cfg.policy is not None and (
        getattr(cfg.policy, "use_reward_head", False) or cfg.dataset.reward.masks_actions
    )


def require_episodes(config: "DatasetConfig") -> None:
    """Check that a dataset has the episodes that are asked for.

    LeRobot itself goes on with a warning, to fail later for a reason that does not name the episode.

    Raises:
        ValueError: naming the first episode that the dataset lacks.
    """
    if not config.episodes or config.streaming:
        return
    total = LeRobotDatasetMetadata(config.repo_id, root=config.root, revision=config.revision).total_episodes
    if missing := [episode for episode in config.episodes if episode >= total]:
        raise ValueError(
            f"{config.repo_id} has no episode {missing[0]}: its episodes are 0 to {total - 1}; choose "
            "among these with --dataset.episodes."
        )


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
        ValueError: if the labels cannot be built, see :class:`LeRobotDatasetWithReward`; or if actions are to
            be masked for a policy that knows no masks.
    """
    config = cfg.dataset.reward
    if config.masks_actions and cfg.policy is not None and not isinstance(cfg.policy, RewardHeadConfig):
        raise ValueError(
            f"--dataset.reward.mask_actions_*: the policy {cfg.policy.type!r} imitates all actions, masked "
            "or not; leave the masks out, or train act, rewact or actvantage"
        )
    advantages = _load_advantages(cfg, [train] if eval is None else [train, eval])
    if not _wants_labels(cfg) and advantages is None:
        return train, eval
    labels = build_reward_labels(train.meta, config)
    logging.info(labels.describe())

    def wrap(dataset: Any) -> Any:
        streams = isinstance(dataset, IterableDataset)
        wrapper = StreamingLeRobotDatasetWithReward if streams else LeRobotDatasetWithReward
        return wrapper(dataset, policy=cfg.policy, labels=labels, advantages=advantages)

    return wrap(train), None if eval is None else wrap(eval)


def _load_advantages(cfg: "TrainPipelineConfig", datasets: list[Any]) -> torch.Tensor | None:
    """The advantages that the policy needs ("required"), or uses if there are any ("optional")."""
    wanted = getattr(cfg.policy, "advantage_labels", None)
    if wanted is None:
        return None
    from rewact.advantages import ADVANTAGES_FILE, load_advantages  # it imports this package

    meta, path = datasets[0].meta, cfg.dataset.reward.advantages_path
    pull_label_files(meta)
    if wanted == "optional" and path is None and not (Path(meta.root) / ADVANTAGES_FILE).exists():
        return None
    # A streaming dataset yields all episodes, whatever its `episodes` are.
    chosen = [None if isinstance(d, IterableDataset) else getattr(d, "episodes", None) for d in datasets]
    episodes = None if None in chosen else sorted({episode for some in chosen for episode in some})
    return torch.from_numpy(load_advantages(meta, None if path is None else Path(path), episodes=episodes))
