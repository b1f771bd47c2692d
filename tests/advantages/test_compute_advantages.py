# SPDX-License-Identifier: MIT
"""lerobot-compute-advantages from end to end, on datasets of a few frames."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils.data import default_collate
from torchvision.ops.misc import FrozenBatchNorm2d

from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from lerobot.utils import constants
from rewact.act.modeling_rewact import RewACTPolicy
from rewact.advantages import ADVANTAGES_FILE, load_advantages, read_advantage_file
from rewact.advantages import labels as advantage_labels
from rewact.advantages import run as run_module
from rewact.advantages.compute import AdvantageOptions, gather_evidence
from rewact.advantages.file import write_advantage_file
from rewact.advantages.folds import assign_folds
from rewact.cli import compute_advantages as tool
from rewact.labels.episodes import EpisodeTable
from rewact.labels.returns import compute_returns
from rewact.options.labels import RewardLabelsConfig
from rewact.values import checkpoint as value_checkpoint
from rewact.values.predictor import RewardPredictor

from .conftest import LENGTHS, OUTCOMES, create_checkpoint, create_dataset, load_dataset, write_outcomes

N = sum(LENGTHS)
RETURNS = {"dataset": {"reward": {"sources": ["returns"], "c_fail": None}}}


@pytest.fixture
def checkpoint(root, tmp_path):
    return create_checkpoint(tmp_path / "checkpoint", root, train_config=RETURNS)


def read(root):
    return read_advantage_file(root / ADVANTAGES_FILE)


# --- From a value function


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


# --- Without one


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


# --- RECAP columns


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


# --- Folds


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


# --- Pictures


def test_plots(run, root, checkpoint, tmp_path):
    assert run(f"--policy.path={checkpoint}", f"--plots_dir={tmp_path / 'plots'}") is None
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["overview.png"]
    run("--from_returns=true", f"--plots_dir={tmp_path / 'few'}", "--plot_episodes=[2]")
    names = {path.name for path in (tmp_path / "few").iterdir()}
    assert names == {"overview.png", "episode_000002.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "few").iterdir())


def test_a_page_shows_images_of_its_episode(run, tmp_path):
    root = create_dataset(tmp_path / "data", camera="image")
    flags = ("--from_returns=true", f"--plots_dir={tmp_path / 'plots'}", "--plot_episodes=[1]")
    assert run(*flags, dataset_root=root) is None
    with Image.open(tmp_path / "plots" / "episode_000001.png") as page:
        assert page.height > page.width / 2


def test_values_that_say_nothing_are_said_to(run, checkpoint, capfd):
    """An untrained value function: its values lie within 0.01 of each other."""
    run(f"--policy.path={checkpoint}")
    assert "the values hardly vary" in "".join(capfd.readouterr())


# --- Bad input: one sentence, nothing written


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
        (["--from_returns=true", "--plots_dir=/nowhere", "--plot_episodes=[0,9]"], "episode 9 is not among"),
        (["--from_returns=true", "--plot_episodes=[0]"], "--plots_dir"),
        ([], "--from_returns=true"),
        (["--policy.type=rewact"], "--policy.path"),
    ],
)
def test_bad_options(run, root, flags, message):
    before = sorted(root.rglob("*"))
    output = run(*flags)
    assert message in output and len(output.splitlines()) == 1
    assert sorted(root.rglob("*")) == before


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
    monkeypatch.setattr(advantage_labels.logger, "warning", warnings.append)
    root = create_dataset(tmp_path / "same", lengths=(4, 4, 4, 4), outcomes=("success",) * 4)
    assert run("--from_returns=true", dataset_root=root) is None
    assert len(warnings) == 2
    assert "None of the 8 frames of the task 'pull' are positive" in warnings[0] and ": 8" in warnings[0]
    assert not read(root).columns["positive"].any()


def test_all_frames_positive_give_a_warning(run, tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(advantage_labels.logger, "warning", warnings.append)
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
