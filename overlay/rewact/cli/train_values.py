# SPDX-License-Identifier: MIT
"""Train values of a dataset's frames on frozen features, each from an ensemble that has not seen its episode.

```shell
lerobot-train-values --dataset.repo_id=user/dataset --output_dir=outputs/values
```

A frozen backbone reads each picture once, into a cache in LeRobot's cache folder; the ensembles are small and
take seconds. What they learn is `--dataset.reward.*`: progress by default, or returns, or with
`--target=success` how the episode ended. It writes

- `values_progress.parquet`, the value of each frame out of fold, as the mean of a second, in the form of
  LeRobot's reward models, for RA-BC (`--sample_weighting.progress_path`); and again in the dataset's folder,
  under `rewact_extensions`, for `--dataset.reward.sources='["values"]'`;
- `pretrained_model`, for `--policy.path` of `lerobot-compute-advantages`, `lerobot-eval-rewards` and
  `lerobot-visualize-rewards`: on episodes of this dataset the ensemble that has not seen them answers;
- `values.json` and `values.png`, how good the values are, beside what a clock, the state alone, frames in
  random order and episodes without their first half would give.

A run that was interrupted goes on where it stopped. `accelerate launch` shares the pictures out over
processes, and `--shard=0/8` to `--shard=7/8` over machines: a run without it takes over what the shards have
left in the cache folder.
"""

import logging
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.cli.common import run_tool
from rewact.options.tools import DataOptions, require_readable, require_seed
from rewact.options.values import FeatureOptions, ValueOptions

if TYPE_CHECKING:
    import numpy as np

    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from rewact.values.feature_cache import FeatureCache

TARGETS = ("labels", "success")


@dataclass
class TrainValuesConfig:
    dataset: DataOptions
    # Where results go.
    output_dir: Path
    features: FeatureOptions = field(default_factory=FeatureOptions)
    values: ValueOptions = field(default_factory=ValueOptions)
    # "labels": those of --dataset.reward.*. "success": 1 in episodes that succeeded, 0 in those that failed.
    target: str = "labels"
    # A column whose frames are done from --done_from on. Default: where the label is 1, in episodes that have
    # not failed.
    done_column: str | None = None
    # Value of --done_column at which a frame is done.
    done_from: float = 0.9
    # Seconds that each value written to a file is the mean of, half of them after the frame. 0: the value of
    # the frame alone, as the checkpoint reads it, which does not know what follows.
    smooth_s: float = 1.0
    # Compute this part of the features only, such as 0/8.
    shard: str | None = None
    # Folder of the features. Default: rewact_features in LeRobot's cache.
    cache_dir: Path | None = None
    # Whether to train on the state alone as well, for comparison.
    compare_state: bool = True
    # Of the folds and of all training.
    seed: int = 0
    # Torch device. Default: a GPU where there is one.
    device: str | None = None
    # Pictures per forward pass of the backbone.
    batch_size: int = 64
    # Processes that decode, for each process that computes features. 0: the same one.
    num_workers: int = 0
    # Seconds that the timestamp of a frame and its picture in the video may lie apart.
    tolerance_s: float = 1e-4

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {self.target!r}")
        if not 0 <= self.smooth_s < math.inf:
            raise ValueError(f"smooth_s must be at least 0 seconds, got {self.smooth_s}")
        require_readable(self)
        require_seed(self.seed)
        self.dataset.reward.refuse_unread(self.dataset.reward.given())
        if self.shard is not None:
            self.parse_shard()

    def parse_shard(self) -> tuple[int, int]:
        """`shard` as ``(i, n)``, counted from 0.

        Raises:
            ValueError: If it is something else.
        """
        index, slash, count = (self.shard or "").partition("/")
        if not (slash and index.isdigit() and count.isdigit() and int(index) < int(count)):
            raise ValueError(f"shard must be i/n with i from 0 to n - 1, such as 0/8, got {self.shard!r}")
        return int(index), int(count)


