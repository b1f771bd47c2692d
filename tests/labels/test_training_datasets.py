# SPDX-License-Identifier: MIT
"""What the training script gets: train and held-out datasets, streaming."""

import dataclasses
import logging
from unittest import mock

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from scipy.stats import spearmanr
from torch.utils.data import DataLoader, IterableDataset, default_collate

import rewact.advantages
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.streaming_dataset import StreamingLeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_STATE
from rewact.hooks.held_out import log_held_out_reward
from rewact.hooks.train import gives_new_act_a_head, wrap_train_eval_datasets
from rewact.labels import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward
from rewact.options.labels import RewardLabelsConfig
from tests.versions import HELD_OUT, make_train_eval_datasets

LENGTHS = (7, 1, 12, 20, 5, 9)


def pipeline(root, use_reward_head=True, reward_forecast=True, reward=None, repo_id="local/tiny", **dataset):
    return TrainPipelineConfig(
        dataset=DatasetConfig(repo_id, root=str(root), reward=reward or RewardLabelsConfig(), **dataset),
        policy=ACTConfig(
            device="cpu",
            push_to_hub=False,
            chunk_size=4,
            n_action_steps=4,
            use_reward_head=use_reward_head,
            reward_forecast=reward_forecast,
        ),
    )


def linear(episode, frame):
    n = LENGTHS[episode]
    position = frame / (n - 1) if n > 1 else 1.0
    return np.float32(min(max((position - 0.05) / 0.9, 0.0), 1.0))


def test_held_out_episodes_are_labelled_too(root, caplog):
    caplog.set_level(logging.INFO)
    cfg = pipeline(root, **HELD_OUT)
    train, held_out = make_train_eval_datasets(cfg)
    assert "Reward labels of 6 episodes: 6 linear (5%-95%)" in caplog.messages
    if HELD_OUT:
        assert train.labels is held_out.labels
        assert set(train.episodes).isdisjoint(held_out.episodes)
    for dataset in (train, held_out) if HELD_OUT else (train,):
        assert isinstance(dataset, LeRobotDatasetWithReward) and len(dataset) == dataset.num_frames
        for item in dataset:
            episode, frame = item["episode_index"].item(), item["frame_index"].item()
            last = LENGTHS[episode] - 1
            assert item["reward"].tolist() == [linear(episode, min(frame + k, last)) for k in range(4)]
            assert item["reward_is_pad"].equal(item["action_is_pad"])


def test_without_forecast_the_reward_is_a_scalar(root):
    cfg = pipeline(root, reward_forecast=False)
    train, held_out = make_train_eval_datasets(cfg)
    assert held_out is None
    assert train[0]["reward"].shape == () and "reward_is_pad" not in train[0]


def test_datasets_stay_themselves_where_nothing_needs_labels(root):
    cfg = pipeline(root, use_reward_head=False, **HELD_OUT)
    train, held_out = make_train_eval_datasets(cfg)
    assert wrap_train_eval_datasets(cfg, train, held_out) == (train, held_out)
    cfg.policy = None
    assert wrap_train_eval_datasets(cfg, train, held_out)[0] is train


def test_masks_alone_are_reason_enough(root):
    reward = RewardLabelsConfig(mask_actions_for_eval_data=True)
    cfg = pipeline(root, use_reward_head=False, reward=reward, repo_id="local/eval_tiny")
    train, _ = make_train_eval_datasets(cfg)
    assert "action_mask" in train[0] and "reward" not in train[0]


def test_masks_alone_need_no_rewards_and_hide_none(root):
    """Neither labels of every episode nor a column that is called like them stand in the way."""
    reward = RewardLabelsConfig(sources=["keypoints"], mask_actions_for_eval_data=True)
    cfg = pipeline(root, use_reward_head=False, reward=reward, repo_id="local/eval_tiny")
    plain = LeRobotDataset("local/eval_tiny", root=root)
    plain.meta.features["reward"] = {"dtype": "float32", "shape": (1,), "names": None}
    train, _ = wrap_train_eval_datasets(cfg, plain, None)
    assert "action_mask" in train[0]
    cfg.policy = pipeline(root).policy
    with pytest.raises(ValueError, match="of its own"):
        wrap_train_eval_datasets(cfg, plain, None)


def test_masks_of_a_policy_that_would_imitate_all_the_same(root):
    cfg = pipeline(root, reward=RewardLabelsConfig(mask_actions_for_fail_data=True))
    cfg.policy = DiffusionConfig(device="cpu", push_to_hub=False)
    with pytest.raises(ValueError, match="dataset.reward.*'diffusion' learns neither"):
        make_train_eval_datasets(cfg)


