# SPDX-License-Identifier: MIT
"""`lerobot-eval-rewards`, `lerobot-visualize-rewards` and the reward model, on a small policy and dataset."""

import importlib
import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

import rewact
from lerobot.configs.default import DatasetConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.policies.act.configuration_act import ACTConfig
from rewact.cli.common import load_policy_config
from rewact.cli.eval_rewards import EvalRewardsConfig, eval_rewards
from rewact.cli.models import file_names, model_names
from rewact.cli.visualize_rewards import VisualizeRewardsConfig, visualize_rewards
from rewact.judge.stopping import as_detector
from rewact.labels.episodes import EpisodeTable
from rewact.options.completion import CompletionDetectorConfig
from rewact.options.labels import RewardLabelsConfig
from rewact.options.tools import DataOptions, PolicyOptions
from rewact.values import batches
from rewact.values.checkpoint import held_out_episodes
from rewact.values.feature_cache import FeatureCache
from rewact.values.predictor import RewardPredictor
from tests.labels.conftest import CAMERAS
from tests.versions import HAS_REWARD_MODELS, HELD_OUT, make_train_eval_datasets

LENGTHS = (6, 9, 4, 7, 5)


@pytest.fixture
def data(camera_root):
    def data(**kwargs):
        return DataOptions("local/cameras", root=str(camera_root), video_backend="pyav", **kwargs)

    return data


@pytest.fixture
def counted(monkeypatch):
    """Counts the frames that policies are run on."""
    counts = []
    call = RewardPredictor.__call__

    def counting(self, batch):
        counts.append(len(batch["index"]))
        return call(self, batch)

    monkeypatch.setattr(RewardPredictor, "__call__", counting)
    return counts


def policy(path, **options):
    return PolicyOptions(str(path), "cpu", **options)


def single_predictions(camera_root, checkpoint):
    """What the policy says frame by frame, through LeRobot's own dataset."""
    dataset = LeRobotDataset("local/cameras", root=camera_root, video_backend="pyav")
    predictor = RewardPredictor(load_policy_config(policy(checkpoint)), dataset.meta)
    return np.concatenate([predictor(default_collate([dataset[i]])).reward for i in range(len(dataset))])


@pytest.mark.parametrize("use_amp", [False, True])
def test_mixed_precision_is_used_where_it_is_asked_for(camera_root, checkpoint, use_amp):
    dataset = LeRobotDataset("local/cameras", root=camera_root, video_backend="pyav")
    predictors = [
        RewardPredictor(load_policy_config(policy(checkpoint, use_amp=amp)), dataset.meta)
        for amp in (use_amp, not use_amp)
    ]
    model, seen = predictors[0].policy.model, []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    prediction = predictors[0](default_collate([dataset[0]]))
    assert seen == [use_amp]
    assert prediction.reward.dtype == np.float32
    # Predictions of one are not taken over by a run with the other.
    assert predictors[0].fingerprint != predictors[1].fingerprint


# lerobot-eval-rewards


def test_evaluation(data, camera_root, checkpoint, tmp_path, capsys):
    info = eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path, batch_size=4))
    assert json.loads((tmp_path / "eval_rewards.json").read_text())["models"].keys() == {"rewact"}
    result = info["models"]["rewact"]
    assert [row["length"] for row in result["per_episode"]] == list(LENGTHS)
    assert [row["success"] for row in result["per_episode"]] == [True, False, True, False, True]
    assert (result["overall"]["n_success"], result["overall"]["n_failure"]) == (3, 2)
    assert 0 <= result["overall"]["auroc_final"] <= 1 and 0 <= result["overall"]["band_coverage"] <= 1
    printed = capsys.readouterr().out
    assert "VOC" in printed and "AUROC" in printed
    assert Image.open(tmp_path / "eval_rewards.png").width > 500

    rows = pd.read_parquet(tmp_path / "rewact_progress.parquet")
    assert rows["index"].tolist() == list(range(sum(LENGTHS)))
    assert np.allclose(rows["progress_sparse"], single_predictions(camera_root, checkpoint), atol=1e-5)


