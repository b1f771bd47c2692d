# SPDX-License-Identifier: MIT
"""A video of an episode with its reward curves growing below the camera views."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from rewact.draw.plots import draw_curves
from rewact.draw.style import LABEL_COLOR, TEXT_COLOR, colors, new_figure
from rewact.judge.metrics import EpisodeRewards

PLOT_HEIGHT = 200
MIN_WIDTH = 480
TEXT_SCALE = 0.45
DPI = 100


class RewardVideo:
    """Writes the video frame by frame; a file is there once it is complete.

    The curves are drawn twice, once: without and with the predictions. Each frame shows the second picture
    up to its time, and the first from there on.

    A context manager: leaving it normally puts the video in place, leaving it by an error removes what was
    written.

    Args:
        path: MP4 to write.
        fps: Frames per second.
        labelled: The episode, with its label as prediction.
        models: Rewards of the episode by model; may be empty.
        title: Heading.

    Raises:
        OSError: naming the file, if it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        labelled: EpisodeRewards,
        models: Mapping[str, EpisodeRewards],
        title: str,
    ):
        self.path = path
        self.fps = fps
        self.labelled = labelled
        self.models = models
        self.title = title
        self._temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._container = None
        self._next = 0

    def __enter__(self) -> "RewardVideo":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._temporary), mode="w")
        except OSError as error:
            raise OSError(f"{self.path} cannot be written: {error.strerror or error}") from error
        return self

    def __exit__(self, error_type: type | None, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None and self._next:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()
        if error is None and self._next:
            os.replace(self._temporary, self.path)
        else:
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    def add(self, views: Sequence[np.ndarray]) -> None:
        """Append frames.

        Args:
            views: Camera views side by side, uint8 ``(H, W, 3)`` each, of one size in the whole video.
        """
        if not self._next:
            self._begin(*views[0].shape[:2])
        for view in views:
            image = self._compose(view)
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            self._next += 1

    def _begin(self, view_height: int, view_width: int) -> None:
        # Up to even numbers, as yuv420p needs them.
        self.width = max(view_width + view_width % 2, MIN_WIDTH)
        self.height = view_height + view_height % 2 + PLOT_HEIGHT
        self._before, _ = self._draw_plot({})
        self._after, self._columns = self._draw_plot(self.models)
        self._canvas = np.full((self.height, self.width, 3), 255, dtype=np.uint8)
        self._left = (self.width - view_width) // 2
        self._stream = open_stream(self._container, self.fps, self.width, self.height)

    def _draw_plot(self, models: Mapping[str, EpisodeRewards]) -> tuple[np.ndarray, np.ndarray]:
        """The plot as an image, and the column of pixels of each frame's time."""
        figure = new_figure(self.width / DPI, PLOT_HEIGHT / DPI, is_arranged=False)
        figure.set_dpi(DPI)
        axes = figure.add_axes((45 / self.width, 0.2, 1 - 60 / self.width, 0.62))
        draw_curves(axes, self.labelled, models, self.fps, line_width=1.4)
        axes.set_yticks([0, 0.5, 1])
        axes.tick_params(labelsize=8)
        axes.set_xlabel("time (s)", fontsize=8, labelpad=1)
        figure.canvas.draw()
        time = np.arange(len(self.labelled.label)) / self.fps
        columns = axes.transData.transform(np.column_stack([time, np.zeros_like(time)]))[:, 0]
        return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy(), columns.round().astype(int)

    def _compose(self, view: np.ndarray) -> np.ndarray:
        now = self._next
        column = self._columns[now]
        plot = self._canvas[-PLOT_HEIGHT:]
        plot[:] = self._before
        plot[:, : column + 1] = self._after[:, : column + 1]
        plot[38 : PLOT_HEIGHT - 40, column] = 160
        self._write_values(plot, now)
        self._canvas[: view.shape[0], self._left : self._left + view.shape[1]] = view
        return self._canvas

    def _write_values(self, plot: np.ndarray, now: int) -> None:
        """Title on the left, the current values on the right, the title cut to the room that is left."""
        values = [("label", LABEL_COLOR, self.labelled.label[now])]
        values += [
            (name, color, self.models[name].prediction[now]) for name, color in colors(self.models).items()
        ]
        right = self.width - 12
        for name, color, value in reversed(values):
            text = f"{name} {value:.2f}"
            right -= _text_width(text)
            _put_text(plot, text, right, color)
            right -= 16
        title = self.title
        while title and 12 + _text_width(title) > right:
            title = title[:-1]
        _put_text(plot, title, 12, TEXT_COLOR)


def open_stream(container: av.container.OutputContainer, fps: float, width: int, height: int):
    """A stream of RGB frames of an even size in a video file that players and browsers open."""
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    if codec == "libx264":
        stream.options = {"crf": "20", "preset": "veryfast"}
    return stream


def camera_row(images: Sequence[np.ndarray], height: int) -> np.ndarray:
    """Scale camera images to one height and set them side by side.

    Args:
        images: uint8 ``(H, W, 3)`` each, of any size.
        height: In pixels.

    Returns:
        uint8 ``(height, W', 3)``.
    """
    scaled = []
    for image in images:
        scale = height / image.shape[0]
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        width = max(round(image.shape[1] * scale), 1)
        scaled.append(cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=interpolation))
        scaled.append(np.full((height, 4, 3), 255, dtype=np.uint8))
    return np.concatenate(scaled[:-1], axis=1)


def _text_width(text: str) -> int:
    return cv2.getTextSize(_ascii(text), cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)[0][0]


def _put_text(image: np.ndarray, text: str, x: int, color: str) -> None:
    rgb = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    cv2.putText(image, _ascii(text), (x, 20), cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, rgb, 1, cv2.LINE_AA)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # the fonts of OpenCV have nothing else
