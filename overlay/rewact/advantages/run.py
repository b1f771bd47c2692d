# SPDX-License-Identifier: MIT
"""From a dataset and a value function to the advantages file: what `lerobot-compute-advantages` does."""

import copy
import logging
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate import PartialState

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.advantages.compute import (
    Evidence,
    advantages_from_returns,
    estimate_advantages,
    gather_evidence,
    look_ahead,
    require_look_ahead,
)
from rewact.advantages.file import ADVANTAGES_FILE, AdvantageTable, keep_other_episodes, write_advantage_file
from rewact.advantages.folds import assign_folds, fold_checkpoint, train_fold
from rewact.advantages.labels import TaskSummary, label_advantages
from rewact.advantages.record import RENEW, make_record
from rewact.labels import build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.hub import open_metadata, pull_label_files
from rewact.options.advantages import AdvantageOptions, ComputeAdvantagesConfig
from rewact.options.labels import FAILURE_RETURNS
from rewact.values.checkpoint import (
    checkpoint_digest,
    guess_value_type,
    read_train_config,
    trained_labels,
)
from rewact.values.predictor import RewardPredictor, require_reward_head
from rewact.values.processes import together
from rewact.values.runner import choose_episodes, episode_loader, predict_episodes
from rewact.values.store import ValueStore

if TYPE_CHECKING:
    from lerobot.configs.policies import PreTrainedConfig


@dataclass(frozen=True)
class Computed:
    """What was written, and what one compares it with.

    Attributes:
        path: The advantages file.
        table: Its content.
        evidence: What is known of the dataset.
        summaries: One for each task.
        target: float ``(N,)``, what the values estimate, NaN where that is not known.
    """

    path: Path
    table: AdvantageTable
    evidence: Evidence
    summaries: list[TaskSummary]
    target: np.ndarray


def compute_file(cfg: ComputeAdvantagesConfig, policy: "PreTrainedConfig | None") -> Computed | None:
    """Compute the advantages of a dataset and write its advantages file.

    Args:
        cfg: Options. What they leave to the value function is filled in.
        policy: Configuration of the value function, None to compare returns.

    Returns:
        What was written; None in all processes but the main one.

    Raises:
        ValueError: Naming file, episode or option, if something is broken or contradicts something.
    """
    processes = PartialState()
    meta = open_metadata(cfg.dataset)
    episodes = sorted(choose_episodes(cfg.dataset, meta))
    if processes.is_main_process:
        pull_label_files(meta)  # LeRobot leaves them out where it loads some of the episodes
    processes.wait_for_everyone()
    train_config = None if policy is None else read_train_config(policy.pretrained_path)
    _adopt_penalty(cfg, train_config)
    if unknown := sorted(set(cfg.plot_episodes or []) - set(episodes)):
        raise ValueError(
            f"plot_episodes: episode {unknown[0]} is not among the {len(episodes)} episodes of "
            f"{cfg.dataset.repo_id} that are read"
        )
    value_type, value_offset = None, 0.0
    if policy is not None:
        require_reward_head(policy)
        value_type = guess_value_type(policy, train_config) if cfg.value_type == "auto" else cfg.value_type
        value_offset = 1.0  # a head's values lie in [0, 1], those of returns with them
    table_rows = _rows(meta, episodes)
    evidence = gather_evidence(meta, cfg.dataset.reward, table_rows, use_recorded_returns=value_offset == 0)
    options = _options(cfg, policy, evidence.table, value_type)
    provenance: dict[str, Any] = {
        "value_type": value_type or "monte_carlo",
        "failure_return": cfg.dataset.reward.failure_return or FAILURE_RETURNS[0],
        "folds": cfg.folds,
        "n_steps": options.n_steps,
        "smoothing_window": options.smoothing_window,
        "command": shlex.join([RENEW, *sys.argv[1:]]),
        **make_record(meta, cfg.dataset.reward, train_config, has_values=policy is not None),
    }
    if policy is None:
        values, advantages = advantages_from_returns(evidence, table_rows)
    else:
        values = _compute_values(cfg, policy, meta, evidence, table_rows)
        provenance |= {
            "checkpoint": cfg.policy.path,
            "checkpoint_sha256": checkpoint_digest(policy.pretrained_path),
            "folds_dir": str(_folds_dir(cfg)) if cfg.folds else None,
        }
        values, advantages = estimate_advantages(
            evidence, table_rows, values, value_type, options, value_offset
        )
    if not processes.is_main_process:
        return None
    path = cfg.output_path or Path(meta.root) / ADVANTAGES_FILE
    table_rows = keep_other_episodes(path, meta, table_rows, values, advantages, provenance)
    table, summaries = label_advantages(meta, evidence, table_rows, values, advantages, options, provenance)
    write_advantage_file(path, table)
    target = _target(cfg, meta, evidence, value_type, value_offset)
    return Computed(path, table, evidence, summaries, target)


