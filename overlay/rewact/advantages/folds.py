# SPDX-License-Identifier: MIT
"""Out-of-fold values: each episode is judged by a value model that has not been trained on it.

A value model knows the episodes it was trained on, outcome included, and so tells good actions from bad ones
less by what they do than by what it remembers came of them.
"""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from lerobot.utils.constants import TRAINING_STATE_DIR, TRAINING_STEP
from rewact.advantages.compute import Evidence
from rewact.advantages.file import dataset_fingerprint
from rewact.labels.build import shorten
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import read_json, write_json
from rewact.values.checkpoint import TRAIN_CONFIG, WEIGHTS, read_train_config
from rewact.values.crossfit import deal_folds

# Set by launchers of several processes. The training of a fold is a process by itself.
_LAUNCHER_VARIABLES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_",
    "ROLE_",
    "MASTER_",
    "TORCHELASTIC_",
    "ACCELERATE_",
)


def assign_folds(evidence: Evidence, rows: np.ndarray, n_folds: int) -> np.ndarray:
    """Fold of each row, see `deal_folds`: each fold has its share of every task and outcome."""
    groups = evidence.table.tasks[rows] * 3 + evidence.outcomes[rows] + 1
    return deal_folds(groups, n_folds, seed=None)


def fold_checkpoint(directory: Path, fold: int) -> Path:
    """Where the value model of a fold is once it is trained."""
    return directory / f"fold_{fold}" / "checkpoints" / "last" / "pretrained_model"


def train_fold(
    checkpoint: Path, directory: Path, fold: int, meta: LeRobotDatasetMetadata, episodes: list[int]
) -> None:
    """Train a value model like another one, on other episodes. Resumes, or does nothing if that is done.

    Args:
        checkpoint: The model to take after: the settings it was trained with are used again.
        directory: Where the models of all folds go.
        fold: Number of the fold that the model is blind to.
        meta: Metadata of the dataset, which the checkpoint must have been trained on.
        episodes: Episodes to train on.

    Raises:
        ValueError: If the checkpoint does not say how it was trained, or was trained on another dataset, or
            if the directory holds something else.
        RuntimeError: If the training fails.
    """
    folder, settings_file = directory / f"fold_{fold}", directory / f"fold_{fold}.json"
    settings = _fold_settings(checkpoint, folder, meta, episodes)
    known = read_json(settings_file) if settings_file.is_file() else None
    if known != settings and (known is not None or folder.exists()):
        raise ValueError(
            f"{folder} is of another value model or of other episodes; delete it and {settings_file.name} "
            "beside it, or name another folder with --folds_dir"
        )
    write_json(settings_file, settings)
    last = fold_checkpoint(directory, fold)
    if (last / WEIGHTS).is_file():
        if read_json(last.parent / TRAINING_STATE_DIR / TRAINING_STEP)["step"] >= settings["steps"]:
            logging.info(f"The value model of fold {fold} is trained already")
            return
        flags = [f"--config_path={last / TRAIN_CONFIG}", "--resume=true"]
    else:
        shutil.rmtree(folder, ignore_errors=True)  # stopped before its first checkpoint
        flags = [f"--config_path={settings_file}"]
    logging.info(f"Training the value model of fold {fold} on {len(episodes)} episodes")
    command = [sys.executable, "-m", "lerobot.scripts.lerobot_train", *flags]
    alone = {name: v for name, v in os.environ.items() if not name.startswith(_LAUNCHER_VARIABLES)}
    if subprocess.run(command, check=False, env=alone).returncode:
        raise RuntimeError(f"the training of the value model of fold {fold} failed: {' '.join(command)}")


