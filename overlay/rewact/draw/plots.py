# SPDX-License-Identifier: MIT
"""Pictures of reward curves and of their evaluation."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from rewact.judge.metrics import EpisodeRewards, episode_metrics
from rewact.labels.files import write_atomically

LABEL_COLOR = "#6b7280"
MODEL_COLORS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2")
WARNING_COLOR = "#b91c1c"
DIGEST = "Rewards-Digest"
MAX_OVERVIEW = 400


def plot_episode(
    path: Path,
    label: np.ndarray,
    models: Mapping[str, EpisodeRewards],
    fps: float,
    title: str,
    thumbnails: Sequence[np.ndarray] = (),
    digest: str | None = None,
) -> None:
    """Draw the curves of one episode over time, the label and one prediction per model.

    Args:
        path: PNG to write.
        label: Labels of the episode, ``(T,)``.
        models: Rewards of the episode by model; may be empty.
        fps: Frames per second.
        title: Heading.
        thumbnails: uint8 ``(H, W, 3)`` pictures at equal distances in time, drawn above the curves.
        digest: Of what is drawn, kept in the file for :func:`read_digest`.
    """
    figure = Figure(figsize=(9, 5.2 if len(thumbnails) else 3.8), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure
    if len(thumbnails):
        strip, axes = figure.subfigures(2, 1, height_ratios=(1, 2.6))
        for image, place in zip(thumbnails, np.atleast_1d(strip.subplots(1, len(thumbnails))), strict=True):
            place.imshow(image)
            place.set_axis_off()
    curves = axes.subplots()
    draw_curves(curves, label, models, fps)
    curves.set_xlabel("time (s)")
    curves.set_ylabel("reward")
    curves.legend(loc="upper left", frameon=False, fontsize=9)
    _save(figure, path, {} if digest is None else {DIGEST: digest})


def read_digest(path: Path) -> str | None:
    """The digest that a PNG was written with, None if there is no such PNG or it has none."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get(DIGEST)


def plot_overview(
    path: Path,
    labelled: Sequence[EpisodeRewards],
    models: Mapping[str, Sequence[EpisodeRewards]],
    fps: float,
    title: str,
) -> None:
    """Draw all episodes' curves on one page, with those in red that stand out.

    Of more than ``MAX_OVERVIEW`` episodes it shows that many: those that stand out, and others between them.
    An episode stands out when its prediction hardly follows time, ends low, or is far from its label,
    compared with the other episodes: over 2.5 robust standard deviations (median absolute deviation) to the
    bad side.

    Args:
        path: PNG to write.
        labelled: The episodes, at least one, with the labels as prediction.
        models: The same episodes for each model, which may be none. The first decides what stands out;
            without any, the labels do.
        fps: Frames per second.
        title: Heading.
    """
    odd = odd_episodes(next(iter(models.values()), labelled))
    shown = _overview_positions([episode.episode in odd for episode in labelled])
    if len(shown) < len(labelled):
        title += (
            f": {len(shown)} of them, {sum(labelled[i].episode in odd for i in shown)} of which stand out"
        )
    n_columns = max(1, math.ceil(math.sqrt(len(shown) * 1.6)))
    n_rows = math.ceil(len(shown) / n_columns)
    width, height = max(1.15 * n_columns, 5), max(0.95 * n_rows, 1.5) + 0.8
    # Margins in inches. With a layout engine, or a shared scale, the time would grow with n squared.
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.3 / width, 0.4 / height, 1 - 0.1 / width, 1 - 0.55 / height, 0.12, 0.3)
    figure.suptitle(title, fontsize=12, y=1 - 0.1 / height, va="top")
    for cell, position in enumerate(shown):
        axes = figure.add_subplot(n_rows, n_columns, cell + 1)
        episode = labelled[position]
        curves = {name: of_model[position] for name, of_model in models.items()}
        draw_curves(axes, episode.label, curves, fps, line_width=1.0)
        reason = odd.get(episode.episode)
        heading = f"{episode.episode}: {reason}" if reason else f"{episode.episode}"
        axes.set_title(heading, fontsize=7, color=WARNING_COLOR if reason else "#111827", pad=2)
        axes.set_xticks([])
        axes.set_yticks([0, 1], labels=None if cell % n_columns == 0 else [])
        axes.tick_params(labelsize=6, length=2)
        if reason:
            axes.set_facecolor("#fef2f2")
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False, fontsize=8)
    _save(figure, path)