def test_a_score_in_python_is_that_of_the_command(data, camera_root, checkpoint, tmp_path, counted):
    cfg = EvalRewardsConfig(data(episodes=[1, 3]), policy(checkpoint), output_dir=tmp_path)
    info = eval_rewards(cfg)
    n_read = sum(counted)
    dataset = LeRobotDataset("local/cameras", root=camera_root)
    scored = rewact.score(dataset, checkpoint, episodes=[1, 3], device="cpu")
    assert {key: scored[key] for key in ("overall", "calibration", "per_episode", "stop")} == info["models"][
        "rewact"
    ]
    assert scored["controls"] == info["controls"] and scored["trained_on"] == info["trained_on"]
    assert [len(rewards) for rewards in scored["rewards"].values()] == [9, 7]
    assert len(scored["remarks"]) == len(info["remarks"])
    part = LeRobotDataset("local/cameras", root=camera_root, episodes=[3])
    straight = rewact.LeRobotDatasetWithReward(part, reward_end_pct=0.5)
    again = rewact.score(straight, checkpoint, device="cpu")
    assert list(again["rewards"]) == [3] and sum(counted) == n_read  # what is known is not predicted again
    assert again["per_episode"][0]["mae"] != scored["per_episode"][1]["mae"]  # other labels
    with pytest.raises(ValueError, match="has no episode 9"):
        rewact.score(dataset, checkpoint, episodes=[9])


def test_lerobot_weights_samples_by_the_progress_file(data, checkpoint, tmp_path):
    rabc = importlib.import_module("lerobot.rewards.sarm.rabc" if HAS_REWARD_MODELS else "lerobot.utils.rabc")
    eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path))
    weighter = rabc.RABCWeights(
        tmp_path / "rewact_progress.parquet", chunk_size=2, device=torch.device("cpu")
    )
    weights, _ = weighter.compute_batch_weights({"index": torch.tensor([0, 5, 20])})
    assert weights.shape == (3,) and weights.isfinite().all()


def test_other_models_are_judged_by_their_files(data, camera_root, tmp_path):
    frames = pd.DataFrame(
        [{"index": 0, "episode_index": e, "frame_index": f} for e, n in enumerate(LENGTHS) for f in range(n)]
    )
    frames["index"] = range(len(frames))
    frames["progress_sparse"] = frames["frame_index"] / 10
    frames.to_parquet(tmp_path / "sarm_progress.parquet")
    cfg = EvalRewardsConfig(data(), progress=[str(tmp_path / "sarm_progress.parquet")], output_dir=tmp_path)
    assert eval_rewards(cfg)["models"]["sarm_progress"]["overall"]["voc"] == 1
    assert not (tmp_path / "rewact_progress.parquet").exists()
    (tmp_path / "other").mkdir()
    frames.assign(progress_sparse=1 - frames["progress_sparse"]).to_parquet(
        tmp_path / "other" / "sarm_progress.parquet"
    )
    both = [str(folder / "sarm_progress.parquet") for folder in (tmp_path, tmp_path / "other")]
    models = eval_rewards(EvalRewardsConfig(data(), progress=both, output_dir=tmp_path))["models"]
    vocs = {name: model["overall"]["voc"] for name, model in models.items()}
    assert vocs == {f"{tmp_path.name}-sarm_progress": 1, "other-sarm_progress": -1}
    frames[frames["episode_index"] != 2].to_parquet(tmp_path / "part_progress.parquet")
    cfg = EvalRewardsConfig(data(), progress=[str(tmp_path / "part_progress.parquet")], output_dir=tmp_path)
    with pytest.raises(ValueError, match="part_progress.parquet has no progress for episode 2"):
        eval_rewards(cfg)


def test_an_interrupted_run_goes_on_where_it_stopped(data, checkpoint, tmp_path, counted, monkeypatch):
    saves = []

    def interrupted(store, row, values, write=FeatureCache.write):
        if len(saves) == 3:
            raise KeyboardInterrupt
        saves.append(row)
        write(store, row, values)

    with monkeypatch.context() as patch:
        patch.setattr("rewact.values.feature_cache.FeatureCache.write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path))
    assert not (tmp_path / "eval_rewards.json").exists()
    counted.clear()
    resumed = eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path))
    assert sum(counted) == LENGTHS[3] + LENGTHS[4]
    counted.clear()
    assert eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path)) == resumed
    assert counted == []


def test_another_checkpoint_does_not_get_stored_predictions(
    data, checkpoint, other_checkpoint, tmp_path, counted
):
    eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path))
    counted.clear()
    info = eval_rewards(EvalRewardsConfig(data(), policy(other_checkpoint), output_dir=tmp_path))
    assert sum(counted) == sum(LENGTHS)
    assert info["models"]["rewact"]["overall"]["band_coverage"] is None