def test_a_broken_label_file_stops_training(root):
    (root / "rewact_extensions").mkdir()
    (root / "rewact_extensions" / "reward_keypoints.json").write_text('{"0": ')
    cfg = pipeline(root)
    with pytest.raises(ValueError, match="reward_keypoints.json is not valid JSON"):
        make_train_eval_datasets(cfg)


def test_batches_from_a_spawned_worker(root):
    cfg = pipeline(root, **HELD_OUT)
    train, _ = make_train_eval_datasets(cfg)
    assert train.episodes is None or 3 in train.episodes
    train.add_episode_rewards(3, {0: 0.25})
    loader = DataLoader(train, batch_size=16, num_workers=1, multiprocessing_context="spawn")
    for batch in loader:
        assert batch["reward"].shape == batch["reward_is_pad"].shape == (len(batch["index"]), 4)
        assert batch["reward"].dtype == torch.float32
        for reward, episode, frame in zip(
            batch["reward"], batch["episode_index"].tolist(), batch["frame_index"].tolist(), strict=True
        ):
            assert reward[0] == (0.25 if episode == 3 else linear(episode, frame))


def test_streaming(root):
    cfg = pipeline(root, streaming=True)
    train, _ = make_train_eval_datasets(cfg)
    assert isinstance(train.dataset, StreamingLeRobotDataset)
    assert isinstance(train, StreamingLeRobotDatasetWithReward) and isinstance(train, IterableDataset)
    assert train.num_frames == sum(LENGTHS)
    seen = set()
    for item in DataLoader(train, batch_size=None):
        episode, frame = int(item["episode_index"]), int(item["frame_index"])
        assert item["reward"][0] == linear(episode, frame)
        seen.add((episode, frame))
    assert len(seen) == sum(LENGTHS)


def test_streaming_needs_labels_for_all_episodes(root):
    """StreamingLeRobotDataset yields every episode, whatever its `episodes` are."""
    streaming = StreamingLeRobotDataset("local/tiny", root=root, episodes=[3])
    StreamingLeRobotDatasetWithReward(streaming).add_episode_rewards(3, {0: 0.5})
    with pytest.raises(ValueError, match="no reward labels for 5 of the episodes"):
        StreamingLeRobotDatasetWithReward(streaming, config=RewardLabelsConfig(sources=["keypoints"]))


@dataclasses.dataclass
class ConditionedConfig(ACTConfig):
    """A policy that is conditioned on advantages."""

    advantage_labels: str | None = None


def conditioned(root, advantage_labels, **kwargs):
    cfg = pipeline(root, use_reward_head=False, **kwargs)
    cfg.policy = ConditionedConfig(
        device="cpu", push_to_hub=False, use_reward_head=False, advantage_labels=advantage_labels
    )
    return cfg


def test_advantages_are_keyed_by_the_absolute_index(root, monkeypatch):
    asked = []

    def load(meta, path, episodes):
        asked.append((path, episodes))
        advantages = np.full(meta.total_frames, np.nan, dtype=np.float32)
        advantages[::2] = 1.0
        return advantages

    monkeypatch.setattr(rewact.advantages, "load_advantages", load)
    cfg = conditioned(root, "required", episodes=[2, 3, 5], **HELD_OUT)
    train, held_out = make_train_eval_datasets(cfg)
    assert asked == [(None, [2, 3, 5])]
    for dataset in (train, held_out) if HELD_OUT else (train,):
        for item in dataset:
            assert item["advantage"].shape == () and item["advantage"].dtype == torch.float32
            is_known = item["index"].item() % 2 == 0
            assert (item["advantage"] == 1.0) if is_known else item["advantage"].isnan()


def test_advantages_that_are_required_but_not_there(root):
    cfg = conditioned(root, "required")
    with pytest.raises(ValueError, match="advantages.parquet: there is no such file"):
        make_train_eval_datasets(cfg)
    cfg = conditioned(root, "optional")
    train, _ = make_train_eval_datasets(cfg)
    assert wrap_train_eval_datasets(cfg, train, None)[0] is train
    cfg = conditioned(
        root, "optional", reward=RewardLabelsConfig(advantages_path=str(root / "absent.parquet"))
    )
    with pytest.raises(ValueError, match="absent.parquet: there is no such file"):
        make_train_eval_datasets(cfg)
    assert wrap_train_eval_datasets(conditioned(root, None), train, None)[0] is train


def test_an_own_advantage_column_is_not_hidden(root):
    dataset = LeRobotDataset("local/tiny", root=root)
    dataset.meta.features["advantage"] = {"dtype": "float32", "shape": (1,), "names": None}
    LeRobotDatasetWithReward(dataset)
    with pytest.raises(ValueError, match="column 'advantage' of its own"):
        LeRobotDatasetWithReward(dataset, advantages=torch.zeros(54))


