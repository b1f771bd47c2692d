# SPDX-License-Identifier: MIT
"""Records the demonstrator with LeRobot's own dataset API, and labels the recording by keypoints."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
from tqdm import tqdm

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact import LeRobotDatasetWithReward
from verify.demo.expert import Outcome, record_attempt
from verify.demo.render import IMAGE_SIZE, Camera
from verify.demo.simulation import FPS

REPO_ID = "local/rewact_demo"
CAMERA_KEY = "observation.images.front"
STATE_KEY = "observation.state"
TASK = "Put the block into the blue tray."
JOINT_NAMES = ["shoulder", "elbow", "gripper"]
# It has no videos: named so that the default does not look for ffmpeg's libraries and complain.
VIDEO_BACKEND = "pyav"
TRUTH_FILE = "true_progress.json"

FEATURES = {
    CAMERA_KEY: {
        "dtype": "image",
        "shape": (IMAGE_SIZE, IMAGE_SIZE, 3),
        "names": ["height", "width", "channels"],
    },
    STATE_KEY: {"dtype": "float32", "shape": (3,), "names": JOINT_NAMES},
    "action": {"dtype": "float32", "shape": (3,), "names": JOINT_NAMES},
}


@dataclass(frozen=True)
class Truth:
    """What the simulator knows of a recorded episode and the dataset does not say."""

    outcome: Outcome
    progress: np.ndarray  # (T,) float32 in [0, 1], at each frame


def record_dataset(root: Path, outcomes: Sequence[Outcome], seed: int) -> None:
    """Records one attempt per outcome into a LeRobot dataset with reward keypoints.

    The dataset appears under its name only once it is complete: it is written to a folder beside it first.

    Args:
        root: folder of the dataset; must not exist.
        outcomes: how each attempt is to end.
        seed: the same seed gives the same dataset.
    """
    unfinished = root.with_name(root.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    datasets.disable_progress_bars()
    dataset = LeRobotDataset.create(
        REPO_ID,
        FPS,
        FEATURES,
        root=unfinished,
        robot_type="planar_arm",
        use_videos=False,
        image_writer_threads=2,
        video_backend=VIDEO_BACKEND,
    )
    camera = Camera()
    keypoints, truth = [], []
    for i, outcome in enumerate(tqdm(outcomes, desc="Recording", unit="episode")):
        episode = record_attempt((seed, i), outcome, camera)
        for image, state, action in zip(episode.images, episode.states, episode.actions, strict=True):
            dataset.add_frame({CAMERA_KEY: image, STATE_KEY: state, "action": action, "task": TASK})
        dataset.save_episode()
        keypoints.append(episode.keypoints)
        truth.append({"outcome": outcome.value, "progress": [round(float(p), 6) for p in episode.progress]})
    dataset.finalize()

    labelled = LeRobotDatasetWithReward(LeRobotDataset(REPO_ID, root=unfinished, video_backend=VIDEO_BACKEND))
    labelled.add_rewards(dict(enumerate(keypoints)))
    (unfinished / TRUTH_FILE).write_text(json.dumps(truth))
    unfinished.rename(root)


def load_truth(root: Path) -> list[Truth]:
    """The simulator's own account of each episode of a dataset made by `record_dataset`."""
    entries = json.loads((root / TRUTH_FILE).read_text())
    return [Truth(Outcome(e["outcome"]), np.array(e["progress"], dtype=np.float32)) for e in entries]