def test_a_progress_file_in_the_dataset_folder_is_found(camera_root, checkpoint, tmp_path, monkeypatch):
    root = Path(shutil.copytree(camera_root, tmp_path / "dataset"))
    rows = [(e, f, f / 10) for e, n in enumerate(LENGTHS) for f in range(n)]
    frames = pd.DataFrame(rows, columns=["episode_index", "frame_index", "progress_sparse"])
    frames.insert(0, "index", range(len(frames)))
    frames.to_parquet(root / "sarm_progress.parquet")
    monkeypatch.chdir(tmp_path)
    cfg = DataOptions("local/cameras", root=str(root), video_backend="pyav")
    info = eval_rewards(
        EvalRewardsConfig(cfg, progress=["sarm_progress.parquet"], output_dir=tmp_path / "out")
    )
    assert info["models"]["sarm_progress"]["overall"]["voc"] == 1


def test_timestamps_may_differ_as_much_as_in_training(data, checkpoint, tmp_path, monkeypatch):
    decode = batches.decode_video_frames

    def shifted(path, timestamps, *rest):
        return decode(path, [time + 0.02 for time in timestamps], *rest)

    monkeypatch.setattr(batches, "decode_video_frames", shifted)
    with pytest.raises(ValueError, match="violate the tolerance"):
        eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path))
    cfg = EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path, tolerance_s=0.03)
    assert len(eval_rewards(cfg)["models"]["rewact"]["per_episode"]) == len(LENGTHS)
    with pytest.raises(ValueError, match="violate the tolerance"):
        visualize_rewards(VisualizeRewardsConfig(data(episodes=[0]), output_dir=tmp_path / "out"))
    visualize_rewards(
        VisualizeRewardsConfig(data(episodes=[0]), output_dir=tmp_path / "out", tolerance_s=0.03)
    )


@pytest.mark.skipif(not HELD_OUT, reason="this LeRobot holds no episodes out")
@pytest.mark.parametrize("eval_split", [0.2, 0.5])
def test_held_out_episodes_are_those_of_training(camera_root, eval_split):
    cfg = TrainPipelineConfig(
        dataset=DatasetConfig(
            "local/cameras",
            root=str(camera_root),
            video_backend="pyav",
            eval_split=eval_split,
            episodes=[0, 1, 2, 4],
        ),
        policy=ACTConfig(device="cpu", push_to_hub=False, use_reward_head=False),
    )
    _, held_out = make_train_eval_datasets(cfg)
    table = EpisodeTable.from_metadata(LeRobotDatasetMetadata("local/cameras", root=camera_root))
    assert held_out_episodes(table, [0, 1, 2, 4], eval_split) == held_out.episodes


