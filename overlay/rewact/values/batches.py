# SPDX-License-Identifier: MIT
"""Reading a dataset from front to back, episode by episode.

Indexing a `LeRobotDataset` opens the video for every item, and decodes from the key frame before it.
"""

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.video_utils import decode_video_frames
from rewact.labels.episodes import EpisodeTable
from rewact.options.errors import reason_of

try:  # keeps depth and language columns whole
    from lerobot.utils.collate import lerobot_collate_fn as collate
except ImportError:  # LeRobot before 0.6
    collate = default_collate

# Bytes of decoded frames held at a time, per camera. Each call of the decoder starts at a key frame.
WINDOW_BYTES = 2**25


class EpisodeBatches(IterableDataset):
    """Batches of consecutive frames of one episode at a time, as a model's preprocessor takes them.

    Yields ``(episode_index, first_frame, batch)``: the batch holds up to ``batch_size`` frames from
    ``first_frame`` of the episode on, each key with the values that ``dataset[i]`` has under it, collated.
    See :func:`load_batches` for how to iterate over it.

    Args:
        dataset: A map-style dataset, whole or with ``episodes=[...]``. Its image transforms are not applied.
        episodes: Ids of the episodes to read, in this order.
        batch_size: Largest number of frames in a batch.
        cameras: Keys of the cameras to read; all by default.
    """

    def __init__(
        self, dataset: LeRobotDataset, episodes: list[int], batch_size: int, cameras: list[str] | None = None
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.dataset, self.episodes, self.batch_size = dataset, episodes, batch_size
        unread = set() if cameras is None else set(dataset.meta.camera_keys) - set(cameras)
        self.videos = [key for key in dataset.meta.video_keys if key not in unread]
        self.columns = [key for key in dataset.hf_dataset.column_names if key not in unread]
        # Rows of absolute frames, which are in the order of the index.
        self._index = dataset.hf_dataset.data.column("index").to_numpy()
        self._table = EpisodeTable.from_metadata(dataset.meta)

    def __iter__(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        worker = get_worker_info()
        mine = self.episodes if worker is None else self.episodes[worker.id :: worker.num_workers]
        for episode in mine:
            yield from self._read_episode(episode)

    def _read_episode(self, episode: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        meta, data = self.dataset.meta, self.dataset.hf_dataset
        row = self._table.row(episode)
        length = int(self._table.lengths[row])
        start = int(np.searchsorted(self._index, self._table.starts[row]))
        rows = data.select_columns(self.columns)
        wanted = np.arange(self._table.starts[row], self._table.ends[row])
        if not np.array_equal(self._index[start : start + length], wanted):
            raise ValueError(
                f"{meta.repo_id}, episode {episode}: the frames of its data are not those that its metadata "
                "names; copy the dataset again"
            )
        timestamps = data.data.column("timestamp").to_numpy()[start : start + length]
        is_depth = bool(set(getattr(meta, "depth_keys", ())).intersection(self.videos + self.columns))
        frames = {} if is_depth else {key: self._decode(episode, key, timestamps) for key in self.videos}
        for first in range(0, length, self.batch_size):
            stop = min(first + self.batch_size, length)
            if is_depth:  # has units and a quantization of its own, which the dataset knows to undo
                batch = collate([self.dataset[start + frame] for frame in range(first, stop)])
            else:
                batch = rows[start + first : start + stop]
                for key, values in batch.items():
                    if isinstance(values, list) and isinstance(values[0], Tensor):
                        batch[key] = torch.stack(values)
                batch |= {key: next(decoded) for key, decoded in frames.items()}
                batch["task"] = [meta.tasks.iloc[int(task)].name for task in batch["task_index"]]
            yield episode, first, batch

    def _decode(self, episode: int, key: str, timestamps: np.ndarray) -> Iterator[Tensor]:
        """The images of an episode in batches, float32 ``(n, C, H, W)`` in [0, 1]."""
        dataset, position = self.dataset, self._table.position(episode)
        path = dataset.root / dataset.meta.get_video_file_path(position, key)
        start = float(dataset.meta.episodes[position][f"videos/{key}/from_timestamp"])
        tolerance = getattr(dataset, "tolerance_s", 1e-4)
        backend = getattr(dataset, "_video_backend", None) or getattr(dataset, "video_backend", None)
        frame_bytes = int(np.prod(dataset.meta.features[key]["shape"]))
        window = max(WINDOW_BYTES // frame_bytes // self.batch_size, 1) * self.batch_size
        for first in range(0, len(timestamps), window):
            wanted = (timestamps[first : first + window].astype(np.float64) + start).tolist()
            try:
                decoded = decode_video_frames(path, wanted, tolerance, backend)
            except (RuntimeError, OSError, IndexError, av.FFmpegError) as error:
                raise ValueError(
                    f"{path}, in which {key} of episode {episode} lies, cannot be decoded "
                    f"({reason_of(error)}); copy it again, or leave the episode out with --dataset.episodes"
                ) from error
            for images in decoded.split(self.batch_size):
                yield images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images


def _worker_context() -> multiprocessing.context.BaseContext:
    """How workers start: the video decoder does not survive a fork of a process that has used it.

    A server that has only imported this module forks them; elsewhere each worker imports it itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def load_batches(batches: EpisodeBatches, num_workers: int) -> Iterable[tuple[int, int, dict[str, Any]]]:
    """Iterate over batches of episodes, each read while the caller works on the one before.

    Args:
        batches: What to read.
        num_workers: Processes that read, each its own episodes, so that several are under way at once; the
            batches of an episode come in order. 0: a thread of this process reads.
    """
    num_workers = min(num_workers, len(batches.episodes))
    if num_workers:
        context = _worker_context()
        yield from DataLoader(batches, None, num_workers=num_workers, multiprocessing_context=context)
        return
    items = iter(batches)
    with ThreadPoolExecutor(1) as reader:
        upcoming = reader.submit(next, items, None)
        while (item := upcoming.result()) is not None:
            upcoming = reader.submit(next, items, None)
            yield item