@pytest.mark.skipif(not HELD_OUT, reason="this LeRobot holds no episodes out of training")
def test_rewards_of_held_out_frames_are_judged_beside_a_clock(root, caplog):
    """Frames that two processes read count once, and of an episode some frames are enough."""
    caplog.set_level(logging.INFO)
    cfg = pipeline(root, **HELD_OUT)
    train, held_out = make_train_eval_datasets(cfg)
    cfg.policy.input_features = {OBS_ENV_STATE: PolicyFeature(FeatureType.ENV, (2,))}
    cfg.policy.output_features = {ACTION: PolicyFeature(FeatureType.ACTION, (2,))}
    policy = ACTPolicy(cfg.policy).eval()

    def collate(frames):
        batch = default_collate([held_out[frame] for frame in frames])
        return {**batch, OBS_ENV_STATE: batch[OBS_STATE]}

    parts = collate([0, 1, 2, 0]), collate([len(held_out) - 1])
    for batch in parts:
        policy.forward(batch)
    wandb_logger = mock.Mock()
    log_held_out_reward(torch.nn.Sequential(policy), held_out, Accelerator(), 7, wandb_logger)

    read = policy.predict_reward(parts[0])[:3].tolist() + policy.predict_reward(parts[1]).tolist()
    label = [item["reward"][0].item() for item in map(held_out.__getitem__, (0, 1, 2, len(held_out) - 1))]
    length = np.median([LENGTHS[episode] for episode in train.episodes])
    frames = [0, 1, 2, LENGTHS[held_out.episodes[-1]] - 1]
    clock = np.minimum(np.array(frames) / (length - 1), 1)
    (metrics,), where = wandb_logger.log_dict.call_args
    assert where == {"step": 7, "mode": "eval"}
    assert metrics["eval_reward_mae"] == pytest.approx(np.abs(np.subtract(read, label)).mean(), abs=1e-6)
    assert metrics["eval_clock_mae"] == pytest.approx(np.abs(clock - label).mean(), abs=1e-6)
    assert metrics["eval_voc"] == pytest.approx(spearmanr(read[:3], range(3)).statistic)
    assert f"step 7: eval_reward_mae={metrics['eval_reward_mae']:.4f}" in caplog.text
    assert not policy.held_out_rewards


@pytest.mark.skipif(not HELD_OUT, reason="this LeRobot holds no episodes out of training")
def test_without_a_head_nothing_is_judged(root):
    cfg = pipeline(root, use_reward_head=False, **HELD_OUT)
    _, held_out = make_train_eval_datasets(cfg)
    wandb_logger = mock.Mock()
    log_held_out_reward(torch.nn.Identity(), held_out, Accelerator(), 1, wandb_logger)
    assert not wandb_logger.mock_calls


def test_options_of_a_source_that_is_not_chosen_stop_no_run_that_goes_on(root, monkeypatch):
    """Its file, or the program that calls, may hold them; a flag of one is refused."""
    cfg = pipeline(root, reward=RewardLabelsConfig(progress_path="x"))
    train = gives_new_act_a_head(lambda cfg: "trained")
    monkeypatch.setattr("sys.argv", ["program"])
    assert train(cfg) == "trained"
    monkeypatch.setattr("sys.argv", ["lerobot-train", "--config_path=train_config.json", "--resume=true"])
    assert train(cfg) == "trained"
    monkeypatch.setattr("sys.argv", ["lerobot-train", "--dataset.reward.progress_path", "x"])
    with pytest.raises(ValueError, match="--dataset.reward.progress_path is for the source 'parquet', which"):
        train(cfg)


@pytest.mark.parametrize(
    ("flag", "has_head", "message"),
    [
        ("--dataset.reward.advantages_path=x", True, "advantages_path is for the training of actvantage"),
        (
            "--dataset.reward.start_pct=0.1",
            False,
            "this policy has no reward head, and learns from no labels",
        ),
    ],
)
def test_flags_of_labels_that_a_policy_does_not_learn_from_are_refused(
    root, monkeypatch, flag, has_head, message
):
    """In silence, as before, go those of a file, by which an earlier training goes on."""
    cfg = pipeline(root, has_head, reward=RewardLabelsConfig(start_pct=0.1))
    make_train_eval_datasets(cfg)
    monkeypatch.setattr("sys.argv", ["lerobot-train", flag])
    with pytest.raises(ValueError, match=message):
        make_train_eval_datasets(cfg)
