# SPDX-License-Identifier: MIT
"""Advantages belong to what they were computed from: labels, outcomes, checkpoint, other episodes."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import rewact
from rewact.advantages import ADVANTAGES_FILE, load_advantages
from rewact.advantages.folds import require_blind
from rewact.labels import LeRobotDatasetWithReward
from rewact.labels.episodes import EpisodeTable
from rewact.labels.keypoints import KEYPOINTS_FILE
from rewact.labels.label_file import edit_labels

from .conftest import LENGTHS, RETURNS, create_checkpoint, create_dataset, load_dataset, read

PROGRESS = {"dataset": {"reward": {"sources": ["keypoints", "linear"]}}}


# --- Some of the episodes


def test_some_episodes_leave_the_rest(run, root):
    """The whole file was replaced by the one episode."""
    run("--from_returns=true")
    before = read(root).columns
    assert run("--from_returns=true", "--dataset.episodes=[0, 2]") is None
    after = read(root).columns
    assert after["index"].tolist() == before["index"].tolist() == list(range(sum(LENGTHS)))
    others = np.isin(after["episode_index"], [1, 3])
    np.testing.assert_array_equal(after["advantage"][others], before["advantage"][others])


def test_episodes_one_after_the_other(run, root, tmp_path):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=RETURNS)
    run(f"--policy.path={checkpoint}")
    whole = read(root)
    (root / ADVANTAGES_FILE).unlink()
    for episode in (2, 0, 1, 3):
        assert run(f"--policy.path={checkpoint}", f"--dataset.episodes=[{episode}]") is None
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(read(root).columns[name], column)
    assert read(root).provenance["thresholds"] == whole.provenance["thresholds"]


def test_episodes_that_were_judged_otherwise(run, root, tmp_path):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=RETURNS)
    run(f"--policy.path={checkpoint}")
    before = (root / ADVANTAGES_FILE).read_bytes()
    message = run(f"--policy.path={checkpoint}", "--dataset.episodes=[0]", "--n_steps=3")
    assert "has advantages of 3 other episodes, computed with n_steps 2 and not 3" in message
    assert (root / ADVANTAGES_FILE).read_bytes() == before


# --- What has changed since


def test_outcomes_that_changed(run, root):
    """3 failures became 12, and actvantage trained on the old file without a word."""
    run("--from_returns=true")
    meta = load_dataset(root).meta
    load_advantages(meta)
    rewact.set_outcomes(meta, failed=[0])
    told = r"the outcome of episode 0, from success to failure, changed since; compute them"
    with pytest.raises(ValueError, match=rf"{told} again: lerobot-compute-advantages .*--from_returns=true"):
        load_advantages(meta)
    load_advantages(meta, episodes=[1, 2])
    run("--from_returns=true")
    load_advantages(meta)


def test_control_modes_that_changed(run, root):
    run("--from_returns=true")
    meta = load_dataset(root).meta
    with edit_labels(EpisodeTable.from_metadata(meta)) as labels:
        labels.control_modes[2] = [(0, 3, "policy")]
    with pytest.raises(ValueError, match=r"the control modes of episode 2 changed since"):
        load_advantages(meta)


@pytest.mark.parametrize(("train_config", "depends"), [(PROGRESS, True), (RETURNS, False)])
def test_keypoints_that_the_value_function_learned_from(run, root, tmp_path, train_config, depends):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=train_config)
    assert run(f"--policy.path={checkpoint}") is None
    dataset = load_dataset(root)
    LeRobotDatasetWithReward(dataset).add_episode_rewards(0, {0: 0.5})
    if depends:
        with pytest.raises(ValueError, match=r"the keypoints of episode 0 changed since"):
            load_advantages(dataset.meta)
    else:
        load_advantages(dataset.meta)


def test_keypoints_of_a_file_that_lies_elsewhere(run, root, tmp_path):
    """They were looked for in the dataset's folder, and called changed for ever."""
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=PROGRESS)
    dataset = load_dataset(root)
    LeRobotDatasetWithReward(dataset).add_episode_rewards(0, {0: 0.5})
    elsewhere = (root / KEYPOINTS_FILE).rename(tmp_path / "keypoints.json")
    assert run(f"--policy.path={checkpoint}", f"--dataset.reward.keypoints_path={elsewhere}") is None
    load_advantages(dataset.meta)


