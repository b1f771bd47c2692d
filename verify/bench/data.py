# SPDX-License-Identifier: MIT
"""The benchmark's data sets as LeRobot datasets, with each episode's outcome and the simulator's states."""

import json
import pickle
import shutil
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
    shutil.rmtree(root, ignore_errors=True)  # what an interrupted run left
    episodes = list(generate(make_task(task_name), data_set, seed))
    # Values that never change cannot be normalized.
    inputs = {
        name: np.flatnonzero(
            np.concatenate([episode.observations[name] for episode in episodes]).std(0) > 1e-3
        ).tolist()
        for name in episodes[0].observations
    }
    features = {
        name: {"dtype": "float32", "shape": (len(kept),), "names": None} for name, kept in inputs.items()
    }
    features["action"] = {"dtype": "float32", "shape": (4,), "names": None}
    dataset = LeRobotDataset.create(
        f"bench/{task_name}-{data_set}", FPS, features, root=root, use_videos=False
    )
    for episode in episodes:
        for frame, action in enumerate(episode.actions):
            observation = {name: episode.observations[name][frame, kept] for name, kept in inputs.items()}
            dataset.add_frame({**observation, "action": action, "task": task_name})
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


def read_inputs(root: Path) -> dict[str, list[int]]:
    """Which of the values of `observe` the dataset has, for each of its keys."""
    return json.loads((root / INPUTS_FILE).read_text())


def read_episodes(root: Path) -> list[Episode]:
    """The episodes as simulated, without observations."""
    with (root / STATES_FILE).open("rb") as file:
        return pickle.load(file)
