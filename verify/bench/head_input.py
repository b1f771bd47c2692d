# SPDX-License-Identifier: MIT
"""Where a reward head reads best: at the observation's tokens (as it does) or at the decoder (as it did).

Small policies of both kinds are trained on the same batches of a dataset with one camera and a state. The
reward of a frame is how far along its episode it is. The last episodes are held out; on every third of
their frames the table gives the VOC (Spearman correlation with time, mean over episodes), the mean absolute
error of the reading and of the forecast, and the L1 of the normalised actions.

    python -m verify.bench.head_input --root DIR [--episodes 80] [--held-out 12] [--steps 300] [--seeds 0 1 2]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import decode_video_frames
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from rewact.cli.common import report_errors
from rewact.keys import REWARD_KEY, REWARD_PAD_KEY, mark_labels

CAMERA, STATE, ACTION = "observation.images.camera", "observation.state", "action"
IMAGE_SIZE = 96
CHUNK_SIZE = 20
SMALL = {
    "dim_model": 128,
    "n_heads": 4,
    "dim_feedforward": 512,
    "n_encoder_layers": 2,
    "n_vae_encoder_layers": 2,
}
IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


class Frames:
    """All frames of the first episodes in memory, normalised by the training episodes."""

    def __init__(self, root: Path, n_episodes: int, n_held_out: int):
        dataset = LeRobotDataset(root.name, root=root)
        self.lengths = [dataset.meta.episodes[i]["length"] for i in range(n_episodes)]
        self.images = torch.cat([self._images(dataset, i) for i in range(n_episodes)])
        self.ends = np.cumsum(self.lengths)
        self.episode = np.repeat(np.arange(n_episodes), self.lengths)
        self.held_out = range(n_episodes - n_held_out, n_episodes)
        is_held_out = np.isin(self.episode, self.held_out)
        self.training, self.test = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)[::3]
        self.time = np.concatenate([np.arange(length) / (length - 1) for length in self.lengths])
        self.reward = torch.from_numpy(self.time.astype(np.float32))
        table = dataset.hf_dataset.with_format("numpy")
        self.state, self.action = (self._normalised(table[key][: len(self.time)]) for key in (STATE, ACTION))

    @staticmethod
    def _images(dataset: LeRobotDataset, episode: int) -> torch.Tensor:
        key, row = dataset.meta.video_keys[0], dataset.meta.episodes[episode]
        times = np.arange(row["length"]) / dataset.fps + row[f"videos/{key}/from_timestamp"]
        path = dataset.root / dataset.meta.get_video_file_path(episode, key)
        parts = []
        for wanted in np.array_split(times, -(-len(times) // 64)):  # the frames of an episode are large
            images = decode_video_frames(path, wanted.tolist(), 0.02, "pyav")
            small = torch.nn.functional.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="area")
            parts.append((small * 255).round().to(torch.uint8))
        return torch.cat(parts)

    def _normalised(self, rows: np.ndarray) -> torch.Tensor:
        rows = torch.from_numpy(np.stack(rows)).float()
        return (rows - rows[self.training].mean(0)) / (rows[self.training].std(0) + 1e-3)

    def batch(self, frames: np.ndarray) -> dict[str, torch.Tensor]:
        chunk = frames[:, None] + np.arange(CHUNK_SIZE)
        last = self.ends[self.episode[frames]][:, None] - 1
        is_pad = torch.from_numpy(chunk > last)
        chunk = torch.from_numpy(np.minimum(chunk, last))
        batch = {
            CAMERA: (self.images[frames].float() / 255 - IMAGENET_MEAN) / IMAGENET_STD,
            STATE: self.state[frames],
            ACTION: self.action[chunk],
            "action_is_pad": is_pad,
            REWARD_KEY: self.reward[chunk],
            REWARD_PAD_KEY: is_pad,
        }
        return mark_labels(batch, (REWARD_KEY, REWARD_PAD_KEY))


def make_policy(frames: Frames, reward_head_input: str, seed: int) -> ACTPolicy:
    torch.manual_seed(seed)
    return ACTPolicy(
        ACTConfig(
            device="cpu",
            pretrained_backbone_weights=None,
            chunk_size=CHUNK_SIZE,
            n_action_steps=CHUNK_SIZE,
            use_reward_head=True,
            reward_head_input=reward_head_input,
            input_features={
                CAMERA: PolicyFeature(FeatureType.VISUAL, (3, IMAGE_SIZE, IMAGE_SIZE)),
                STATE: PolicyFeature(FeatureType.STATE, (frames.state.shape[1],)),
            },
            output_features={ACTION: PolicyFeature(FeatureType.ACTION, (frames.action.shape[1],))},
            **SMALL,
        )
    )


def train(policy: ACTPolicy, frames: Frames, seed: int, n_steps: int, batch_size: int = 16) -> None:
    draw = np.random.default_rng(seed)  # both kinds see the same batches
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-4, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 20) * (1 - 0.9 * step / n_steps)
    )
    policy.train()
    for _ in range(n_steps):
        loss, _ = policy.forward(frames.batch(draw.choice(frames.training, batch_size)))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 10)
        optimizer.step()
        scheduler.step()


@torch.no_grad()
def judge(policy: ACTPolicy, frames: Frames) -> dict[str, float]:
    policy.eval()
    readings, forecast_errors, action_errors = [], [], []
    for part in np.array_split(frames.test, max(1, len(frames.test) // 64)):
        batch = frames.batch(part)
        actions, _, logits = policy.model({**batch, "observation.images": [batch[CAMERA]]})
        rewards = policy.model.reward_head.mean(logits)
        valid = ~batch["action_is_pad"]
        readings.append(rewards[:, 0].numpy())
        forecast_errors.append((rewards - batch[REWARD_KEY]).abs()[valid].numpy())
        action_errors.append((actions - batch[ACTION]).abs().mean(-1)[valid].numpy())
    reading, episode, time = np.concatenate(readings), frames.episode[frames.test], frames.time[frames.test]
    vocs = [spearmanr(reading[episode == i], time[episode == i]).statistic for i in frames.held_out]
    return {
        "voc": np.mean(vocs),
        "mae": np.abs(reading - time).mean(),
        "forecast_mae": np.concatenate(forecast_errors).mean(),
        "action_l1": np.concatenate(action_errors).mean(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of a dataset with videos")
    parser.add_argument("--episodes", type=int, help="use the first N episodes (default: all)")
    parser.add_argument("--held-out", type=int, default=5, help="hold out the last N of them")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    n_episodes = args.episodes or LeRobotDataset(args.root.name, root=args.root).meta.total_episodes
    frames = Frames(args.root, n_episodes, args.held_out)
    print(f"{'input':12} seed       VOC       MAE  forecast action L1")
    for seed in args.seeds:
        for kind in ("observation", "decoder"):
            policy = make_policy(frames, kind, seed)
            train(policy, frames, seed, args.steps)
            figures = " ".join(f"{figure:9.3f}" for figure in judge(policy, frames).values())
            print(f"{kind:12} {seed:4} {figures}", flush=True)


if __name__ == "__main__":
    with report_errors():
        main()
