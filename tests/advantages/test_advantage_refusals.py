# SPDX-License-Identifier: MIT
"""Bad input of lerobot-compute-advantages: one sentence, nothing written."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rewact.advantages import ADVANTAGES_FILE, compute
from rewact.advantages.compute import AdvantageOptions
from rewact.labels.returns import compute_returns
from rewact.options.labels import RewardLabelsConfig
from rewact.values.predictor import RewardPredictor

from .conftest import (
    RETURNS,
    N,
    create_checkpoint,
    create_dataset,
    load_dataset,
    read,
)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--from_returns=true", "--n_steps=0"], "n_steps must be at least 1"),
        (["--from_returns=true", "--positive_fraction=0"], "positive_fraction must be between 0 and 1"),
        (["--from_returns=true", "--positive_fraction=1"], "positive_fraction must be between 0 and 1"),
        (["--from_returns=true", "--positive_fraction=nan"], "positive_fraction must be between 0 and 1"),
        (["--from_returns=true", "--smoothing_window=2"], "odd"),
        (["--from_returns=true", "--value_type=q"], "value_type"),
        (["--from_returns=true", "--folds=3"], "folds"),
        (["--from_returns=true", "--batch_size=0"], "batch_size"),
        (["--from_returns=true", "--dataset.reward.c_fail=-1"], "c_fail must be above 0"),
        (["--from_returns=true", "--dataset.reward.failure_return=best"], "must be one of steps, worst"),
        (["--from_returns=true", "--plots_dir=plots", "--plot_episodes=[0,9]"], "episode 9 is not among"),
        (["--from_returns=true", "--plot_episodes=[0]"], "--plots_dir"),
        (["--from_returns=true", "--rename_map={a: b}"], "--rename_map renames what a policy reads"),
        ([], "--from_returns=true"),
        (["--policy.type=rewact"], "--policy.path"),
    ],
)
def test_bad_options(run, root, flags, message):
    before = sorted(root.rglob("*"))
    output = run(*flags)
    assert message in output and len(output.splitlines()) == 1
    assert sorted(root.rglob("*")) == before


def test_a_dataset_that_cannot_be_written_is_refused_before_the_work(run, root, checkpoint):
    (root / ADVANTAGES_FILE).mkdir()
    message = run(f"--policy.path={checkpoint}")
    assert message.startswith(f"error: --output_path={root / ADVANTAGES_FILE} cannot be written: it is a")


def test_a_checkpoint_without_a_head(run, root, tmp_path):
    checkpoint = create_checkpoint(tmp_path / "plain", root, "act", use_reward_head=False)
    assert "has no reward head and predicts no rewards" in run(f"--policy.path={checkpoint}")
    assert not (root / ADVANTAGES_FILE).exists()


def test_a_checkpoint_that_reads_what_the_dataset_lacks(run, root, tmp_path):
    other = create_dataset(tmp_path / "cameras", camera="image")
    checkpoint = create_checkpoint(tmp_path / "checkpoint", other, train_config=RETURNS)
    before = sorted(root.rglob("*"))
    message = run(f"--policy.path={checkpoint}")
    assert "reads 'observation.images.top', which local/tiny does not have" in message
    assert sorted(root.rglob("*")) == before


def test_no_episodes(run, root):
    before = sorted(root.rglob("*"))
    for chosen, message in (("[]", "names no episode"), ("[9]", "has no episode 9")):
        assert message in run("--from_returns=true", f"--dataset.episodes={chosen}")
    assert sorted(root.rglob("*")) == before


def test_a_value_function_that_has_diverged(run, root, checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    weights["model.reward_head.readout.bias"][:] = torch.nan
    save_file(weights, checkpoint / "model.safetensors")
    before = sorted(root.rglob("*"))
    assert "predicts nan for episode 0, frame 0: its training has diverged" in run(
        f"--policy.path={checkpoint}"
    )
    assert sorted(root.rglob("*")) == before


def test_a_value_function_that_diverges_in_a_later_episode(run, root, checkpoint, monkeypatch):
    original, before = RewardPredictor.__call__, sorted(root.rglob("*"))

    def diverge(self, batch):
        prediction = original(self, batch)
        prediction.reward[batch["episode_index"].numpy() == 1] = np.nan
        return prediction

    monkeypatch.setattr(RewardPredictor, "__call__", diverge)
    assert "predicts nan for episode 1, frame 0: its training has diverged" in run(
        f"--policy.path={checkpoint}"
    )
    assert sorted(root.rglob("*")) == before


def test_no_positive_frames_give_a_warning_with_numbers(run, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(compute.logger, "warning", warnings.append)
    root = create_dataset(tmp_path / "same", lengths=(4, 4, 4, 4), outcomes=("success",) * 4)
    assert run("--from_returns=true", dataset_root=root) is None
    assert len(warnings) == 2
    assert "None of the 8 frames of the task 'pull' are positive" in warnings[0] and ": 8" in warnings[0]
    assert not read(root).columns["positive"].any()


def test_all_frames_positive_give_a_warning(run, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(compute.logger, "warning", warnings.append)
    columns = {"intervention": np.ones(N, bool)}
    root = create_dataset(tmp_path / "corrected", columns=columns)
    assert run("--from_returns=true", dataset_root=root) is None
    assert len(warnings) == 2 and "All of the 8 frames of the task 'pull' are positive" in warnings[0]
    assert read(root).columns["positive"].all()


def test_options_are_checked_in_the_library_too():
    for options in (
        {"n_steps": 0},
        {"n_steps": 1, "positive_fraction": 1.0},
        {"n_steps": 1, "smoothing_window": 0},
    ):
        with pytest.raises(ValueError):
            AdvantageOptions(**options)


@pytest.mark.parametrize("failure_return", ["steps", "worst"])
def test_returns_are_those_of_the_reward_labels(root, failure_return):
    """The labels that a value function is trained on and the returns it is compared with agree."""
    from rewact.labels import build_reward_labels

    meta = load_dataset(root).meta
    config = RewardLabelsConfig(sources=["returns"], failure_return=failure_return)
    labels = build_reward_labels(meta, config)
    returns = compute_returns(labels.table, labels.outcomes, failure_return=failure_return)
    np.testing.assert_allclose(1 + returns.values, labels.rewards.numpy(), atol=1e-6)
