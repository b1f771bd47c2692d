# SPDX-License-Identifier: MIT
"""Where a reward head reads best: at the observation's tokens (as it does) or at the decoder (as it did).

    python -m verify.bench.head_input --root DIR [--held-out 5] [--steps 300] [--seeds 0 1 2]

Small policies of both kinds are trained on the same batches of a dataset with cameras. The reward of a frame
is how far along its episode it is. The last episodes are held out; of them the table gives the VOC (rank
correlation with time, mean over episodes), the mean absolute error of the reading and of the forecast, and
the L1 of the normalised actions.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import decode_video_frames
from rewact.cli.common import report_errors
from rewact.judge.values import frame_slices, value_metrics
from rewact.keys import REWARD_KEY

from .command import Command, dataset_folder
from .training import Frames, load, train

IMAGE_SIZE = 96
PART = 64
OPTIONS = {
    "device": "cpu",
    "pretrained_backbone_weights": None,
    "dim_model": 128,
    "n_heads": 4,
    "dim_feedforward": 512,
    "n_encoder_layers": 2,
    "n_vae_encoder_layers": 2,
    "chunk_size": 20,
    "n_action_steps": 20,
    "optimizer_lr": 1e-4,
    "optimizer_lr_backbone": 1e-4,
    "use_reward_head": True,
}


class VideoFrames(Frames):
    """The frames of a dataset with videos, in memory at a size that fits there."""

    @staticmethod
    def read(dataset: LeRobotDataset, name: str) -> torch.Tensor:
        if name not in dataset.meta.video_keys:
            return Frames.read(dataset, name)
        parts = []
        for episode in range(dataset.meta.total_episodes):
            row = dataset.meta.episodes[episode]
            path = dataset.root / dataset.meta.get_video_file_path(episode, name)
            times = np.arange(row["length"]) / dataset.fps + row[f"videos/{name}/from_timestamp"]
            for wanted in np.array_split(times, -(-len(times) // PART)):  # the frames of an episode are large
                images = decode_video_frames(path, wanted.tolist(), 0.02, "pyav")
                small = interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="area")
                parts.append((small * 255).round().to(torch.uint8).movedim(1, -1))
        return torch.cat(parts)


@torch.no_grad()
def judge(checkpoint: Path, frames: Frames, episodes: Sequence[int]) -> list[float]:
    """VOC, errors of reading and forecast, and L1 of the actions, on some episodes."""
    policy, preprocessor, _ = load(checkpoint)
    readings = np.full(len(frames), np.nan, dtype=np.float32)
    forecast_errors, action_errors = [], []
    for part in frames.of_episodes(list(episodes)).split(PART):
        batch = preprocessor(frames.batch(part, policy.config.chunk_size))
        actions, _, logits = policy.model(policy.add_image_list(batch))
        rewards, valid = policy.model.reward_head.mean(logits), ~batch["action_is_pad"]
        readings[part] = rewards[:, 0]
        forecast_errors.append((rewards - batch[REWARD_KEY]).abs()[valid])
        action_errors.append((actions - batch["action"]).abs().mean(-1)[valid])
    slices = frame_slices(frames.table, np.array([frames.table.row(episode) for episode in episodes]))
    judged = value_metrics(readings, frames.rewards.numpy(), slices)
    errors = (torch.cat(each).mean().item() for each in (forecast_errors, action_errors))
    return [judged["voc"], judged["mae"], *errors]


def main() -> None:
    parser = Command("bench.head_input", __doc__)
    parser.add_argument("--root", type=dataset_folder, required=True, help="folder of a dataset with videos")
    parser.add_argument("--held-out", type=int, default=5, help="hold out the last N episodes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    frames = VideoFrames(args.root)
    episodes = frames.table.episodes.tolist()
    print(f"{'input':12} seed       VOC       MAE  forecast action L1")
    for seed in args.seeds:
        for kind in ("observation", "decoder"):
            with tempfile.TemporaryDirectory() as folder:
                options = {**OPTIONS, "reward_head_input": kind}
                training = episodes[: -args.held_out]
                train(frames, Path(folder), "act", options, args.steps, 16, seed, episodes=training)
                figures = judge(Path(folder), frames, episodes[-args.held_out :])
            print(f"{kind:12} {seed:4} {' '.join(f'{figure:9.3f}' for figure in figures)}", flush=True)


if __name__ == "__main__":
    with report_errors():
        main()
