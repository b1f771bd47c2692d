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

The same, and from now on `--policy.stop_on_completion=true` stops where these episodes say so:
```
lerobot-eval-rewards \
    --dataset.repo_id=lerobot/pusht \
    --dataset.eval_split=0.1 \
    --policy.path=outputs/train/pusht/checkpoints/last/pretrained_model \
    --save_threshold=true
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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rewact.cli.common import load_policy_config, run_tool
from rewact.options.completion import CompletionDetectorConfig
from rewact.options.tools import PredictionOptions


@dataclass
class EvalRewardsConfig(PredictionOptions):
    # Where results go. Default: outputs/eval_rewards/<dataset>.
    output_dir: Path | None = None
    # Progress files of other models to judge on the same episodes; also looked for in the dataset's folder.
    progress: list[str] = field(default_factory=list)
    # When a task counts as done. Default: as the policy's configuration says.
    detector: CompletionDetectorConfig | None = None
    # Whether to choose from these episodes, held out in training, when --policy.stop_on_completion stops, and
    # to save it with the checkpoint.
    save_threshold: bool = False
    # Bins of the reliability diagram.
    calibration_bins: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.policy is None and not self.progress:
            raise ValueError("nothing to judge: give --policy.path, --progress, or both")
        if self.save_threshold and self.policy is None:
            raise ValueError("--save_threshold needs a checkpoint to save to: give --policy.path")
        if self.calibration_bins < 1:
            raise ValueError(f"--calibration_bins must be at least 1, got {self.calibration_bins}")
        self.output_dir = self.output_dir or self.default_output_dir("eval_rewards")


def eval_rewards(cfg: EvalRewardsConfig) -> dict[str, Any]:
    """Judge predicted rewards; returns what `eval_rewards.json` holds."""
    from rewact.cli.models import open_labelled, predict_models
    from rewact.draw.plots import plot_evaluation
    from rewact.judge.completion import CompletionDetector
    from rewact.judge.metrics import collect_episodes
    from rewact.judge.report import describe_stop, print_evaluation, wide_console
    from rewact.judge.score import judge_models
    from rewact.judge.stopping import require_held_out, save_stop
    from rewact.labels.files import write_json
    from rewact.values.prediction import write_predictions
    from rewact.values.processes import join_processes

    policy = None if cfg.policy is None else load_policy_config(cfg.policy)
    settings = cfg.detector or getattr(policy, "completion_detector", None) or CompletionDetectorConfig()
    detector = CompletionDetector(**asdict(settings))
    policies = [] if policy is None else [policy]
    processes = join_processes(policies)
    meta, episodes, labels = open_labelled(cfg.dataset)
    if cfg.save_threshold:
        require_held_out(policy.pretrained_path, labels.table, episodes)

    predictions = predict_models(cfg, meta, episodes, policies, [Path(path) for path in cfg.progress])
    if policy is not None and processes.is_main_process:
        path, of_policy = cfg.output_dir / "rewact_progress.parquet", next(iter(predictions.values()))
        write_predictions(path, labels.table, of_policy, cfg.policy.path)
    models = {name: collect_episodes(labels, predicted) for name, predicted in predictions.items()}
    checkpoint = None if policy is None else cfg.policy.path
    judgement = judge_models(labels, models, checkpoint, detector, cfg.calibration_bins)
    results, remarks = judgement["models"], judgement["remarks"]
    title = f"{cfg.dataset.repo_id}, {len(episodes)} episodes"
    if judgement["trained_on"] == []:
        title += "; none of these episodes were in the policy's training set"
    described = {"dataset": cfg.dataset.repo_id, "labels": labels.describe(episodes), "policy": checkpoint}
    info = {**described, **judgement}
    if processes.is_main_process:
        write_json(cfg.output_dir / "eval_rewards.json", info)
        plot_evaluation(
            cfg.output_dir / "eval_rewards.png",
            models,
            {name: result["calibration"] for name, result in results.items()},
            title,
            remarks,
        )
        print_evaluation({**results, **judgement["controls"]}, title, remarks)
        judged = next(iter(results.values()))
        if judged["stop"] is not None:
            wide_console().print(describe_stop(judged["stop"]), soft_wrap=True)
        logging.info("Wrote %s", cfg.output_dir)
        if cfg.save_threshold:
            path, ece = Path(policy.pretrained_path), judged["calibration"]["ece"]
            save_stop(path, judged["stop"], cfg.dataset.repo_id, ece)
    return info


def main() -> None:
    run_tool(EvalRewardsConfig, eval_rewards, __doc__)


if __name__ == "__main__":
    main()