def test_a_threshold_is_chosen_from_held_out_episodes_and_saved(data, checkpoint, tmp_path, monkeypatch):
    """From then on the policy stops there, unless it is told otherwise."""
    chosen = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    trained = {"dataset": {"repo_id": "local/cameras", "episodes": [0, 1]}, "policy": {}}
    (chosen / "train_config.json").write_text(json.dumps(trained))

    def evaluate(episodes, **options):
        options = {"output_dir": tmp_path / "out", "values_dir": tmp_path / "values", **options}
        return eval_rewards(EvalRewardsConfig(data(episodes=episodes), policy(chosen), **options))

    with pytest.raises(ValueError, match=r"was trained on 1 of these 2 episodes \(the first is 1\)"):
        evaluate([1, 2], save_threshold=True)
    assert not (chosen / "completion.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr("rewact.options.tools.tempfile.mkdtemp", Mock(side_effect=OSError(30, "Read-only")))
        with pytest.raises(ValueError, match="--policy.path=.* cannot be written: nothing can be made in"):
            evaluate([2, 3, 4], save_threshold=True)
    assert not (tmp_path / "values").exists()
    kept = evaluate([2, 3, 4], save_threshold=True)
    (judged,) = kept["models"].values()
    stop = judged["stop"]
    saved = json.loads((chosen / "completion.json").read_text())
    assert saved == {"dataset": "local/cameras", **stop, "ece": saved["ece"]}
    detector = load_policy_config(policy(chosen)).completion_detector
    assert (detector.threshold, detector.dwell) == (stop["threshold"], stop["dwell"])
    given = load_policy_config(policy(chosen, overrides={"completion_detector.threshold": "0.4"}))
    assert given.completion_detector.threshold == 0.4
    before = {path.name: path.read_bytes() for path in chosen.iterdir()}
    nothing = {"models": {"rewact": {**judged, "stop": {**stop, "recall": 0.0}}}}
    monkeypatch.setattr("rewact.judge.score.judge_models", lambda *_: {**kept, **nothing})
    with pytest.raises(ValueError, match="no threshold finds the end of an episode of local/cameras"):
        evaluate([2, 3, 4], save_threshold=True)
    assert {path.name: path.read_bytes() for path in chosen.iterdir()} == before
    assert as_detector(nothing["models"]["rewact"]["stop"]) is as_detector(None) is None


def test_what_cannot_be_evaluated(data, checkpoint, camera_root, tmp_path):
    with pytest.raises(ValueError, match="nothing to judge"):
        EvalRewardsConfig(data())
    with pytest.raises(ValueError, match="there is no progress file absent.parquet"):
        eval_rewards(EvalRewardsConfig(data(), progress=["absent.parquet"], output_dir=tmp_path))
    with pytest.raises(ValueError, match="local/cameras has no episode 7"):
        eval_rewards(EvalRewardsConfig(data(episodes=[7]), policy(checkpoint), output_dir=tmp_path))
    with pytest.raises(ValueError, match="threshold must be in"):
        detector = CompletionDetectorConfig(threshold=2.0)
        eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path, detector=detector))
    with pytest.raises(ValueError, match="no reward labels"):
        unlabelled = data(reward=RewardLabelsConfig(sources=["keypoints"]))
        eval_rewards(EvalRewardsConfig(unlabelled, policy(checkpoint), output_dir=tmp_path))
    for names, message in {
        "observation.x observation.state": "local/cameras does not have 'observation.x', but observation",
        "observation.state observation.x": "the policy does not read 'observation.x', but observation.images",
        f"{CAMERAS[1]} {CAMERAS[0]}": f"both '{CAMERAS[1]}' and '{CAMERAS[0]}' of local/cameras would be '",
    }.items():
        with pytest.raises(ValueError, match=f"--rename_map: {message}"):
            renamed = {"output_dir": tmp_path, "rename_map": dict([names.split()])}
            eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), **renamed))
    with pytest.raises(ValueError, match="--policy.device=cuda:99: torch finds no such device on this mach"):
        config, meta = (
            load_policy_config(policy(checkpoint)),
            LeRobotDatasetMetadata("local/cameras", camera_root),
        )
        config.device = "cuda:99"
        RewardPredictor(config, meta)
    with pytest.raises(ValueError, match="--rename_map renames what a policy reads: give --policy.path"):
        visualize_rewards(VisualizeRewardsConfig(data(), rename_map={"a": "b"}, output_dir=tmp_path))
    with pytest.raises(ValueError, match=r"--values_dir=.* cannot be written: .* is not a folder"):
        somewhere = {"output_dir": tmp_path, "values_dir": Path(__file__)}
        eval_rewards(EvalRewardsConfig(data(episodes=[0]), policy(checkpoint), **somewhere))
    with pytest.raises(ValueError, match="is not a checkpoint: it has no config.json"):
        policy(tmp_path)
    with pytest.raises(ValueError, match="has no reward head"):
        meta = LeRobotDatasetMetadata("local/cameras", root=camera_root)
        RewardPredictor(ACTConfig(device="cpu", use_reward_head=False, pretrained_path="x"), meta)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_in_the_data", [False, True])
def test_a_prediction_that_is_no_number_is_explained(data, checkpoint, tmp_path, monkeypatch, is_in_the_data):
    """Where the dataset had none, the policy's training was blamed."""
    call = RewardPredictor.__call__

    def diverged(self, batch):
        prediction = call(self, batch)
        prediction.reward[batch["index"].numpy() == 8] = np.nan
        if is_in_the_data:
            batch["observation.state"][batch["index"] == 8, 1] = torch.nan
        return prediction

    monkeypatch.setattr(RewardPredictor, "__call__", diverged)
    why = "the dataset has no number for observation.state" if is_in_the_data else "its training has diverged"
    with pytest.raises(ValueError, match=f"predicts nan for episode 1, frame 2: {why}"):
        eval_rewards(EvalRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path))


# lerobot-visualize-rewards


