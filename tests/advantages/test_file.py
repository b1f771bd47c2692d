# SPDX-License-Identifier: MIT
"""The advantages file: what is read back, and all that is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewact.advantages import ADVANTAGES_FILE, AdvantageTable, load_advantages, read_advantage_file
from rewact.advantages.file import METADATA_KEY, dataset_fingerprint, write_advantage_file

from .conftest import LENGTHS, create_dataset, load_dataset

N = sum(LENGTHS)


def make_columns(n=N):
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    episodes = np.repeat(np.arange(len(LENGTHS)), LENGTHS)[:n]
    return {
        "index": np.arange(n),
        "episode_index": episodes,
        "frame_index": np.arange(n) - starts[episodes],
        "value": np.linspace(0, 1, n),
        "advantage": np.linspace(-1, 1, n),
        "positive": np.arange(n) % 3 == 0,
    }


@pytest.fixture
def meta(root):
    return load_dataset(root).meta


@pytest.fixture
def write(meta, root):
    def write(columns=None, keep=slice(None), **provenance):
        columns = {name: column[keep] for name, column in (columns or make_columns()).items()}
        provenance = {
            "dataset": dataset_fingerprint(meta),
            "repo_id": "local/tiny",
            "total_frames": N,
        } | provenance
        write_advantage_file(root / ADVANTAGES_FILE, AdvantageTable(columns, provenance))
        return root / ADVANTAGES_FILE

    return write


def test_round_trip(write, meta):
    path = write(thresholds={"push": 0.25})
    table = read_advantage_file(path)
    assert table.provenance["thresholds"] == {"push": 0.25}
    assert table.columns["value"].dtype == np.float32 and table.columns["positive"].dtype == bool
    labels = load_advantages(meta)
    assert labels.dtype == np.float32 and labels.shape == (N,)
    np.testing.assert_array_equal(labels, np.where(np.arange(N) % 3 == 0, 1, -1))


def test_the_order_of_the_rows_does_not_matter(write, meta):
    write()
    expected = load_advantages(meta)
    write(keep=np.random.default_rng(0).permutation(N))
    np.testing.assert_array_equal(load_advantages(meta), expected)


def test_missing_frames(write, meta):
    path = write(keep=np.delete(np.arange(N), 10))
    with pytest.raises(ValueError, match=rf"{path} has no advantages for 1 of the 5 frames of episode 1"):
        load_advantages(meta)
    labels = load_advantages(meta, episodes=[0, 3])
    assert np.isnan(labels[10]) and np.isnan(labels).sum() == 1


def test_another_dataset(write, meta, tmp_path):
    path = write()
    other = create_dataset(tmp_path / "other", lengths=(8, 5, 12, 4))
    with pytest.raises(ValueError, match="another dataset"):
        load_advantages(load_dataset(other).meta, path)
    # The same lengths and tasks, but other actions.
    twin = load_dataset(root=meta.root).meta
    twin.stats["action"]["mean"] = twin.stats["action"]["mean"] + 0.5
    with pytest.raises(ValueError, match="another dataset"):
        load_advantages(twin, path)


def test_a_dataset_that_was_moved_is_the_same(write, meta, tmp_path):
    import shutil

    write()
    moved = load_dataset(shutil.copytree(meta.root, tmp_path / "elsewhere"))
    np.testing.assert_array_equal(load_advantages(moved.meta), load_advantages(meta))


def test_no_file(meta, root):
    with pytest.raises(ValueError, match=r"no such file; lerobot-compute-advantages computes one"):
        load_advantages(meta)


def test_files_that_are_no_advantages(write, meta):
    path = write()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{path} cannot be read as parquet"):
        load_advantages(meta)
    pq.write_table(pa.table({"index": [0]}), path)
    with pytest.raises(ValueError, match="the column 'episode_index' is missing"):
        load_advantages(meta)
    pq.write_table(pa.table(make_columns()), path)
    with pytest.raises(ValueError, match="its metadata is missing"):
        load_advantages(meta)
    table = pa.table(make_columns()).replace_schema_metadata({METADATA_KEY: json.dumps({"format": 2})})
    pq.write_table(table, path)
    with pytest.raises(ValueError, match="format 2"):
        load_advantages(meta)


@pytest.mark.parametrize("name", ["value", "advantage"])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_values_that_are_not_finite(write, meta, name, broken):
    path = write()
    before = path.read_bytes()
    columns = make_columns()
    columns[name][9] = broken
    with pytest.raises(ValueError, match=f"episode 1: the {name} of frame 1"):
        write(columns)
    assert path.read_bytes() == before
    metadata = pq.read_schema(path).metadata
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    with pytest.raises(ValueError, match=f"episode 1: the {name} of frame 1"):
        load_advantages(meta)


def test_repeated_and_foreign_frames(write, meta):
    columns = make_columns()
    columns["index"][3] = 2
    write(columns)
    with pytest.raises(ValueError, match="frame 2 appears twice"):
        load_advantages(meta)
    columns["index"][3] = N + 5
    write(columns)
    with pytest.raises(ValueError, match=f"frame {N + 5} is not among"):
        load_advantages(meta)


def test_empty_cells(write, meta):
    path = write()
    table = pq.read_table(path)
    positive = pa.array([None] + [True] * (N - 1))
    pq.write_table(table.set_column(table.column_names.index("positive"), "positive", positive), path)
    with pytest.raises(ValueError, match="'positive' has empty cells"):
        load_advantages(meta)


def test_a_folder_that_cannot_be_written(write, root):
    path = write()
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        write()
    assert list(path.parent.glob(".*")) == []
