# SPDX-License-Identifier: MIT
"""What the command-line tools have in common: the dataset and the policy that they read."""

import os
import tempfile
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from rewact.options.errors import reason_of
from rewact.options.labels import RewardLabelsConfig

# What LeRobot decodes videos with, with a former name of pyav.
VIDEO_BACKENDS = ("torchcodec", "pyav", "video_reader")


@dataclass
class DataOptions:
    """A dataset to read, with the names that `lerobot-train` has for its options."""

    # Name of the dataset, as user/name.
    repo_id: str
    # Its folder. Default: where LeRobot keeps the dataset of that name.
    root: str | None = None
    # Ids of the episodes to read. Default: all of them.
    episodes: list[int] | None = None
    # Branch or tag on the Hub. Default: the tag of the dataset's version.
    revision: str | None = None
    # What decodes videos: torchcodec or pyav. Default: torchcodec where it can be loaded.
    video_backend: str | None = None
    # Read only the episodes that `lerobot-train` holds out with the same value, a fraction. 0: all.
    eval_split: float = 0.0
    reward: RewardLabelsConfig = field(default_factory=RewardLabelsConfig)

    def __post_init__(self) -> None:
        require_video_backend(self.video_backend)
        if not 0.0 <= self.eval_split < 1.0:
            raise ValueError(f"dataset.eval_split must be in [0, 1), got {self.eval_split}")
        if self.episodes is not None and not self.episodes:
            raise ValueError("dataset.episodes names no episode; leave it out to take all")
        negative = [episode for episode in self.episodes or [] if episode < 0]
        if negative or len(set(self.episodes or [])) != len(self.episodes or []):
            raise ValueError(f"dataset.episodes must be different ids of at least 0, got {self.episodes}")


def require_video_backend(name: str | None) -> None:
    """Check, without a video, that LeRobot can decode with what was chosen; None leaves the choice to it.

    Raises:
        ValueError: Naming the option, and what helps.
    """
    if name not in (None, *VIDEO_BACKENDS):
        raise ValueError(f"--dataset.video_backend must be one of {', '.join(VIDEO_BACKENDS)}, got {name!r}")
    if name != "torchcodec":
        return
    try:
        import_module(name)
    except (ImportError, OSError, RuntimeError) as error:  # at great length
        is_absent = isinstance(error, ModuleNotFoundError) and error.name == name
        problem = (
            "it is not installed (pip install torchcodec)"
            if is_absent
            else "FFmpeg's libraries are missing (apt-get install ffmpeg)"
        )
        raise ValueError(
            f"--dataset.video_backend=torchcodec cannot be loaded, as {problem}; pyav needs neither"
        ) from error


def require_readable(options: Any) -> None:
    """Check how a tool reads frames: so many at once, in so many processes, with such a tolerance."""
    for name, least in (("batch_size", 1), ("num_workers", 0), ("tolerance_s", 0.0)):
        value = getattr(options, name, least)
        if not value >= least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")


def require_seed(seed: int | str) -> None:
    """Check a number that numpy and torch take for a seed."""
    if not (str(seed).isdecimal() and int(seed) < 2**32):
        raise ValueError(f"--seed must be a whole number from 0 to {2**32 - 1}, got {seed}")


def require_writable(option: str, path: Path, is_file: bool = False) -> None:
    """Check, before a tool works for hours, that it can write what an option names. Nothing stays behind.

    Args:
        option: With its dashes.
        path: A folder, or the file to replace, or to make with the folders above it.
        is_file: Which of the two.

    Raises:
        ValueError: Naming option, path, and what is in the way.
    """
    place = path.parent if is_file else path
    try:
        while not _is_there(place):
            place = place.parent
        if is_file and path.is_dir():
            problem = "it is a folder"
        elif not place.is_dir():
            problem = f"{place} is not a folder"
        else:
            os.rmdir(tempfile.mkdtemp(dir=place))
            return
    except OSError as error:
        problem = f"nothing can be made in {place} ({reason_of(error)})"
    kind = "file" if is_file else "folder"
    raise ValueError(f"{option}={path} cannot be written: {problem}; name another {kind}")


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@dataclass
class PolicyOptions:
    """A trained policy to read; its other options are taken as well, as `--policy.<option>`."""

    # The checkpoint: a folder (.../pretrained_model), or a repo id on the Hub.
    path: str
    # Where it runs, such as cpu or cuda. Default: the device it was trained on, if there is one here.
    device: str | None = None
    # Run it in mixed precision. Default: as it was trained.
    use_amp: bool | None = None
    # Other options of its configuration, as text by name.
    overrides: dict[str, str] = field(default_factory=dict, metadata={"hidden": True})

    def __post_init__(self) -> None:
        folder = Path(self.path).expanduser()
        if (folder.exists() or len(folder.parts) > 2) and not (folder / "config.json").is_file():
            raise ValueError(f"{self.path} is not a checkpoint: it has no config.json")

    def flags(self) -> list[str]:
        """The options that were given, as command-line flags of the policy's configuration."""
        given = {**self.overrides}
        if self.device is not None:
            given["device"] = self.device
        if self.use_amp is not None:
            given["use_amp"] = str(self.use_amp).lower()
        return [f"--{name}={value}" for name, value in given.items()]


@dataclass
class PredictionOptions:
    """What the tools share that predict the rewards of a dataset."""

    dataset: DataOptions
    policy: PolicyOptions | None = None
    # Where predictions are kept for the next run and the other tools. Default: beside LeRobot's other caches.
    values_dir: Path | None = None
    # The policy's names for those observations that the dataset calls otherwise.
    rename_map: dict[str, str] = field(default_factory=dict)
    # Frames per forward pass.
    batch_size: int = 32
    # Processes that read data. 0: a thread.
    num_workers: int = 0
    # As in training: seconds that the timestamp of a frame and its picture in the video may lie apart.
    tolerance_s: float = 1e-4

    # Options of labels that the tool reads whatever their sources are. Not a field.
    READS = ()

    def __post_init__(self) -> None:
        require_readable(self)
        self.dataset.reward.refuse_unread(self.dataset.reward.given(), self.READS)

    def default_output_dir(self, tool: str) -> Path:
        """Where the results of a tool go unless told otherwise."""
        return Path("outputs") / tool / self.dataset.repo_id.rsplit("/", 1)[-1]
