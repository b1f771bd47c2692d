"""LeRobot's own training script with the reward head: its flags, its log, its checkpoints."""

import json
import shutil
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from lerobot.policies.act.modeling_act import ACTPolicy
from rewact.options.head import RewardHeadConfig
from tests import warm
from tests.launch import two_processes
from tests.versions import HELD_OUT, LOGS_LOSSES, STREAMS_IMAGES, rollouts_every, sample_weighting

from .conftest import (
    N_EPISODES,
    REPO_ID,
    SMALL_POLICY,
    TRAIN,
    episode_length,
    last_checkpoint,
    logged,
    run_script,
    train,
)

# Printed at every log step of a policy that learns rewards, and on older releases of any policy.
LOSS = "reward_loss" if LOGS_LOSSES else "loss"


@pytest.fixture(scope="session")
def act_run(dataset_root, tmp_path_factory):
    """A run with held-out episodes, where there are such, and a worker, which several tests look at."""
    held_out = ["--dataset.eval_split=0.25", "--eval_steps=8"] if HELD_OUT else []
    output_dir = tmp_path_factory.mktemp("act") / "run"
    output = train(
        dataset_root,
        output_dir,
        "--policy.type=act",
        "--steps=8",
        "--log_freq=2",
        "--save_freq=4",
        *held_out,
        "--num_workers=1",
        launcher=[],  # a true process, as a user starts it
    )
    return output_dir, output


@pytest.mark.skipif(not LOGS_LOSSES, reason="this LeRobot prints the total loss only, the rest goes to wandb")
def test_every_loss_is_logged(act_run):
    _, output = act_run
    names = ("l1_loss", "kld_loss", "reward_loss", "reward_mae", "reward_entropy")
    assert all(len(logged(output, name)) == 4 for name in names)


def test_the_reward_loss_falls(dataset_root, tmp_path):
    output = train(
        dataset_root,
        tmp_path / "run",
        "--policy.type=act",
        "--policy.optimizer_lr=3e-4",
        "--policy.optimizer_lr_backbone=3e-4",
        "--steps=60",
        "--log_freq=10",
        "--save_checkpoint=false",
    )
    losses = logged(output, LOSS)
    assert max(losses[-2:]) < min(losses[:2])


def test_every_episode_is_labelled(act_run):
    _, output = act_run
    assert f"{N_EPISODES} linear" in output


@pytest.mark.skipif(not HELD_OUT, reason="this LeRobot holds no episodes out of training")
def test_held_out_episodes_are_judged(act_run):
    _, output = act_run
    assert output.count("eval_loss=") == output.count("eval_reward_mae=") == 1
    assert "eval_clock_mae=" in output and "eval_voc=" in output
    assert "6 train, 2 eval" in output


def test_the_checkpoint_says_that_it_has_a_head(act_run):
    output_dir, _ = act_run
    config = json.loads((last_checkpoint(output_dir) / "config.json").read_text())
    assert config["use_reward_head"] is True
    assert config["reward_loss_weight"] is None  # as it was given, not what it resolves to for this head
    weights = load_file(last_checkpoint(output_dir) / "model.safetensors")
    assert any(name.startswith("model.reward_head.") for name in weights)
    policy = ACTPolicy.from_pretrained(last_checkpoint(output_dir), strict=True)
    observation = {"observation.image": torch.rand(2, 3, 96, 96), "observation.state": torch.rand(2, 2)}
    _, reward = policy.select_action(observation)
    assert reward.shape == (2,)


def test_resuming_continues_with_the_head(act_run):
    output_dir, _ = act_run
    config = output_dir / "checkpoints" / "000004" / "pretrained_model" / "train_config.json"
    output = run_script(
        TRAIN,
        f"--config_path={config}",
        "--resume=true",
        "--steps=8",
        "--log_freq=2",
        "--num_workers=0",
        *(["--eval_steps=0"] if HELD_OUT else []),
        "--save_checkpoint=false",
    )
    assert "step:6" in output and "step:8" in output and "step:4 " not in output
    assert len(logged(output, LOSS)) == 2
    assert "start fresh" not in output


def test_plain_act_trains_resumes_and_is_fine_tuned_with_a_head(dataset_root, tmp_path):
    plain = tmp_path / "plain"
    common = ["--steps=4", "--log_freq=2", "--save_freq=2"]
    output = train(dataset_root, plain, "--policy.type=act", "--policy.use_reward_head=false", *common)
    assert not logged(output, "reward_loss") and "Reward labels" not in output
    checkpoint = last_checkpoint(plain)
    assert is_as_upstream_saves(checkpoint)

    resumed = [
        f"--config_path={checkpoint / 'train_config.json'}",
        "--resume=true",
        "--steps=6",
        "--save_checkpoint=false",
    ]

    def fine_tuned(name, *head):
        small = [argument for argument in SMALL_POLICY if "push_to_hub" in argument or "device" in argument]
        return [
            f"--dataset.repo_id={REPO_ID}",
            f"--dataset.root={dataset_root}",
            f"--policy.path={checkpoint}",
            f"--output_dir={tmp_path / name}",
            "--wandb.enable=false",
            "--num_workers=0",
            *small,
            *common,
            *head,
        ]

    runs = (resumed, fine_tuned("tuned", "--policy.use_reward_head=true"), fine_tuned("still_plain"))
    after_resuming, after_tuning, still_plain = (run_script(TRAIN, *words) for words in runs)
    assert "Reward labels" not in after_resuming and not logged(after_resuming, "reward_loss")
    assert "start fresh" in after_tuning and "Reward labels" in after_tuning and logged(after_tuning, LOSS)
    assert "Reward labels" not in still_plain and not logged(still_plain, "reward_loss")