def _fold_settings(
    checkpoint: Path, output_dir: Path, meta: LeRobotDatasetMetadata, episodes: list[int]
) -> dict[str, Any]:
    settings = read_train_config(checkpoint)
    if settings is None:
        raise ValueError(
            f"{checkpoint} has no {TRAIN_CONFIG}, which says how to train the value models of the folds"
        )
    if settings.get("policy") is None:
        raise ValueError(
            f"--folds trains policies, and {checkpoint} is not one: leave --folds out. The values of "
            "lerobot-train-values are out of fold anyway"
        )
    _require_same_dataset(checkpoint, settings["dataset"], meta)
    if settings.get("resume"):
        # It was resumed from its own earlier checkpoint, which knows all episodes.
        settings["policy"]["pretrained_path"] = None
    elif base := settings["policy"].get("pretrained_path"):
        require_blind(base, meta)
    settings |= {"output_dir": str(output_dir), "resume": False, "env": None}
    settings["dataset"]["episodes"] = episodes
    settings["wandb"]["enable"] = False
    settings["policy"]["push_to_hub"] = False
    return settings


def require_blind(base: str, meta: LeRobotDatasetMetadata) -> None:
    """Check that a checkpoint which the folds would be fine-tuned from has not seen a dataset's episodes.

    Raises:
        ValueError: If its own record, or that of what it was fine-tuned from, does not show it.
    """
    ours, checked = EpisodeTable.from_metadata(meta), set()
    while base not in checked:
        checked.add(base)
        try:
            record = read_train_config(base)
        except (OSError, ValueError):  # neither a folder nor to be had from the Hub
            record = None
        if record is None:
            break
        if seen := _episodes_in_common(record["dataset"], ours):
            raise ValueError(
                f"{base}, from which the value model was fine-tuned, was trained on {len(seen)} of the "
                f"episodes of {meta.repo_id} ({shorten(seen)}), so that no fold would be blind to them; "
                f"{_FROM_SCRATCH}"
            )
        if seen is None or record.get("resume"):
            break
        base = (record.get("policy") or {}).get("pretrained_path")
        if not base:
            return
    raise ValueError(
        f"nothing shows that {base}, from which the value model was fine-tuned, has not seen the episodes of "
        f"{meta.repo_id}; {_FROM_SCRATCH}"
    )


_FROM_SCRATCH = "train a value model without --policy.path for --folds to take after"


def _episodes_in_common(trained_on: dict[str, Any], ours: EpisodeTable) -> list[int] | None:
    """Our episodes that another training has seen, None if that cannot be told."""
    meta = _open(trained_on)
    theirs = None if meta is None else EpisodeTable.from_metadata(meta)
    if theirs is None or not (all(theirs.identities) and all(ours.identities)):
        return None
    chosen = trained_on.get("episodes")
    known = zip(theirs.episodes.tolist(), theirs.identities, strict=True)
    seen = {identity for episode, identity in known if chosen is None or episode in chosen}
    mine = zip(ours.episodes.tolist(), ours.identities, strict=True)
    return [episode for episode, identity in mine if identity in seen]


def _require_same_dataset(checkpoint: Path, trained_on: dict[str, Any], meta: LeRobotDatasetMetadata) -> None:
    """The folds are trained on the checkpoint's own dataset, by the episode numbers of this one."""
    root = trained_on.get("root")
    if (trained_on["repo_id"], root and Path(root).resolve()) == (meta.repo_id, Path(meta.root).resolve()):
        return
    theirs = _open(trained_on)
    if theirs is None or dataset_fingerprint(theirs) != dataset_fingerprint(meta):
        where = f" in {root}" if root else ""
        raise ValueError(
            f"{checkpoint} was trained on {trained_on['repo_id']!r}{where}, not on {meta.repo_id!r} in "
            f"{meta.root}: train a value model on this dataset for --folds to take after"
        )


def _open(trained_on: dict[str, Any]) -> LeRobotDatasetMetadata | None:
    """Metadata of the dataset of a training, None if it cannot be read."""
    try:
        return LeRobotDatasetMetadata(
            trained_on["repo_id"], root=trained_on.get("root"), revision=trained_on.get("revision")
        )
    except Exception:  # whatever it is that keeps it from being read
        return None
