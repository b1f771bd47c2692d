# SPDX-License-Identifier: MIT
"""Filming and plotting episodes with their rewards."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from torch.utils.data import DataLoader
from tqdm import tqdm

from rewact.cli.processes import together
from rewact.draw.plots import plot_episode, read_digest
from rewact.draw.video import RewardVideo, camera_row
from rewact.judge.metrics import collect_episodes
from rewact.labels import RewardLabels
from rewact.values.batches import EpisodeBatches
from rewact.values.prediction import Prediction
from rewact.values.predictor import RewardPredictor
from rewact.values.runner import EpisodeLoader, value_store
from rewact.values.value_pass import ValueStore

N_THUMBNAILS = 6


class Visualizer:
    """Draws episodes, decoding each video frame once for all models and pictures.

    Args:
        labels: Labels of the dataset.
        load: Loads episodes of the dataset.
        cameras: Its cameras; without any, plots are all there is.
        predictors: Policies by name.
        from_files: Predictions of other models by name.
        output_dir: Where the pictures go.
        view_height: Height in pixels of the camera views.
    """

    def __init__(
        self,
        labels: RewardLabels,
        load: EpisodeLoader,
        cameras: Sequence[str],
        predictors: Mapping[str, RewardPredictor],
        from_files: Mapping[str, Mapping[int, Prediction]],
        output_dir: Path,
        view_height: int,
    ):
        self.labels = labels
        self.table = labels.table
        self.load = load
        self.cameras = list(cameras)
        self.predictors = predictors
        self.from_files = from_files
        self.output_dir = output_dir
        self.view_height = view_height

    def prediction_folder(self, name: str) -> Path:
        """Where the predictions of a policy are stored."""
        return self.output_dir / "predictions" / name

    def label_predictions(self, episodes: Sequence[int]) -> dict[int, Prediction]:
        """The labels of some episodes as if they were predicted."""
        return {episode: Prediction(self._label(episode)) for episode in episodes}

    def render(self, episodes: Sequence[int], batch_size: int, num_workers: int, display: bool) -> None:
        """Write a video and a plot of each episode, unless an earlier run did so from the same rewards.

        Args:
            episodes: The episodes.
            batch_size: Frames per forward pass.
            num_workers: Processes that decode, 0 for none.
            display: Also stream to Rerun.

        Raises:
            ChildProcessError: if another process has failed.
        """
        state = PartialState()
        with together():  # the main process may empty the folders
            stores = {
                name: value_store(self.prediction_folder(name), self.table, predictor, state.is_main_process)
                for name, predictor in self.predictors.items()
            }
        mine = episodes[state.process_index :: state.num_processes]
        with together():
            mine = [episode for episode in mine if display or not self._is_drawn(episode)]
            if mine:
                self._draw(mine, stores, batch_size, num_workers, display, state.is_main_process)

    def _draw(
        self,
        mine: Sequence[int],
        stores: Mapping[str, ValueStore],
        batch_size: int,
        num_workers: int,
        display: bool,
        show_progress: bool,
    ) -> None:
        if display:
            from lerobot.utils.visualization_utils import init_rerun

            init_rerun(session_name=f"rewards of {self.table.repo_id}")
        loader = DataLoader(
            EpisodeBatches(self.load(mine), mine, batch_size),
            batch_size=None,
            num_workers=min(num_workers, 1),  # several would take turns between episodes
            multiprocessing_context="spawn" if num_workers else None,
        )
        lengths = {episode: self.table.length(episode, self.table.repo_id) for episode in mine}
        with (
            contextlib.ExitStack() as stack,
            tqdm(
                total=sum(lengths.values()),
                desc="Drawing episodes",
                unit="frame",
                disable=not show_progress,
            ) as bar,
        ):
            scene = None
            for episode, first, batch in loader:
                if first == 0:
                    scene = stack.enter_context(_Scene(self, episode, display))
                predicted = {name: predictor(batch) for name, predictor in self.predictors.items()}
                scene.add(first, batch, predicted)
                n_frames = len(batch["index"])
                if first + n_frames == lengths[episode]:
                    stack.pop_all().close()  # the video is whole; the plot comes last and vouches for both
                    for name, prediction in scene.finish().items():
                        stores[name].save(episode, prediction.as_array())
                bar.update(n_frames)

    def picture(self, episode: int, suffix: str) -> Path:
        """Where a picture of an episode goes."""
        return self.output_dir / f"episode_{episode:06d}.{suffix}"

    def digest(self, episode: int) -> str:
        """Hexadecimal digest of all that the pictures of an episode are drawn from."""
        digest = hashlib.sha256(f"{self.table.repo_id} {episode} {self.view_height}".encode())
        digest.update(self._label(episode).tobytes())
        for name, predictor in self.predictors.items():
            digest.update(f"{name} {predictor.fingerprint()}".encode())
        for name, of_model in self.from_files.items():
            digest.update(name.encode() + of_model[episode].reward.tobytes())
        return digest.hexdigest()

    def _is_drawn(self, episode: int) -> bool:
        is_filmed = not self.cameras or self.picture(episode, "mp4").is_file()
        return is_filmed and read_digest(self.picture(episode, "png")) == self.digest(episode)

    def _label(self, episode: int) -> np.ndarray:
        row = self.table.row(episode)
        return self.labels.rewards[self.table.starts[row] : self.table.ends[row]].numpy()


class _Scene:
    """One episode being drawn."""

    def __init__(self, visualizer: Visualizer, episode: int, display: bool):
        self.visualizer = visualizer
        self.episode = episode
        self.cameras = visualizer.cameras
        self.display = display
        self.label = visualizer._label(episode)
        self.names = [*visualizer.predictors, *visualizer.from_files]
        self.parts: dict[str, list[np.ndarray]] = {name: [] for name in visualizer.predictors}
        self.thumbnails: list[np.ndarray] = []
        at = np.linspace(0, len(self.label) - 1, min(N_THUMBNAILS, len(self.label)))
        self.thumbnail_frames = set(at.round().astype(int).tolist())
        self.title = f"episode {episode}"
        self.video: RewardVideo | None = None

    def __enter__(self) -> "_Scene":
        if self.cameras:
            self.video = RewardVideo(
                self.visualizer.picture(self.episode, "mp4"),
                self.visualizer.table.fps,
                self.label,
                self.names,
                self.title,
            ).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.video is not None:
            self.video.__exit__(*error)

    def add(self, first: int, batch: dict[str, Any], predicted: Mapping[str, Prediction]) -> None:
        """Draw the frames from ``first`` on."""
        for name, prediction in predicted.items():
            self.parts[name].append(prediction.as_array())
        n_frames = len(batch["index"])
        everyone = [*predicted.values()]
        for of_model in self.visualizer.from_files.values():
            everyone.append(Prediction(of_model[self.episode].reward[first : first + n_frames]))
        images = {key: _to_uint8(batch[key]) for key in self.cameras}
        if self.video is not None:
            views = [
                camera_row([images[key][frame] for key in self.cameras], self.visualizer.view_height)
                for frame in range(n_frames)
            ]
            self.video.add(np.stack(views), everyone)
            wanted = [f - first for f in sorted(self.thumbnail_frames) if first <= f < first + n_frames]
            self.thumbnails += [images[self.cameras[0]][frame] for frame in wanted]
        if self.display:
            self._stream(first, images, dict(zip(self.names, everyone, strict=True)), n_frames)

    def finish(self) -> dict[str, Prediction]:
        """Draw the plot; returns the policies' predictions of the whole episode."""
        predicted = {name: Prediction.from_array(np.concatenate(parts)) for name, parts in self.parts.items()}
        files = {name: of_model[self.episode] for name, of_model in self.visualizer.from_files.items()}
        models = {
            name: collect_episodes(self.visualizer.labels, {self.episode: prediction})[0]
            for name, prediction in (predicted | files).items()
        }
        plot_episode(
            self.visualizer.picture(self.episode, "png"),
            self.label,
            models,
            self.visualizer.table.fps,
            f"{self.visualizer.table.repo_id}, {self.title}",
            self.thumbnails,
            self.visualizer.digest(self.episode),
        )
        return predicted

    def _stream(
        self, first: int, images: dict[str, np.ndarray], models: Mapping[str, Prediction], n_frames: int
    ) -> None:
        from lerobot.utils.visualization_utils import log_rerun_data

        for frame in range(n_frames):
            observation: dict[str, Any] = {key: image[frame] for key, image in images.items()}
            observation["reward_label"] = float(self.label[first + frame])
            for name, prediction in models.items():
                observation[f"reward_{name}"] = float(prediction.reward[frame])
            log_rerun_data(observation=observation)


def _to_uint8(images: Any) -> np.ndarray:
    """Images of a batch, ``(n, C, H, W)`` float in [0, 1] or uint8, as uint8 ``(n, H, W, 3)``."""
    images = images.movedim(1, -1)
    if images.is_floating_point():
        images = (images * 255).round().clamp(0, 255)
    images = images.byte().cpu().numpy()
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