def _overview_positions(odd: Sequence[bool]) -> list[int]:
    """Positions of at most ``MAX_OVERVIEW`` episodes, of which up to half are odd; both evenly spaced."""
    if len(odd) <= MAX_OVERVIEW:
        return list(range(len(odd)))
    chosen = _evenly(np.flatnonzero(odd), MAX_OVERVIEW // 2)
    others = np.setdiff1d(np.arange(len(odd)), chosen)
    return np.union1d(chosen, _evenly(others, MAX_OVERVIEW - len(chosen))).tolist()


def _evenly(positions: np.ndarray, n: int) -> np.ndarray:
    at = np.linspace(0, len(positions) - 1, min(n, len(positions)))
    return positions[at.round().astype(int)]


def odd_episodes(episodes: Sequence[EpisodeRewards]) -> dict[int, str]:
    """Episodes that stand out to the bad side, and in what; see :func:`plot_overview`."""
    rows = [episode_metrics(episode) for episode in episodes]
    odd: dict[int, str] = {}
    reasons = (("mae", 1, "off label"), ("final", -1, "ends low"), ("voc", -1, "up and down"))
    for name, sign, reason in reasons:
        values = np.array([np.nan if row[name] is None else sign * row[name] for row in rows])
        if np.isnan(values).all():
            continue
        middle = np.nanmedian(values)
        spread = 1.4826 * np.nanmedian(np.abs(values - middle))
        for row, value in zip(rows, values, strict=True):
            if value - middle > max(2.5 * spread, 0.05):
                odd[row["episode"]] = reason
    return odd


def plot_evaluation(
    path: Path,
    models: Mapping[str, Sequence[EpisodeRewards]],
    calibrations: Mapping[str, Mapping[str, Any]],
    title: str,
) -> None:
    """Draw how good predictions are: reliability, order and error per episode, final reward by outcome."""
    outcomes = any(episode.success is not None for episode in next(iter(models.values())))
    figure = Figure(figsize=(13 if outcomes else 9, 4), layout="constrained")
    figure.suptitle(title, fontsize=12)
    reliability, scatter, *rest = figure.subplots(1, 3 if outcomes else 2)

    reliability.plot([0, 1], [0, 1], color=LABEL_COLOR, linewidth=1, linestyle="--")
    for color, (name, calibration) in zip(_colors(), calibrations.items(), strict=False):
        bins = calibration["bins"]
        sizes = np.array([entry["count"] for entry in bins])
        x, y = [entry["prediction"] for entry in bins], [entry["label"] for entry in bins]
        reliability.plot(x, y, color=color, linewidth=1.5, label=f"{name} (ECE {calibration['ece']:.3f})")
        reliability.scatter(x, y, s=8 + 90 * sizes / sizes.max(), color=color, alpha=0.6)
    reliability.set(
        xlabel="predicted reward", ylabel="mean label", title="Reliability", xlim=(0, 1), ylim=(0, 1)
    )
    reliability.legend(frameon=False, fontsize=8)

    for color, (name, episodes) in zip(_colors(), models.items(), strict=False):
        rows = [row for row in map(episode_metrics, episodes) if row["voc"] is not None]
        scatter.scatter(
            [row["voc"] for row in rows],
            [row["mae"] for row in rows],
            s=14,
            color=color,
            alpha=0.7,
            label=name,
        )
    scatter.set(xlabel="order in time (VOC)", ylabel="mean absolute error", title="Episodes")
    scatter.set_ylim(bottom=0)
    scatter.legend(frameon=False, fontsize=8)

    for axes in rest:
        for color, (name, episodes) in zip(_colors(), models.items(), strict=False):
            for success, style in ((True, "-"), (False, "--")):
                final = np.sort([e.prediction[-1] for e in episodes if e.success is success])
                if len(final):
                    fraction = np.arange(1, len(final) + 1) / len(final)
                    word = "success" if success else "failure"
                    axes.step(
                        final, fraction, where="post", color=color, linestyle=style, label=f"{name}, {word}"
                    )
        axes.set(xlabel="final predicted reward", ylabel="fraction of episodes below", title="Outcomes")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_curves(
    axes: Axes, label: np.ndarray, models: Mapping[str, EpisodeRewards], fps: float, line_width: float = 1.8
) -> None:
    """Draw label, predictions and uncertainty bands of one episode into given axes."""
    time = np.arange(len(label)) / fps
    axes.plot(time, label, color=LABEL_COLOR, linewidth=line_width, linestyle="--", label="label")
    for color, (name, rewards) in zip(_colors(), models.items(), strict=False):
        if rewards.lower is not None and rewards.upper is not None:
            axes.fill_between(time, rewards.lower, rewards.upper, color=color, alpha=0.15, linewidth=0)
        axes.plot(time, rewards.prediction, color=color, linewidth=line_width, label=name)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlim(0, max(time[-1], 1 / fps))
    axes.grid(alpha=0.25, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _colors() -> list[str]:
    return list(MODEL_COLORS) * 4


def _save(figure: Figure, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130, metadata=metadata))