def test_another_checkpoint_in_the_same_place(run, root, tmp_path):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=RETURNS)
    run(f"--policy.path={checkpoint}")
    weights = load_file(checkpoint / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match=f"is of another checkpoint than {checkpoint} holds now"):
        load_advantages(load_dataset(root).meta)


def test_training_says_which_advantages_it_learns_from(run, root, tmp_path, caplog, monkeypatch):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=RETURNS)
    run(f"--policy.path={checkpoint}", "--positive_fraction=0.5")
    # The tool has set up logging of its own.
    monkeypatch.setattr(logging.getLogger("rewact.advantages.file"), "handlers", [caplog.handler])
    caplog.clear()
    load_advantages(load_dataset(root).meta)
    for part in (root / ADVANTAGES_FILE, checkpoint, "returns values", "N = 2", "50.0% of 28 frames"):
        assert str(part) in caplog.text


# --- N where values are progress


def test_n_is_chosen_within_the_episodes(run, root, tmp_path):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=PROGRESS, n_action_steps=4)
    assert run(f"--policy.path={checkpoint}") is None
    assert read(root).provenance["n_steps"] == 1  # the shortest has 3 frames
    message = run(f"--policy.path={checkpoint}", "--n_steps=5")
    assert "reaches past the end of 2 of the 2 episodes of the task 'pull'" in message
    assert run(f"--policy.path={checkpoint}", "--n_steps=4") is None


# --- What folds are fine-tuned from


@pytest.fixture
def base(root, tmp_path):
    """A checkpoint whose record says that it was trained on this."""

    def base(name="base", pretrained_path=None, **dataset):
        folder = tmp_path / name
        folder.mkdir()
        config = {"dataset": dataset, "policy": {"pretrained_path": pretrained_path}}
        (folder / "train_config.json").write_text(json.dumps(config))
        return str(folder)

    return base


def test_a_base_that_has_seen_the_episodes(root, base, tmp_path):
    meta = load_dataset(root).meta
    mine = {"repo_id": "local/tiny", "root": str(root)}
    with pytest.raises(ValueError, match=r"trained on 2 of the episodes of local/tiny \(1, 3\), so that no"):
        require_blind(base(**mine, episodes=[1, 3]), meta)
    other = create_dataset(tmp_path / "other", lengths=(4, 6), tasks=("push", "pull"), outcomes=None)
    blind = base("blind", repo_id="local/other", root=str(other))
    require_blind(blind, meta)
    # What the base itself was fine-tuned from counts, too.
    seen = base("seen", **mine)
    chained = base("chained", seen, repo_id="local/other", root=str(other))
    with pytest.raises(ValueError, match="seen, from which .* was trained on 4 of the episodes"):
        require_blind(chained, meta)
    for unknown in (str(tmp_path / "absent"), base("lost", repo_id="local/lost", root="/nowhere")):
        with pytest.raises(ValueError, match=f"nothing shows that {unknown}, .* has not seen"):
            require_blind(unknown, meta)


def test_folds_of_a_fine_tuned_model_are_refused(run, root, base, tmp_path):
    dataset = {"repo_id": "local/tiny", "root": str(root)}
    record = {"dataset": dataset, "policy": {"pretrained_path": base(**dataset)}}
    torch.manual_seed(0)
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=record)
    message = run(f"--policy.path={checkpoint}", "--folds=2", f"--folds_dir={tmp_path / 'folds'}")
    assert "was trained on 4 of the episodes" in message and "without --policy.path" in message
