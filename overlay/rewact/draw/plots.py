# SPDX-License-Identifier: MIT
"""Pictures of reward curves and of their evaluation."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from rewact.draw.style import (
    LABEL_COLOR,
    OUTCOME_COLORS,
    OUTCOME_WORDS,
    WARNING_COLOR,
    colors,
    draw_strip,
    evenly,
    new_figure,
    save_figure,
    thumbnail_frames,
    unit_axes,
    write_doubts,
)
from rewact.judge.doubts import model_doubts
from rewact.judge.metrics import EpisodeRewards, episode_metrics

MAX_OVERVIEW = 400
BAND_NAME = "80 % band"
# Metrics by which an episode stands out where they are high (1) or low (-1), in words for its heading and for
# the key.
ODDITIES = (
    ("mae", 1, "off label", "further from its label"),
    ("final", -1, "ends low", "ends lower"),
    ("voc", -1, "up and down", "rises less steadily"),
)


def plot_episode(
    path: Path,
    labelled: EpisodeRewards,
    models: Mapping[str, EpisodeRewards],
    fps: float,
    title: str,
    thumbnails: Sequence[np.ndarray] = (),
    digest: str | None = None,
) -> None:
    """Draw the curves of one episode over time, the label and one prediction per model.

    Args:
        path: PNG to write.
        labelled: The episode, with its label as prediction.
        models: Rewards of the episode by model; may be empty.
        fps: Frames per second.
        title: Heading, to which the outcome is added.
        thumbnails: uint8 ``(H, W, 3)`` pictures of the frames of :func:`thumbnail_frames`.
        digest: Of what is drawn, kept in the file.
    """
    figure = new_figure(9, 5.2 if len(thumbnails) else 3.8)
    outcome = labelled.success
    figure.suptitle(f"{title}: {OUTCOME_WORDS[outcome]}", fontsize=11, color=OUTCOME_COLORS[outcome])
    place = figure
    if len(thumbnails):
        strip, place = figure.subfigures(2, 1, height_ratios=(1, 2.6))
        draw_strip(strip, thumbnails, thumbnail_frames(len(labelled.label)) / fps)
    curves = place.subplots()
    draw_curves(curves, labelled, models, fps)
    curves.set_xlabel("time (s)")
    curves.set_ylabel("reward")
    curves.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    save_figure(figure, path, digest)


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
    sentences = [f"{name}: {doubt}" for name, episodes in models.items() for doubt in model_doubts(episodes)]
    n_columns = max(1, math.ceil(math.sqrt(len(shown) * 1.6)))
    n_rows = math.ceil(len(shown) / n_columns)
    width = max(1.15 * n_columns, 6)
    sentences = [line for sentence in sentences for line in textwrap.wrap(sentence, int(14 * width))][::-1]
    key = textwrap.wrap(_overview_key([labelled[i] for i in shown], odd), int(19 * width))[::-1]
    foot = 0.4 + 0.15 * len(key) + 0.2 * len(sentences)  # the legend, what the marks mean, the sentences
    height = max(0.95 * n_rows, 1.5) + 0.4 + foot
    # Margins in inches. With a layout engine, or a shared scale, the time would grow with n squared.
    figure = new_figure(width, height, is_arranged=False)
    figure.subplots_adjust(0.3 / width, foot / height, 1 - 0.1 / width, 1 - 0.55 / height, 0.12, 0.3)
    figure.suptitle(title, fontsize=12, y=1 - 0.1 / height, va="top")
    for cell, position in enumerate(shown):
        axes = figure.add_subplot(n_rows, n_columns, cell + 1)
        episode = labelled[position]
        curves = {name: of_model[position] for name, of_model in models.items()}
        draw_curves(axes, episode, curves, fps, line_width=1.0)
        reason = odd.get(episode.episode)
        mark = {True: " \N{CHECK MARK}", False: " \N{BALLOT X}", None: ""}[episode.success]
        heading = f"{episode.episode}{mark}" + (f": {reason}" if reason else "")
        axes.set_title(heading, fontsize=7, color=OUTCOME_COLORS[episode.success], pad=2)
        axes.set_xticks([])
        axes.set_yticks([0, 1], labels=None if cell % n_columns == 0 else [])
        axes.tick_params(labelsize=6, length=2)
        if reason:
            axes.set_facecolor("#fef2f2")
    handles, names = axes.get_legend_handles_labels()
    for line, words in enumerate(key):
        figure.text(0.01, (0.3 + 0.15 * line) / height, words, fontsize=7, color=LABEL_COLOR, ha="left")
    figure.legend(handles, names, loc="lower right", ncols=len(names), frameon=False, fontsize=8)
    for line, sentence in enumerate(sentences):
        y = (0.3 + 0.15 * len(key) + 0.2 * line) / height
        figure.text(0.01, y, sentence, fontsize=8, color=WARNING_COLOR, fontweight="bold")
    save_figure(figure, path)


def _overview_key(shown: Sequence[EpisodeRewards], odd: Mapping[int, str]) -> str:
    """What the headings of an overview's episodes mean, of marks and words that are there."""
    parts = ["all axes 0 to 1"]
    if any(episode.success is not None for episode in shown):
        parts.append("\N{CHECK MARK} success, \N{BALLOT X} failure")
    reasons = {odd[episode.episode] for episode in shown if episode.episode in odd}
    parts += [
        f"{reason}: {meaning} than the other episodes"
        for _, _, reason, meaning in ODDITIES
        if reason in reasons
    ]
    return "; ".join(parts)


