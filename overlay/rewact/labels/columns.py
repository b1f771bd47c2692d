# SPDX-License-Identifier: MIT
"""Columns of a dataset's own data, read at once."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rewact.labels.episodes import EpisodeTable


def read_parquet(path: Path, columns: list[str]) -> dict[str, np.ndarray]:
    """Read some columns of a parquet file.

    Raises:
        ValueError: naming the file, if it is not a whole parquet file or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name not in file.schema_arrow.names]
            if missing:
                names = ", ".join(file.schema_arrow.names)
                raise ValueError(f"{path} has no column {missing[0]!r}; its columns are {names}")
            table = file.read(columns)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(f"{path} cannot be read as parquet: {error}") from error
    return {name: table[name].to_numpy() for name in columns}


def read_frame_column(table: EpisodeTable, name: str, missing: float | bool) -> np.ndarray | None:
    """One value per frame of a column of the dataset.

    Args:
        table: The dataset's episodes.
        name: A column of scalars.
        missing: Value for frames whose data is not on this machine; decides the dtype.

    Returns:
        ``(N,)`` by absolute frame index; None if none of the data is on this machine.

    Raises:
        ValueError: naming the file, if the data cannot be read.
    """
    paths = sorted((table.root / "data").glob("*/*.parquet"))
    if not paths:
        return None
    values = np.full(table.n_frames, missing)
    for path in paths:
        content = read_parquet(path, ["index", name])
        index = content["index"]
        if len(index) and not 0 <= index.min() <= index.max() < len(values):
            raise ValueError(f"{path}: frame {index.max()} is not among the {len(values)} of {table.repo_id}")
        column = content[name]
        if column.dtype == object:  # shape (1,) stored as a list
            column = np.array([np.ravel(value)[0] for value in column])
        values[index] = column
    return values
