# SPDX-License-Identifier: MIT
"""Rows of `verify.bench.speed` that are not of a network: labels, values and the installer."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import lerobot
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_policy_config, make_pre_post_processors
from rewact.labels import LeRobotDatasetWithReward, build_reward_labels
from rewact.options.labels import RewardLabelsConfig
from rewact.values.predictor import RewardPredictor
from rewact.values.runner import predict_episodes
from rewact.values.store import open_store
from verify.interpreter import PROJECT

CHECKOUT = Path(lerobot.__file__).parents[2]
EPISODE, ITEMS = 500, 2000
IMAGE_SIZE, N_FRAMES, BATCH_SIZE, STATE_DIM = (480, 640), 24, 8, 14
# What is measured, with its figures by name and unit.
Figures = dict[str, dict[str, float]]


class Frames:
    """A dataset whose items cost nothing."""

    def __init__(self, root: Path, n_frames: int):
        starts = list(range(0, n_frames, EPISODE))
        self.meta = SimpleNamespace(
            repo_id="local/large",
            root=root,
            fps=10,
            features={},
            total_episodes=len(starts),
            episodes={
                "episode_index": list(range(len(starts))),
                "dataset_from_index": starts,
                "dataset_to_index": [*starts[1:], n_frames],
                "tasks": [["push"]] * len(starts),
            },
        )

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"index": torch.tensor(index)}


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    start = clock()
    work()
    return clock() - start


def measure_labels(n_frames: int = 1_000_000, repeats: int = 9) -> Figures:
    """Processor time to build the labels of a dataset, and what the wrapper adds to an item."""

    def median(work: Callable[[], object]) -> float:
        return statistics.median(seconds(work) for _ in range(repeats))

    with tempfile.TemporaryDirectory() as folder:
        frames = Frames(Path(folder), n_frames)

        def build() -> object:
            return build_reward_labels(frames.meta, RewardLabelsConfig())

        found = {"linear labels, s": median(build)}
        dataset = LeRobotDatasetWithReward(frames)
        points = {0: 0.0, EPISODE // 3: 0.4, EPISODE // 2: 0.5, EPISODE - 1: 1.0}
        episodes = dict.fromkeys(range(frames.meta.total_episodes), points)
        found["labelling each episode by keypoints, s"] = median(lambda: dataset.add_rewards(episodes))
        found["labels from keypoints, s"] = median(build)
        indices = range(0, n_frames, max(n_frames // ITEMS, 1))
        plain = median(lambda: [frames[index] for index in indices])
        for horizon in (None, 100):
            labelled = LeRobotDatasetWithReward(frames, labels=dataset.labels, horizon=horizon)
            wrapped = median(lambda: [labelled[index] for index in indices])  # noqa: B023
            found[f"an item with horizon {horizon}, us"] = 1e6 * (wrapped - plain) / len(indices)
    return {f"{n_frames} frames": found}


def _make_video(root: Path) -> LeRobotDataset:
    """One episode with a video of random blobs."""
    height, width = IMAGE_SIZE
    vector = {"dtype": "float32", "shape": (STATE_DIM,), "names": None}
    picture = {"dtype": "video", "shape": (height, width, 3), "names": ["height", "width", "channels"]}
    features = {"observation.images.top": picture, "observation.state": vector, "action": vector}
    dataset = LeRobotDataset.create("bench/speed", 10, features, root=root)
    rng = np.random.default_rng(0)
    for _ in range(N_FRAMES):
        blobs = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        frame = {name: rng.normal(size=STATE_DIM).astype(np.float32) for name in features}
        frame["observation.images.top"] = np.kron(blobs, np.ones((height // 8, width // 8, 1), np.uint8))
        dataset.add_frame({**frame, "task": "none"})
    dataset.save_episode()
    dataset.finalize()
    return LeRobotDataset("bench/speed", root=root, video_backend="pyav")


def _make_checkpoint(path: Path, dataset: LeRobotDataset) -> PreTrainedConfig:
    """An untrained value function of ACT's default size."""
    torch.manual_seed(0)
    config = make_policy_config("rewact", device="cpu", pretrained_backbone_weights=None, push_to_hub=False)
    policy = make_policy(config, ds_meta=dataset.meta)
    for part in (policy, *make_pre_post_processors(config, dataset_stats=dataset.meta.stats)):
        part.save_pretrained(path)
    config.pretrained_path = path
    return config


def measure_values(repeats: int = 3) -> Figures:
    """How much faster the reward-only pass reads values than one full forward of the policy per frame.

    Both go over the same frames, from the dataset's files to the values: the pass as
    `lerobot-compute-advantages` runs it, in float32 and in mixed precision, and a loop that takes one item
    after the other and calls the whole policy.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset = _make_video(Path(folder) / "data")
        config = _make_checkpoint(Path(folder) / "value", dataset)
        plain = make_policy(config, ds_meta=dataset.meta).eval()
        preprocessor = RewardPredictor(config, dataset.meta).preprocessor

        @torch.no_grad()
        def one_by_one() -> None:
            for item in map(dataset.__getitem__, range(len(dataset))):
                plain.reset()
                plain.select_action(preprocessor({key: item[key] for key in config.input_features}))

        def at_once(use_amp: bool) -> Callable[[], None]:
            predictor = RewardPredictor(replace(config, use_amp=use_amp), dataset.meta)

            def read() -> None:
                with tempfile.TemporaryDirectory() as home:
                    store = open_store(predictor, dataset.meta, Path(home))
                    predict_episodes(lambda _: dataset, predictor, store, [0], BATCH_SIZE)

            return read

        works = {"": one_by_one, "float32": at_once(False), "mixed precision": at_once(True)}
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(repeats + 1):
            for name, work in works.items():
                times[name].append(seconds(work, time.perf_counter))
    spent = {name: np.array(each[1:]) for name, each in times.items()}  # the first one warms up
    loop = spent.pop("")
    return {
        name: {
            "times one by one": float(np.median(loop / ours)),
            "frames/s": N_FRAMES / float(np.median(ours)),
            "frames/s one by one": N_FRAMES / float(np.median(loop)),
        }
        for name, ours in spent.items()
    }


def measure_installer() -> Figures:
    """Time and processor time of `install.py dev`: on all in place, on a release, on a tree near one."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    commands = {"everything in place": [CHECKOUT]}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("the series applied", "placed by structure"):
            tree = Path(folder) / name.replace(" ", "-")
            subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(tree)], check=True)
            commands[name] = ["--no-install", tree]
        target = tree / "src/lerobot/policies/act/modeling_act.py"
        target.write_text(target.read_text().replace("import math\n", "import math  # edited\n", 1))
        author = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
        subprocess.run(["git", "-C", str(tree), *author, "commit", "--quiet", "-am", "edit"], check=True)
        found = {}
        for name, options in commands.items():
            command = [sys.executable, str(PROJECT / "install.py"), "dev", *map(str, options)]
            before, start = spent(), time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            found[name] = {"s of processor": spent() - before, "s": time.perf_counter() - start}
        return found
