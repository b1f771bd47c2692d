# SPDX-License-Identifier: MIT
"""Filming and plotting episodes with their rewards."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from tqdm import tqdm

from rewact.draw.plots import plot_episode
from rewact.draw.style import read_digest, thumbnail_frames
from rewact.draw.video import RewardVideo, camera_row
from rewact.judge.metrics import EpisodeRewards
from rewact.labels.episodes import EpisodeTable
from rewact.values.batches import EpisodeBatches, load_batches
from rewact.values.processes import together
from rewact.values.runner import EpisodeLoader

BATCH_SIZE = 32


class Visualizer:
    """Draws episodes, decoding each video frame once for all models and pictures.

    Args:
        table: The episodes of the dataset.
        load: Loads the data of episodes.
        cameras: Its cameras; without any, plots are all there is.
        labelled: The episodes that may be drawn, with their labels as predictions.
        models: The same episodes for each model.
        output_dir: Where the pictures go.
        view_height: Height in pixels of the camera views.
    """

    def __init__(
        self,
        table: EpisodeTable,
        load: EpisodeLoader,
        cameras: Sequence[str],
        labelled: Sequence[EpisodeRewards],
        models: Mapping[str, Sequence[EpisodeRewards]],
        output_dir: Path,
        view_height: int,
    ):
        self.table = table
        self.load = load
        self.cameras = list(cameras)
        self.labelled = {rewards.episode: rewards for rewards in labelled}
        self.models = {
            name: {rewards.episode: rewards for rewards in of_model} for name, of_model in models.items()
        }
        self.output_dir = output_dir
        self.view_height = view_height

    def render(self, episodes: Sequence[int], num_workers: int, display: bool) -> None:
        """Write a video and a plot of each episode, unless an earlier run did so from the same rewards.

        Args:
            episodes: The episodes.
            num_workers: Processes that decode, 0 for none.
            display: Also stream to Rerun.

        Raises:
            ChildProcessError: if another process has failed.
        """
        state = PartialState()
        with together():
            mine = episodes[state.process_index :: state.num_processes]
            mine = [episode for episode in mine if display or not self._is_drawn(episode)]
            if mine:
                self._draw(mine, num_workers, display, state.is_main_process)

    def _draw(self, mine: Sequence[int], num_workers: int, display: bool, show_progress: bool) -> None:
        if display:
            from lerobot.utils.visualization_utils import init_rerun

            init_rerun(session_name=f"rewards of {self.table.repo_id}")
        batches = EpisodeBatches(self.load(mine), mine, BATCH_SIZE)
        lengths = {episode: int(self.table.lengths[self.table.row(episode)]) for episode in mine}
        hidden = not show_progress
        with (
            contextlib.ExitStack() as stack,
            tqdm(total=sum(lengths.values()), desc="Drawing episodes", unit="frame", disable=hidden) as bar,
        ):
            scene = None
            for episode, first, batch in load_batches(batches, min(num_workers, 1)):  # one by one
                if first == 0:
                    scene = stack.enter_context(_Scene(self, episode, display))
                scene.add(first, batch)
                n_frames = len(batch["index"])
                if first + n_frames == lengths[episode]:
                    stack.pop_all().close()  # the video is whole; the plot comes last and vouches for both
                    scene.plot()
                bar.update(n_frames)

    def picture(self, episode: int, suffix: str) -> Path:
        """Where a picture of an episode goes."""
        return self.output_dir / f"episode_{episode:06d}.{suffix}"

    def digest(self, episode: int) -> str:
        """Hexadecimal digest of all that the pictures of an episode are drawn from."""
        labelled = self.labelled[episode]
        known = (self.table.repo_id, episode, self.view_height, labelled.success, labelled.keypoints)
        digest = hashlib.sha256(repr(known).encode() + labelled.label.tobytes())
        for name, of_model in self.models.items():
            rewards = of_model[episode]
            digest.update(name.encode())
            for curve in (rewards.prediction, rewards.lower, rewards.upper):
                digest.update(b"" if curve is None else curve.tobytes())
        return digest.hexdigest()

    def _is_drawn(self, episode: int) -> bool:
        is_filmed = not self.cameras or self.picture(episode, "mp4").is_file()
        return is_filmed and read_digest(self.picture(episode, "png")) == self.digest(episode)


class _Scene:
    """One episode being drawn."""

    def __init__(self, visualizer: Visualizer, episode: int, display: bool):
        self.visualizer = visualizer
        self.episode = episode
        self.cameras = visualizer.cameras
        self.display = display
        self.labelled = visualizer.labelled[episode]
        self.models = {name: of_model[episode] for name, of_model in visualizer.models.items()}
        self.thumbnails: list[np.ndarray] = []
        self.thumbnail_frames = thumbnail_frames(len(self.labelled.label))
        self.video: RewardVideo | None = None

    def __enter__(self) -> "_Scene":
        if self.cameras:
            self.video = RewardVideo(
                self.visualizer.picture(self.episode, "mp4"),
                self.visualizer.table.fps,
                self.labelled,
                self.models,
                f"episode {self.episode}",
            ).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.video is not None:
            self.video.__exit__(*error)

    def add(self, first: int, batch: dict[str, Any]) -> None:
        """Draw the frames from ``first`` on."""
        n_frames = len(batch["index"])
        images = {key: _to_uint8(batch[key]) for key in self.cameras}
        if self.video is not None:
            height = self.visualizer.view_height
            rows = zip(*(images[key] for key in self.cameras), strict=True)
            self.video.add([camera_row(row, height) for row in rows])
            wanted = self.thumbnail_frames[
                (self.thumbnail_frames >= first) & (self.thumbnail_frames < first + n_frames)
            ]
            self.thumbnails += [images[self.cameras[0]][frame - first] for frame in wanted]
        if self.display:
            self._stream(first, images, n_frames)

    def plot(self) -> None:
        """Draw the curves."""
        plot_episode(
            self.visualizer.picture(self.episode, "png"),
            self.labelled,
            self.models,
            self.visualizer.table.fps,
            f"{self.visualizer.table.repo_id}, episode {self.episode}",
            self.thumbnails,
            self.visualizer.digest(self.episode),
        )

    def _stream(self, first: int, images: dict[str, np.ndarray], n_frames: int) -> None:
        from lerobot.utils.visualization_utils import log_rerun_data

        for frame in range(n_frames):
            observation: dict[str, Any] = {key: image[frame] for key, image in images.items()}
            observation["reward_label"] = float(self.labelled.label[first + frame])
            for name, rewards in self.models.items():
                observation[f"reward_{name}"] = float(rewards.prediction[first + frame])
            log_rerun_data(observation=observation)


def _to_uint8(images: Any) -> np.ndarray:
    """Images of a batch, ``(n, C, H, W)`` float in [0, 1] or uint8, as uint8 ``(n, H, W, 3)``."""
    images = images.movedim(1, -1)
    if images.is_floating_point():
        images = (images * 255).round().clamp(0, 255)
    images = images.byte().cpu().numpy()
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
