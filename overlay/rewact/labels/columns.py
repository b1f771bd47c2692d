# SPDX-License-Identifier: MIT
"""Columns of parquet files, read at once, and what several files say of the same frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rewact.labels.episodes import EpisodeTable
from rewact.options.errors import say_unread


def read_parquet(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read some columns of a parquet file, of which the ``optional`` ones may be missing.

    Raises:
        ValueError: naming the file, if it is not a whole parquet file or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            table = file.read([name for name in (*columns, *optional) if name in names])
    except (OSError, pa.ArrowException) as error:
        raise ValueError(say_unread(path, error, " as parquet")) from error
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"{path} has no column {missing[0]!r}; its columns are {', '.join(names)}")
    return {name: table[name].to_numpy() for name in table.column_names}


def read_frame_column(
    table: EpisodeTable, name: str, missing: float | bool = np.nan, is_needed: bool = True
) -> np.ndarray | None:
    """One value per frame of a column of the dataset.

    Args:
        name: A column of scalars.
        missing: Value for frames whose data is not on this machine; decides the dtype.
        is_needed: Whether it is an error if none of the data is on this machine.

    Returns:
        ``(N,)`` by absolute frame index; None if none of the data is on this machine.

    Raises:
        ValueError: naming the file, if the data cannot be read; or the dataset, if it is needed.
    """
    paths = sorted((table.root / "data").glob("*/*.parquet"))
    if not paths and is_needed:
        raise ValueError(
            f"{table.repo_id}: its column {name!r} is needed, but none of its data is in {table.root}; "
            "download the dataset first"
        )
    values = np.full(table.n_frames, missing)
    for path in paths:
        content = read_parquet(path, ["index", "episode_index", name])
        index = content["index"]
        if len(index) and not 0 <= index.min() <= index.max() < len(values):
            raise ValueError(f"{path}: frame {index.max()} is not among the {len(values)} of {table.repo_id}")
        table.require(index, content["episode_index"])
        values[index] = _scalars(content[name], f"{path}: the column {name!r}")
    return values if paths else None


def _scalars(column: np.ndarray, what: str) -> np.ndarray:
    """Numbers or flags ``(T,)`` of a column; a ValueError that starts with ``what`` if it has others."""
    if column.dtype != object or not len(column):
        return column
    values = [np.ravel(value) for value in column]  # shape (1,) is stored as lists
    for value, read in zip(column, values, strict=True):
        if read.size != 1 or read.dtype.kind not in "biuf":
            got = f"{read.size} numbers" if read.size > 1 else type(value).__name__
            raise ValueError(f"{what} must hold one number a frame, got {got}")
    return np.concatenate(values)


def set_unknown(
    values: np.ndarray, at: int | slice, value: int, unknown: int, paths: Sequence[Path], episode: int
) -> None:
    """Set what is not known yet, in place; a ValueError if another of the files says something else."""
    if value == unknown:
        return
    if np.any((values[at] != unknown) & (values[at] != value)):
        raise ValueError(
            f"{' and '.join(map(str, paths))} disagree about episode {episode}; correct one of them"
        )
    values[at] = value
