# SPDX-License-Identifier: MIT
r"""Compute the advantages of a dataset's actions, for training ACTvantage.

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
from typing import TYPE_CHECKING

from rewact.cli.common import load_policy_config, run_tool
from rewact.options.advantages import ComputeAdvantagesConfig

if TYPE_CHECKING:
    import numpy as np

    from rewact.advantages.run import Computed


def compute_advantages(cfg: ComputeAdvantagesConfig) -> None:
    """Compute the advantages of a dataset, write them, and say and draw what came out."""
    from rewact.advantages.run import compute_file
    from rewact.draw.advantages import plot_advantages
    from rewact.judge.doubts import doubts
    from rewact.values.processes import join_processes

    policy = None if cfg.policy is None else load_policy_config(cfg.policy)
    join_processes([] if policy is None else [policy])
    computed = compute_file(cfg, policy)
    if computed is None:
        return
    _report(computed)
    frames = computed.frames
    found = [] if policy is None else doubts(frames.value, frames.target, "what they estimate")
    for doubt in found:
        logging.warning(doubt)
    if cfg.plots_dir is not None:
        plot_advantages(
            cfg.plots_dir, computed, cfg.plot_episodes, found, lambda episode: _thumbnails(cfg, episode)
        )
        logging.info(f"Drew the advantages in {cfg.plots_dir}")


def _thumbnails(cfg: ComputeAdvantagesConfig, episode: int) -> "list[np.ndarray]":
    """Images of an episode, uint8 ``(H, W, 3)``, at `thumbnail_frames`; none without cameras."""
    from rewact.draw.style import thumbnail_frames
    from rewact.values.runner import episode_loader

    dataset = episode_loader(cfg.dataset, cfg.tolerance_s)([episode])
    if not (cameras := list(dataset.meta.camera_keys)):
        return []
    images = [dataset[int(frame)][cameras[0]] for frame in thumbnail_frames(len(dataset))]
    return [(image.movedim(0, -1) * 255).byte().numpy() for image in images]


def _report(computed: "Computed") -> None:
    """Print what came out for each task, with 95 % intervals over episodes."""
    from rewact.judge.intervals import mean_interval
    from rewact.judge.report import print_table
    from rewact.labels.outcomes import FAILURE, SUCCESS

    lines, has_intervals = [], False
    for task, frames in computed.frames.groupby("task"):
        threshold = computed.table.provenance["thresholds"][task]
        cell = "-" if threshold is None else f"{threshold:.4g}"
        line = [task, str(len(frames)), cell, f"{frames.positive.mean():.1%}"]
        for outcome in (SUCCESS, FAILURE):
            chosen = frames[frames.outcome == outcome]
            by_episode = chosen.groupby("episode_index").positive
            interval = mean_interval(by_episode.mean(), by_episode.size())
            has_intervals |= interval is not None
            ends = f" ({interval[0]:.0%} to {interval[1]:.0%})" if interval else ""
            line.append(f"{chosen.positive.mean():.1%}{ends}" if len(chosen) else "-")
        lines.append(line)
    print_table(
        f"Advantages, written to {computed.path}",
        ["task", "frames", "threshold", "positive", "of successes", "of failures"],
        lines,
        caption="(95 % intervals)" if has_intervals else "",
    )


def main() -> None:
    run_tool(ComputeAdvantagesConfig, compute_advantages, __doc__)


if __name__ == "__main__":
    main()
