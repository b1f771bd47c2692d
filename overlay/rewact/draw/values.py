# SPDX-License-Identifier: MIT
"""The picture of a report on values."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rewact.draw.style import LABEL_COLOR, MODEL_COLORS, new_figure, save_figure
from rewact.judge.values import frame_slices
from rewact.labels.episodes import EpisodeTable

N_CURVES = 12
N_POINTS = 50


def plot_values(
    path: Path,
    report: dict[str, Any],
    values: np.ndarray,
    labels: np.ndarray,
    table: EpisodeTable,
    rows: np.ndarray,
) -> None:
    """Draw values over time, their calibration, their order per episode, and the controls.

    Args:
        path: PNG to write.
        report: As `judge_values` gives it.
        values: float ``(N,)`` by absolute frame index, out of fold.
        labels: float ``(N,)``.
        table: The dataset's episodes.
        rows: Rows of it that were judged.
    """
    figure = new_figure(11, 7.5)
    judged = report["values"]
    figure.suptitle(
        f"{report['dataset']}: {report['n_episodes']} episodes, out of fold, "
        f"VOC {_number(judged['voc'])}, MAE {_number(judged['mae'])}"
    )
    curves, calibration, order, controls = figure.subplots(2, 2).flat
    _draw_curves(curves, values, labels, table, rows, report["stop"])
    _draw_calibration(calibration, judged)
    order.hist(judged["voc_per_episode"], bins=np.linspace(-1, 1, 41), color=MODEL_COLORS[0])
    order.yaxis.get_major_locator().set_params(integer=True)
    order.set(title="order in time of each episode (VOC)", xlabel="VOC", ylabel="episodes")
    _draw_controls(controls, report)
    save_figure(figure, path)


def _draw_curves(
    axes: Axes,
    values: np.ndarray,
    labels: np.ndarray,
    table: EpisodeTable,
    rows: np.ndarray,
    stop: dict[str, Any] | None,
) -> None:
    time = np.linspace(0, 1, N_POINTS)
    episodes = [frames for frames in frame_slices(table, rows) if frames.stop - frames.start > 1]
    sampled = {
        name: np.array([np.interp(time, np.linspace(0, 1, len(of[f])), of[f]) for f in episodes])
        for name, of in (("values", values), ("labels", labels))
    }
    for curve in sampled["values"][:: max(len(episodes) // N_CURVES, 1)]:
        axes.plot(time, curve, color=MODEL_COLORS[0], alpha=0.25, linewidth=0.8)
    axes.plot(time, sampled["labels"].mean(0), color=LABEL_COLOR, linewidth=2, label="label, mean")
    axes.plot(time, sampled["values"].mean(0), color=MODEL_COLORS[0], linewidth=2, label="value, mean")
    if stop is not None:
        text = f"stop at {stop['threshold']:.3f}: {stop['false_stops']:.0%} false, {stop['recall']:.0%} found"
        axes.axhline(stop["threshold"], color=MODEL_COLORS[2], linestyle="--", linewidth=1, label=text)
    axes.set(title="values, some episodes and the mean", xlabel="share of the episode", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _draw_calibration(axes: Axes, judged: dict[str, Any]) -> None:
    axes.plot([0, 1], [0, 1], color=LABEL_COLOR, linewidth=1)
    axes.plot(*zip(*judged["bins"], strict=True), marker="o", color=MODEL_COLORS[0])
    axes.set(
        title=f"calibration, error {judged['ece']:.3f}",
        xlabel="value",
        ylabel="mean label",
        xlim=(0, 1),
        ylim=(0, 1),
    )


def _draw_controls(axes: Axes, report: dict[str, Any]) -> None:
    models = {"values": report["values"], **report["controls"]}
    models = {name: model for name, model in models.items() if model is not None}
    position = np.arange(len(models))
    for offset, key, color in ((-0.2, "voc", MODEL_COLORS[0]), (0.2, "mae", MODEL_COLORS[1])):
        numbers = [model[key] or 0.0 for model in models.values()]
        bars = axes.barh(position + offset, numbers, 0.38, color=color, label=key.upper())
        axes.bar_label(bars, [f"{number:.3f}" for number in numbers], fontsize=7, padding=2)
    axes.set_yticks(position, list(models), fontsize=8)
    axes.set_ylim(len(models) - 0.4, -0.6)
    left = min(0.0, *axes.get_xlim())
    axes.set_xlim(left - 0.15 if left < 0 else 0.0, 1.35)  # a negative number stands left of its bar
    axes.set_title("beside the controls")
    axes.legend(frameon=False, fontsize=8, loc="center right")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
