# SPDX-License-Identifier: MIT
"""Videos and pictures that a browser can show.

A dataset's own video is sent as it is where the browser plays its codec and its key frames are close enough
to scrub. Everything else, pictures and depth among it, is encoded once, one file an episode, to a cache.
"""

import functools
import hashlib
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import matplotlib
import numpy as np
from PIL import Image

from lerobot.datasets.video_utils import decode_video_frames
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import write_atomically
from rewact.options.errors import reason_of, say_unread

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

# To show a frame, a browser decodes all from the key frame before it.
MAX_KEY_FRAME_DISTANCE = 30
# Codecs, and their pixel formats, that a browser may say it plays; the page asks it about these names.
PLAYABLE = {"h264": ("yuv420p", "yuvj420p"), "av1": ("yuv420p",), "vp9": ("yuv420p",), "hevc": ("yuv420p",)}
THUMBNAIL_HEIGHT = 72
TOLERANCE_S = 1e-2
DEPTH_SAMPLES = 8
# Frames that are decoded at a time.
WINDOW = 64
ENCODER = {"crf": "18", "preset": "veryfast", "g": "6", "bf": "0"}


@dataclass(frozen=True)
class Clip:
    """An episode as seen by one camera.

    Attributes:
        path: The video file, None where it is still to be encoded.
        start: Seconds from the file's start to the episode's first frame.
    """

    path: Path | None
    start: float


class Media:
    """The cameras of a dataset.

    Args:
        load: Loads the dataset, when its pictures or depth are first asked for.
        cache: Folder for what is encoded here; it may be deleted at any time.

    Attributes:
        cameras: Their keys.
    """

    def __init__(
        self, meta: "LeRobotDatasetMetadata", load: "Callable[[], LeRobotDataset]", cache: Path
    ) -> None:
        self.meta = meta
        self.table = EpisodeTable.from_metadata(meta)
        self.cameras = list(meta.camera_keys)
        self._load = load
        self._dataset: LeRobotDataset | None = None
        self._cache = cache
        self._depth = set(getattr(meta, "depth_keys", ()))
        # One encoding at a time: it takes all cores, and the page waits for the first one asked for.
        self._encoding = threading.Lock()
        self._reading = threading.Lock()

    def clip(self, episode: int, camera: str, plays: frozenset[str]) -> Clip:
        """Where to find the video of an episode, without encoding it.

        Args:
            episode: Episode id.
            camera: One of ``cameras``.
            plays: Codecs that the browser plays.

        Raises:
            ValueError: naming the file, if it is missing or broken.
        """
        if self._is_video(camera):
            path, start, end = self._span(episode, camera)
            codec, pixels, distance = _inspect(path, start, end)
            if codec in plays and pixels in PLAYABLE.get(codec, ()) and distance <= MAX_KEY_FRAME_DISTANCE:
                return Clip(path, start)
        cached = self._cached(episode, camera)
        return Clip(cached if cached.is_file() else None, 0.0)

    def file(self, episode: int, camera: str, plays: frozenset[str]) -> Path:
        """The video file of :meth:`clip`, encoded first where it has to be.

        Raises:
            ValueError: naming file and frame, if the video or the data cannot be read.
            OSError: naming the file, if the cache cannot be written.
        """
        clip = self.clip(episode, camera, plays)
        if clip.path is not None:
            return clip.path
        path = self._cached(episode, camera)
        with self._encoding:
            if not path.is_file():
                frames, fps = self._frames(episode, camera), self.table.fps
                write_atomically(path, lambda temporary: encode(temporary, frames, fps))
        return path

    def thumbnail(self, episode: int, last: bool) -> bytes:
        """A JPEG of the first or last frame of the first camera.

        Raises:
            ValueError: naming the file, if there is no camera, or the frame cannot be read.
        """
        if not self.cameras:
            raise ValueError(f"{self.table.repo_id} has no cameras")
        camera = self.cameras[0]
        path = self._cached(episode, camera, f"{'last' if last else 'first'}.jpg")
        if not path.is_file():
            frame = self.table.length(episode) - 1 if last else 0
            picture = Image.fromarray(next(self._frames(episode, camera, [frame])))
            picture.thumbnail((4 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT))
            content = io.BytesIO()
            picture.save(content, "JPEG", quality=80)
            write_atomically(path, lambda temporary: temporary.write_bytes(content.getvalue()))
        return path.read_bytes()

    def is_complete(self, episodes: Sequence[int]) -> bool:
        """Whether the files of some episodes are all on this machine."""
        cameras = (None, *self.meta.video_keys)
        paths = {self._source(episode, camera) for episode in episodes for camera in cameras}
        return all(path.is_file() for path in paths)

    def _source(self, episode: int, camera: str | None) -> Path:
        """The dataset's file with what a camera saw in an episode: a video, or that of all its other data."""
        position = self.table.position(episode)
        if camera in self.meta.video_keys:
            return Path(self.meta.root, self.meta.get_video_file_path(position, camera))
        return Path(self.meta.root, self.meta.get_data_file_path(position))

    def _is_video(self, camera: str) -> bool:
        return camera in self.meta.video_keys and camera not in self._depth

    def _span(self, episode: int, camera: str) -> tuple[Path, float, float]:
        entry, path = self.meta.episodes[self.table.position(episode)], self._source(episode, camera)
        if not path.is_file():
            raise ValueError(f"{path}: the video of episode {episode} is missing; download the dataset again")
        start, end = (float(entry[f"videos/{camera}/{side}_timestamp"]) for side in ("from", "to"))
        return path, start, end

    def _cached(self, episode: int, camera: str, name: str = "video.mp4") -> Path:
        """A file in the cache that is another one when the dataset is another one."""
        source = self._source(episode, camera)
        stat = source.stat() if source.exists() else None
        facts = (str(source), stat and stat.st_mtime_ns, stat and stat.st_size, episode, camera, ENCODER)
        digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:24]
        return self._cache / f"{digest}-{name}"

    def _frames(self, episode: int, camera: str, frames: list[int] | None = None) -> Iterator[np.ndarray]:
        """Frames of an episode as uint8 ``(H, W, 3)``, all by default."""
        if frames is None:
            frames = list(range(self.table.length(episode)))
        if self._is_video(camera):
            path, start, end = self._span(episode, camera)
            _inspect(path, start, end)
            times = start + np.array(frames) / self.table.fps
            try:
                for first in range(0, len(times), WINDOW):
                    wanted = times[first : first + WINDOW].tolist()
                    for frame in decode_video_frames(path, wanted, TOLERANCE_S, "pyav"):
                        yield (frame.permute(1, 2, 0) * 255).round().byte().numpy()
            except Exception as error:  # of whatever kind LeRobot's decoders raise
                reason = reason_of(error)
                raise ValueError(f"{path}: the video of episode {episode} is broken: {reason}") from error
            return
        if camera not in self._depth:
            for frame in frames:
                picture = self._item(episode, camera, frame)
                yield np.round(np.moveaxis(picture, 0, -1) * 255).astype(np.uint8)
            return
        length = self.table.length(episode)
        samples = np.unique(np.linspace(0, length - 1, DEPTH_SAMPLES).round().astype(int))
        near, far = _depth_range(np.stack([self._item(episode, camera, int(sample)) for sample in samples]))
        for frame in frames:
            yield colour_depth(np.squeeze(self._item(episode, camera, frame)), near, far)

    def _item(self, episode: int, camera: str, frame: int) -> np.ndarray:
        """What the dataset has of a camera at a frame."""
        with self._reading:
            if self._dataset is None:
                try:
                    self._dataset = self._load()
                except Exception as error:  # of whatever kind broken data raises
                    raise ValueError(
                        f"the data of {self.table.repo_id} cannot be read, with the pictures of {camera}: "
                        f"{reason_of(error)}"
                    ) from error
            dataset = self._dataset
            index = dataset.hf_dataset.data.column("index").to_numpy()
            row = int(np.searchsorted(index, self.table.starts[self.table.row(episode)] + frame))
            if camera in self.meta.video_keys:
                return np.asarray(dataset[row][camera])
            return np.asarray(dataset.hf_dataset.select_columns([camera])[row][camera])


