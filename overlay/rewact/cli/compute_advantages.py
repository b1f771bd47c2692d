# SPDX-License-Identifier: MIT
"""Compute the advantages of a dataset's actions, for training ACTvantage.

The values come from a checkpoint with a reward head, of any policy type that has one:

```shell
lerobot-compute-advantages \
    --dataset.repo_id=user/dataset \
    --policy.path=outputs/train/value/checkpoints/last/pretrained_model \
    --plots_dir=outputs/advantages
```

Without one, returns are compared with those of the task's other episodes:

```shell
lerobot-compute-advantages --dataset.repo_id=user/dataset --from_returns=true
```

The result is `rewact_extensions/advantages.parquet` in the dataset's folder, where `lerobot-train
--policy.type=actvantage` finds it. A run that was interrupted continues when it is started again. Several
processes share the work under `accelerate launch`.
"""

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from draccus.utils import ParsingError

from lerobot.configs import parser
from lerobot.configs.default import DatasetConfig
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.import_utils import register_third_party_plugins
from lerobot.utils.utils import init_logging
from rewact.advantages.compute import (
    AdvantageOptions,
    Evidence,
    advantages_from_returns,
    estimate_advantages,
    gather_evidence,
)
from rewact.advantages.estimate import VALUE_TYPES
from rewact.advantages.file import ADVANTAGES_FILE, dataset_fingerprint, write_advantage_file
from rewact.advantages.folds import assign_folds, fold_checkpoint, train_fold
from rewact.advantages.labels import TaskSummary, label_advantages
from rewact.cli.processes import join_processes
from rewact.draw.advantages import plot_advantages
from rewact.hooks.train import require_episodes
from rewact.labels.episodes import EpisodeTable
from rewact.labels.hub import pull_label_files
from rewact.options.labels import FAILURE_RETURNS
from rewact.values.value_pass import (
    ValueStore,
    checkpoint_digest,
    guess_value_offset,
    guess_value_type,
    load_value_policy,
    predict_values,
    read_train_config,
    require_reward_head,
    trained_labels,
)


@dataclass
class ComputeAdvantagesConfig:
    """Options of `lerobot-compute-advantages`."""

    # Outcomes, interventions and the penalty of a failure are read as --dataset.reward.* says.
    dataset: DatasetConfig
    # The value function: a checkpoint with a reward head, by --policy.path.
    policy: PreTrainedConfig | None = None
    # Do without a value function: compare each episode's returns with those of the task's other episodes.
    from_returns: bool = False

    # How many steps ahead an action is judged. Default: what the policy of the checkpoint executes of a
    # chunk. Monte-Carlo advantages look to the end of the episode; N, by default one second, only serves
    # interventions.
    n_steps: int | None = None
    # Share of each task's frames that is called positive.
    positive_fraction: float = 0.4
    # Frames of a moving average over the values of an episode, odd; 1 is none.
    smoothing_window: int = 1
    # What the values are: "returns" (labels of --dataset.reward.sources='["returns"]'), "progress", or
    # "auto": by the labels that the checkpoint was trained on.
    value_type: str = "auto"
    # Train this many value models like the given one, each without the episodes it then judges.
    folds: int = 0
    # Where these go. Default: `folds` beside the checkpoint.
    folds_dir: Path | None = None

    # Default: rewact_extensions/advantages.parquet in the dataset's folder.
    output_path: Path | None = None
    # Folder for a PNG of each episode and a histogram of all advantages. Default: none are drawn.
    plots_dir: Path | None = None
    # Episodes to draw. Default: all.
    plot_episodes: list[int] | None = None

    batch_size: int = 64
    # Processes that read data, per process that computes values. 0: the same one.
    num_workers: int = 0
    # Largest distance in seconds between a frame's time and its image in the video, as in training.
    tolerance_s: float = 1e-4
    # Names that the policy has for keys of the dataset, where they differ.
    rename_map: dict[str, str] = field(default_factory=dict)

    def validate(self) -> None:
        """Load the configuration of the value function, and check all options.

        Raises:
            ValueError: If an option is out of its range or contradicts another.
        """
        policy_path = parser.get_path_arg("policy")
        if policy_path:
            overrides = parser.get_cli_overrides("policy")
            self.policy = PreTrainedConfig.from_pretrained(policy_path, cli_overrides=overrides)
            self.policy.pretrained_path = Path(policy_path)
        if self.from_returns == (self.policy is not None):
            raise ValueError("give either a value function with --policy.path, or --from_returns=true")
        if self.policy is not None and self.policy.pretrained_path is None:
            raise ValueError("the value function has to be trained: give its checkpoint with --policy.path")
        if self.value_type not in ("auto", *VALUE_TYPES):
            raise ValueError(
                f"value_type must be one of auto, {', '.join(VALUE_TYPES)}, got {self.value_type!r}"
            )
        if self.folds and self.from_returns:
            raise ValueError("folds are of value models, which from_returns does without")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds must be 0 or at least 2, got {self.folds}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.dataset.episodes is not None and not self.dataset.episodes:
            raise ValueError("--dataset.episodes names no episode; leave it out to take all")
        if self.dataset.streaming:
            raise ValueError("the dataset is read in order here: leave out --dataset.streaming")
        self.options(fps=1)

    def options(self, fps: float) -> AdvantageOptions:
        """The checked options of the computation itself, for a dataset of so many frames per second."""
        n_steps = self.n_steps
        if n_steps is None:
            n_steps = max(round(fps), 1) if self.policy is None else getattr(self.policy, "n_action_steps", 1)
        return AdvantageOptions(n_steps, self.positive_fraction, self.smoothing_window)

    @classmethod
    def __get_path_fields__(cls) -> list[str]:
        return ["policy"]


