# SPDX-License-Identifier: MIT
"""The file that keeps the advantages of a dataset.

``rewact_extensions/advantages.parquet`` in the dataset's folder has one row per frame: ``index``,
``episode_index``, ``frame_index`` (int64), ``value``, ``advantage`` (float32) and ``positive`` (bool). How
they came about is JSON in the parquet metadata, under ``rewact.advantages``.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rewact.advantages.record import require_current
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import ADVANTAGES_FILE, write_atomically
from rewact.options.errors import say_unread

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)

METADATA_KEY = b"rewact.advantages"
FORMAT = 1
COLUMNS = {
    "index": np.int64,
    "episode_index": np.int64,
    "frame_index": np.int64,
    "value": np.float32,
    "advantage": np.float32,
    "positive": np.bool_,
}
REMEDY = "compute them again with lerobot-compute-advantages"


@dataclass(frozen=True)
class AdvantageTable:
    """Advantages of some or all frames of a dataset.

    Attributes:
        columns: The arrays of the file, of one length, sorted by ``index``.
        provenance: How they were computed, as JSON values. Always has "dataset", the fingerprint of the
            dataset.
    """

    columns: dict[str, np.ndarray]
    provenance: dict[str, Any]


def dataset_fingerprint(meta: "LeRobotDatasetMetadata") -> str:
    """Tell one dataset from another by its episodes, their lengths and tasks, and its mean action.

    Independent of where the dataset lies and what it is called.
    """
    table = EpisodeTable.from_metadata(meta)
    digest = hashlib.sha256(json.dumps([table.fps, table.tasks.tolist()]).encode())
    for array in (table.episodes, table.lengths):
        digest.update(array.tobytes())
    stats = (meta.stats or {}).get("action", {})
    for name in ("mean", "std"):
        if name in stats:
            # Rounded, as statistics are stored as text.
            digest.update(np.array2string(np.ravel(stats[name]), precision=4, threshold=10_000).encode())
    return digest.hexdigest()


def write_advantage_file(path: Path, table: AdvantageTable) -> None:
    """Replace an advantages file in one step.

    Raises:
        ValueError: If a value is not finite.
        OSError: Naming the file, if it cannot be written.
    """
    columns = {name: np.asarray(table.columns[name], dtype=dtype) for name, dtype in COLUMNS.items()}
    _require_finite(path, columns)
    provenance = json.dumps({"format": FORMAT, **table.provenance}, allow_nan=False)
    content = pa.table(columns).replace_schema_metadata({METADATA_KEY: provenance})
    write_atomically(path, lambda temporary: pq.write_table(content, temporary))


def read_advantage_file(path: Path) -> AdvantageTable:
    """Read and check an advantages file on its own, see `load_advantages` for the dataset that it is of.

    Raises:
        ValueError: Naming the file, if it is missing, not an advantages file, or holds an impossible value.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; lerobot-compute-advantages computes one")
    try:
        content = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{say_unread(path, error, ' as parquet')}; {REMEDY}") from error
    metadata = (content.schema.metadata or {}).get(METADATA_KEY)
    missing = [name for name in COLUMNS if name not in content.column_names]
    if metadata is None or missing:
        lacks = f"the column {missing[0]!r}" if missing else "its metadata"
        raise ValueError(f"{path} is not an advantages file: {lacks} is missing; {REMEDY}")
    provenance = json.loads(metadata)
    if provenance.get("format") != FORMAT:
        raise ValueError(f"{path} has format {provenance.get('format')!r}, and {FORMAT} is known; {REMEDY}")
    columns = {}
    for name, dtype in COLUMNS.items():
        if content[name].null_count:
            raise ValueError(f"{path}: the column {name!r} has empty cells; {REMEDY}")
        columns[name] = content[name].to_numpy().astype(dtype)
    _require_finite(path, columns)
    order = np.argsort(columns["index"], kind="stable")
    columns = {name: column[order] for name, column in columns.items()}
    repeated = np.flatnonzero(np.diff(columns["index"]) == 0)
    if len(repeated):
        raise ValueError(f"{path}: frame {columns['index'][repeated[0]]} appears twice; {REMEDY}")
    return AdvantageTable(columns, provenance)


