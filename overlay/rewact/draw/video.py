# SPDX-License-Identifier: MIT
"""A video of an episode with its reward curves growing below the camera views."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rewact.draw.plots import LABEL_COLOR, MODEL_COLORS
from rewact.values.prediction import Prediction

PLOT_HEIGHT = 200
MIN_WIDTH = 480
TEXT_SCALE = 0.45


class RewardVideo:
    """Writes the video frame by frame; a file is there once it is complete.

    A context manager: leaving it normally puts the video in place, leaving it by an error removes what was
    written.

    Args:
        path: MP4 to write.
        fps: Frames per second.
        label: Labels of the whole episode, ``(T,)``; drawn in full from the first frame on.
        names: Names of the models.
        title: Heading.

    Raises:
        OSError: naming the file, if it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        label: np.ndarray,
        names: Sequence[str],
        title: str,
    ):
        self.path = path
        self.fps = fps
        self.label = label
        self.names = list(names)
        self.title = title
        self._temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
        self._container = None
        self._curves: list[np.ndarray] = []
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

    def add(self, views: np.ndarray, predictions: Sequence[Prediction]) -> None:
        """Append frames.

        Args:
            views: Camera views side by side, uint8 ``(n, H, W, 3)`` of one size in the whole video.
            predictions: Of these frames, one per model.
        """
        if not self._next:
            self._begin(*views.shape[1:3])
        for index, view in enumerate(views):
            for curve, prediction in zip(self._curves, predictions, strict=True):
                rows = prediction.as_array()
                curve[self._next, : rows.shape[1]] = rows[index]
            image = self._draw(view)
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            self._next += 1

    def _begin(self, view_height: int, view_width: int) -> None:
        # Up to even numbers, as yuv420p needs them.
        self.width = max(view_width + view_width % 2, MIN_WIDTH)
        self.height = view_height + view_height % 2 + PLOT_HEIGHT
        self._background, self._to_pixels = self._draw_axes()
        self._curves = [np.full((len(self.label), 3), np.nan, dtype=np.float32) for _ in self.names]
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream = self._container.add_stream(codec, rate=round(self.fps))
        self._stream.width, self._stream.height = self.width, self.height
        self._stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            self._stream.options = {"crf": "20"}

    def _draw_axes(self) -> tuple[np.ndarray, object]:
        """The plot without predictions as an image, and the map from (seconds, reward) to its pixels."""
        dpi = 100
        figure = Figure(figsize=(self.width / dpi, PLOT_HEIGHT / dpi), dpi=dpi)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((45 / self.width, 0.2, 1 - 60 / self.width, 0.62))
        time = np.arange(len(self.label)) / self.fps
        axes.plot(time, self.label, color=LABEL_COLOR, linewidth=1.2, linestyle="--")
        axes.set_xlim(0, max(time[-1], 1 / self.fps))
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.5, 1])
        axes.tick_params(labelsize=8)
        axes.set_xlabel("time (s)", fontsize=8, labelpad=1)
        axes.grid(alpha=0.3, linewidth=0.5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[..., :3].copy()

        def to_pixels(time: np.ndarray, reward: np.ndarray) -> np.ndarray:
            points = axes.transData.transform(np.column_stack([time, reward]))
            points[:, 1] = PLOT_HEIGHT - points[:, 1]
            return points.round().astype(np.int32)

        return image, to_pixels

    def _draw(self, view: np.ndarray) -> np.ndarray:
        now = self._next
        plot = self._background.copy()
        time = np.arange(now + 1) / self.fps
        values = [("label", LABEL_COLOR, float(self.label[now]))]
        for name, color, curve in zip(self.names, _cycle(MODEL_COLORS), self._curves, strict=False):
            reward, lower, upper = curve[: now + 1].T
            if not np.isnan(upper).any():
                outline = np.concatenate([self._to_pixels(time, lower), self._to_pixels(time, upper)[::-1]])
                band = plot.copy()
                cv2.fillPoly(band, [outline], _rgb(color), lineType=cv2.LINE_AA)
                plot = cv2.addWeighted(band, 0.18, plot, 0.82, 0)
            line = self._to_pixels(time, reward)
            cv2.polylines(plot, [line], False, _rgb(color), 2, cv2.LINE_AA)
            cv2.circle(plot, line[-1].tolist(), 4, _rgb(color), -1, cv2.LINE_AA)
            values.append((name, color, float(reward[-1])))
        top, bottom = self._to_pixels(np.array([now, now]) / self.fps, np.array([1.0, 0.0]))
        cv2.line(plot, top.tolist(), bottom.tolist(), (160, 160, 160), 1)
        self._write_values(plot, values)
        canvas = np.full((self.height, self.width, 3), 255, dtype=np.uint8)
        view_height, view_width = view.shape[:2]
        left = (self.width - view_width) // 2
        canvas[:view_height, left : left + view_width] = view
        canvas[-PLOT_HEIGHT:] = plot
        return canvas

    def _write_values(self, plot: np.ndarray, values: Sequence[tuple[str, str, float]]) -> None:
        """Title on the left, the current values on the right, the title cut to the room that is left."""
        right = self.width - 12
        for name, color, value in reversed(values):
            text = f"{name} {value:.2f}"
            right -= cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)[0][0]
            _put_text(plot, text, right, color)
            right -= 16
        title = self.title
        while title and 12 + cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, 1)[0][0] > right:
            title = title[:-1]
        _put_text(plot, title, 12, "#111827")


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


def _put_text(image: np.ndarray, text: str, x: int, color: str) -> None:
    text = text.encode("ascii", "replace").decode()  # the fonts of OpenCV have nothing else
    cv2.putText(image, text, (x, 20), cv2.FONT_HERSHEY_SIMPLEX, TEXT_SCALE, _rgb(color), 1, cv2.LINE_AA)


def _rgb(color: str) -> tuple[int, int, int]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def _cycle(colors: Sequence[str]) -> list[str]:
    return list(colors) * 4
