"""The stock scripts as a user runs them, on a small dataset whose images show the progress."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests import warm
from tests.launch import ENVIRONMENT

REPO_ID = "local/bar"
N_EPISODES = 8
TRAIN = "lerobot.scripts.lerobot_train"
FPS = 10

# A few seconds of CPU for a run of some ten steps.
SMALL_POLICY = [
    "--policy.device=cpu",
    "--policy.push_to_hub=false",
    "--policy.pretrained_backbone_weights=null",
    "--policy.dim_model=32",
    "--policy.n_heads=2",
    "--policy.dim_feedforward=64",
    "--policy.n_encoder_layers=1",
    "--policy.n_vae_encoder_layers=1",
    "--policy.chunk_size=8",
    "--policy.n_action_steps=4",
]


# The files that take a minute or more, longest first: they start many processes.
LONGEST_FILES = (
    "test_readme.py",
    "test_lerobot_train.py",
    "test_processes.py",
    "test_lerobot_eval.py",
    "test_tools_in_processes.py",
    "test_stop_on_completion.py",
    "test_demo_run.py",
    "test_parity.py",
)


def pytest_collection_modifyitems(config, items):
    """Where tests run in parallel, the longest files start first: the last to start would run alone."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _rank(item.path.name))


def _rank(file: str) -> int:
    return LONGEST_FILES.index(file) if file in LONGEST_FILES else len(LONGEST_FILES)


def episode_length(episode: int) -> int:
    return 16 + 2 * episode


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory) -> Path:
    """Eight episodes in which a bar fills the 96x96 image, with the shapes of the pusht environment."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    root = tmp_path_factory.mktemp("data") / "bar"
    dataset = LeRobotDataset.create(
        repo_id=REPO_ID,
        root=root,
        fps=FPS,
        use_videos=False,
        features={
            "observation.image": {
                "dtype": "image",
                "shape": (96, 96, 3),
                "names": ["height", "width", "channel"],
            },
            "observation.state": {"dtype": "float32", "shape": (2,), "names": None},
            "action": {"dtype": "float32", "shape": (2,), "names": None},
        },
    )
    rng = np.random.default_rng(0)
    for episode in range(N_EPISODES):
        for progress in np.linspace(0, 1, episode_length(episode)):
            image = rng.integers(0, 40, (96, 96, 3), dtype=np.uint8)
            image[:, : round(progress * 96)] += 180
            position = np.array([256 * progress, 256 * (1 - progress)], np.float32)
            dataset.add_frame(
                {
                    "observation.image": image,
                    "observation.state": position,
                    "action": position + 10,
                    "task": "fill the bar",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return root


def run_script(module: str, *arguments: str, expect: int = 0, launcher: Sequence[str] | None = None) -> str:
    """Run a LeRobot script in a process and return what it printed.

    Args:
        launcher: What follows `python` in a true process of its own. By default the script starts warm.

    Raises:
        AssertionError: If the exit code is not the expected one. The message holds the output.
    """
    if launcher is None:
        ended = warm.run(module, *arguments)
        code, output = ended.code, ended.output
    else:
        command = [sys.executable, *launcher, "-m", module, *map(str, arguments)]
        result = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        code, output = result.returncode, result.stdout + result.stderr
    assert (code == 0) == (expect == 0), f"{module} {' '.join(map(str, arguments))}\n{output[-6000:]}"
    return output


def train(dataset_root: Path, output_dir: Path, *arguments: str, **kwargs) -> str:
    """`lerobot-train` on the small dataset."""
    return run_script(
        TRAIN,
        f"--dataset.repo_id={REPO_ID}",
        f"--dataset.root={dataset_root}",
        f"--output_dir={output_dir}",
        "--wandb.enable=false",
        "--num_workers=0",
        "--batch_size=8",
        *SMALL_POLICY,
        *arguments,
        **kwargs,
    )


def logged(output: str, name: str) -> list[float]:
    """Values of one metric in the training log."""
    return [float(value) for value in re.findall(rf"\b{name}:([-\d.e+]+)", output)]


def last_checkpoint(output_dir: Path) -> Path:
    return output_dir / "checkpoints" / "last" / "pretrained_model"