def _options(
    cfg: ComputeAdvantagesConfig,
    policy: "PreTrainedConfig | None",
    table: EpisodeTable,
    value_type: str | None,
) -> AdvantageOptions:
    n_steps = cfg.n_steps
    if n_steps is None and policy is None:
        n_steps = max(round(table.fps), 1)
    elif n_steps is None:
        n_steps = getattr(policy, "n_action_steps", 1)
        if value_type == "progress":
            n_steps = look_ahead(table, n_steps)
    elif value_type == "progress":
        require_look_ahead(table, n_steps)
    return AdvantageOptions(n_steps, cfg.positive_fraction, cfg.smoothing_window)


def _rows(meta: LeRobotDatasetMetadata, episodes: list[int]) -> np.ndarray:
    table = EpisodeTable.from_metadata(meta)
    return np.array([table.row(episode) for episode in episodes], dtype=np.int64)


def _adopt_penalty(cfg: ComputeAdvantagesConfig, train_config: dict[str, Any] | None) -> None:
    """Penalise failures as the labels of the value function did, unless told otherwise."""
    labels = trained_labels(train_config)
    for name in ("c_fail", "failure_return"):
        if getattr(cfg.dataset.reward, name) is None:
            setattr(cfg.dataset.reward, name, labels.get(name))


def _folds_dir(cfg: ComputeAdvantagesConfig) -> Path:
    return cfg.folds_dir or Path(cfg.policy.path).parent / "folds"


def _target(
    cfg: ComputeAdvantagesConfig,
    meta: LeRobotDatasetMetadata,
    evidence: Evidence,
    value_type: str | None,
    value_offset: float,
) -> np.ndarray:
    if value_type == "progress":
        return build_reward_labels(meta, cfg.dataset.reward).rewards.numpy()
    known = np.repeat(evidence.returns.is_terminal, evidence.table.lengths)
    target = np.full(evidence.table.n_frames, np.nan)
    frames = evidence.table.frames(np.arange(len(evidence.table.episodes)))
    target[frames] = np.where(known, evidence.returns.values[frames] + value_offset, np.nan)
    return target


def _compute_values(
    cfg: ComputeAdvantagesConfig,
    policy: "PreTrainedConfig",
    meta: LeRobotDatasetMetadata,
    evidence: Evidence,
    rows: np.ndarray,
) -> np.ndarray:
    """The value of each frame, float32 ``(N,)``, NaN outside the rows; the processes share the work."""
    table, processes = evidence.table, PartialState()
    values = np.full(table.n_frames, np.nan, dtype=np.float32)
    folds = assign_folds(evidence, rows, cfg.folds) if cfg.folds else np.zeros(len(rows), dtype=np.int64)
    episodes = table.episodes[rows]
    load = episode_loader(cfg.dataset, cfg.tolerance_s)
    for fold in np.unique(folds).tolist():
        judge = policy
        if cfg.folds:
            if processes.is_main_process:
                others = episodes[folds != fold].tolist()
                train_fold(Path(cfg.policy.path), _folds_dir(cfg), fold, meta, others)
            processes.wait_for_everyone()
            judge = copy.copy(policy)
            judge.pretrained_path = fold_checkpoint(_folds_dir(cfg), fold)
        with together():
            predictor = RewardPredictor(judge, meta, cfg.rename_map)
        mine = episodes[folds == fold].tolist()
        if processes.num_processes > 1:
            logging.info(f"{len(mine)} episodes are shared by {processes.num_processes} processes")
        store = ValueStore(predictor, meta, cfg.values_dir)
        predicted = predict_episodes(load, table, predictor, store, mine, cfg.batch_size, cfg.num_workers)
        for episode, prediction in predicted.items():
            row = table.row(episode)
            values[table.starts[row] : table.ends[row]] = prediction.reward
    return values
