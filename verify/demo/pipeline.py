# SPDX-License-Identifier: MIT
"""The demo's steps. Those that take long are skipped where their finished result is there."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from rewact.labels.files import write_json
from verify.demo.expert import Outcome
from verify.demo.predict import predict_episodes
from verify.demo.record import REPO_ID, record_dataset
from verify.demo.report import Prediction, score, write_figure, write_video
from verify.demo.training import train, trained_policy, trained_steps

FIGURE, VIDEO, METRICS, DATASET = "demo.png", "demo.mp4", "metrics.json", "dataset"


@dataclass(frozen=True)
class Preset:
    """How much the demo does. Its intermediate results are kept under its name."""

    name: str
    train_episodes: int
    unseen_episodes: int  # which training does not see; at least 10 hold every outcome
    steps: int

    def sized(self, train_episodes: int | None, steps: int | None) -> "Preset":
        """The same with these numbers, where they are given, and a name of its own."""
        name = self.name
        name += f"-{train_episodes}-episodes" if train_episodes else ""
        name += f"-{steps}-steps" if steps else ""
        return replace(
            self, name=name, train_episodes=train_episodes or self.train_episodes, steps=steps or self.steps
        )


FULL = Preset("full", train_episodes=50, unseen_episodes=10, steps=1000)
FAST = Preset("fast", train_episodes=25, unseen_episodes=10, steps=280)


def plan_outcomes(n_episodes: int) -> list[Outcome]:
    """Four successes, then a failure, and again: missing the block and dropping it take turns."""
    failures = (Outcome.MISS, Outcome.DROP)
    return [failures[i // 5 % 2] if i % 5 == 4 else Outcome.SUCCESS for i in range(n_episodes)]


def run_demo(output_dir: Path, preset: Preset, seed: int) -> None:
    """Records, trains, predicts and reports.

    Args:
        output_dir: gets the figure, the video, the metrics, a copy of the dataset, and the rest in `work`.
        preset: how much to do.
        seed: of the data and of the training.

    Raises:
        TrainingError: if training fails.
    """
    started = time.monotonic()
    work = output_dir / "work" / f"{preset.name}-seed-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    dataset, training = work / "dataset", work / "training"
    n_episodes = preset.train_episodes + preset.unseen_episodes
    seen, unseen = range(preset.train_episodes), range(preset.train_episodes, n_episodes)

    if dataset.is_dir():
        _say(1, f"Recorded already: {dataset}")
    else:
        _say(1, f"Recording {n_episodes} attempts of a simulated arm, labelled by keypoints: {dataset}")
        record_dataset(dataset, plan_outcomes(n_episodes), seed)

    own = output_dir / DATASET
    if not own.exists():  # for the user to label and train on: the demo leaves it alone from now on
        part = own.with_name(f".{DATASET}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(dataset, part)
        part.rename(own)

    done = trained_steps(training)
    if done >= preset.steps:
        _say(2, f"Trained already: {training}")
    else:
        resumed = f", from step {done} on" if done else ""
        _say(2, f"Training on {len(seen)} of them for {preset.steps} steps{resumed}:")
        train(training, dataset, seen, preset.steps, seed)

    _say(3, f"Predicting the {len(unseen)} episodes that training never saw")
    predictions = predict_episodes(trained_policy(training), dataset, unseen)

    run = {**asdict(preset), "seed": seed}
    metrics = {"run": run, **score(predictions)}
    if _reported(output_dir) == metrics:
        _say(4, "Figure, video and metrics are there already")
    else:
        _say(4, "Drawing the figure and the video")
        (output_dir / METRICS).unlink(missing_ok=True)
        shown = _order_for_show(predictions)
        write_figure(output_dir / FIGURE, shown)
        first_of: dict[Outcome, Prediction] = {}
        for prediction in shown:
            first_of.setdefault(prediction.outcome, prediction)
        write_video(output_dir / VIDEO, list(first_of.values()))
        write_json(output_dir / METRICS, metrics)
    _print_scores(metrics, output_dir, time.monotonic() - started)


def _reported(output_dir: Path) -> dict | None:
    """The metrics that are there, if the figure and the video that go with them are, too."""
    files = [output_dir / name for name in (FIGURE, VIDEO, METRICS)]
    return json.loads(files[-1].read_text()) if all(file.is_file() for file in files) else None


def _order_for_show(predictions: Sequence[Prediction]) -> list[Prediction]:
    """First the successful episode of median error, neither best nor worst, then others of each outcome."""
    successes = [p for p in predictions if p.outcome is Outcome.SUCCESS]
    failures = [p for p in predictions if p.outcome is not Outcome.SUCCESS]
    by_error = sorted(successes, key=lambda p: float(np.abs(p.predicted - p.true).mean()))
    first = by_error[len(by_error) // 2]
    return [first, *[p for p in successes if p is not first][:3], *failures]


def _say(step: int, text: str) -> None:
    print(f"[{step}/4] {text}", flush=True)


def _print_scores(metrics: dict, output_dir: Path, seconds: float) -> None:
    print("\nunseen episode   frames   Spearman   mean abs. error   final reward (true)")
    for row in metrics["episodes"]:
        print(
            f"  {row['episode']:3d} {row['outcome']:<9}  {row['frames']:5d}      {row['spearman']:+.3f}"
            f"             {row['mae']:.3f}   {row['final_predicted']:.2f} ({row['final_true']:.2f})"
        )
    for name, title in (("all", "all unseen episodes"), ("success", "successful ones")):
        total = metrics["overall"][name]
        print(
            f"{title:<20} Spearman {total['spearman']:.3f}, mean absolute error {total['mae']:.3f} over "
            f"{total['frames']} frames (the clock alone: Spearman {total['clock_spearman']:.3f})"
        )
    run = metrics["run"]
    if run["train_episodes"] < FULL.train_episodes or run["steps"] < FULL.steps:
        print("This was less data or training than the full demo, which scores higher.")
    print(
        f"\nDone in {seconds:.0f} s."
        f"\n  figure   {output_dir / FIGURE}"
        f"\n  video    {output_dir / VIDEO}"
        f"\n  numbers  {output_dir / METRICS}"
        f"\n  dataset  {output_dir / DATASET}, a copy to label and train on"
        "\nNext:"
        f"\n  lerobot-visualize-rewards --dataset.repo_id={REPO_ID} --dataset.root={output_dir / DATASET}"
    )
