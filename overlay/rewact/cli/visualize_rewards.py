# SPDX-License-Identifier: MIT
r"""See rewards: a video and a plot of episodes, labels beside predictions, and an overview of all episodes.

The video shows the camera views with the reward curves growing below. The overview draws the curves of all
episodes on one page and marks those that stand out. Interrupted, it resumes where it stopped; `accelerate
launch` shares the episodes out over processes.

Examples:

The labels of a dataset, without any policy:
```
lerobot-visualize-rewards --dataset.repo_id=lerobot/pusht
```

What a policy predicts on two episodes, and another reward model beside it:
```
lerobot-visualize-rewards \
    --dataset.repo_id=lerobot/pusht \
    --dataset.episodes='[170, 171]' \
    --policy.path=outputs/train/pusht/checkpoints/last/pretrained_model \
    --compare='["outputs/train/other/checkpoints/last/pretrained_model", "sarm_progress.parquet"]'
```
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from rewact.cli.common import load_policy_config, run_tool
from rewact.options.tools import PolicyOptions, PredictionOptions


@dataclass
class VisualizeRewardsConfig(PredictionOptions):
    # Where results go. Default: outputs/visualize_rewards/<dataset>.
    output_dir: Path | None = None
    # More to draw beside it: checkpoints, and progress files of other reward models, also looked for in the
    # dataset's folder.
    compare: list[str] = field(default_factory=list)
    # Episodes to film and to plot on their own. Default: all of --dataset.episodes if given, else 4.
    max_episodes_rendered: int | None = None
    # Height in pixels of the camera views in the video.
    view_height: int = 240
    # Stream the filmed episodes to Rerun as well.
    display: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.view_height < 32:
            raise ValueError(f"--view_height must be at least 32, got {self.view_height}")
        if self.max_episodes_rendered is not None and self.max_episodes_rendered < 0:
            raise ValueError(f"--max_episodes_rendered must be at least 0, got {self.max_episodes_rendered}")
        self.output_dir = self.output_dir or self.default_output_dir("visualize_rewards")


def visualize_rewards(cfg: VisualizeRewardsConfig) -> Path:
    """Draw the rewards of a dataset; returns the folder with the pictures."""
    from rewact.cli.models import open_labelled, predict_models
    from rewact.draw.plots import plot_overview
    from rewact.draw.visualize import Visualizer
    from rewact.judge.doubts import model_doubts
    from rewact.judge.metrics import collect_episodes, label_predictions
    from rewact.values.processes import join_processes
    from rewact.values.runner import episode_loader

    meta, episodes, labels = open_labelled(cfg.dataset)
    n_rendered = cfg.max_episodes_rendered
    if n_rendered is None:
        n_rendered = len(episodes) if cfg.dataset.episodes is not None else 4

    files = [Path(path) for path in cfg.compare if path.endswith(".parquet")]
    device = None if cfg.policy is None else cfg.policy.device
    choices = [] if cfg.policy is None else [cfg.policy]
    choices += [PolicyOptions(path, device) for path in cfg.compare if not path.endswith(".parquet")]
    configs = [load_policy_config(choice) for choice in choices]
    processes = join_processes(configs)
    predictions = predict_models(cfg, meta, episodes, configs, files)
    models = {name: collect_episodes(labels, predicted) for name, predicted in predictions.items()}
    labelled = collect_episodes(labels, label_predictions(labels, episodes))
    visualizer = Visualizer(
        labels.table,
        episode_loader(cfg.dataset, cfg.tolerance_s),
        meta.camera_keys,
        {rewards.episode: rewards for rewards in labelled},
        {name: {rewards.episode: rewards for rewards in judged} for name, judged in models.items()},
        cfg.output_dir,
        cfg.view_height,
    )
    visualizer.render(episodes[:n_rendered], cfg.num_workers, cfg.display)
    if processes.is_main_process:
        title = f"{cfg.dataset.repo_id}, {len(episodes)} episodes"
        plot_overview(cfg.output_dir / "overview.png", labelled, models, meta.fps, title)
        for name, judged in models.items():
            for doubt in model_doubts(judged):
                logging.warning(f"{name}: {doubt}")
        if n_rendered < len(episodes):
            logging.info(
                "Filmed the first %d of %d episodes; --max_episodes_rendered=%d films all",
                *(n_rendered, len(episodes), len(episodes)),
            )
        logging.info("Wrote %s", cfg.output_dir)
    return cfg.output_dir


def main() -> None:
    run_tool(VisualizeRewardsConfig, visualize_rewards, __doc__)


if __name__ == "__main__":
    main()