def train_values(cfg: TrainValuesConfig) -> dict[str, Any] | None:
    """Train values; returns what `values.json` holds, None in a process that only computed features."""
    import numpy as np
    from scipy.ndimage import uniform_filter1d

    from rewact.draw.values import plot_values
    from rewact.judge.report import print_values
    from rewact.judge.stopping import as_detector
    from rewact.judge.values import frame_slices, judge_values, value_metrics
    from rewact.labels import build_reward_labels
    from rewact.labels.files import write_json
    from rewact.labels.hub import open_metadata
    from rewact.labels.progress import save_progress
    from rewact.labels.sources import VALUES_FILE
    from rewact.values.crossfit import cross_fit, deal_folds, read_out_of_fold
    from rewact.values.modeling_values import save_checkpoint, task_pace
    from rewact.values.processes import join_processes, require_device
    from rewact.values.runner import choose_episodes
    from rewact.values.targets import make_targets

    state = join_processes([cfg], "--device")
    require_device("--device", cfg.device)
    meta = open_metadata(cfg.dataset)
    episodes = choose_episodes(cfg.dataset, meta)
    labels = build_reward_labels(meta, cfg.dataset.reward)
    table = labels.table
    rows = np.array([table.row(episode) for episode in episodes])
    targets = make_targets(labels, rows, cfg.target == "success", cfg.done_column, cfg.done_from)
    cache = _compute_features(cfg, meta, rows)
    if cfg.shard is not None or not state.is_main_process:
        return None

    groups = table.tasks[rows] * 3 + labels.outcomes[rows] + 1
    folds = deal_folds(groups, cfg.values.folds, cfg.seed)
    cameras, states = cache.keys("float16"), cache.keys("float32")
    keys = cameras + (states if cfg.values.use_state or not cameras else [])
    ensembles = cross_fit(cache, keys, targets, rows, folds, cfg.values, cfg.seed, cfg.device)
    readings = read_out_of_fold(cache, ensembles, rows, folds)
    report = judge_values(cache, ensembles, readings, targets, labels.outcomes, rows, folds, cfg.seed)
    if cfg.compare_state and cameras and states:
        alone = replace(cfg.values, members=1)
        of_states = cross_fit(cache, states, targets, rows, folds, alone, cfg.seed, cfg.device)
        values = read_out_of_fold(cache, of_states, rows, folds).values
        report["controls"]["state alone"] = value_metrics(values, targets.values, frame_slices(table, rows))
    written, reach = readings.values.copy(), round(cfg.smooth_s * table.fps / 2)
    for frames in frame_slices(
        table, rows
    ):  # at its ends an episode is continued by its first and last value
        written[frames] = uniform_filter1d(written[frames], 2 * reach + 1, mode="nearest")
    report["written"] = value_metrics(written, targets.values, frame_slices(table, rows))
    report = {"dataset": table.repo_id, "labels": labels.describe(), "target": cfg.target, **report}

    source = {"reward_model_path": str(cfg.output_dir)}
    save_progress(cfg.output_dir / Path(VALUES_FILE).name, table, written, source)
    try:
        save_progress(table.root / VALUES_FILE, table, written, source)
    except OSError as error:  # a dataset that others own
        logging.warning("%s; --dataset.reward.sources='[\"values\"]' will not find the values", error)
    save_checkpoint(
        cfg.output_dir / "pretrained_model",
        meta,
        ensembles,
        dict(zip(episodes, folds.tolist(), strict=True)),
        asdict(cfg.dataset.reward),
        features=cfg.features,
        values=cfg.values,
        n_action_steps=task_pace(table, labels.outcomes),
        completion_detector=as_detector(report["stop"]),
    )
    write_json(cfg.output_dir / "values.json", report)
    plot_values(cfg.output_dir / "values.png", report, readings.values, targets.values, table, rows)
    print_values(report, f"{table.repo_id}, {len(rows)} episodes, out of fold")
    logging.info("Wrote %s", cfg.output_dir)
    return report


def _compute_features(
    cfg: TrainValuesConfig, meta: "LeRobotDatasetMetadata", rows: "np.ndarray"
) -> "FeatureCache":
    """Compute the features that the cache lacks, together with the other processes."""
    import numpy as np
    from accelerate import PartialState

    from rewact.values.extraction import fill_cache, make_backbone, open_cache
    from rewact.values.processes import together
    from rewact.values.runner import episode_loader

    with together():
        backbone = make_backbone(meta, cfg.features, cfg.device)
        cache = open_cache(meta, cfg.features, backbone, cfg.cache_dir)
    if not cache.streams:
        raise ValueError(f"{cfg.dataset.repo_id} has neither a camera nor a state to read values from")
    with together():
        if cfg.shard is not None:
            index, count = cfg.parse_shard()
            # A contiguous part, which reads few of the dataset's files.
            cache, rows = cache.shard(index, count), np.array_split(rows, count)[index]
        elif PartialState().is_main_process:
            cache.merge_shards()
    load = episode_loader(cfg.dataset, cfg.tolerance_s)
    fill_cache(cache, load, backbone, rows, cfg.batch_size, cfg.num_workers)
    if cfg.shard is not None:
        logging.info("Computed the features of %d episodes in %s", len(rows), cache.folder)
    return cache


def main() -> None:
    run_tool(TrainValuesConfig, train_values, __doc__)


if __name__ == "__main__":
    main()
