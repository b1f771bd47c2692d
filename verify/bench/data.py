# SPDX-License-Identifier: MIT
"""The benchmark's data sets as LeRobot datasets, with each episode's outcome and the simulator's states."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from lerobot.datasets.lerobot_dataset import LeRobotDataset

from .simulation import Episode, generate, make_task

FPS = 20
INPUTS_FILE = "bench/inputs.json"
STATES_FILE = "bench/states.pkl"


def make_dataset(root: Path, task_name: str, data_set: str, seed: int) -> Path:
    """Generate a data set, unless it is there. Returns its folder."""
    if (root / STATES_FILE).is_file():
        return root
    episodes = list(generate(make_task(task_name), data_set, seed))
    # Values that never change cannot be normalized.
    varies = np.concatenate([episode.observations for episode in episodes]).std(0) > 1e-3
    inputs = np.flatnonzero(varies).tolist()
    features = {
        "observation.state": {"dtype": "float32", "shape": (len(inputs),), "names": None},
        # ACT without a camera asks for it; the same values, once more.
        "observation.environment_state": {"dtype": "float32", "shape": (len(inputs),), "names": None},
        "action": {"dtype": "float32", "shape": (4,), "names": None},
    }
    dataset = LeRobotDataset.create(
        f"bench/{task_name}-{data_set}", FPS, features, root=root, use_videos=False
    )
    for episode in episodes:
        for observation, action in zip(episode.observations[:, inputs], episode.actions, strict=True):
            frame = {"observation.state": observation, "observation.environment_state": observation}
            dataset.add_frame({**frame, "action": action, "task": task_name})
        dataset.save_episode()
    dataset.finalize()
    outcomes = [
        {"episode_index": index, "outcome": "success" if episode.success else "failure"}
        for index, episode in enumerate(episodes)
    ]
    for name, content in {"rewact_extensions/outcomes.json": outcomes, INPUTS_FILE: inputs}.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(json.dumps(content))
    with (root / STATES_FILE).open("wb") as file:
        pickle.dump([replace(episode, observations=None) for episode in episodes], file)
    return root


def read_inputs(root: Path) -> list[int]:
    """Which of the simulation's observed values the dataset has."""
    return json.loads((root / INPUTS_FILE).read_text())


def read_episodes(root: Path) -> list[Episode]:
    """The episodes as simulated, without observations."""
    with (root / STATES_FILE).open("rb") as file:
        return pickle.load(file)