def frames(path):
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def test_videos_plots_and_overview(data, checkpoint, other_checkpoint, tmp_path, counted):
    cfg = VisualizeRewardsConfig(
        data(episodes=[1, 4]), policy(checkpoint), compare=[str(other_checkpoint)], output_dir=tmp_path
    )
    visualize_rewards(cfg)
    assert sum(counted) == 2 * (LENGTHS[1] + LENGTHS[4])  # each frame once for each policy
    for episode in (1, 4):
        video = frames(tmp_path / f"episode_{episode:06d}.mp4")
        assert len(video) == LENGTHS[episode]
        height, width, _ = video[0].shape
        assert height == 440 and width >= 640  # two views of 240x320
        # The picture is that of the frame, and the curve grows.
        assert video[0][120, 160].mean() < video[-1][120, 160].mean()
        assert np.abs(video[0].astype(int) - video[-1])[240:].max() > 100
        assert Image.open(tmp_path / f"episode_{episode:06d}.png").width > 500
    assert Image.open(tmp_path / "overview.png").width > 500
    counted.clear()
    visualize_rewards(cfg)
    assert counted == []


def test_labels_alone(data, tmp_path):
    visualize_rewards(VisualizeRewardsConfig(data(), output_dir=tmp_path, max_episodes_rendered=1))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["episode_000000.mp4", "episode_000000.png", "overview.png"]


def test_changed_labels_are_drawn_anew(data, tmp_path):
    def draw(**reward):
        cfg = data(episodes=[0], reward=RewardLabelsConfig(**reward))
        visualize_rewards(VisualizeRewardsConfig(cfg, output_dir=tmp_path))
        return (tmp_path / "episode_000000.png").stat().st_mtime_ns

    first = draw()
    assert draw() == first
    assert draw(start_pct=0.5) > first


def test_an_error_leaves_no_half_video(data, checkpoint, tmp_path, monkeypatch):
    def broken(self, batch):
        raise ValueError("broken")

    monkeypatch.setattr(RewardPredictor, "__call__", broken)
    with pytest.raises(ValueError, match="broken"):
        visualize_rewards(VisualizeRewardsConfig(data(), policy(checkpoint), output_dir=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_rerun_stream(data, checkpoint, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr("lerobot.utils.visualization_utils.init_rerun", lambda session_name: None)
    monkeypatch.setattr(
        "lerobot.utils.visualization_utils.log_rerun_data", lambda observation: logged.append(observation)
    )
    visualize_rewards(
        VisualizeRewardsConfig(data(episodes=[2]), policy(checkpoint), output_dir=tmp_path, display=True)
    )
    assert len(logged) == LENGTHS[2]
    assert {"reward_label", "reward_rewact", "observation.images.top"} <= set(logged[0])
    assert logged[-1]["reward_label"] == 1.0


def test_names_tell_policies_apart(checkpoint, other_checkpoint):
    configs = [load_policy_config(policy(path)) for path in (checkpoint, other_checkpoint)]
    assert len(set(model_names(configs, taken=[]))) == 2
    assert model_names(configs[:1], taken=["rewact"]) == ["rewact'"]


def test_names_tell_files_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [
        Path("a/x.parquet"),
        Path("b/x.parquet"),
        Path("y.parquet"),
        Path("x.parquet"),
        Path("c/a/x.parquet"),
    ]
    assert file_names(paths) == ["a-x", "b-x", "y", f"{tmp_path.name}-x", "a-x'"]


# The reward model


@pytest.mark.skipif(not HAS_REWARD_MODELS, reason="this LeRobot has no reward models")
def test_reward_model(camera_root, checkpoint, tmp_path):
    from lerobot.rewards import make_reward_model, make_reward_pre_post_processors
    from rewact.reward_model import RewACTHeadConfig, RewACTHeadRewardModel

    config = RewACTHeadConfig(pretrained_path=str(checkpoint), device="cpu")
    model = make_reward_model(config)
    assert config.type == "rewact" and not model.is_trainable
    preprocessor, _ = make_reward_pre_post_processors(config)
    dataset = LeRobotDataset("local/cameras", root=camera_root, video_backend="pyav")
    batch = preprocessor(default_collate([dataset[0], dataset[5], dataset[12]]))
    rewards = model.compute_reward(batch)
    assert rewards.shape == (3,) and rewards.dtype == torch.float32
    expected = single_predictions(camera_root, checkpoint)[[0, 5, 12]]
    assert np.allclose(rewards.numpy(), expected, atol=1e-5)
    model.save_pretrained(tmp_path)
    assert RewACTHeadRewardModel.from_pretrained(tmp_path).compute_reward(batch).equal(rewards)
    with pytest.raises(ValueError, match="give its checkpoint as pretrained_path"):
        make_reward_model(RewACTHeadConfig(device="cpu"))