def load_advantages(
    meta: "LeRobotDatasetMetadata", path: Path | None = None, episodes: list[int] | None = None
) -> np.ndarray:
    """The training labels that ACTvantage is conditioned on, one per frame.

    Args:
        meta: Metadata of the dataset.
        path: The advantages file; by default the one in the dataset's folder.
        episodes: Episodes that need labels; all by default.

    Returns:
        float32 ``(N,)`` by absolute frame index: 1 where the action is positive, -1 where it is negative, NaN
        in episodes that were not asked for and are not in the file.

    Raises:
        ValueError: Naming the file, if it is missing or broken, of another dataset, lacks frames, or is of
            other labels or of another checkpoint than there are now.
    """
    table = EpisodeTable.from_metadata(meta)
    path = table.root / ADVANTAGES_FILE if path is None else Path(path).expanduser()
    content = read_advantage_file(path)
    require_same_episodes(path, content, meta, table)
    columns = content.columns
    labels = np.full(table.n_frames, np.nan, dtype=np.float32)
    labels[columns["index"]] = np.where(columns["positive"], 1.0, -1.0)
    episodes = table.episodes.tolist() if episodes is None else episodes
    rows = np.array([table.row(episode) for episode in episodes], dtype=int)
    for row in rows:
        missing = int(np.isnan(labels[table.span(row)]).sum())
        if missing:
            raise ValueError(
                f"{path} has no advantages for {missing} of the {table.lengths[row]} frames of episode "
                f"{table.episodes[row]}; {REMEDY}"
            )
    require_current(path, content.provenance, table, episodes)
    said, positive = content.provenance, labels[table.frames(rows)] > 0
    logger.info(
        f"Advantages from {path}: of {said.get('checkpoint') or 'returns alone'} "
        f"({said.get('value_type', 'unknown')} values, N = {said.get('n_steps')}, "
        f"positive_fraction = {said.get('positive_fraction')}, folds = {said.get('folds', 0)}), "
        f"{positive.mean():.1%} of {len(positive)} frames positive"
    )
    return labels


def require_same_episodes(
    path: Path, content: AdvantageTable, meta: "LeRobotDatasetMetadata", table: EpisodeTable
) -> None:
    """Check that the episodes of an advantages file are those of a dataset.

    Raises:
        ValueError: Naming the file, if they are not.
    """
    provenance, index = content.provenance, content.columns["index"]
    is_same = provenance.get("dataset") == dataset_fingerprint(meta)
    if not is_same and "episodes" in provenance:  # other episodes may have come or gone since
        episodes, first = np.unique(content.columns["episode_index"], return_index=True)
        is_same = all(
            table.has(episode, provenance["episodes"].get(str(episode)))
            and table.starts[table.row(episode)] == start
            for episode, start in zip(episodes.tolist(), index[first], strict=True)
        )
    if not is_same:
        raise ValueError(
            f"{path} is of another dataset, or {table.repo_id} has changed since: the file is of "
            f"{provenance.get('repo_id')!r} with {provenance.get('total_frames')} frames; {REMEDY}"
        )
    if len(index) and not 0 <= index[0] <= index[-1] < table.n_frames:
        raise ValueError(
            f"{path}: frame {index[-1]} is not among the {table.n_frames} of {table.repo_id}; {REMEDY}"
        )


# Settings that all advantages of a file share.
_SETTINGS = ("value_type", "n_steps", "smoothing_window", "failure_return", "folds", "checkpoint_sha256")


def keep_other_episodes(
    path: Path,
    meta: "LeRobotDatasetMetadata",
    rows: np.ndarray,
    values: np.ndarray,
    advantages: np.ndarray,
    provenance: dict[str, Any],
) -> np.ndarray:
    """Take what a file, there or not, has of other episodes, so that computing some of them leaves the rest.

    Args:
        path: The file.
        meta: Metadata of the dataset.
        rows: Rows of the episode table that were computed.
        values: float32 ``(N,)``, filled in at the other episodes.
        advantages: float32 ``(N,)``, likewise.
        provenance: How they were computed.

    Returns:
        The rows that there are advantages for now, rising.

    Raises:
        ValueError: Naming the file, if it is broken, out of date, or was computed in another way.
    """
    table = EpisodeTable.from_metadata(meta)
    if len(rows) == len(table.episodes) or not path.is_file():
        return rows
    content = read_advantage_file(path)
    require_same_episodes(path, content, meta, table)
    others = np.setdiff1d(np.unique(content.columns["episode_index"]), table.episodes[rows])
    if not len(others):
        return rows
    remedy = "compute all episodes together, or name another file with --output_path"
    for name in _SETTINGS:
        then, now = content.provenance.get(name), provenance.get(name)
        if then != now:
            raise ValueError(
                f"{path} has advantages of {len(others)} other episodes, computed with {name} {then!r} and "
                f"not {now!r}: {remedy}"
            )
    require_current(path, content.provenance, table, others.tolist())
    kept = np.isin(content.columns["episode_index"], others)
    frames = content.columns["index"][kept]
    values[frames] = content.columns["value"][kept]
    advantages[frames] = content.columns["advantage"][kept]
    return np.union1d(rows, [table.row(episode) for episode in others])


def _require_finite(path: Path, columns: dict[str, np.ndarray]) -> None:
    for name in ("value", "advantage"):
        broken = np.flatnonzero(~np.isfinite(columns[name]))
        if len(broken):
            episode, frame = (columns[of][broken[0]] for of in ("episode_index", "frame_index"))
            value = columns[name][broken[0]]
            raise ValueError(f"{path}, episode {episode}: the {name} of frame {frame} is {value}")
