# SPDX-License-Identifier: MIT
"""Filming and plotting episodes with their rewards."""

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
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


@dataclass
class Visualizer:
    """Draws episodes, decoding each video frame once for all models and pictures.

    Attributes:
        table: The episodes of the dataset.
        load: Loads the data of episodes.
        cameras: Its cameras; without any, plots are all there is.
        labelled: The episodes that may be drawn by number, with their labels as predictions.
        models: The same episodes for each model.
        output_dir: Where the pictures go.
        view_height: Height in pixels of the camera views.
    """

    table: EpisodeTable
    load: EpisodeLoader
    cameras: Sequence[str]
    labelled: Mapping[int, EpisodeRewards]
    models: Mapping[str, Mapping[int, EpisodeRewards]]
    output_dir: Path
    view_height: int

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
            if not mine:
                return
            if display:
                from lerobot.utils.visualization_utils import init_rerun

                init_rerun(session_name=f"rewards of {self.table.repo_id}")
            total, hidden = sum(map(self.table.length, mine)), not state.is_main_process
            batches = load_batches(EpisodeBatches(self.load(mine), mine, BATCH_SIZE), min(num_workers, 1))
            with tqdm(total=total, desc="Drawing episodes", unit="frame", disable=hidden) as bar:
                for episode, of_episode in groupby(batches, key=itemgetter(0)):  # one by one
                    self._draw(episode, of_episode, display, bar)

    def _draw(
        self, episode: int, batches: Iterable[tuple[int, int, dict[str, Any]]], display: bool, bar: tqdm
    ) -> None:
        labelled = self.labelled[episode]
        models = {name: of_model[episode] for name, of_model in self.models.items()}
        wanted, thumbnails = set(thumbnail_frames(len(labelled.label)).tolist()), []
        with contextlib.ExitStack() as stack:
            if self.cameras:
                path, title = self._picture(episode, "mp4"), f"episode {episode}"
                video = stack.enter_context(RewardVideo(path, self.table.fps, labelled, models, title))
            for _, first, batch in batches:
                n_frames = len(batch["index"])
                images = {key: _to_uint8(batch[key]) for key in self.cameras}
                if self.cameras:
                    rows = zip(*images.values(), strict=True)
                    video.add([camera_row(row, self.view_height) for row in rows])
                    views = images[self.cameras[0]]
                    thumbnails += [views[i] for i in range(n_frames) if first + i in wanted]
                if display:
                    _stream(first, n_frames, images, labelled, models)
                bar.update(n_frames)
        # The video is whole; the plot comes last and vouches for both.
        plot_episode(
            self._picture(episode, "png"),
            labelled,
            models,
            self.table.fps,
            f"{self.table.repo_id}, episode {episode}",
            thumbnails,
            self._digest(episode),
        )

    def _picture(self, episode: int, suffix: str) -> Path:
        return self.output_dir / f"episode_{episode:06d}.{suffix}"

    def _digest(self, episode: int) -> str:
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
        is_filmed = not self.cameras or self._picture(episode, "mp4").is_file()
        return is_filmed and read_digest(self._picture(episode, "png")) == self._digest(episode)


def _stream(
    first: int,
    n_frames: int,
    images: Mapping[str, np.ndarray],
    labelled: EpisodeRewards,
    models: Mapping[str, EpisodeRewards],
) -> None:
    from lerobot.utils.visualization_utils import log_rerun_data

    for frame in range(n_frames):
        observation: dict[str, Any] = {key: image[frame] for key, image in images.items()}
        observation["reward_label"] = float(labelled.label[first + frame])
        for name, rewards in models.items():
            observation[f"reward_{name}"] = float(rewards.prediction[first + frame])
        log_rerun_data(observation=observation)


def _to_uint8(images: Any) -> np.ndarray:
    """Images of a batch, ``(n, C, H, W)`` float in [0, 1] or uint8, as uint8 ``(n, H, W, 3)``."""
    images = images.movedim(1, -1)
    if images.is_floating_point():
        images = (images * 255).round().clamp(0, 255)
    images = images.byte().cpu().numpy()
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
