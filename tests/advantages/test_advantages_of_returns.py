# SPDX-License-Identifier: MIT
"""lerobot-compute-advantages without a value function, and on RECAP's columns."""

import numpy as np
import pytest

from rewact.advantages import ADVANTAGES_FILE
from rewact.advantages.compute import gather_evidence
from rewact.options.labels import RewardLabelsConfig

from .conftest import (
    LENGTHS,
    OUTCOMES,
    RETURNS,
    N,
    create_checkpoint,
    create_dataset,
    load_dataset,
    read,
    write_outcomes,
)


def test_from_returns(run, root):
    assert run("--from_returns=true") is None
    table = read(root)
    outcomes = np.array([{"success": 1, "failure": 0}[outcome] for outcome in OUTCOMES])
    success = outcomes[table.columns["episode_index"]] == 1
    assert (table.columns["advantage"][success] > 0).all() and (
        table.columns["advantage"][~success] < 0
    ).all()
    assert table.provenance["value_type"] == "monte_carlo" and "checkpoint" not in table.provenance


def test_from_returns_needs_outcomes(run, root):
    write_outcomes(root, ("success", "unknown", "unknown", "failure"))
    assert "outcome of 2 of 4 episodes (1, 2) is not known" in run("--from_returns=true")
    assert not (root / ADVANTAGES_FILE).exists()
    assert run("--from_returns=true", "--dataset.episodes=[0,3]") is None


def recap_root(tmp_path, **columns):
    return create_dataset(tmp_path / "recap", outcomes=None, columns=columns)


def test_recorded_returns_are_used(run, tmp_path):
    recorded = -np.linspace(0.05, 0.9, N, dtype=np.float32)
    root = recap_root(tmp_path, mc_return=recorded)
    assert run("--from_returns=true", dataset_root=root) is None
    columns = read(root).columns
    np.testing.assert_allclose(columns["value"] + columns["advantage"], recorded, atol=1e-6)


def test_values_of_returns_end_at_one(run, root, tmp_path):
    train_config = {"dataset": {"reward": {"sources": ["returns"]}}}
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=train_config)
    assert run(f"--policy.path={checkpoint}") is None
    columns = read(root).columns
    # The last frame of episode 0, a success: its return is 0.
    np.testing.assert_allclose(columns["advantage"][7], 1.0 - columns["value"][7], atol=1e-6)


def test_recorded_returns_out_of_range(run, tmp_path):
    recorded = np.full(N, -0.5, dtype=np.float32)
    recorded[10] = -30
    root = recap_root(tmp_path, mc_return=recorded)
    message = run("--from_returns=true", dataset_root=root)
    assert "episode 1: mc_return must be in [-1, 0], got -30 at frame 2" in message


def test_success_and_terminal_columns(tmp_path):
    ends = np.cumsum(LENGTHS) - 1
    success, terminal = np.zeros(N, bool), np.zeros(N, bool)
    success[ends[[0, 2]]] = True
    terminal[ends[[0, 1]]] = True  # episodes 2 and 3 were cut off
    root = recap_root(tmp_path, **{"next.success": success, "is_terminal": terminal})
    meta = load_dataset(root).meta
    evidence = gather_evidence(meta, RewardLabelsConfig(), np.arange(4), False)
    assert evidence.outcomes.tolist() == [1, 0, 1, 0]
    # Success is the end, wherever recording stopped.
    assert evidence.returns.is_terminal.tolist() == [True, True, True, False]


def test_a_failure_that_somebody_has_judged_is_one_though_it_was_cut_off(run, tmp_path):
    """A recording that ran into its time limit."""
    terminal = np.zeros(N, bool)
    terminal[np.cumsum(LENGTHS)[[0, 3]] - 1] = True
    root = create_dataset(tmp_path / "recap", columns={"is_terminal": terminal})
    evidence = gather_evidence(load_dataset(root).meta, RewardLabelsConfig(), np.arange(4), False)
    assert evidence.outcomes.tolist() == [1, 0, 0, 1] and evidence.returns.is_terminal.all()
    assert run("--from_returns=true", dataset_root=root) is None
    write_outcomes(root, ("success", "failure", "unknown", "success"))
    assert "outcome of 1 of 4 episodes (2) is not known" in run("--from_returns=true", dataset_root=root)


def test_recorded_returns_say_how_episodes_ended(run, tmp_path):
    """Also for values in [0, 1], whose returns are in other units than the recorded ones."""
    at_end = np.repeat([-1e-7, -0.5, 0.0, -0.25], LENGTHS)
    steps_left = np.concatenate([np.arange(n)[::-1] for n in LENGTHS])
    root = recap_root(tmp_path, mc_return=(at_end - steps_left / 40).astype(np.float32))
    evidence = gather_evidence(load_dataset(root).meta, RewardLabelsConfig(), np.arange(4), False)
    assert evidence.outcomes.tolist() == [1, 0, 1, 0]
    assert evidence.returns.is_terminal.all()
    assert evidence.returns.values[0] != pytest.approx(at_end[0] - steps_left[0] / 40)
    # Nothing is known of an episode that was cut off, but what was recorded of it.
    terminal = np.zeros(N, bool)
    terminal[np.cumsum(LENGTHS)[:3] - 1] = True
    root = create_dataset(
        tmp_path / "cut",
        outcomes=None,
        columns={"mc_return": (at_end - steps_left / 40).astype(np.float32), "is_terminal": terminal},
    )
    evidence = gather_evidence(load_dataset(root).meta, RewardLabelsConfig(), np.arange(4), True)
    assert evidence.outcomes.tolist() == [1, 0, 1, -1]
    assert evidence.returns.is_terminal.tolist() == [True, True, True, False]


def test_interventions_are_positive_and_have_values(run, tmp_path):
    intervention = np.zeros(N, bool)
    intervention[[4, 5]] = True
    root = create_dataset(tmp_path / "recap", columns={"intervention": intervention})
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=RETURNS)
    assert run(f"--policy.path={checkpoint}", "--n_steps=2", dataset_root=root) is None
    table = read(root)
    assert table.columns["positive"][[4, 5]].all()
    assert not table.columns["positive"][[2, 3]].any()
    assert table.provenance["intervention_frames"] == 2
    # Not skipped, which would leave them at 0, the maximum of a value in [-1, 0].
    values = table.columns["value"]
    assert np.unique(values).size == N and np.ptp(values[3:7]) > 0
    without = np.delete(np.arange(20), [4, 5])
    push = table.columns["advantage"][np.isin(table.columns["episode_index"], (0, 2))][without]
    assert (push > table.provenance["thresholds"]["push"]).sum() == round(0.4 * 18)
