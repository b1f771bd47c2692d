# SPDX-License-Identifier: MIT
"""From a dataset and a value function to the advantages file: what `lerobot-compute-advantages` does."""

import copy
import logging
import shlex
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from accelerate import PartialState

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.advantages.compute import (
    Evidence,
    advantages_from_returns,
    estimate_advantages,
    gather_evidence,
    label_advantages,
    require_look_ahead,
)
from rewact.advantages.file import ADVANTAGES_FILE, AdvantageTable, keep_other_episodes, write_advantage_file
from rewact.advantages.folds import assign_folds, fold_checkpoint, train_fold
from rewact.advantages.record import RENEW, make_record
from rewact.labels import build_reward_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.hub import open_metadata, pull_label_files
from rewact.options.advantages import ComputeAdvantagesConfig
from rewact.options.labels import FAILURE_RETURNS
from rewact.options.tools import require_writable
from rewact.values.checkpoint import (
    checkpoint_digest,
    guess_value_type,
    read_train_config,
    require_renamed,
    trained_labels,
)
from rewact.values.predictor import require_reward_head
from rewact.values.processes import together
from rewact.values.runner import choose_episodes, predict_policy

if TYPE_CHECKING:
    from lerobot.configs.policies import PreTrainedConfig


@dataclass
class Computed:
    """What was written, and what one compares it with.

    Attributes:
        path: The advantages file.
        table: Its content.
        evidence: What is known of the dataset.
        target: float ``(N,)``, what the values estimate, NaN where that is not known.
    """

    path: Path
    table: AdvantageTable
    evidence: Evidence
    target: np.ndarray

    @cached_property
    def frames(self) -> pd.DataFrame:
        """The rows of the file, with what is known of each frame.

        Its ``task`` by name, the ``outcome`` of its episode (1 success, 0 failure, -1 unknown), whether a
        human intervened (``intervention``), the ``target``, the ``time`` in s within the episode, and how
        many frames are ``left`` of it, this one included.
        """
        table, frames = self.evidence.table, pd.DataFrame(self.table.columns)
        rows = np.searchsorted(table.episodes, frames.episode_index)
        return frames.assign(
            task=np.array(table.task_names, dtype=object)[table.tasks[rows]],
            outcome=self.evidence.outcomes[rows],
            intervention=self.evidence.interventions[frames["index"]],
            target=self.target[frames["index"]],
            time=frames.frame_index / table.fps,
            left=table.lengths[rows] - frames.frame_index,
        )

    @property
    def low(self) -> float:
        """Lower end of the values' axis: returns lie in [-1, 0], progress and reward labels in [0, 1]."""
        return -1.0 if self.frames.value.median() < 0 else 0.0


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
    path = cfg.output_path or Path(meta.root) / ADVANTAGES_FILE
    folds_dir = None if cfg.policy is None else cfg.folds_dir or Path(cfg.policy.path).parent / "folds"
    with together():
        if processes.is_main_process:
            require_writable("--output_path", path, is_file=True)
            if cfg.folds:
                require_writable("--folds_dir", folds_dir)
            pull_label_files(meta)  # LeRobot leaves them out where it loads some of the episodes
    train_config = None if policy is None else read_train_config(policy.pretrained_path)
    labels = cfg.dataset.reward
    for name in ("c_fail", "failure_return"):  # as in the labels of the value function, unless told otherwise
        if getattr(labels, name) is None:
            setattr(labels, name, trained_labels(train_config).get(name))
    if unknown := sorted(set(cfg.plot_episodes or []) - set(episodes)):
        raise ValueError(
            f"plot_episodes: episode {unknown[0]} is not among the {len(episodes)} episodes of "
            f"{cfg.dataset.repo_id} that are read"
        )
    table = EpisodeTable.from_metadata(meta)
    rows = np.array([table.row(episode) for episode in episodes], dtype=np.int64)
    value_type = None
    require_renamed(cfg.rename_map, [] if policy is None else [policy], meta)
    if policy is not None:
        require_reward_head(policy)
        value_type = cfg.value_type
        if value_type == "auto":
            value_type = guess_value_type(policy.pretrained_path, train_config)
    evidence = gather_evidence(meta, labels, rows, use_recorded_returns=policy is None)
    cfg.n_steps = _choose_n_steps(cfg.n_steps, policy, table, value_type)
    provenance: dict[str, Any] = {
        "value_type": value_type or "monte_carlo",
        "failure_return": labels.failure_return or FAILURE_RETURNS[0],
        "folds": cfg.folds,
        "n_steps": cfg.n_steps,
        "smoothing_window": cfg.smoothing_window,
        "command": shlex.join([RENEW, *sys.argv[1:]]),
        **make_record(meta, labels, train_config, has_values=policy is not None),
    }
    if policy is None:
        values, advantages = advantages_from_returns(evidence, rows)
    else:
        values = _compute_values(cfg, policy, meta, evidence, rows, folds_dir)
        provenance |= {
            "checkpoint": cfg.policy.path,
            "checkpoint_sha256": checkpoint_digest(policy.pretrained_path),
            "folds_dir": str(folds_dir) if cfg.folds else None,
        }
        values, advantages = estimate_advantages(evidence, rows, values, value_type, cfg)
    if not processes.is_main_process:
        return None
    rows = keep_other_episodes(path, meta, rows, values, advantages, provenance)
    content = label_advantages(meta, evidence, rows, values, advantages, cfg, provenance)
    write_advantage_file(path, content)
    if value_type == "progress":
        target = build_reward_labels(meta, labels).rewards.numpy()
    else:
        known = np.full(table.n_frames, False)
        known[table.frames(np.flatnonzero(evidence.returns.is_terminal))] = True
        target = np.where(known, evidence.returns.values + (0.0 if policy is None else 1.0), np.nan)
    return Computed(path, content, evidence, target)


