# SPDX-License-Identifier: MIT
"""Reading a dataset in order: the same values as by index, and every video frame decoded once."""

import av
import numpy as np
import pytest
import torch

from rewact.values import batches as episode_batches
from rewact.values.batches import EpisodeBatches, decode_in_order

from .conftest import LENGTHS, create_dataset, load_dataset

CAMERA = "observation.images.top"


@pytest.fixture(scope="module")
def video_root(tmp_path_factory):
    return create_dataset(tmp_path_factory.mktemp("video") / "data", camera="video")


@pytest.fixture
def decoded(monkeypatch):
    """Counts the frames that come out of the decoder."""
    counts = []
    original = av.open

    class Container:
        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.container.close()

        def decode(self, stream):
            for frame in self.container.decode(stream):
                counts.append(frame.pts)
                yield frame

    monkeypatch.setattr(episode_batches.av, "open", lambda path: Container(original(path)))
    return counts


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
def test_each_frame_is_decoded_once(video_root, decoded, batch_size):
    dataset = load_dataset(video_root)
    list(EpisodeBatches(dataset, [0, 1, 2, 3], batch_size))
    # At most the frame before an episode, where the search for its start ends, and the one after it.
    assert len(decoded) <= sum(LENGTHS) + 3 * len(LENGTHS)
    decoded.clear()
    list(EpisodeBatches(dataset, [2], batch_size))
    assert len(decoded) <= LENGTHS[2] + 3 and len(set(decoded)) == len(decoded)


def test_cameras_that_are_not_needed_are_not_decoded(video_root, decoded):
    (_, _, batch), *_ = EpisodeBatches(load_dataset(video_root), [0], 4, cameras=[])
    assert CAMERA not in batch and not decoded
    assert batch["observation.environment_state"].shape == (4, 3)


def test_a_time_without_a_frame(video_root):
    path = next(video_root.rglob("*.mp4"))
    with pytest.raises(ValueError, match=rf"{path}: no frame within 0.01 s of 0.0500 s"):
        list(decode_in_order(path, np.array([0.0, 0.05]), 0.01))
    with pytest.raises(ValueError, match="no frame within"):
        list(decode_in_order(path, np.array([0.0, 99.0]), 0.01))


def test_no_batches_of_nothing(video_root):
    with pytest.raises(ValueError, match="batch_size"):
        EpisodeBatches(load_dataset(video_root), [0], 0)