def _overview_positions(odd: Sequence[bool]) -> list[int]:
    """Positions of at most ``MAX_OVERVIEW`` episodes, of which up to half are odd; both evenly spaced."""
    if len(odd) <= MAX_OVERVIEW:
        return list(range(len(odd)))
    chosen = evenly(np.flatnonzero(odd), MAX_OVERVIEW // 2)
    others = np.setdiff1d(np.arange(len(odd)), chosen)
    return np.union1d(chosen, evenly(others, MAX_OVERVIEW - len(chosen))).tolist()


def odd_episodes(episodes: Sequence[EpisodeRewards]) -> dict[int, str]:
    """Episodes that stand out to the bad side, and in what; see :func:`plot_overview`."""
    rows = [episode_metrics(episode) for episode in episodes]
    odd: dict[int, str] = {}
    for name, sign, reason, _ in ODDITIES:
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
    remarks: Sequence[str] = (),
) -> None:
    """Draw how good predictions are: reliability, order and error per episode, final reward by outcome.

    Args:
        path: PNG to write.
        models: The same episodes for each model.
        calibrations: Of each model, as :func:`rewact.judge.metrics.calibration` returns it.
        title: Heading.
        remarks: Warnings that stand in red below.
    """
    outcomes = any(episode.success is not None for episode in next(iter(models.values())))
    figure = new_figure(13 if outcomes else 9, 4.2)
    figure.suptitle(title, fontsize=12)
    write_doubts(figure, remarks)
    of_model = colors(models)
    reliability, scatter, *rest = figure.subplots(1, 3 if outcomes else 2)

    reliability.plot([0, 1], [0, 1], color=LABEL_COLOR, linewidth=1, linestyle="--")
    for name, calibration in calibrations.items():
        color = of_model[name]
        bins = calibration["bins"]
        sizes = np.array([entry["count"] for entry in bins])
        x, y = [entry["prediction"] for entry in bins], [entry["label"] for entry in bins]
        reliability.plot(x, y, color=color, linewidth=1.5, label=f"{name} (ECE {calibration['ece']:.3f})")
        reliability.scatter(x, y, s=8 + 90 * sizes / sizes.max(), color=color, alpha=0.6)
    reliability.set(
        xlabel="predicted reward", ylabel="mean label", title="Reliability", xlim=(0, 1), ylim=(0, 1)
    )
    reliability.legend(frameon=False, fontsize=8)

    for name, episodes in models.items():
        color = of_model[name]
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
    scatter.set(xlim=(-1.05, 1.05), ylim=(0, 1), xticks=[-1, -0.5, 0, 0.5, 1])
    scatter.legend(frameon=False, fontsize=8)

    for axes in rest:
        for name, episodes in models.items():
            color = of_model[name]
            for success, style in ((True, "-"), (False, "--")):
                final = sorted(e.prediction[-1] for e in episodes if e.success is success)
                if final:
                    word = "successes" if success else "failures"
                    axes.step(
                        [0, *final, 1],
                        [*np.linspace(0, 1, len(final) + 1), 1],
                        where="post",
                        color=color,
                        linestyle=style,
                        label=f"{name}, {len(final)} {word}",
                    )
        axes.set(xlabel="final predicted reward", ylabel="fraction of episodes up to it", title="Outcomes")
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def draw_curves(
    axes: Axes,
    labelled: EpisodeRewards,
    models: Mapping[str, EpisodeRewards],
    fps: float,
    line_width: float = 1.8,
) -> None:
    """Draw label, keypoints, predictions and uncertainty bands of one episode into given axes."""
    time = np.arange(len(labelled.label)) / fps
    axes.plot(time, labelled.label, color=LABEL_COLOR, linewidth=line_width, linestyle="--", label="label")
    if labelled.keypoints:
        frames = np.array(list(labelled.keypoints))
        rewards = list(labelled.keypoints.values())
        size = 12 * line_width
        axes.scatter(
            frames / fps, rewards, size, LABEL_COLOR, "D", label="keypoints", zorder=3, clip_on=False
        )
    for name, color in colors(models).items():
        rewards = models[name]
        if rewards.lower is not None and rewards.upper is not None:
            axes.fill_between(
                time,
                rewards.lower,
                rewards.upper,
                color=color,
                alpha=0.15,
                linewidth=0,
                label=f"{name}, {BAND_NAME}",
            )
        axes.plot(time, rewards.prediction, color=color, linewidth=line_width, label=name)
    unit_axes(axes, time[-1])