def _choose_n_steps(
    n_steps: int | None, policy: "PreTrainedConfig | None", table: EpisodeTable, value_type: str | None
) -> int:
    """N: the one given, else what the policy executes of a chunk, a second without a policy."""
    if n_steps is not None:
        if value_type == "progress":
            require_look_ahead(table, n_steps)
        return n_steps
    if policy is None:
        return max(round(table.fps), 1)
    executed = getattr(policy, "n_action_steps", 1)
    half_of_short = int(np.quantile(table.lengths, 0.1)) // 2
    return max(min(executed, half_of_short), 1) if value_type == "progress" else executed


def _compute_values(
    cfg: ComputeAdvantagesConfig,
    policy: "PreTrainedConfig",
    meta: LeRobotDatasetMetadata,
    evidence: Evidence,
    rows: np.ndarray,
    folds_dir: Path,
) -> np.ndarray:
    """The value of each frame, float32 ``(N,)``, NaN outside the rows; the processes share the work."""
    table, processes = evidence.table, PartialState()
    values = np.full(table.n_frames, np.nan, dtype=np.float32)
    folds = assign_folds(evidence, rows, cfg.folds) if cfg.folds else np.zeros(len(rows), dtype=np.int64)
    episodes = table.episodes[rows]
    for fold in np.unique(folds).tolist():
        judge = copy.copy(policy)
        if cfg.folds:
            if processes.is_main_process:
                train_fold(Path(cfg.policy.path), folds_dir, fold, meta, episodes[folds != fold].tolist())
            processes.wait_for_everyone()
            judge.pretrained_path = fold_checkpoint(folds_dir, fold)
        mine = episodes[folds == fold].tolist()
        if processes.num_processes > 1:
            logging.info(f"{len(mine)} episodes are shared by {processes.num_processes} processes")
        for episode, prediction in predict_policy(cfg, judge, meta, mine).items():
            values[table.frames_of(episode)] = prediction.reward
    return values
