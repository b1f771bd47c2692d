# SPDX-License-Identifier: MIT
"""Values of models that have not seen the episode they judge."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rewact.advantages import run as run_module
from rewact.advantages.folds import assign_folds
from rewact.labels.episodes import EpisodeTable

from .conftest import (
    RETURNS,
    create_checkpoint,
    read,
)


def test_folds_hold_their_share_of_each_task_and_outcome():
    lengths = [4] * 24
    ends = np.cumsum(lengths)
    tasks = np.repeat([0, 1], 12)
    table = EpisodeTable("x", None, 10.0, (), np.arange(24), ends - 4, ends, tasks)
    outcomes = np.tile([1, 0, 1, 1], 6)
    evidence = SimpleNamespace(table=table, outcomes=outcomes)
    folds = assign_folds(evidence, np.arange(24), 3)
    for task in (0, 1):
        for outcome, each in ((1, 3), (0, 1)):
            counts = np.bincount(folds[(tasks == task) & (outcomes == outcome)], minlength=3)
            assert counts.tolist() == [each] * 3
    with pytest.raises(ValueError, match="got 25"):
        assign_folds(evidence, np.arange(24), 25)


def test_each_episode_is_judged_by_a_model_that_has_not_seen_it(run, root, checkpoint, monkeypatch, tmp_path):
    trained = {}

    def train(checkpoint, directory, fold, meta, episodes):
        trained[fold] = episodes
        target = directory / f"fold_{fold}" / "checkpoints" / "last" / "pretrained_model"
        torch.manual_seed(fold)
        create_checkpoint(target, root, train_config=RETURNS)

    monkeypatch.setattr(run_module, "train_fold", train)
    assert run(f"--policy.path={checkpoint}", "--folds=2", f"--folds_dir={tmp_path / 'folds'}") is None
    assert sorted(trained[0] + trained[1]) == [0, 1, 2, 3]
    out_of_fold = read(root).columns
    assert read(root).provenance["folds"] == 2
    for fold in (0, 1):
        model = tmp_path / "folds" / f"fold_{fold}" / "checkpoints" / "last" / "pretrained_model"
        run(f"--policy.path={model}")
        unseen = ~np.isin(out_of_fold["episode_index"], trained[fold])
        np.testing.assert_array_equal(out_of_fold["value"][unseen], read(root).columns["value"][unseen])
        assert (out_of_fold["value"][~unseen] != read(root).columns["value"][~unseen]).any()


def test_folds_need_to_know_how_the_model_was_trained(run, root, tmp_path):
    checkpoint = create_checkpoint(tmp_path / "bare", root)
    assert "has no train_config.json" in run(f"--policy.path={checkpoint}", "--folds=2")
