# SPDX-License-Identifier: MIT
"""The video of an episode, over cameras of all sizes."""

import random

import av
import numpy as np
import pytest

from rewact.draw import video as video_module
from rewact.draw.video import PLOT_HEIGHT, RewardVideo, camera_row
from rewact.judge.metrics import EpisodeRewards

# The pixels of cameras that people have; three of the last are an odd row of 1289 pixels.
CAMERAS = ((480, 640), (96, 96), (84, 84), (376, 672), (1080, 1920), (720, 1280))


def film(path, shapes, height):
    """Two frames of cameras with these shapes; returns the row of views and the last frame of the video."""
    label = np.array([0.0, 1.0], dtype=np.float32)
    view = camera_row([np.full((*shape, 3), 90, dtype=np.uint8) for shape in shapes], height)
    rewards = EpisodeRewards(0, label, label)
    with RewardVideo(path, 10, rewards, {"model": rewards}, "title") as video:
        video.add([view, view])
    with av.open(str(path)) as stored:
        frames = [frame.to_ndarray(format="rgb24") for frame in stored.decode(video=0)]
    assert len(frames) == 2
    return view, frames[-1]


def check(path, shapes, height):
    view, frame = film(path, shapes, height)
    assert frame.shape[0] % 2 == frame.shape[1] % 2 == 0
    assert frame.shape[0] in (height + PLOT_HEIGHT, height + PLOT_HEIGHT + 1)
    assert frame.shape[1] in (480, view.shape[1], view.shape[1] + 1)
    left = (frame.shape[1] - view.shape[1]) // 2
    shown = frame[:height, left : left + view.shape[1]].astype(int)
    assert np.abs(shown - view).mean() < 5  # all of the views, but for the compression
    assert frame[-PLOT_HEIGHT:].mean() > 200  # the plot is below them


@pytest.mark.parametrize(
    ("shapes", "height"),
    [
        ([(480, 640), (720, 1280)], 240),  # 751 pixels
        ([(720, 1280)] * 3, 240),  # 1289
        ([(480, 640)], 241),
        ([(96, 96)], 33),
    ],
)
def test_odd_sizes(tmp_path, shapes, height):
    check(tmp_path / "video.mp4", shapes, height)


def test_any_cameras(tmp_path):
    choose = random.Random(0)
    for i in range(12):
        shapes = choose.choices(CAMERAS, k=choose.randint(1, 4))
        check(tmp_path / f"{i}.mp4", shapes, choose.randint(32, 300))


@pytest.mark.parametrize("length", [2, 40])
def test_curves_are_drawn_twice_however_long_the_episode_is(tmp_path, monkeypatch, length):
    """Once without and once with the predictions, which the frames then uncover."""
    drawn = []
    draw = video_module.draw_curves
    monkeypatch.setattr(video_module, "draw_curves", lambda *args, **kw: drawn.append(draw(*args, **kw)))
    rewards = EpisodeRewards(0, np.linspace(0, 1, length), np.linspace(0, 1, length))
    view = np.full((32, 64, 3), 90, dtype=np.uint8)
    with RewardVideo(tmp_path / "video.mp4", 10, rewards, {"model": rewards}, "title") as video:
        video.add([view] * length)
    assert len(drawn) == 2
