# SPDX-License-Identifier: MIT
"""What labels cost: building those of a million frames, and what the wrapper adds to an item.

python -m verify.bench.label_cost [--frames 1000000] [--json FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

from rewact.labels import LeRobotDatasetWithReward, build_reward_labels
from rewact.options.labels import RewardLabelsConfig

EPISODE = 500
REPEATS = 9
ITEMS = 2000


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


def seconds(work: Callable[[], object]) -> float:
    """Median processor time of some work."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def measure(n_frames: int) -> dict[str, float]:
    """Seconds by what was done; microseconds for what an item gains."""
    with tempfile.TemporaryDirectory() as folder:
        frames = Frames(Path(folder), n_frames)
        found = {"linear labels, s": seconds(lambda: build_reward_labels(frames.meta, RewardLabelsConfig()))}
        dataset = LeRobotDatasetWithReward(frames)
        points = {0: 0.0, EPISODE // 3: 0.4, EPISODE // 2: 0.5, EPISODE - 1: 1.0}
        episodes = dict.fromkeys(range(frames.meta.total_episodes), points)
        found["labelling each episode by keypoints, s"] = seconds(lambda: dataset.add_rewards(episodes))
        found["labels from keypoints, s"] = seconds(
            lambda: build_reward_labels(frames.meta, RewardLabelsConfig())
        )
        indices = range(0, n_frames, max(n_frames // ITEMS, 1))
        plain = seconds(lambda: [frames[index] for index in indices])
        for horizon in (None, 100):
            labelled = LeRobotDatasetWithReward(frames, labels=dataset.labels, horizon=horizon)
            wrapped = seconds(lambda: [labelled[index] for index in indices])  # noqa: B023
            found[f"an item with horizon {horizon}, us"] = 1e6 * (wrapped - plain) / len(indices)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = measure(arguments.frames)
    for name, value in found.items():
        print(f"{name:<42}{value:8.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
