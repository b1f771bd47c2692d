# SPDX-License-Identifier: MIT
"""Reading a dataset in order: the same values as by index, and every video frame decoded once."""

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from rewact.values import batches
from rewact.values.batches import EpisodeBatches, load_batches

from .conftest import LENGTHS, create_dataset, load_dataset

CAMERA = "observation.images.top"


@pytest.fixture(scope="module")
def video_root(tmp_path_factory):
    return create_dataset(tmp_path_factory.mktemp("video") / "data", camera="video")


@pytest.fixture
def decoded(monkeypatch):
    """Collects the times that the decoder is asked for, and the backend."""
    asked = []
    original = batches.decode_video_frames

    def decode(path, timestamps, tolerance_s, backend):
        asked.append((timestamps, backend))
        return original(path, timestamps, tolerance_s, backend)

    monkeypatch.setattr(batches, "decode_video_frames", decode)
    return asked


@pytest.mark.parametrize("camera", ["video", "image", None])
@pytest.mark.parametrize("episodes", [None, [1, 3]])
def test_the_same_as_by_index(tmp_path, camera, episodes):
    dataset = load_dataset(create_dataset(tmp_path / "data", camera=camera), episodes=episodes)
    wanted = [0, 1, 2, 3] if episodes is None else episodes
    read = list(EpisodeBatches(dataset, wanted, batch_size=4))
    assert [(episode, first) for episode, first, _ in read] == [
        (episode, first) for episode in wanted for first in range(0, LENGTHS[episode], 4)
    ]
    items = [dataset[i] for i in range(len(dataset))]
    for key, value in items[0].items():
        if key == "task":
            assert sum((batch[key] for _, _, batch in read), []) == [item[key] for item in items]
            continue
        values = torch.cat([batch[key] for _, _, batch in read])
        expected = torch.stack([item[key] for item in items])
        assert values.dtype == value.dtype
        # Another decoder may round colours differently.
        torch.testing.assert_close(values, expected, atol=1.5 / 255 if key == CAMERA else 0, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("window", [1, 2**25])
def test_each_frame_is_decoded_once(video_root, decoded, monkeypatch, batch_size, window):
    monkeypatch.setattr(batches, "WINDOW_BYTES", window)
    list(EpisodeBatches(load_dataset(video_root), [0, 1, 2, 3], batch_size))
    times = [time for timestamps, _ in decoded for time in timestamps]
    assert len(times) == len(set(times)) == sum(LENGTHS)
    if window > 1:
        assert len(decoded) == len(LENGTHS)
    assert {backend for _, backend in decoded} == {"pyav"}  # as `load_dataset` asks for


def test_cameras_that_are_not_needed_are_not_decoded(video_root, decoded):
    (_, _, batch), *_ = EpisodeBatches(load_dataset(video_root), [0], 4, cameras=[])
    assert CAMERA not in batch and not decoded
    assert batch["observation.environment_state"].shape == (4, 3)


def test_a_time_without_a_frame(video_root):
    dataset = load_dataset(video_root, tolerance_s=-1.0)
    with pytest.raises(ValueError, match="violate the tolerance"):
        list(EpisodeBatches(dataset, [0], 4))


def test_reading_ahead_keeps_order_and_errors(video_root):
    read = EpisodeBatches(load_dataset(video_root), [2, 0], 4)
    expected = [(2, 0), (2, 4), (2, 8), (0, 0), (0, 4)]
    for num_workers in (0, 1):
        assert [(e, first) for e, first, _ in load_batches(read, num_workers)] == expected
    read.dataset.tolerance_s = None
    with pytest.raises(TypeError):
        list(load_batches(read, 0))


def test_episodes_are_read_by_id(tmp_path):
    """An episode lost in a crash leaves a gap in the ids."""
    root = create_dataset(tmp_path / "data", camera="image")
    for path in (root / "data").rglob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.filter(pc.not_equal(table["episode_index"], 1)), path)
    for path in (root / "meta" / "episodes").rglob("*.parquet"):
        frame = pd.read_parquet(path)
        frame[frame["episode_index"] != 1].to_parquet(path)
    dataset = load_dataset(root, episodes=[0, 2, 3])
    read = [
        (e, set(batch["episode_index"].tolist()), len(batch["index"]))
        for e, _, batch in EpisodeBatches(dataset, [0, 2, 3], 64)
    ]
    assert read == [(e, {e}, LENGTHS[e]) for e in (0, 2, 3)]


def test_data_that_is_not_what_the_metadata_says(tmp_path):
    """Rows of another episode were read, as far as there were any."""
    root = create_dataset(tmp_path / "data", camera=None)
    (path,) = (root / "data").rglob("*.parquet")
    table = pq.read_table(path)
    shifted = pc.add(table["index"], LENGTHS[0])
    pq.write_table(table.set_column(table.column_names.index("index"), "index", shifted), path)
    with pytest.raises(ValueError, match="episode 0: the frames of its data are not those that its metadata"):
        list(EpisodeBatches(load_dataset(root), [0], 4))


def test_a_damaged_video_is_named(tmp_path):
    """The decoder said neither which file nor which episode."""
    root = create_dataset(tmp_path / "data", camera="video")
    (path,) = (root / "videos").rglob("*.mp4")
    path.write_bytes(path.read_bytes()[:100])
    dataset = load_dataset(root)
    said = rf"{path}, in which {CAMERA} of episode 0 lies, cannot be decoded \([^\[]+\); copy it again"
    with pytest.raises(ValueError, match=said):  # without the number of the system's error
        list(EpisodeBatches(dataset, [0], 4))


def test_no_batches_of_nothing(video_root):
    with pytest.raises(ValueError, match="batch_size"):
        EpisodeBatches(load_dataset(video_root), [0], 0)