@parser.wrap()
def compute_advantages(cfg: ComputeAdvantagesConfig) -> None:
    cfg.validate()
    processes = join_processes([] if cfg.policy is None else [cfg.policy])
    init_logging(accelerator=processes)

    require_episodes(cfg.dataset)
    dataset = LeRobotDataset(
        cfg.dataset.repo_id,
        root=cfg.dataset.root,
        episodes=cfg.dataset.episodes,
        revision=cfg.dataset.revision,
        video_backend=cfg.dataset.video_backend,
        tolerance_s=cfg.tolerance_s,
    )
    if processes.is_main_process:
        pull_label_files(dataset.meta)  # LeRobot leaves them out where it loads some of the episodes
    processes.wait_for_everyone()
    train_config = None if cfg.policy is None else read_train_config(cfg.policy.pretrained_path)
    _adopt_penalty(cfg, train_config)
    rows = _rows(dataset)
    _check_plots(cfg, dataset, rows)
    value_type = _value_type(cfg, train_config)
    value_offset = 0.0 if value_type is None else guess_value_offset(cfg.policy, train_config)
    evidence = gather_evidence(dataset.meta, cfg.dataset.reward, rows, use_recorded_returns=value_offset == 0)
    options = cfg.options(dataset.meta.fps)
    output_path = cfg.output_path or Path(dataset.meta.root) / ADVANTAGES_FILE
    provenance: dict[str, Any] = {
        "value_type": value_type or "monte_carlo",
        "failure_return": cfg.dataset.reward.failure_return or FAILURE_RETURNS[0],
        "folds": cfg.folds,
    }
    store = None
    if cfg.from_returns:
        values, advantages = advantages_from_returns(evidence, rows)
    else:
        source = {
            "dataset": dataset_fingerprint(dataset.meta),
            "checkpoint": str(cfg.policy.pretrained_path),
            "checkpoint_sha256": checkpoint_digest(cfg.policy.pretrained_path),
            "folds": cfg.folds,
            "folds_dir": str(_folds_dir(cfg)) if cfg.folds else None,
            "rename_map": cfg.rename_map,
            "use_amp": cfg.policy.use_amp,
        }
        store = ValueStore(output_path.with_suffix(".values"), source, processes.is_main_process)
        processes.wait_for_everyone()
        _compute_values(cfg, dataset, evidence, rows, store, processes)
        processes.wait_for_everyone()
        provenance |= {key: source[key] for key in ("checkpoint", "checkpoint_sha256", "folds_dir")}
        if processes.is_main_process:
            values = _collect_values(evidence.table, rows, store)
            values, advantages = estimate_advantages(
                evidence, rows, values, value_type, options, value_offset
            )
    if processes.is_main_process:
        result, summaries = label_advantages(
            dataset.meta, evidence, rows, values, advantages, options, provenance
        )
        write_advantage_file(output_path, result)
        _report(summaries, output_path)
        if cfg.plots_dir is not None:
            drawn = plot_advantages(cfg.plots_dir, evidence, result, summaries, cfg.plot_episodes)
            logging.info(f"Drew {len(drawn)} episodes and the histogram in {cfg.plots_dir}")
        if store is not None:
            store.remove()
    processes.destroy_process_group()