def _inspect(path: Path, start: float, end: float) -> tuple[str, str, int]:
    stat = path.stat()
    return inspect_video(path, start, end, (stat.st_mtime_ns, stat.st_size))


@functools.cache
def inspect_video(path: Path, start: float, end: float, changed: Any = None) -> tuple[str, str, int]:
    """Codec, pixel format and largest distance of key frames, in frames, between two times of a video.

    The answer is remembered; ``changed`` is any value that is another one once the file is.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} cannot be read as a video: there is no picture in it")
            stream = container.streams.video[0]
            container.seek(max(0, round(start / stream.time_base)), backward=True, stream=stream)
            distance = largest = 0
            for packet in container.demux(stream):
                if packet.pts is None:
                    continue
                distance = 1 if packet.is_keyframe else distance + 1
                largest = max(largest, distance)
                if packet.pts * stream.time_base > end:
                    break
            return stream.codec.canonical_name, stream.codec_context.pix_fmt or "", largest
    except (av.FFmpegError, OSError) as error:
        raise ValueError(say_unread(path, error, " as a video")) from error


def encode(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Write frames, uint8 ``(H, W, 3)``, as H.264 that every browser plays and scrubs well.

    An odd edge is repeated, as the format has even sizes only.
    """
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = None
        for number, picture in enumerate(frames):
            height, width = picture.shape[:2]
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options=dict(ENCODER))
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.time_base = 1 / rate
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode())


def colour_depth(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Distances ``(H, W)`` as colours, uint8 ``(H, W, 3)``; black where nothing was measured."""
    values = depth.astype(np.float64)
    measured = np.isfinite(values) & (values > 0)
    place = np.clip((values - near) / max(far - near, 1e-9), 0.0, 1.0)
    colours = matplotlib.colormaps["turbo"](np.where(measured, place, 0.0), bytes=True)[..., :3]
    return np.where(measured[..., None], colours, 0).astype(np.uint8)


def _depth_range(depth: np.ndarray) -> tuple[float, float]:
    measured = depth[np.isfinite(depth) & (depth > 0)].astype(np.float64)
    if not len(measured):
        return 0.0, 1.0
    near, far = np.percentile(measured, [1, 99])
    return float(near), float(far)
