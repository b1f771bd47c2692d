# SPDX-License-Identifier: MIT
"""lerobot-compute-advantages with a value function, on datasets of a few frames."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch.utils.data import default_collate
from torchvision.ops.misc import FrozenBatchNorm2d

from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.utils import constants
from rewact.act.modeling_rewact import RewACTPolicy
from rewact.advantages import ADVANTAGES_FILE, load_advantages
from rewact.advantages import run as run_module
from rewact.advantages.file import write_advantage_file
from rewact.cli import compute_advantages as tool
from rewact.values import checkpoint as value_checkpoint
from rewact.values.predictor import RewardPredictor

from .conftest import (
    LENGTHS,
    RETURNS,
    N,
    create_checkpoint,
    create_dataset,
    load_dataset,
    read,
)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_values_are_those_of_the_policy(run, root, checkpoint, batch_size):
    assert run(f"--policy.path={checkpoint}", f"--batch_size={batch_size}") is None
    columns = read(root).columns
    dataset = load_dataset(root)
    policy = RewACTPolicy.from_pretrained(checkpoint)
    preprocessor, _ = make_pre_post_processors(policy.config, pretrained_path=str(checkpoint))
    expected = [policy.predict_reward(preprocessor(dataset[i])).item() for i in range(N)]
    np.testing.assert_allclose(columns["value"], expected, atol=1e-5)
    assert columns["index"].tolist() == list(range(N))
    assert columns["frame_index"][:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0]


@pytest.mark.parametrize("use_amp", [False, True])
def test_mixed_precision_is_used_where_it_is_asked_for(run, root, checkpoint, monkeypatch, use_amp):
    read_values, seen = RewACTPolicy.predict_reward_distribution, set()

    def spied(self, batch):
        seen.add(torch.is_autocast_enabled("cpu"))
        return read_values(self, batch)

    monkeypatch.setattr(RewACTPolicy, "predict_reward_distribution", spied)
    # The values of a run in the other precision, which was stopped, are not taken over.
    monkeypatch.setattr(run_module, "write_advantage_file", lambda *_: pytest.fail("full disk"))
    with pytest.raises(pytest.fail.Exception):
        run(f"--policy.path={checkpoint}", f"--policy.use_amp={str(not use_amp).lower()}")
    monkeypatch.setattr(run_module, "write_advantage_file", write_advantage_file)
    seen.clear()
    assert run(f"--policy.path={checkpoint}", f"--policy.use_amp={str(use_amp).lower()}") is None
    assert seen == {use_amp}
    assert read(root).columns["value"].dtype == np.float32


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_a_trained_backbone_is_read_faster_but_as_it_is(tmp_path, backbone):
    """Its norms have statistics, unlike those of the untrained ones in other tests."""
    root = create_dataset(tmp_path / "data", camera="image")
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, vision_backbone=backbone)
    weights = load_file(checkpoint / "model.safetensors")
    norms = [name.removesuffix(".running_mean") for name in weights if name.endswith(".running_mean")]
    for name in norms:
        weights[f"{name}.running_mean"] = 0.01 * torch.randn_like(weights[f"{name}.running_mean"])
        weights[f"{name}.running_var"] *= 0.5 + torch.rand(())
        weights[f"{name}.weight"] *= 0.5 + torch.rand_like(weights[f"{name}.weight"])
        weights[f"{name}.bias"] += 0.01
    save_file(weights, checkpoint / "model.safetensors")
    policy = RewACTPolicy.from_pretrained(checkpoint)
    policy.config.pretrained_path = checkpoint
    predictor = RewardPredictor(policy.config, load_dataset(root).meta)
    faster, preprocessor = predictor.policy, predictor.preprocessor
    n_norms = [sum(isinstance(m, FrozenBatchNorm2d) for m in p.modules()) for p in (policy, faster)]
    assert n_norms == [len(norms), 0]
    batch = preprocessor(default_collate([load_dataset(root)[i] for i in range(4)]))
    image = batch["observation.images.top"]
    with torch.no_grad():
        features, expected = (p.model.backbone(image)["feature_map"] for p in (faster, policy))
    assert expected.std() > 1e-3
    torch.testing.assert_close(features, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)
    torch.testing.assert_close(faster.predict_reward(batch), policy.predict_reward(batch))


def test_advantages_follow_from_the_values(run, root, checkpoint):
    run(f"--policy.path={checkpoint}")
    table = read(root)
    columns = table.columns
    assert table.provenance["n_steps"] == 2 and table.provenance["value_type"] == "returns"
    # Episode 1 failed: its task's longest episode has 5 frames, so C_fail = 5 and norm = 9.
    values = columns["value"][8:13].astype(float) - 1
    expected = [
        -2 / 9 + values[2] - values[0],
        -2 / 9 + values[3] - values[1],
        -2 / 9 + values[4] - values[2],
    ]
    expected += [min(-6 / 9 - values[3], -2 / 9), min(-5 / 9 - values[4], -2 / 9)]
    np.testing.assert_allclose(columns["advantage"][8:13], expected, atol=1e-6)
    assert table.provenance["c_fail"] == {"pull": 5.0, "push": 12.0}
    for task, episodes in {"push": (0, 2), "pull": (1, 3)}.items():
        of_task = np.isin(columns["episode_index"], episodes)
        above = columns["advantage"] > table.provenance["thresholds"][task]
        np.testing.assert_array_equal(columns["positive"][of_task], above[of_task])
        assert above[of_task].sum() == round(0.4 * of_task.sum())
    assert set(np.unique(load_advantages(load_dataset(root).meta))) == {-1.0, 1.0}


def test_provenance_names_the_checkpoint(run, root, checkpoint):
    run(f"--policy.path={checkpoint}", "--positive_fraction=0.3", "--n_steps=3", "--smoothing_window=3")
    provenance = read(root).provenance
    assert provenance["checkpoint"] == str(checkpoint)
    assert len(provenance["checkpoint_sha256"]) == 64
    assert provenance["positive_fraction"] == 0.3
    assert (provenance["n_steps"], provenance["smoothing_window"]) == (3, 3)
    assert provenance["repo_id"] == "local/tiny" and provenance["total_frames"] == N


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, "progress"),
        ({"sources": ["keypoints", "linear"]}, "progress"),
        ({"sources": ["returns"]}, "returns"),
        ({"sources": ["returns", "linear"]}, "returns"),
    ],
)
def test_what_the_values_are(run, root, tmp_path, labels, expected):
    train_config = None if labels is None else {"dataset": {"reward": labels}}
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=train_config)
    assert run(f"--policy.path={checkpoint}") is None
    assert read(root).provenance["value_type"] == expected
    run(f"--policy.path={checkpoint}", "--value_type=progress")
    assert read(root).provenance["value_type"] == "progress"


def test_a_value_function_on_the_hub_says_what_it_was_trained_on(tmp_path, monkeypatch):
    config = tmp_path / "train_config.json"
    config.write_text(json.dumps(RETURNS))
    asked = []
    monkeypatch.setattr(value_checkpoint, "hf_hub_download", lambda *args: asked.append(args) or str(config))
    assert value_checkpoint.read_train_config("user/value") == RETURNS
    assert asked == [("user/value", "train_config.json")]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EntryNotFoundError("404"), None),
        (LocalEntryNotFoundError("no network"), "user/value: its train_config"),
    ],
)
def test_what_the_hub_does_not_say(monkeypatch, error, expected):
    def fail(*_):
        raise error

    monkeypatch.setattr(value_checkpoint, "hf_hub_download", fail)
    if expected is None:
        assert value_checkpoint.read_train_config("user/value") is None
    else:
        with pytest.raises(OSError, match=expected):
            value_checkpoint.read_train_config("user/value")


def test_label_files_of_the_hub_are_fetched(run, root, checkpoint, monkeypatch):
    fetched = []
    monkeypatch.setattr(run_module, "pull_label_files", lambda meta: fetched.append(meta.repo_id))
    assert run(f"--policy.path={checkpoint}") is None
    assert fetched == ["local/tiny"]


@pytest.mark.parametrize(("given", "expected"), [(None, 7.0), (2.0, 2.0)])
def test_the_penalty_is_that_of_the_labels(run, root, tmp_path, given, expected):
    labels = {"dataset": {"reward": {"sources": ["returns"], "c_fail": 7.0}}}
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=labels)
    run(f"--policy.path={checkpoint}", *([] if given is None else [f"--dataset.reward.c_fail={given}"]))
    assert read(root).provenance["c_fail"] == {"pull": expected, "push": expected}


@pytest.mark.parametrize(("given", "expected"), [(None, "worst"), ("steps", "steps")])
def test_a_failure_is_worth_what_it_was_in_the_labels(run, root, tmp_path, given, expected):
    labels = {"dataset": {"reward": {"sources": ["returns"], "failure_return": "worst"}}}
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, train_config=labels)
    flags = [] if given is None else [f"--dataset.reward.failure_return={given}"]
    assert run(f"--policy.path={checkpoint}", "--n_steps=100", *flags) is None
    table = read(root)
    assert table.provenance["failure_return"] == expected
    # Episode 1, a failure of 5 frames, norm 5 - 1 + 5: rewards to go minus V, which predicts 1 plus returns.
    is_failure = table.columns["episode_index"] == 1
    at_end = {"steps": -5 / 9, "worst": -1.0}[expected]
    no_better = at_end - np.arange(5)[::-1] / 9 - (table.columns["value"][is_failure] - 1)
    np.testing.assert_allclose(
        table.columns["advantage"][is_failure], np.minimum(no_better, -5 / 9), atol=1e-6
    )


@pytest.mark.parametrize("policy_type", ["act", "rewact", "actvantage"])
def test_any_policy_with_a_head(run, root, tmp_path, policy_type):
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root, policy_type, use_reward_head=True)
    assert run(f"--policy.path={checkpoint}") is None
    assert len(read(root).columns["index"]) == N


def test_some_episodes(run, root, checkpoint):
    run(f"--policy.path={checkpoint}", "--dataset.episodes=[2,1]")
    columns = read(root).columns
    assert np.unique(columns["episode_index"]).tolist() == [1, 2]
    assert columns["index"].tolist() == list(range(8, 25))
    meta = load_dataset(root).meta
    assert not np.isnan(load_advantages(meta, episodes=[1, 2])[8:25]).any()
    with pytest.raises(ValueError, match="episode 0"):
        load_advantages(meta)


@pytest.mark.parametrize("camera", ["video", "image"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_cameras(run, tmp_path, camera, num_workers):
    root = create_dataset(tmp_path / "camera", camera=camera)
    checkpoint = create_checkpoint(tmp_path / "checkpoint", root)
    # Before 0.6 LeRobot takes torchcodec wherever it is installed, loadable or not.
    flags = [f"--policy.path={checkpoint}", f"--num_workers={num_workers}", "--dataset.video_backend=pyav"]
    assert run(*flags, dataset_root=root) is None
    dataset = load_dataset(root)
    policy = RewACTPolicy.from_pretrained(checkpoint)
    preprocessor, _ = make_pre_post_processors(policy.config, pretrained_path=str(checkpoint))
    values = [policy.predict_reward(preprocessor(dataset[i])).item() for i in (0, 7, 8, N - 1)]
    np.testing.assert_allclose(read(root).columns["value"][[0, 7, 8, N - 1]], values, atol=1e-4)


def test_reading_runs_the_head_alone(run, checkpoint, monkeypatch):
    """No encoding, decoding or actions: the head reads what the encoder would be given."""
    readings = []
    original = ACTPolicy.from_pretrained.__func__

    def spied(cls, *args, **kwargs):
        policy = original(cls, *args, **kwargs)
        for name in ("encoder", "decoder", "action_head"):
            module = getattr(policy.model, name)
            module.register_forward_hook(lambda *_, name=name: pytest.fail(f"the {name} ran"))
        policy.model.reward_head.register_forward_hook(lambda *_: readings.append(1))
        return policy

    monkeypatch.setattr(ACTPolicy, "from_pretrained", classmethod(spied))
    assert run(f"--policy.path={checkpoint}") is None
    assert len(readings) == len(LENGTHS)


def test_a_stopped_run_continues_where_it_was(run, root, checkpoint, monkeypatch):
    run(f"--policy.path={checkpoint}")
    expected = (root / ADVANTAGES_FILE).read_bytes()
    (root / ADVANTAGES_FILE).unlink()
    read_episodes = []
    original = RewardPredictor.__call__

    def stop_in_the_third(self, batch):
        read_episodes.append(len(batch["index"]))
        if len(read_episodes) == 3:
            raise KeyboardInterrupt
        return original(self, batch)

    shutil.rmtree(constants.HF_LEROBOT_HOME / "rewact_values")
    monkeypatch.setattr(RewardPredictor, "__call__", stop_in_the_third)
    assert run(f"--policy.path={checkpoint}") == "130"
    assert not (root / ADVANTAGES_FILE).exists()
    assert run(f"--policy.path={checkpoint}") is None
    assert len(read_episodes) == 3 + 2  # the first two episodes are not read again
    assert (root / ADVANTAGES_FILE).read_bytes() == expected
    assert sorted(path.name for path in (root / "rewact_extensions").iterdir()) == [
        "advantages.parquet",
        "outcomes.json",
    ]


def test_values_of_another_checkpoint_are_not_taken_over(run, root, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "write_advantage_file", lambda *_: pytest.fail("full disk"))
    with pytest.raises(pytest.fail.Exception):
        run(f"--policy.path={checkpoint}")
    monkeypatch.undo()
    torch.manual_seed(5)
    other = create_checkpoint(tmp_path / "other", root, train_config=RETURNS)
    argv = ["x", "--dataset.repo_id=local/tiny", f"--dataset.root={root}", f"--policy.path={other}"]
    monkeypatch.setattr(sys, "argv", argv)
    tool.main()
    resumed = read(root).columns["value"]
    (root / ADVANTAGES_FILE).unlink()
    tool.main()
    np.testing.assert_array_equal(read(root).columns["value"], resumed)
