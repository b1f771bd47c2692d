# SPDX-License-Identifier: MIT
"""Trains the policy with LeRobot's own training script, in a process of its own."""

import json
import math
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from lerobot.utils.constants import (
    CHECKPOINTS_DIR,
    LAST_CHECKPOINT_LINK,
    PRETRAINED_MODEL_DIR,
    TRAINING_STATE_DIR,
    TRAINING_STEP,
)
from rewact.cli.recap import TRAIN, execute
from verify.demo.record import REPO_ID

CHECKPOINTS_PER_RUN = 3
LOGS_PER_RUN = 10

# A network this small learns on two cores within minutes. Its backbone starts from random weights, not from
# ImageNet's (nothing is downloaded), hence the dataset's own colour statistics and the normalisation before
# each layer. One scripted demonstrator has no styles that a latent would have to explain, hence no VAE.
POLICY_FLAGS = (
    "--policy.type=act",
    "--policy.chunk_size=10",
    "--policy.n_action_steps=10",
    "--policy.dim_model=128",
    "--policy.n_heads=4",
    "--policy.dim_feedforward=512",
    "--policy.n_encoder_layers=2",
    "--policy.pre_norm=true",
    "--policy.use_vae=false",
    "--policy.pretrained_backbone_weights=null",
    "--policy.optimizer_lr=5e-4",
    "--policy.device=cpu",
    "--policy.push_to_hub=false",
    "--dataset.use_imagenet_stats=false",
)


class TrainingError(RuntimeError):
    """LeRobot's training script failed."""


def last_checkpoint(training_dir: Path) -> Path:
    """The folder of the last whole checkpoint of a run, there or not."""
    return training_dir / CHECKPOINTS_DIR / LAST_CHECKPOINT_LINK


def trained_policy(training_dir: Path) -> Path:
    """The folder of the policy in the last checkpoint, as `from_pretrained` takes it."""
    return last_checkpoint(training_dir) / PRETRAINED_MODEL_DIR


def trained_steps(training_dir: Path) -> int:
    """Steps behind the last checkpoint, 0 without one."""
    # LeRobot points its link to a checkpoint once that is whole.
    file = last_checkpoint(training_dir) / TRAINING_STATE_DIR / TRAINING_STEP
    return json.loads(file.read_text())["step"] if file.is_file() else 0


def training_command(
    training_dir: Path, dataset: Path, episodes: Iterable[int], steps: int, seed: int
) -> list[str]:
    """Arguments of `lerobot-train`, for a new run or to go on from the last checkpoint."""
    if trained_steps(training_dir):
        config = trained_policy(training_dir) / "train_config.json"
        return [f"--config_path={config}", "--resume=true"]
    return [
        f"--dataset.repo_id={REPO_ID}",
        f"--dataset.root={dataset}",
        f"--dataset.episodes=[{','.join(map(str, episodes))}]",
        *POLICY_FLAGS,
        "--batch_size=8",
        f"--steps={steps}",
        f"--save_freq={math.ceil(steps / CHECKPOINTS_PER_RUN)}",
        f"--log_freq={math.ceil(steps / LOGS_PER_RUN)}",
        f"--seed={seed}",
        "--num_workers=0",
        "--wandb.enable=false",
        f"--output_dir={training_dir}",
    ]


def train(training_dir: Path, dataset: Path, episodes: Iterable[int], steps: int, seed: int) -> None:
    """Trains until `steps`, going on from the last checkpoint of an earlier, interrupted run.

    Paths are used as they are given: the same relative paths from the same place resume a run.

    Raises:
        TrainingError: if the script fails; the message names its log.
    """
    command = training_command(training_dir, dataset, episodes, steps, seed)
    if not trained_steps(training_dir):
        shutil.rmtree(training_dir, ignore_errors=True)  # the script wants to make it itself
    print(f"      lerobot-train {shlex.join(command)}", flush=True)
    training_dir.parent.mkdir(parents=True, exist_ok=True)
    log_file = training_dir.with_suffix(".log")
    code = execute([sys.executable, "-m", TRAIN, *command], log_file)
    if code != 0 or trained_steps(training_dir) < steps:
        raise TrainingError(f"training ended early with exit code {code}; its last words are in {log_file}")
