# SPDX-License-Identifier: MIT
"""The scale of RA-BC."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def rabc_scale(progress: Path, chunk_size: int, n_stds: float) -> float:
    """Mean of a dataset's gains of progress over a chunk, and so many standard deviations more.

    Args:
        progress: A progress file.
        chunk_size: Steps over which a gain is counted, fewer than there are frames.
        n_stds: Standard deviations above the mean.
    """
    table = pq.read_table(progress, columns=["episode_index", "frame_index", "progress_sparse"])
    episode, frame, value = (table[name].to_numpy() for name in table.column_names)
    order = np.lexsort((frame, episode))
    episode, value = episode[order], value[order]
    gains = (value[chunk_size:] - value[:-chunk_size])[episode[chunk_size:] == episode[:-chunk_size]]
    return float(gains.mean() + n_stds * gains.std())
