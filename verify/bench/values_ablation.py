# SPDX-License-Identifier: MIT
"""What each part of `lerobot-train-values` does, on a dataset of one's own.

    python -m verify.bench.values_ablation --repo-id lerobot/pusht --done-column next.reward

Each line changes one option. A split deals the episodes out to folds; of each split some folds are held out
in turn, and the figures are of their episodes: the mean over splits, and the lowest and highest.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lerobot.configs.default import DatasetConfig
from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.cli.common import report_errors
from rewact.judge.values import binary_metrics, frame_slices, value_metrics
from rewact.labels import build_reward_labels
from rewact.options.labels import RewardLabelsConfig
from rewact.options.values import FeatureOptions, ValueOptions
from rewact.values.crossfit import Readings, deal_folds, fit_ensemble, read_out_of_fold
from rewact.values.extraction import fill_cache, make_backbone, open_cache
from rewact.values.feature_cache import FeatureCache
from rewact.values.runner import episode_loader
from rewact.values.targets import make_targets

from .command import Command

VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "the frame alone": {"window_s": [], "use_first_frame": False},
    "without the window": {"window_s": []},
    "frame pairs, 1 s apart": {"window_s": [1.0]},
    "without the first frame": {"use_first_frame": False},
    "without the state": {"use_state": False},
    "all components of earlier frames": {"context_components": 256},
    "128 components": {"components": 128},
    "no input dropout": {"input_dropout": 0.0},
    "rewinding a fifth of the samples": {"rewind": 0.2},
    "one network": {"members": 1},
    "eight networks": {"members": 8},
    "minimum of the networks": {"aggregate": "min"},
}
STATE_ALONE = "state alone"
FIGURES = ("VOC", "MAE", "done: AUROC")


def measure(
    cache: FeatureCache,
    keys: Sequence[str],
    targets: Readings,
    groups: np.ndarray,
    options: ValueOptions,
    split: int,
    n_tried: int,
) -> list[float]:
    """`FIGURES` of some folds of a split."""
    rows = np.arange(len(groups))
    folds = deal_folds(groups, options.folds, split)
    tried = range(min(n_tried, options.folds))
    ensembles = [
        fit_ensemble(cache, keys, targets, rows[folds != fold], options, split + 1000 * fold)
        for fold in tried
    ]
    held_out = np.isin(folds, tried)
    readings = read_out_of_fold(cache, ensembles, rows[held_out], folds[held_out])
    judged = value_metrics(readings.values, targets.values, frame_slices(cache.table, rows[held_out]))
    done = binary_metrics(targets.done, readings.done)["auroc"]
    return [judged["voc"], judged["mae"], float("nan") if done is None else done]


def format_head(*cells: str) -> str:
    """The head of a table."""
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}"


def format_row(name: str, figures: Sequence[Sequence[float]]) -> str:
    """A line of the table, from (splits, figures)."""
    columns = np.array(figures).T
    cells = (f"{column.mean():.3f} ({column.min():.3f} to {column.max():.3f})" for column in columns)
    return f"| {name} | {' | '.join(cells)} |"


def read_features(args: argparse.Namespace, meta: LeRobotDatasetMetadata) -> FeatureCache:
    """The features of a dataset, from the cache of `lerobot-train-values`; what is missing is computed."""
    backbone = make_backbone(meta, FeatureOptions(), "cpu")
    cache = open_cache(meta, FeatureOptions(), backbone, args.cache_dir)
    data = DatasetConfig(args.repo_id, root=args.root and str(args.root), video_backend="pyav")
    rows = np.arange(len(cache.table.episodes))
    fill_cache(cache, episode_loader(data, 1e-4), backbone, rows, batch_size=64, num_workers=0)
    return cache


def main() -> None:
    parser = Command("bench.values_ablation", __doc__)
    parser.add_dataset()
    parser.add_argument("--done-column", help="as of lerobot-train-values")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--folds-tried", type=int, default=5, help="of the five of each split")
    parser.add_argument("--only", nargs="+", choices=[*VARIANTS, STATE_ALONE], help="some lines alone")
    args = parser.parse_args()

    meta = LeRobotDatasetMetadata(args.repo_id, root=args.root)
    labels = build_reward_labels(meta, RewardLabelsConfig())
    rows = np.arange(len(labels.table.episodes))
    targets = make_targets(labels, rows, False, args.done_column, 0.9)
    cache = read_features(args, meta)
    groups = labels.table.tasks * 3 + labels.outcomes + 1
    cameras, states = cache.keys("float16"), cache.keys("float32")
    print(format_head(args.repo_id, *FIGURES), flush=True)
    for name in args.only or [*VARIANTS, STATE_ALONE]:
        options = replace(ValueOptions(), **VARIANTS.get(name, {}))
        keys = states if name == STATE_ALONE else cameras + states * options.use_state
        figures = [
            measure(cache, keys, targets, groups, options, split, args.folds_tried)
            for split in range(args.splits)
        ]
        print(format_row(name, figures), flush=True)


if __name__ == "__main__":
    with report_errors():
        main()
