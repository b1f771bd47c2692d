"""LeRobot's own evaluation script: the predicted reward in eval_info.json and on the video."""

import json

import av
import numpy as np
import pytest
import torch

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

from .conftest import run_script

STATISTICS = ("first", "final", "max", "mean")
EPISODE_LENGTH = 12


def save_policy(directory, policy_type, **options):
    """An untrained policy for the pusht environment, with its processors."""
    torch.manual_seed(0)
    config = make_policy_config(
        policy_type,
        device="cpu",
        pretrained_backbone_weights=None,
        dim_model=32,
        n_heads=2,
        dim_feedforward=64,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        chunk_size=8,
        n_action_steps=4,
        push_to_hub=False,
        input_features={
            "observation.image": PolicyFeature(FeatureType.VISUAL, (3, 96, 96)),
            "observation.state": PolicyFeature(FeatureType.STATE, (2,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))},
        **{"use_reward_head": True, **options},
    )
    get_policy_class(policy_type)(config).save_pretrained(directory)
    stats = {
        "observation.image": {"mean": torch.zeros(3, 1, 1), "std": torch.ones(3, 1, 1)},
        "observation.state": {"mean": torch.full((2,), 256.0), "std": torch.full((2,), 100.0)},
        "action": {"mean": torch.full((2,), 256.0), "std": torch.full((2,), 100.0)},
    }
    for processor in make_pre_post_processors(config, dataset_stats=stats):
        processor.save_pretrained(directory)


def evaluate(policy_dir, output_dir, *arguments):
    run_script(
        "lerobot.scripts.lerobot_eval",
        f"--policy.path={policy_dir}",
        "--policy.device=cpu",
        "--env.type=pusht",
        f"--env.episode_length={EPISODE_LENGTH}",
        "--eval.use_async_envs=false",
        f"--output_dir={output_dir}",
        *arguments,
    )
    return json.loads((output_dir / "eval_info.json").read_text())


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("policy_type", ["act", "rewact"])
def test_rewards_of_several_environments_at_once(tmp_path, policy_type):
    save_policy(tmp_path / "policy", policy_type)
    info = evaluate(tmp_path / "policy", tmp_path / "eval", "--eval.n_episodes=3", "--eval.batch_size=3")
    metrics = info["per_task"][0]["metrics"]
    for statistic in STATISTICS:
        per_episode = metrics[f"predicted_reward_{statistic}"]
        assert len(per_episode) == 3
        assert all(0 < value < 1 for value in per_episode)
        assert len(set(per_episode)) == 3  # one reading per environment, not one for all
        for section in (info["overall"], info["per_group"]["pusht"]):
            assert section[f"avg_predicted_reward_{statistic}"] == pytest.approx(np.mean(per_episode))
    assert all(
        final <= high and mean <= high
        for final, mean, high in zip(
            *(metrics[f"predicted_reward_{s}"] for s in ("final", "mean", "max")), strict=True
        )
    )


def test_the_video_carries_the_reward_from_the_second_frame_on(tmp_path):
    save_policy(tmp_path / "policy", "act")
    save_policy(tmp_path / "plain", "act", use_reward_head=False)
    one = ("--eval.n_episodes=2", "--eval.batch_size=1")
    info = evaluate(tmp_path / "policy", tmp_path / "eval", *one)
    plain_info = evaluate(tmp_path / "plain", tmp_path / "plain_eval", *one)
    # The second rollout shows that nothing is left over from the first.
    for video, plain_video in zip(
        info["overall"]["video_paths"], plain_info["overall"]["video_paths"], strict=True
    ):
        first, second = frames_of(video)[:2]
        plain_first, plain_second = frames_of(plain_video)[:2]
        assert abs(first.astype(int) - plain_first).max() < 60  # compression noise
        strip = second.shape[0] // 12
        assert abs(second[-strip:].astype(int) - plain_second[-strip:]).mean() > 50


def test_without_a_head_the_report_is_upstream_s(tmp_path):
    save_policy(tmp_path / "plain", "act", use_reward_head=False)
    info = evaluate(tmp_path / "plain", tmp_path / "eval", "--eval.n_episodes=2", "--eval.batch_size=2")
    assert "predicted_reward" not in json.dumps(info)
    assert set(info["overall"]) >= {"avg_sum_reward", "pc_success", "n_episodes"}
