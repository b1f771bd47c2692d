# SPDX-License-Identifier: MIT
"""How much faster the reward-only pass reads values than one full forward of the policy per frame.

Both go over the same frames, from the dataset's files to the values: the pass as `lerobot-compute-advantages`
runs it, and a loop that takes one item after the other from the dataset and calls the whole policy. They take
turns in one process, so that a busy machine slows both; the figure is the median of the ratios. With
`--use-amp` the pass, and it alone, is in mixed precision.

    python -m verify.bench.value_speed [--use-amp] [--image-size 480 640] [--frames 32] [--batch-size 8]
                                       [--repeats 5]
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_policy_config, make_pre_post_processors
from rewact.labels.episodes import EpisodeTable
from rewact.values.predictor import RewardPredictor
from rewact.values.runner import predict_episodes
from rewact.values.store import ValueStore

REPO_ID = "bench/speed"
FPS = 10
STATE_DIM = 14


def make_dataset(root: Path, n_frames: int, image_size: tuple[int, int]) -> LeRobotDataset:
    """One episode with a video of random blobs."""
    features = {
        "observation.images.top": {
            "dtype": "video",
            "shape": (*image_size, 3),
            "names": ["height", "width", "channels"],
        },
        "observation.state": {"dtype": "float32", "shape": (STATE_DIM,), "names": None},
        "action": {"dtype": "float32", "shape": (STATE_DIM,), "names": None},
    }
    dataset = LeRobotDataset.create(REPO_ID, FPS, features, root=root)
    rng = np.random.default_rng(0)
    for _ in range(n_frames):
        blobs = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        frame = {
            "observation.images.top": np.kron(
                blobs, np.ones((image_size[0] // 8, image_size[1] // 8, 1), dtype=np.uint8)
            ),
            "observation.state": rng.normal(size=STATE_DIM).astype(np.float32),
            "action": rng.normal(size=STATE_DIM).astype(np.float32),
        }
        dataset.add_frame({**frame, "task": "none"})
    dataset.save_episode()
    dataset.finalize()
    return LeRobotDataset(REPO_ID, root=root, video_backend="pyav")


def make_checkpoint(path: Path, dataset: LeRobotDataset) -> PreTrainedConfig:
    """An untrained value function of ACT's default size."""
    torch.manual_seed(0)
    config = make_policy_config("rewact", device="cpu", pretrained_backbone_weights=None, push_to_hub=False)
    policy = make_policy(config, ds_meta=dataset.meta)
    policy.save_pretrained(path)
    for processor in make_pre_post_processors(config, dataset_stats=dataset.meta.stats):
        processor.save_pretrained(path)
    config.pretrained_path = path
    return config


def seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--use-amp", action="store_true")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder) / "data", arguments.frames, tuple(arguments.image_size))
        config = make_checkpoint(Path(folder) / "value", dataset)
        plain = make_policy(config, ds_meta=dataset.meta).eval()
        amp_config = replace(config, use_amp=arguments.use_amp)
        predictor = RewardPredictor(amp_config, dataset.meta)
        table = EpisodeTable.from_metadata(dataset.meta)
        preprocessor, keys = predictor.preprocessor, config.input_features
        homes = (Path(folder) / f"values_{i}" for i in itertools.count())

        def reward_only() -> None:
            store = ValueStore(predictor, dataset.meta, next(homes))
            predict_episodes(lambda _: dataset, table, predictor, store, [0], arguments.batch_size)

        @torch.no_grad()
        def frame_by_frame() -> None:
            for i in range(len(dataset)):
                item = dataset[i]
                batch = preprocessor({key: item[key] for key in keys})
                plain.reset()
                plain.select_action(batch)

        for function in (reward_only, frame_by_frame):
            function()
        pairs = [(seconds(frame_by_frame), seconds(reward_only)) for _ in range(arguments.repeats)]
    ratio = statistics.median(loop / batched for loop, batched in pairs)
    loop, batched = (arguments.frames / statistics.median(times) for times in zip(*pairs, strict=True))
    height, width = arguments.image_size
    precision = " in mixed precision" if arguments.use_amp else ""
    print(
        f"{height}x{width}, batch {arguments.batch_size}, {torch.get_num_threads()} threads: reward-only"
        f"{precision} {batched:.1f} frames/s, full forward per frame {loop:.1f} frames/s, ratio {ratio:.1f}"
    )


if __name__ == "__main__":
    main()
