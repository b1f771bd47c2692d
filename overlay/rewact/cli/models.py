# SPDX-License-Identifier: MIT
"""Predictions of several models for one dataset, by short names that tell them apart."""

import logging
from collections.abc import Sequence
from pathlib import Path

from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.labels import build_reward_labels
from rewact.labels.build import RewardLabels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.hub import open_metadata
from rewact.options.tools import DataOptions, PredictionOptions
from rewact.values.checkpoint import require_renamed
from rewact.values.prediction import Prediction, read_predictions
from rewact.values.runner import choose_episodes, predict_policy


def open_labelled(dataset: DataOptions) -> tuple[LeRobotDatasetMetadata, list[int], RewardLabels]:
    """A dataset's metadata, the episodes that are asked for, and labels that they all have."""
    meta = open_metadata(dataset)
    episodes = choose_episodes(dataset, meta)
    labels = build_reward_labels(meta, dataset.reward)
    labels.require(episodes)
    logging.info(labels.describe(episodes))
    return meta, episodes, labels


def predict_models(
    cfg: PredictionOptions,
    meta: LeRobotDatasetMetadata,
    episodes: list[int],
    policies: Sequence[PreTrainedConfig],
    files: Sequence[Path],
) -> dict[str, dict[int, Prediction]]:
    """What each policy, and then each progress file, says of some episodes."""
    require_renamed(cfg.rename_map, policies, meta)
    # Files first: what is wrong with them shows before the long part begins.
    table = EpisodeTable.from_metadata(meta)
    of_files = {
        name: read_predictions(path, table, episodes)
        for name, path in zip(file_names(files), files, strict=True)
    }
    names = model_names(policies, taken=list(of_files))
    of_policies = {
        name: predict_policy(cfg, policy, meta, episodes)
        for name, policy in zip(names, policies, strict=True)
    }
    return {**of_policies, **of_files}


def model_names(configs: Sequence[PreTrainedConfig], taken: Sequence[str]) -> list[str]:
    """Names of policies: their type, with the folder of the run where types repeat.

    Args:
        configs: Configurations with a ``pretrained_path``.
        taken: Names of others.
    """
    types = [config.type for config in configs]
    runs = []
    for config in configs:
        parts = [
            p for p in Path(config.pretrained_path).parts if p not in ("checkpoints", "pretrained_model")
        ]
        runs.append("-".join(parts[-2:]).strip("/") or config.type)
    return _tell_apart(types, runs, taken)


def file_names(paths: Sequence[Path]) -> list[str]:
    """Names of progress files: without the ending, with the folder where they repeat."""
    stems = [path.stem for path in paths]
    return _tell_apart(stems, [f"{path.absolute().parent.name}-{path.stem}" for path in paths], taken=[])


def _tell_apart(short: Sequence[str], long: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The short names where they are unique, else the long ones, marked where these are not either."""
    names: list[str] = []
    for name, longer in zip(short, long, strict=True):
        if short.count(name) > 1:
            name = longer
        while name in names or name in taken:
            name += "'"
        names.append(name)
    return names