def is_as_upstream_saves(checkpoint):
    """Whether nothing that LeRobot writes for a policy without a head names an option of ours."""
    training = json.loads((checkpoint / "train_config.json").read_text())
    policy = json.loads((checkpoint / "config.json").read_text())
    ours = {option.name for option in fields(RewardHeadConfig)}
    return not ours & (set(training["policy"]) | set(policy)) and "reward" not in training["dataset"]


def test_some_episodes_only(dataset_root, tmp_path):
    output = train(
        dataset_root,
        tmp_path / "run",
        "--policy.type=rewact",
        "--dataset.episodes=[3,6]",
        "--steps=2",
        "--log_freq=1",
    )
    assert f"dataset.num_frames={episode_length(3) + episode_length(6)}" in output
    assert len(logged(output, LOSS)) == 2


@pytest.mark.skipif(not STREAMS_IMAGES, reason="this LeRobot streams images that no batch can be made of")
def test_streaming(dataset_root, tmp_path):
    output = train(
        dataset_root,
        tmp_path / "run",
        "--policy.type=act",
        "--dataset.streaming=true",
        "--num_workers=1",
        "--steps=2",
        "--log_freq=1",
    )
    assert "Reward labels" in output and len(logged(output, LOSS)) == 2


def test_rabc_weights_and_evaluation_during_training(dataset_root, tmp_path):
    """Per-sample losses with LeRobot's own sample weighting, and rewards in the script's own rollouts."""
    root = tmp_path / "data"
    shutil.copytree(dataset_root, root)
    lengths = [episode_length(episode) for episode in range(N_EPISODES)]
    progress = {
        "index": np.arange(sum(lengths)),
        "episode_index": np.repeat(np.arange(N_EPISODES), lengths),
        "progress_sparse": np.concatenate([np.linspace(0, 1, n) for n in lengths]).astype(np.float32),
    }
    pq.write_table(pa.table(progress), root / "sarm_progress.parquet")
    output = train(
        root,
        tmp_path / "run",
        "--policy.type=act",
        "--steps=2",
        "--log_freq=1",
        *sample_weighting(root / "sarm_progress.parquet"),
        "--env.type=pusht",
        "--env.episode_length=5",
        rollouts_every(2),
        "--eval.n_episodes=1",
        "--eval.batch_size=1",
    )
    if LOGS_LOSSES:
        assert len(logged(output, "sample_weight_mean_weight")) == 2
    assert len(logged(output, LOSS)) == 2
    assert "avg_predicted_reward_final" in output


def test_two_processes(dataset_root, tmp_path):
    output = train(
        dataset_root,
        tmp_path / "run",
        "--policy.type=rewact",
        "--steps=3",
        "--log_freq=1",
        *(["--dataset.eval_split=0.1", "--eval_steps=3"] if HELD_OUT else []),
        launcher=two_processes(),
    )
    assert output.count("eval_voc=") == (1 if HELD_OUT else 0)
    assert "Effective batch size: 8 x 2 = 16" in output
    assert len(logged(output, LOSS)) == 3
    assert (last_checkpoint(tmp_path / "run") / "model.safetensors").is_file()


BAD_FLAGS = [
    (
        ["--dataset.reward.start_pct=0.9", "--dataset.reward.end_pct=0.1"],
        "reward.start_pct must be below reward.end_pct, got 0.9 and 0.1",
    ),
    (["--dataset.reward.end_pct=1.5"], "end_pct"),
    (["--dataset.reward.sources=[magic]"], "magic"),
    (["--dataset.reward.sources=[keypoints]"], "keypoints"),
    (["--dataset.reward.progress_path=x"], "reward.progress_path is for the source 'parquet', which is not"),
    (["--dataset.episodes=[1,99]"], "has no episode 99"),
    (["--policy.reward_head_type=magic"], "magic"),
]


@pytest.fixture(scope="module")
def bad_runs(dataset_root, tmp_path_factory):
    """How the script ends with each of the bad flags, and without any: exit code, output and folder."""
    root = tmp_path_factory.mktemp("bad")
    flags = [flags for flags, _ in BAD_FLAGS] + [[]]
    common = [f"--dataset.repo_id={REPO_ID}", f"--dataset.root={dataset_root}", *SMALL_POLICY]
    common += ["--policy.type=act", "--steps=1", "--num_workers=0", "--wandb.enable=false"]
    runs = [[*common, f"--output_dir={root / str(number)}", *more] for number, more in enumerate(flags)]
    ends = [warm.run(TRAIN, *words) for words in runs]
    return [(end.code, end.output, root / str(number)) for number, end in enumerate(ends)]


@pytest.mark.parametrize("number", range(len(BAD_FLAGS)), ids=[flags[-1] for flags, _ in BAD_FLAGS])
def test_bad_flags_end_in_one_sentence(bad_runs, number):
    code, output, output_dir = bad_runs[number]
    assert code != 0 and BAD_FLAGS[number][1] in output
    assert "Start offline training" not in output
    assert not (output_dir / "checkpoints").exists()


def test_the_same_arguments_without_a_bad_flag_train(bad_runs):
    """So that it is the flags that stop the runs above."""
    code, output, output_dir = bad_runs[-1]
    assert code == 0 and "Start offline training" in output
    assert (output_dir / "checkpoints").exists()
