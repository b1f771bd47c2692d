# SPDX-License-Identifier: MIT
r"""Judge predicted rewards on a dataset: a policy with a reward head, other models' progress files, or both.

Writes `eval_rewards.json`, a PNG and, for a policy, `rewact_progress.parquet` in the schema of LeRobot's
reward models, which `lerobot-train --sample_weighting.type=rabc --sample_weighting.progress_path=...` reads.
Interrupted, it resumes where it stopped. `accelerate launch` shares the episodes out over processes.

Examples:

On the episodes that training with `--dataset.eval_split=0.1` held out:
```
lerobot-eval-rewards \
    --dataset.repo_id=lerobot/pusht \
    --dataset.eval_split=0.1 \
    --policy.path=outputs/train/pusht/checkpoints/last/pretrained_model
```

Against another reward model on the same episodes:
```
lerobot-eval-rewards \
    --dataset.repo_id=lerobot/pusht \
    --policy.path=outputs/train/pusht/checkpoints/last/pretrained_model \
    --progress='["sarm_progress.parquet"]'
```
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.cli.common import load_policy_config, run_tool
from rewact.options.completion import CompletionDetectorConfig
from rewact.options.tools import DataOptions, PolicyOptions

if TYPE_CHECKING:
    from rewact.values.prediction import Prediction


@dataclass
class EvalRewardsConfig:
    dataset: DataOptions
    policy: PolicyOptions | None = None
    # Progress files of other models to judge on the same episodes; also looked for in the dataset's folder.
    progress: list[str] = field(default_factory=list)
    # Where results go. Default: outputs/eval_rewards/<dataset>.
    output_dir: Path | None = None
    # Where predictions are kept for the next run and the other tools. Default: beside LeRobot's other caches.
    values_dir: Path | None = None
    # The policy's names for those observations that the dataset calls otherwise.
    rename_map: dict[str, str] = field(default_factory=dict)
    # Frames per forward pass.
    batch_size: int = 32
    # Processes that read data. 0: a thread.
    num_workers: int = 0
    # As in training: seconds that the timestamp of a frame and its picture in the video may lie apart.
    tolerance_s: float = 1e-4
    detector: CompletionDetectorConfig = field(default_factory=CompletionDetectorConfig)
    # Bins of the reliability diagram.
    calibration_bins: int = 10

    def __post_init__(self) -> None:
        if self.policy is None and not self.progress:
            raise ValueError("nothing to judge: give --policy.path, --progress, or both")
        if self.batch_size < 1 or self.calibration_bins < 1:
            raise ValueError("--batch_size and --calibration_bins must be at least 1")
        if self.output_dir is None:
            self.output_dir = Path("outputs/eval_rewards") / self.dataset.repo_id.rsplit("/", 1)[-1]


def eval_rewards(cfg: EvalRewardsConfig) -> dict[str, Any]:
    """Judge predicted rewards; returns what `eval_rewards.json` holds."""
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from rewact.cli.names import file_names, model_names
    from rewact.draw.plots import model_doubts, plot_evaluation
    from rewact.judge.completion import CompletionDetector
    from rewact.judge.controls import control_predictions
    from rewact.judge.doubts import describe_training, told_apart
    from rewact.judge.metrics import calibration, collect_episodes, episode_metrics, overall_metrics
    from rewact.judge.report import print_evaluation
    from rewact.labels import build_reward_labels
    from rewact.labels.files import write_json
    from rewact.values.checkpoint import trained_episodes
    from rewact.values.prediction import read_predictions, write_predictions
    from rewact.values.predictor import RewardPredictor
    from rewact.values.processes import join_processes, together
    from rewact.values.runner import choose_episodes, episode_loader, predict_episodes
    from rewact.values.store import ValueStore

    detector = CompletionDetector(**asdict(cfg.detector))
    policy = None if cfg.policy is None else load_policy_config(cfg.policy)
    processes = join_processes([] if policy is None else [policy])
    meta = LeRobotDatasetMetadata(cfg.dataset.repo_id, root=cfg.dataset.root, revision=cfg.dataset.revision)
    episodes = choose_episodes(cfg.dataset, meta)
    labels = build_reward_labels(meta, cfg.dataset.reward)
    labels.require(episodes)
    logging.info(labels.describe())

    # Files first: what is wrong with them shows before the long part begins.
    predictions: dict[str, Mapping[int, Prediction]] = {}
    files = [Path(path) for path in cfg.progress]
    for name, path in zip(file_names(files), files, strict=True):
        predictions[name] = read_predictions(path, labels.table, episodes)
    if policy is not None:
        with together():
            predictor = RewardPredictor(policy, meta, cfg.rename_map)
        predicted = predict_episodes(
            episode_loader(cfg.dataset, cfg.tolerance_s),
            labels.table,
            predictor,
            ValueStore(predictor, meta, cfg.values_dir),
            episodes,
            cfg.batch_size,
            cfg.num_workers,
        )
        predictions = {model_names([policy], taken=list(predictions))[0]: predicted, **predictions}
        if processes.is_main_process:
            path = cfg.output_dir / "rewact_progress.parquet"
            write_predictions(path, labels.table, predicted, cfg.policy.path)

    models = {name: collect_episodes(labels, predicted) for name, predicted in predictions.items()}
    results = {
        name: {
            "overall": overall_metrics(of_model, detector),
            "calibration": calibration(of_model, cfg.calibration_bins),
            "per_episode": [episode_metrics(episode) for episode in of_model],
        }
        for name, of_model in models.items()
    }
    seen = None if policy is None else trained_episodes(policy.pretrained_path, meta)
    judged = next(iter(models.values()))
    reference = sorted(seen) if seen else labels.table.episodes.tolist()
    controls = control_predictions(labels, judged, reference)
    control_results = {
        name: {"overall": overall_metrics(e, detector), "calibration": calibration(e, cfg.calibration_bins)}
        for name, e in controls.items()
    }
    title, remarks = f"{cfg.dataset.repo_id}, {len(episodes)} episodes", []
    if policy is not None:
        sentence, is_warning = describe_training(cfg.policy.path, seen, episodes)
        remarks, title = ([sentence], title) if is_warning else ([], f"{title}; {sentence}")
    remarks += [f"{name}: {doubt}" for name, of_model in models.items() for doubt in model_doubts(of_model)]
    remarks += told_apart(models, controls)
    info = {
        "dataset": cfg.dataset.repo_id,
        "labels": labels.describe(),
        "policy": None if cfg.policy is None else cfg.policy.path,
        "trained_on": None if seen is None else [e for e in episodes if e in seen],
        "remarks": remarks,
        "models": results,
        "controls": control_results,
    }
    if processes.is_main_process:
        write_json(cfg.output_dir / "eval_rewards.json", info)
        plot_evaluation(
            cfg.output_dir / "eval_rewards.png",
            models,
            {name: result["calibration"] for name, result in results.items()},
            title,
            remarks,
        )
        print_evaluation({**results, **control_results}, title, remarks)
        logging.info("Wrote %s", cfg.output_dir)
    return info


def main() -> None:
    run_tool(EvalRewardsConfig, eval_rewards, __doc__)


if __name__ == "__main__":
    main()
