# SPDX-License-Identifier: MIT
"""What is computed of a dataset's frames, once: features of a backbone, rewards that a policy predicts."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import read_json, write_json
from rewact.options.errors import reason_of
from rewact.options.tools import require_writable

SOURCE_FILE = "source.json"
DONE_FILE = "done.u1"


class Stream(NamedTuple):
    """What is kept under a key: features of a camera as float16; a state, or rewards, as float32."""

    key: str
    dim: int
    dtype: str


@dataclass(frozen=True)
class FeatureCache:
    """One row per frame and stream, in files that are as large as the dataset from the start.

    Rows are read through a memory map that is closed at once, so that memory does not grow with the dataset.
    An episode counts once its flag is set, which is written after its rows; processes and shards that work on
    different episodes do not disturb each other.
    """

    folder: Path
    table: EpisodeTable
    streams: tuple[Stream, ...]
    option: str

    @classmethod
    def open(
        cls,
        folder: Path,
        table: EpisodeTable,
        streams: Iterable[Stream],
        source: Mapping[str, Any],
        option: str = "--cache_dir",
    ) -> "FeatureCache":
        """Open the cache of a source under a folder, or make an empty one.

        Args:
            folder: Folder of all caches.
            table: The dataset's episodes.
            streams: What is kept.
            source: What the features depend on, as JSON values.
            option: Chooses the folder on a command line, for messages.

        Raises:
            ValueError: Naming the folder, if it has to be made and cannot be.
        """
        source = {**source, "streams": [list(stream) for stream in streams]}
        digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
        return cls(folder / f"{table.name}-{digest[:16]}", table, tuple(streams), option)._create(source)

    def shard(self, index: int, count: int) -> "FeatureCache":
        """The part of a cache that one of several machines fills, in a folder of its own within this one."""
        folder = self.folder / f"shard_{index}_of_{count}"
        return replace(self, folder=folder)._create(read_json(self.folder / SOURCE_FILE))

    def _create(self, source: Mapping[str, Any]) -> "FeatureCache":
        if not (self.folder / SOURCE_FILE).is_file():
            require_writable(self.option, self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            sizes = {
                self._file(stream): stream.dim * np.dtype(stream.dtype).itemsize * self.table.n_frames
                for stream in self.streams
            }
            for path, size in {**sizes, self.folder / DONE_FILE: len(self.table.episodes)}.items():
                with path.open("ab") as file:
                    file.truncate(size)  # sparse: takes no space yet
            write_json(self.folder / SOURCE_FILE, source)
        return self

    def keys(self, dtype: str) -> list[str]:
        """The streams of a kind: "float16" for cameras, "float32" for states."""
        return [stream.key for stream in self.streams if stream.dtype == dtype]

    def _file(self, stream: Stream) -> Path:
        return self.folder / f"{stream.key}.{stream.dtype}"

    def _map(self, stream: Stream) -> np.memmap:
        return np.memmap(self._file(stream), stream.dtype, "r", shape=(self.table.n_frames, stream.dim))

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Those of the rows of the episode table that have no features yet."""
        return rows[np.fromfile(self.folder / DONE_FILE, np.uint8)[rows] == 0]

    def write(self, row: int, features: Mapping[str, np.ndarray]) -> None:
        """Keep the features of the episode in a row of the table, for each stream ``(T, dim)``.

        Raises:
            OSError: Naming the file, if it cannot be written, as on a full disk.
        """
        frames = self.table.span(row)
        for stream in self.streams:
            values = np.asarray(features[stream.key], stream.dtype)
            values = values.reshape(frames.stop - frames.start, stream.dim)
            _put(self._file(stream), frames.start * stream.dim * values.itemsize, values.tobytes())
        _put(self.folder / DONE_FILE, row, b"\1")

    def read(self, row: int) -> dict[str, np.ndarray]:
        """Features of an episode, for each stream ``(T, dim)`` float32."""
        frames = self.table.span(row)
        return {stream.key: self._map(stream)[frames].astype(np.float32) for stream in self.streams}

    def merge_shards(self) -> None:
        """Take over what is in the folders of shards, and remove them.

        Raises:
            ValueError: Naming the folder, if it is of other features.
        """
        for folder in sorted(self.folder.glob("shard_*_of_*")):
            source = folder / SOURCE_FILE
            if not source.is_file() or read_json(source) != read_json(self.folder / SOURCE_FILE):
                raise ValueError(f"{folder} is not a shard of {self.folder}: delete it")
            shard = replace(self, folder=folder)
            rows = self.missing(np.arange(len(self.table.episodes)))
            found = np.setdiff1d(rows, shard.missing(rows)).tolist()
            for row in found:
                self.write(row, shard.read(row))
            shutil.rmtree(folder)
            logging.info(f"Took over {len(found)} episodes from {folder.name}")


def _put(path: Path, at: int, content: bytes) -> None:
    """Replace bytes of a file. Through a memory map a full disk would kill the process without a word."""
    try:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(f"{path} cannot be written: {reason_of(error)}") from error


def episodes_digest(table: EpisodeTable) -> str:
    """Tell one dataset from another by its episodes, wherever it lies and whatever it is called."""
    arrays = (array.tolist() for array in (table.episodes, table.lengths, table.tasks))
    return hashlib.sha256(json.dumps([table.fps, *arrays, table.identities]).encode()).hexdigest()
