# SPDX-License-Identifier: MIT
"""Small datasets with outcomes and RECAP columns, and value functions for them."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig  # noqa: F401 - registers the policy types
from lerobot.policies.factory import make_policy, make_policy_config, make_pre_post_processors
from rewact.advantages import ADVANTAGES_FILE, read_advantage_file
from rewact.cli import compute_advantages as compute_tool

FPS = 10
LENGTHS = (8, 5, 12, 3)
TASKS = ("push", "pull", "push", "pull")
OUTCOMES = ("success", "failure", "failure", "success")
N = sum(LENGTHS)
# How a value function of returns was trained.
RETURNS = {"dataset": {"reward": {"sources": ["returns"], "c_fail": None}}}


@pytest.fixture(autouse=True)
def _deterministic():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def create_dataset(
    root: Path,
    lengths=LENGTHS,
    tasks=TASKS,
    outcomes=OUTCOMES,
    columns=None,
    camera=None,
    repo_id="local/tiny",
):
    """Write a dataset with a 3-D environment state.

    Args:
        outcomes: Outcome of each episode for the outcomes file; None writes none.
        columns: Further columns, `{name: array of all frames}`, bool or float32.
        camera: "video" or "image" adds a camera whose frames differ.
    """
    columns = columns or {}
    features = {
        "observation.environment_state": {"dtype": "float32", "shape": (3,), "names": None},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
        **{
            name: {"dtype": "bool" if values.dtype == bool else "float32", "shape": (1,), "names": None}
            for name, values in columns.items()
        },
    }
    if camera:
        features["observation.images.top"] = {
            "dtype": camera,
            "shape": (64, 64, 3),
            "names": ["height", "width", "channels"],
        }
    dataset = LeRobotDataset.create(repo_id, FPS, features, root=root, use_videos=camera == "video")
    rng = np.random.default_rng(0)
    index = 0
    for length, task in zip(lengths, tasks, strict=True):
        for frame in range(length):
            item = {
                "observation.environment_state": np.array([frame, length, index], dtype=np.float32),
                "action": rng.normal(size=2).astype(np.float32),
                "task": task,
                **{name: values[index : index + 1] for name, values in columns.items()},
            }
            if camera:
                item["observation.images.top"] = np.full((64, 64, 3), 10 * index % 256, dtype=np.uint8)
            dataset.add_frame(item)
            index += 1
        dataset.save_episode()
    dataset.finalize()
    if outcomes is not None:
        write_outcomes(root, outcomes)
    return root


def write_outcomes(root, outcomes):
    entries = [{"episode_index": i, "outcome": outcome} for i, outcome in enumerate(outcomes)]
    (root / "rewact_extensions").mkdir(exist_ok=True)
    (root / "rewact_extensions" / "outcomes.json").write_text(json.dumps(entries))


def load_dataset(root, **options):
    """With the decoder that needs no libraries of the system's."""
    return LeRobotDataset("local/tiny", root=root, video_backend="pyav", **options)


def create_checkpoint(directory, root, policy_type="rewact", train_config=None, **options):
    """An untrained policy for a dataset, saved as the training script would."""
    meta = load_dataset(root).meta
    sizes = {
        "chunk_size": 4,
        "n_action_steps": 2,
        "dim_model": 16,
        "n_heads": 2,
        "dim_feedforward": 16,
        "n_encoder_layers": 1,
        "n_vae_encoder_layers": 1,
        "latent_dim": 4,
        "device": "cpu",
        "pretrained_backbone_weights": None,
        "push_to_hub": False,
    }
    config = make_policy_config(policy_type, **{**sizes, **options})
    policy = make_policy(config, ds_meta=meta)
    policy.save_pretrained(directory)
    for processor in make_pre_post_processors(config, dataset_stats=meta.stats):
        processor.save_pretrained(directory)
    if train_config is not None:
        (directory / "train_config.json").write_text(json.dumps(train_config))
    return directory


@pytest.fixture(scope="session")
def _tiny(tmp_path_factory):
    return create_dataset(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def root(_tiny, tmp_path):
    """A dataset that the test may write to."""
    import shutil

    return Path(shutil.copytree(_tiny, tmp_path / "dataset"))


@pytest.fixture
def run(monkeypatch, root):
    """Run lerobot-compute-advantages on the dataset. Returns None, or the message that it ends with."""

    def run(*flags, dataset_root=root):
        argv = [
            "lerobot-compute-advantages",
            "--dataset.repo_id=local/tiny",
            f"--dataset.root={dataset_root}",
        ]
        monkeypatch.setattr(sys, "argv", [*argv, *map(str, flags)])
        try:
            compute_tool.main()
        except SystemExit as exit:
            return str(exit.code)
        return None

    return run


@pytest.fixture
def checkpoint(root, tmp_path):
    """A value function of returns."""
    return create_checkpoint(tmp_path / "checkpoint", root, train_config=RETURNS)


def read(root):
    """The advantages file of a dataset."""
    return read_advantage_file(root / ADVANTAGES_FILE)
