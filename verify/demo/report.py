# SPDX-License-Identifier: MIT
"""Scores predicted progress against the simulator's, and shows both in a figure and a video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from rewact.draw.style import new_figure
from rewact.draw.video import open_stream
from rewact.judge.metrics import correlation
from rewact.labels.files import write_atomically
from verify.demo.expert import Outcome
from verify.demo.simulation import FPS

TRUE_COLOR, PREDICTED_COLOR, FAILED_COLOR = "#9aa3ad", "#1f6fb4", "#c8553d"
TITLES = {
    Outcome.SUCCESS: "the block ends in the tray",
    Outcome.MISS: "the gripper misses the block",
    Outcome.DROP: "the block is dropped on the way",
}


@dataclass(frozen=True)
class Prediction:
    """One episode the policy never trained on, with what it predicted."""

    episode: int
    outcome: Outcome
    images: np.ndarray  # (T, H, W, 3) uint8 RGB, what the policy saw
    true: np.ndarray  # (T,) float32 in [0, 1], the simulator's progress
    predicted: np.ndarray  # (T,) float32 in [0, 1], the policy's reward for each single frame


def score(predictions: Sequence[Prediction]) -> dict:
    """Spearman correlation and mean absolute error against true progress, per episode and over all frames.

    `clock_spearman` is the correlation that the frame's number reaches by itself: progress in a single
    successful episode grows with time whatever the policy sees, so the correlation over all frames, failed
    attempts included, is the one that tells.
    """
    episodes = [
        {
            "episode": p.episode,
            "outcome": p.outcome.value,
            **_agreement(p.predicted, p.true),
            "final_predicted": float(p.predicted[-1]),
            "final_true": float(p.true[-1]),
        }
        for p in predictions
    ]
    groups = {"all": list(predictions), "success": [p for p in predictions if p.outcome is Outcome.SUCCESS]}
    overall = {}
    for name, group in groups.items():
        true = np.concatenate([p.true for p in group])
        clock = np.concatenate([np.arange(len(p.true)) for p in group])
        overall[name] = {
            "episodes": len(group),
            **_agreement(np.concatenate([p.predicted for p in group]), true),
            "clock_spearman": correlation(clock, true) or 0.0,
        }
    return {"overall": overall, "episodes": episodes}


def _agreement(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    error = float(np.abs(predicted - true).mean())
    # Where the truth does not change there is no rank order: no correlation.
    return {"frames": len(true), "spearman": correlation(predicted, true) or 0.0, "mae": error}


def write_figure(path: Path, predictions: Sequence[Prediction], n_frames: int = 8) -> None:
    """Draws one unseen episode as a film strip over its curves, and the others small below.

    Args:
        path: PNG to write, replaced in one step.
        predictions: at least one; the first is shown large.
        n_frames: frames of the film strip.
    """
    hero, others = predictions[0], predictions[1:7]
    with matplotlib.rc_context(_STYLE):
        figure = new_figure(10, 6.9 if others else 4.9)
        n_rows = 3 if others else 2
        outer = figure.add_gridspec(n_rows, 1, height_ratios=[1.15, 2.3, 1.75][:n_rows])
        marked = np.linspace(0, len(hero.true) - 1, n_frames).round().astype(int)
        strip = outer[0].subgridspec(1, n_frames, wspace=0.04)
        for column, t in enumerate(marked):
            axes = figure.add_subplot(strip[column])
            axes.imshow(hero.images[t], interpolation="lanczos")
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{t / FPS:.1f} s", fontsize=9, color="#555555", pad=3)
        axes = figure.add_subplot(outer[1])
        _draw_curves(axes, hero)
        axes.plot(marked / FPS, hero.predicted[marked], "o", color=PREDICTED_COLOR, markersize=4.5)
        axes.set(xlabel="time (s)", ylabel="reward")
        axes.set_title("An episode the policy has never seen", loc="left", fontweight="bold")
        axes.legend(loc="upper left", frameon=False)
        if others:
            grid = outer[2].subgridspec(1, len(others), wspace=0.06)
            for column, prediction in enumerate(others):
                axes = figure.add_subplot(grid[column])
                _draw_curves(axes, prediction)
                failed = prediction.outcome is not Outcome.SUCCESS
                axes.set_title(
                    prediction.outcome.value, fontsize=9, pad=3, color=FAILED_COLOR if failed else "#555555"
                )
                axes.set_xlabel("s", fontsize=8, labelpad=1)
                if column:
                    axes.set_yticklabels([])
        write_atomically(path, lambda part: _save_small_png(figure, part))


_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "grid.color": "#e6e8ea",
    "axes.axisbelow": True,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
}


def _color(prediction: Prediction) -> str:
    return PREDICTED_COLOR if prediction.outcome is Outcome.SUCCESS else FAILED_COLOR


def _draw_curves(axes: Axes, prediction: Prediction, filled: bool = True) -> tuple[Line2D, Line2D]:
    """Draws true and predicted progress over time, and returns the two lines."""
    seconds = np.arange(len(prediction.true)) / FPS
    if filled:
        axes.fill_between(seconds, prediction.true, color="#eceff2", linewidth=0)
    (true,) = axes.plot(seconds, prediction.true, color=TRUE_COLOR, linewidth=2, label="true progress")
    (predicted,) = axes.plot(
        seconds, prediction.predicted, color=_color(prediction), linewidth=2.2, label="predicted reward"
    )
    axes.set(xlim=(0, seconds[-1]), ylim=(-0.02, 1.05), yticks=[0, 0.5, 1])
    return true, predicted


def _save_small_png(figure: Figure, path: Path) -> None:
    """Saves with a palette: the figure has few colours, and the file shrinks to a third."""
    figure.canvas.print_figure(path, dpi=130, format="png", facecolor="white")
    image = (
        Image.open(path)
        .convert("RGB")
        .quantize(colors=192, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    )
    image.save(path, format="png", optimize=True)


def write_video(path: Path, predictions: Sequence[Prediction], view_size: int = 480) -> None:
    """Writes an mp4 (H.264) that plays each episode beside its growing curves, at the recorded speed.

    Args:
        path: mp4 to write, replaced in one step.
        predictions: the episodes to play, one after the other.
        view_size: edge of the enlarged camera view in pixels; the video is twice as wide.
    """

    def write(part: Path) -> None:
        with av.open(str(part), "w", format="mp4") as container:
            stream = open_stream(container, FPS, 2 * view_size, view_size)
            for prediction in predictions:
                panel = _CurvePanel(prediction, view_size)
                last = len(prediction.true) - 1
                for t in [*range(last + 1), *[last] * FPS]:  # the last frame stays for a second
                    view = Image.fromarray(prediction.images[t]).resize(
                        (view_size,) * 2, Image.Resampling.LANCZOS
                    )
                    picture = np.concatenate([np.asarray(view), panel.draw(t)], axis=1)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())

    write_atomically(path, write)


class _CurvePanel:
    """The right half of the video: the curves up to the present frame, the reward as a number and a bar."""

    def __init__(self, prediction: Prediction, size: int):
        self._prediction = prediction
        self._seconds = np.arange(len(prediction.true)) / FPS
        color = _color(prediction)
        with matplotlib.rc_context(_STYLE):
            figure = new_figure(size / 100, size / 100, is_arranged=False)
            self._canvas = figure.canvas
            axes = figure.add_axes((0.12, 0.12, 0.83, 0.52))
            self._true, self._predicted = _draw_curves(axes, prediction, filled=False)
            (self._now,) = axes.plot([], [], "o", color=color, markersize=7)
            axes.set_xlabel("time (s)")
            axes.legend(loc="upper left", frameon=False, fontsize=9)
            bar_axes = figure.add_axes((0.12, 0.74, 0.83, 0.05), xlim=(0, 1), ylim=(-0.4, 0.4))
            bar_axes.set_axis_off()
            bar_axes.barh(0, 1.0, color="#eceff2")
            (self._bar,) = bar_axes.barh(0, 0.0, color=color)
            figure.text(
                0.12, 0.93, f"unseen episode: {TITLES[prediction.outcome]}", fontsize=10, color="#555555"
            )
            figure.text(0.12, 0.83, "predicted reward", fontsize=11)
            self._number = figure.text(0.95, 0.83, "", fontsize=18, ha="right", weight="bold", color=color)

    def draw(self, t: int) -> np.ndarray:
        """The panel at frame `t`, `(size, size, 3)` uint8 RGB."""
        true, predicted, shown = self._prediction.true, self._prediction.predicted, slice(t + 1)
        self._true.set_data(self._seconds[shown], true[shown])
        self._predicted.set_data(self._seconds[shown], predicted[shown])
        self._now.set_data([self._seconds[t]], [predicted[t]])
        self._bar.set_width(predicted[t])
        self._number.set_text(f"{predicted[t]:.2f}")
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3]
