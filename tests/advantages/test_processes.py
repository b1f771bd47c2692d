# SPDX-License-Identifier: MIT
"""Real processes: work shared by two of them, models of folds, and ACTvantage trained on the result."""

import json
import shutil

import numpy as np
import pytest

from rewact.advantages import ADVANTAGES_FILE, read_advantage_file
from tests import warm

from .conftest import create_checkpoint, load_dataset

COMPUTE = "rewact.cli.compute_advantages"


def start(module, *arguments, n_processes=1):
    ends = warm.run_together(module, *arguments, n_processes=n_processes)
    output = "".join(end.output for end in ends)
    assert [end.code for end in ends] == [0] * n_processes, output[-3000:]
    return output


@pytest.mark.slow
def test_two_processes_make_the_same_file(run, root, tmp_path):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root)
    assert run(f"--policy.path={checkpoint}") is None
    alone = read_advantage_file(root / ADVANTAGES_FILE)
    (root / ADVANTAGES_FILE).unlink()
    flags = ["--dataset.repo_id=local/tiny", f"--dataset.root={root}", f"--policy.path={checkpoint}"]
    output = start(COMPUTE, *flags, n_processes=2)
    assert "4 episodes are shared by 2 processes" in output
    shared = read_advantage_file(root / ADVANTAGES_FILE)
    assert shared.provenance == alone.provenance
    for name, column in alone.columns.items():
        np.testing.assert_array_equal(shared.columns[name], column)


@pytest.mark.slow
def test_value_models_of_folds_and_the_policy_trained_on_them(run, root, tmp_path, capsys):
    size = [
        "dim_model=16",
        "n_heads=2",
        "dim_feedforward=16",
        "n_encoder_layers=1",
        "chunk_size=4",
        "n_action_steps=2",
    ]
    train = [
        "lerobot.scripts.lerobot_train",
        "--dataset.repo_id=local/tiny",
        f"--dataset.root={root}",
        *(f"--policy.{option}" for option in [*size, "device=cpu", "push_to_hub=false"]),
        *("--steps=2", "--save_freq=2", "--batch_size=4", "--num_workers=0"),
    ]
    value = tmp_path / "value"
    start(*train, "--policy.type=rewact", '--dataset.reward.sources=["returns"]', f"--output_dir={value}")
    checkpoint = value / "checkpoints" / "last" / "pretrained_model"
    flags = [f"--policy.path={checkpoint}", "--folds=2"]
    # Two processes, but each model is trained by one.
    data = ["--dataset.repo_id=local/tiny", f"--dataset.root={root}"]
    start(COMPUTE, *data, *flags, n_processes=2)
    shared = read_advantage_file(root / ADVANTAGES_FILE)
    folds = checkpoint.parent / "folds"
    blind = [json.loads((folds / f"fold_{i}.json").read_text())["dataset"]["episodes"] for i in (0, 1)]
    assert sorted(blind[0] + blind[1]) == [0, 1, 2, 3]
    assert load_dataset(root).meta.total_episodes == 4
    # A second run finds the models trained.
    assert run(*flags) is None
    assert "is trained already" in capsys.readouterr().err
    alone = read_advantage_file(root / ADVANTAGES_FILE)
    np.testing.assert_array_equal(shared.columns["value"], alone.columns["value"])
    # They would be trained on episodes of the value function's own dataset.
    other = shutil.copytree(root, tmp_path / "other")
    (other / ADVANTAGES_FILE).unlink()
    stats = json.loads((other / "meta" / "stats.json").read_text())
    stats["action"]["mean"] = [0.5, 0.5]
    (other / "meta" / "stats.json").write_text(json.dumps(stats))
    assert "train a value model on this dataset" in run(*flags, dataset_root=other)
    assert not (other / ADVANTAGES_FILE).exists()
    start(*train, "--policy.type=actvantage", f"--output_dir={tmp_path / 'policy'}")
    saved = tmp_path / "policy" / "checkpoints" / "last" / "pretrained_model" / "config.json"
    assert json.loads(saved.read_text())["type"] == "actvantage"
