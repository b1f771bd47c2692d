# SPDX-License-Identifier: MIT
"""Reading a dataset from front to back, episode by episode, with each video frame decoded once.

Indexing a `LeRobotDataset` seeks in the video for every item, and decodes from the key frame before it.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate, get_worker_info

from lerobot.datasets.lerobot_dataset import LeRobotDataset


class EpisodeBatches(IterableDataset):
    """Batches of consecutive frames of one episode at a time, as a model's preprocessor takes them.

    Yields ``(episode_index, first_frame, batch)``: the batch holds up to ``batch_size`` frames from
    ``first_frame`` of the episode on, each key with the values that ``dataset[i]`` has under it, collated. Of
    the cameras only those in ``cameras`` are read. Use it with ``DataLoader(..., batch_size=None)``: with
    several workers each takes whole episodes, and the batches of an episode still come in order.

    Args:
        dataset: A map-style dataset, whole or with ``episodes=[...]``. Its image transforms are not applied.
        episodes: Episodes to read, in this order.
        batch_size: Largest number of frames in a batch.
        cameras: Keys of the cameras to read; all by default.
    """

    def __init__(
        self, dataset: LeRobotDataset, episodes: list[int], batch_size: int, cameras: list[str] | None = None
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.dataset = dataset
        self.episodes = episodes
        self.batch_size = batch_size
        unread = set() if cameras is None else set(dataset.meta.camera_keys) - set(cameras)
        self.videos = [key for key in dataset.meta.video_keys if key not in unread]
        self.columns = [key for key in dataset.hf_dataset.column_names if key not in unread]
        index = dataset.hf_dataset.data.column("index").to_numpy()
        # Positions of absolute frames; the rows are in the order of the index.
        self._index = index

    def __iter__(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        worker = get_worker_info()
        mine = self.episodes if worker is None else self.episodes[worker.id :: worker.num_workers]
        for episode in mine:
            yield from self._read_episode(episode)

    def _read_episode(self, episode: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        meta = self.dataset.meta
        entry = meta.episodes[episode]
        length = int(entry["dataset_to_index"]) - int(entry["dataset_from_index"])
        start = int(np.searchsorted(self._index, int(entry["dataset_from_index"])))
        rows = self.dataset.hf_dataset.select_columns(self.columns)
        depth_keys = set(getattr(meta, "depth_keys", ()))
        is_depth = bool(depth_keys.intersection(self.videos + self.columns))
        timestamps = self.dataset.hf_dataset.data.column("timestamp").to_numpy()[start : start + length]
        decoders = {} if is_depth else {key: self._decode(episode, key, timestamps) for key in self.videos}
        for first in range(0, length, self.batch_size):
            n = min(self.batch_size, length - first)
            frames = range(start + first, start + first + n)
            if is_depth:  # has units and a quantization of its own, which the dataset knows to undo
                batch = default_collate([self.dataset[frame] for frame in frames])
            else:
                batch = {key: _stack(values) for key, values in rows[frames.start : frames.stop].items()}
                for key, decoder in decoders.items():
                    batch[key] = torch.stack(list(itertools.islice(decoder, n))).to(torch.float32) / 255
                batch["task"] = [meta.tasks.iloc[int(task)].name for task in batch["task_index"]]
            yield episode, first, batch

    def _decode(self, episode: int, key: str, timestamps: np.ndarray) -> Iterator[Tensor]:
        """The (C, H, W) uint8 frames at the given times of an episode, in seconds from its start."""
        meta = self.dataset.meta
        path = self.dataset.root / meta.get_video_file_path(episode, key)
        wanted = timestamps.astype(np.float64) + float(meta.episodes[episode][f"videos/{key}/from_timestamp"])
        tolerance = getattr(self.dataset, "tolerance_s", 1e-4)
        return decode_in_order(path, wanted, tolerance)


def decode_in_order(path: Any, timestamps: np.ndarray, tolerance_s: float) -> Iterator[Tensor]:
    """Decode the frames of a video nearest to rising timestamps, going through the video once.

    Args:
        path: The video file.
        timestamps: ``(n,)`` seconds from the video's start, rising.
        tolerance_s: Largest distance in seconds between a timestamp and its frame.

    Yields:
        ``(C, H, W)`` uint8 RGB, one per timestamp.

    Raises:
        ValueError: Naming the file and the time, if a timestamp has no frame.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        container.seek(round(float(timestamps[0]) / stream.time_base) - 1, backward=True, stream=stream)
        frames = (frame for frame in container.decode(stream) if frame.pts is not None)
        before, frame = None, next(frames, None)
        for wanted in timestamps:
            # The nearest frame is the last one before the time or the first one not before it.
            while frame is not None and frame.time < wanted:
                before, frame = frame, next(frames, None)
            candidates = [candidate for candidate in (before, frame) if candidate is not None]
            nearest = min(candidates, key=lambda candidate: abs(candidate.time - wanted), default=None)
            if nearest is None or abs(nearest.time - wanted) > tolerance_s:
                raise ValueError(f"{path}: no frame within {tolerance_s:g} s of {wanted:.4f} s")
            yield torch.from_numpy(nearest.to_ndarray(format="rgb24")).permute(2, 0, 1)


def _stack(values: Any) -> Any:
    return torch.stack(values) if isinstance(values, list) and isinstance(values[0], Tensor) else values
