# SPDX-License-Identifier: MIT
"""The benchmark's data sets as LeRobot datasets, with each episode's outcome and the simulator's states."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE

from .features import IMAGE, Encoder, open_features
from .simulation import OBSERVERS, Episode, generate, make_task

FPS = 20
INPUTS_FILE = "bench/inputs.json"
STATES_FILE = "bench/states.pkl"

# Which of the values of an `Observer` a dataset has, for each of its keys; None: an image, whole.
Inputs = dict[str, list[int] | None]


def make_dataset(root: Path, task_name: str, data_set: str, seed: int, observations: str) -> Path:
    """Generate a data set, unless it is there. Returns its folder.

    Args:
        root: Its folder.
        task_name: One of `TASKS`.
        data_set: One of `PLANS`.
        seed: Which of its instances.
        observations: One of `OBSERVERS`.
    """
    if (root / STATES_FILE).is_file():
        return root
    shutil.rmtree(root, ignore_errors=True)  # what an interrupted run left
    episodes = list(generate(make_task(task_name), data_set, seed, OBSERVERS[observations]))
    encoder, pictures = None, []
    if observations == "features":
        encoder = Encoder.of_new_data()
        pictures = [encoder.read(episode.observations.pop(IMAGE)) for episode in episodes]
        encoder.fit(pictures)
        for episode, features in zip(episodes, pictures, strict=True):
            episode.observations[OBS_ENV_STATE] = encoder.project(features)
    # Values that never change cannot be normalized.
    inputs, features = {}, {"action": {"dtype": "float32", "shape": (4,), "names": None}}
    for name, first in episodes[0].observations.items():
        if first.dtype == np.uint8:  # images
            inputs[name] = None
            features[name] = {
                "dtype": "image",
                "shape": first.shape[1:],
                "names": ["height", "width", "channels"],
            }
            continue
        values = np.concatenate([episode.observations[name] for episode in episodes])
        inputs[name] = np.flatnonzero(values.std(0) > 1e-3).tolist()
        features[name] = {"dtype": "float32", "shape": (len(inputs[name]),), "names": None}
    dataset = LeRobotDataset.create(
        f"bench/{task_name}-{data_set}", FPS, features, root=root, use_videos=False
    )
    for episode in episodes:
        for frame, action in enumerate(episode.actions):
            observed = {name: values[frame] for name, values in episode.observations.items()}
            dataset.add_frame({**keep(observed, inputs), "action": action, "task": task_name})
        dataset.save_episode()
    dataset.finalize()
    if encoder is not None:
        encoder.save(root)
        cache = open_features(read_metadata(root))
        for row, (episode, features) in enumerate(zip(episodes, pictures, strict=True)):
            states = keep(episode.observations, inputs)[OBS_STATE]
            cache.write(row, {IMAGE: features, OBS_STATE: states})
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


def read_metadata(root: Path) -> LeRobotDatasetMetadata:
    """The metadata of a data set that is there."""
    return LeRobotDatasetMetadata(f"bench/{root.name}", root=root)


def read_inputs(root: Path) -> Inputs:
    """The `Inputs` of a data set."""
    return json.loads((root / INPUTS_FILE).read_text())


def keep(observed: dict[str, np.ndarray], inputs: Inputs) -> dict[str, np.ndarray]:
    """The part of an observation, or of several, that the dataset has."""
    return {
        name: observed[name] if kept is None else observed[name][..., kept] for name, kept in inputs.items()
    }


def read_episodes(root: Path) -> list[Episode]:
    """The episodes as simulated, without observations."""
    with (root / STATES_FILE).open("rb") as file:
        return pickle.load(file)
