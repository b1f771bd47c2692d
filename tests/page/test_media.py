# SPDX-License-Identifier: MIT
"""Videos and pictures for the page."""

import io
import shutil
import wave

import av
import numpy as np
import pytest
from PIL import Image

from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata
from rewact.page.media import colour_depth, inspect_video
from tests.page.conftest import CAMERAS, LENGTHS, REPO_ID, brightness, browse, encode_anew


def greys(content: bytes) -> list[int]:
    """Grey value of each frame of a video."""
    with av.open(io.BytesIO(content)) as container:
        return [round(float(frame.to_ndarray(format="gray").mean())) for frame in container.decode(video=0)]


def cameras(client, episode, plays="h264,av1"):
    return client.get(f"/api/episodes/{episode}/cameras?plays={plays}").json()["cameras"]


def test_the_datasets_own_video_is_sent_in_ranges(client, root):
    camera = cameras(client, 1)[1]
    assert camera["name"] == "wrist" and camera["ready"] and camera["start"] == pytest.approx(2.4)
    (path,) = (root / "videos" / CAMERAS[1]).rglob("*.mp4")
    assert client.get(camera["url"]).content == path.read_bytes()
    part = client.get(camera["url"], headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == path.read_bytes()[100:200]
    assert not (root.parent / "cache").exists()


def test_a_codec_that_the_browser_cannot_play_is_encoded_once(client, root, monkeypatch):
    (camera, _) = cameras(client, 1, plays="vp9")
    assert not camera["ready"] and camera["start"] == 0
    shown = greys(client.get(camera["url"]).content)
    assert len(shown) == LENGTHS[1]
    assert np.abs(np.array(shown) - [brightness(frame) for frame in range(LENGTHS[1])]).max() <= 4
    assert cameras(client, 1, plays="vp9")[0]["ready"]
    monkeypatch.setattr("rewact.page.media.encode", None)
    assert client.get(camera["url"]).status_code == 200


def test_key_frames_too_far_apart_are_encoded_closer(page, root, tmp_path):
    encode_anew(root, "libx264", g="250", keyint_min="250", sc_threshold="0", crf="12")
    client = browse(page())
    (camera, _) = cameras(client, 2)
    assert not camera["ready"]
    path = tmp_path / "episode.mp4"
    path.write_bytes(client.get(camera["url"]).content)
    codec, pixels, distance = inspect_video(path, 0.0, 9.0)
    assert (codec, pixels) == ("h264", "yuv420p") and distance <= 6
    assert np.abs(np.array(greys(path.read_bytes())) - [brightness(f) for f in range(LENGTHS[2])]).max() <= 4


def test_av1_is_sent_as_it_is_to_browsers_that_play_it(page, root):
    encode_anew(root, "libsvtav1", g="2", crf="30", preset="12")
    client = browse(page())
    assert cameras(client, 0)[0]["ready"] and not cameras(client, 0, plays="h264")[0]["ready"]


def test_pictures_become_a_video(page, image_root):
    client = browse(page(image_root))
    (camera,) = cameras(client, 1)
    shown = greys(client.get(camera["url"]).content)
    assert np.abs(np.array(shown) - [brightness(frame) for frame in range(LENGTHS[1])]).max() <= 4


def test_thumbnails_are_the_first_and_the_last_frame(client, page, image_root):
    for browser in (client, browse(page(image_root))):
        for which, frame in (("first", 0), ("last", LENGTHS[2] - 1)):
            picture = Image.open(io.BytesIO(browser.get(f"/thumbnails/2/{which}").content))
            assert abs(np.asarray(picture).mean() - brightness(frame)) <= 4
            assert browser.get(f"/thumbnails/2/{which}").status_code == 200


def test_depth_is_coloured_by_distance():
    depth = np.array([[0.0, np.nan, 500.0], [750.0, 1000.0, 5000.0]])
    colours = colour_depth(depth, near=500.0, far=1000.0).astype(int)
    assert colours[0, :2].sum() == 0
    assert len({tuple(colours[0, 2]), tuple(colours[1, 0]), tuple(colours[1, 1])}) == 3
    assert (colours[1, 1] == colours[1, 2]).all()


def test_a_broken_video_is_a_sentence_and_the_rest_works(client, root):
    (path,) = (root / "videos" / CAMERAS[0]).rglob("*.mp4")
    path.write_bytes(b"no video")
    broken, whole = cameras(client, 0)
    assert f"{path} cannot be read as a video" in broken["problem"]
    assert whole["ready"] and client.get(whole["url"]).status_code == 200
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", None))
        sound.writeframes(bytes(16000))
    said = (cameras(client, 0)[0]["problem"], client.get("/thumbnails/0/first").json()["error"])
    assert all(str(path) in each and each.endswith(": there is no picture in it") for each in said)
    path.unlink()
    assert f"{path}: the video of episode 0 is missing" in cameras(client, 0)[0]["problem"]
    assert "missing" in client.get("/thumbnails/0/first").json()["error"]
    assert client.get("/media/0/0?plays=h264").status_code == 400


def test_data_that_cannot_be_read_is_a_sentence(page, image_root, tmp_path):
    root = shutil.copytree(image_root, tmp_path / "broken")
    for path in (root / "data").rglob("*.parquet"):
        path.write_bytes(b"no table")
    client = browse(page(root))
    assert client.get("/api/episodes").json()["problems"] == []
    assert client.get("/api/episodes/0").status_code == 200
    answer = client.get(cameras(client, 0)[0]["url"])
    assert answer.status_code == 400 and "the data of local/page cannot be read" in answer.json()["error"]


def test_missing_files_that_cannot_be_downloaded_are_said(page, root):
    shutil.rmtree(root / "videos" / CAMERAS[0])
    client = browse(page())
    (problem,) = client.get("/api/episodes").json()["problems"]
    assert "parts of local/page are missing and cannot be downloaded" in problem
    assert cameras(client, 0)[1]["ready"]


def test_a_depth_camera_is_shown_in_colours(page, tmp_path):
    if not hasattr(LeRobotDatasetMetadata, "depth_keys"):
        pytest.skip("this LeRobot has no depth cameras")
    names = ["height", "width", "channels"]
    depth = {"dtype": "video", "shape": (48, 64, 1), "names": names, "info": {"is_depth_map": True}}
    state = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    features = {"action": state, "observation.state": state, "observation.depth": depth}
    root = tmp_path / "depth"
    dataset = LeRobotDataset.create(REPO_ID, 10, features, root=root, use_videos=True)
    for frame in range(6):
        distance = np.full((48, 64, 1), 500 + 300 * frame, dtype=np.uint16)
        value = np.zeros(2, dtype=np.float32)
        dataset.add_frame(
            {"action": value, "observation.state": value, "observation.depth": distance, "task": "push"}
        )
    dataset.save_episode()
    dataset.finalize()
    client = browse(page(root))
    (camera,) = cameras(client, 0)
    assert camera["start"] == 0 and not camera["ready"]
    with av.open(io.BytesIO(client.get(camera["url"]).content)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6
    assert frames[0][20, 20, 2] > frames[0][20, 20, 0] and frames[5][20, 20, 0] > frames[5][20, 20, 2]
    assert client.get("/thumbnails/0/last").status_code == 200