def _rows(dataset: LeRobotDataset) -> np.ndarray:
    table = EpisodeTable.from_metadata(dataset.meta)
    episodes = table.episodes if dataset.episodes is None else sorted(dataset.episodes)
    return np.array([table.row(int(episode)) for episode in episodes], dtype=np.int64)


def _check_plots(cfg: ComputeAdvantagesConfig, dataset: LeRobotDataset, rows: np.ndarray) -> None:
    known = EpisodeTable.from_metadata(dataset.meta).episodes[rows].tolist()
    unknown = [episode for episode in cfg.plot_episodes or [] if episode not in known]
    if unknown:
        raise ValueError(
            f"plot_episodes: episode {unknown[0]} is not among the {len(known)} episodes of "
            f"{cfg.dataset.repo_id} that are read"
        )
    if cfg.plot_episodes is not None and cfg.plots_dir is None:
        raise ValueError("plot_episodes says which episodes to draw: say where with --plots_dir")


def _adopt_penalty(cfg: ComputeAdvantagesConfig, train_config: dict[str, Any] | None) -> None:
    """Penalise failures as the labels of the value function did, unless told otherwise."""
    labels = trained_labels(train_config)
    for name in ("c_fail", "failure_return"):
        if getattr(cfg.dataset.reward, name) is None:
            setattr(cfg.dataset.reward, name, labels.get(name))


def _value_type(cfg: ComputeAdvantagesConfig, train_config: dict[str, Any] | None) -> str | None:
    if cfg.policy is None:
        return None
    require_reward_head(cfg.policy)
    return guess_value_type(cfg.policy, train_config) if cfg.value_type == "auto" else cfg.value_type


def _folds_dir(cfg: ComputeAdvantagesConfig) -> Path:
    return cfg.folds_dir or Path(cfg.policy.pretrained_path).parent / "folds"


def _compute_values(
    cfg: ComputeAdvantagesConfig,
    dataset: LeRobotDataset,
    evidence: Evidence,
    rows: np.ndarray,
    store: ValueStore,
    processes: PartialState,
) -> None:
    """Store the values of all episodes, this process taking its share of those that are missing."""
    folds = assign_folds(evidence, rows, cfg.folds) if cfg.folds else np.zeros(len(rows), dtype=np.int64)
    episodes = evidence.table.episodes[rows]
    checkpoint, folds_dir = Path(cfg.policy.pretrained_path), _folds_dir(cfg)
    for fold in np.unique(folds).tolist():
        missing = store.missing(episodes[folds == fold].tolist())
        processes.wait_for_everyone()
        if not missing:
            continue
        if cfg.folds:
            if processes.is_main_process:
                train_fold(checkpoint, folds_dir, fold, dataset.meta, episodes[folds != fold].tolist())
            processes.wait_for_everyone()
            cfg.policy.pretrained_path = fold_checkpoint(folds_dir, fold)
        mine = missing[processes.process_index :: processes.num_processes]
        if processes.num_processes > 1:
            logging.info(f"{len(missing)} episodes are shared by {processes.num_processes} processes")
        if mine:
            policy, preprocessor = load_value_policy(cfg.policy, dataset, cfg.rename_map)
            predict_values(
                policy,
                preprocessor,
                dataset,
                mine,
                store,
                cfg.batch_size,
                cfg.num_workers,
                cfg.rename_map,
                show_progress=processes.is_main_process,
            )
    cfg.policy.pretrained_path = checkpoint


def _collect_values(table: EpisodeTable, rows: np.ndarray, store: ValueStore) -> np.ndarray:
    values = np.full(table.n_frames, np.nan, dtype=np.float32)
    for row in rows:
        values[table.starts[row] : table.ends[row]] = store.load(int(table.episodes[row]))
    return values


def _report(summaries: list[TaskSummary], output_path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Advantages, written to {output_path}", title_justify="left")
    for heading in ("task", "frames", "threshold", "positive", "of successes", "of failures"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for summary in summaries:
        shares = (summary.positive, summary.positive_in_successes, summary.positive_in_failures)
        table.add_row(
            summary.task,
            str(summary.n_frames),
            "-" if summary.threshold is None else f"{summary.threshold:.4g}",
            *("-" if np.isnan(share) else f"{share:.1%}" for share in shares),
        )
    Console().print(table)


def main() -> None:
    register_third_party_plugins()
    try:
        compute_advantages()
    except ParsingError as error:  # says only which class could not be made
        sys.exit(f"error: {error.__cause__ or error}")
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
