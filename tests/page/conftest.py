# SPDX-License-Identifier: MIT
"""Datasets with moving pictures, and the labelling page on them."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from rewact.cli.label_page import LabelPageConfig, make_page
from rewact.options.labels import RewardLabelsConfig
from rewact.options.tools import DataOptions
from rewact.page.app import LabelPage

FPS = 10
LENGTHS = (24, 20, 28)
CAMERAS = ("observation.images.top", "observation.images.wrist")
SHAPE = (48, 64, 3)
REPO_ID = "local/page"


def brightness(frame: int) -> int:
    """Grey value of the pictures of a frame, by which a test knows the frame that it sees."""
    return 9 * frame + 6


def create(root: Path, dtype: str, lengths=LENGTHS, cameras=CAMERAS) -> Path:
    """Write a dataset whose pictures get brighter with each frame of an episode."""
    names = ["height", "width", "channels"]
    features = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        "action": {"dtype": "float32", "shape": (2,), "names": ["x", "y"]},
        **{key: {"dtype": dtype, "shape": SHAPE, "names": names} for key in cameras},
    }
    dataset = LeRobotDataset.create(REPO_ID, FPS, features, root=root, use_videos=dtype == "video")
    for episode, length in enumerate(lengths):
        for frame in range(length):
            picture = np.full(SHAPE, brightness(frame), dtype=np.uint8)
            value = np.array([frame, episode], dtype=np.float32)
            item = {"observation.state": value, "action": value, "task": ("push", "pull")[episode % 2]}
            dataset.add_frame(item | dict.fromkeys(cameras, picture))
        dataset.save_episode()
    dataset.finalize()
    return root


def encode_anew(root: Path, codec: str, **options: str) -> None:
    """Replace the videos of a dataset by ones of another codec, with the same frames at the same times."""
    for path in sorted((root / "videos").rglob("*.mp4")):
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=FPS, options=options)
            stream.height, stream.width, stream.pix_fmt = *SHAPE[:2], "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())


def multiply(root: Path, n: int) -> None:
    """Make the first episode of a dataset, with its video, ``n`` episodes."""
    (data,) = sorted((root / "data").rglob("*.parquet"))
    (meta,) = sorted((root / "meta/episodes").rglob("*.parquet"))
    frames, episodes = pd.read_parquet(data), pd.read_parquet(meta)
    frames = frames[frames["episode_index"] == 0]
    length = len(frames)
    copies = [frames.assign(episode_index=i, index=frames["index"] + i * length) for i in range(n)]
    pd.concat(copies).to_parquet(data)
    first = episodes.iloc[[0]]
    rows = [
        first.assign(episode_index=i, dataset_from_index=i * length, dataset_to_index=(i + 1) * length)
        for i in range(n)
    ]
    pd.concat(rows).to_parquet(meta)
    info = root / "meta/info.json"
    text = info.read_text().replace(f'"total_episodes": {len(episodes)}', f'"total_episodes": {n}')
    total = int(episodes["length"].sum())
    info.write_text(text.replace(f'"total_frames": {total}', f'"total_frames": {n * length}'))


@pytest.fixture(scope="session")
def video_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes seen by two cameras, H.264 with every second frame a key frame. No test writes to it."""
    root = create(tmp_path_factory.mktemp("data") / "video", "video")
    encode_anew(root, "libx264", g="2", bf="0", crf="12")
    return root


@pytest.fixture(scope="session")
def image_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with pictures in place of videos, of one camera."""
    return create(tmp_path_factory.mktemp("data") / "image", "image", cameras=CAMERAS[:1])


@pytest.fixture
def root(video_root: Path, tmp_path: Path) -> Path:
    """A copy of `video_root` that the test may write to."""
    return Path(shutil.copytree(video_root, tmp_path / "dataset"))


@pytest.fixture
def page(root: Path, tmp_path: Path) -> Callable[..., LabelPage]:
    """Make the page of a dataset, by default `root`, with any of its settings."""

    def page(
        folder: Path = root, sources: tuple[str, ...] = ("keypoints", "linear"), **settings
    ) -> LabelPage:
        settings = {"cache_dir": tmp_path / "cache", "values_dir": tmp_path / "values"} | settings
        meta = LeRobotDatasetMetadata(REPO_ID, root=folder)
        reward = RewardLabelsConfig(sources=list(sources))
        dataset = DataOptions(REPO_ID, root=str(folder), video_backend="pyav", reward=reward)
        return make_page(LabelPageConfig(dataset, **settings), meta)

    return page


@pytest.fixture
def client(page: Callable[..., LabelPage]) -> TestClient:
    """A browser on the page of `root`."""
    return browse(page())


def browse(page: LabelPage, host: str = "127.0.0.1", token: str | None = None) -> TestClient:
    """A client of a page, as if it came by that address."""
    return TestClient(page.app(host, token), base_url=f"http://{host}:8642", raise_server_exceptions=False)
