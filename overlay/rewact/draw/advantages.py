# SPDX-License-Identifier: MIT
"""Pictures of advantages: a page of all episodes with a histogram per task, and pages of single ones."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rewact.advantages.run import Computed
from rewact.draw.style import (
    LABEL_COLOR,
    MODEL_COLORS,
    OUTCOME_COLORS,
    OUTCOME_WORDS,
    POSITIVE_COLOR,
    WARNING_COLOR,
    draw_strip,
    evenly,
    new_figure,
    save_figure,
    thumbnail_frames,
    unit_axes,
    write_doubts,
)
from rewact.labels.outcomes import FAILURE, SUCCESS, UNKNOWN

VALUE_COLOR, ADVANTAGE_COLOR = MODEL_COLORS[:2]
# As they are called in colours and words.
OUTCOMES = {SUCCESS: True, FAILURE: False, UNKNOWN: None}
MAX_EPISODES = 240
N_COLUMNS = 8


def plot_advantages(
    directory: Path,
    computed: Computed,
    episodes: Sequence[int] | None = None,
    doubts: Sequence[str] = (),
    thumbnails: Callable[[int], Sequence[np.ndarray]] | None = None,
) -> list[Path]:
    """Draw all advantages on one page, `overview.png`, and single episodes where they are asked for.

    Args:
        directory: Where the PNGs go.
        computed: The advantages.
        episodes: Episodes that get a page of their own; none by default.
        doubts: What speaks against the values, written in red on each page.
        thumbnails: Images of an episode, uint8 ``(H, W, 3)``, at the frames of `thumbnail_frames`.

    Returns:
        The pictures.
    """
    paths = [directory / "overview.png"]
    plot_overview(paths[0], computed, doubts)
    for episode in episodes or []:
        paths.append(directory / f"episode_{episode:06d}.png")
        images = () if thumbnails is None else thumbnails(episode)
        plot_episode(paths[-1], computed, episode, doubts, images)
    return paths


def plot_overview(path: Path, computed: Computed, doubts: Sequence[str] = ()) -> None:
    """Draw the histogram of each task above the values of all episodes. Writes a PNG.

    Values are drawn over what they estimate, on axes of one unit, so that a value function which says nothing
    looks like it. Of very many episodes some are left out.
    """
    tasks, by_episode = computed.frames.groupby("task"), computed.frames.groupby("episode_index")
    episodes = np.array(list(by_episode.groups))
    shown = evenly(episodes, MAX_EPISODES)
    n_rows = math.ceil(len(shown) / N_COLUMNS)
    heights = [2.4 * math.ceil(len(tasks) / 2), max(1.1 * n_rows, 1.6)]
    figure = new_figure(11, sum(heights) + 0.9 + 0.25 * len(doubts))
    title = f"{computed.evidence.table.repo_id}: {len(shown)} of {len(episodes)} episodes"
    figure.suptitle(title, fontsize=12)
    write_doubts(figure, doubts)
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    places = above.subplots(math.ceil(len(tasks) / 2), min(len(tasks), 2), squeeze=False).ravel()
    for axes, (task, frames) in zip(places, tasks, strict=False):
        _draw_histogram(axes, computed, task, frames)
    for axes in places[len(tasks) :]:
        axes.set_axis_off()
    for cell, episode in enumerate(shown.tolist()):
        axes = below.add_subplot(n_rows, N_COLUMNS, cell + 1)
        frames = by_episode.get_group(episode)
        _draw_values(axes, computed, frames, line_width=1.0)
        positive, outcome = frames.positive.mean(), OUTCOMES[frames.outcome.iloc[0]]
        word = OUTCOME_WORDS[outcome].removeprefix("outcome ")  # headings lie close together
        text = f"{episode}: {word}, {positive:.0%} positive"
        axes.set_title(text, fontsize=6, color=OUTCOME_COLORS[outcome], pad=2)
        axes.set_xticks([])
        axes.set_yticks([computed.low, computed.low + 1], labels=None if cell % N_COLUMNS == 0 else [])
        axes.tick_params(labelsize=6, length=2)
    handles, names = axes.get_legend_handles_labels()
    below.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=8)
    save_figure(figure, path)


def plot_episode(
    path: Path,
    computed: Computed,
    episode: int,
    doubts: Sequence[str] = (),
    images: Sequence[np.ndarray] = (),
) -> None:
    """Draw value and advantage of an episode over time, its positive frames shaded. Writes a PNG.

    The axis of advantages is that of all episodes, without their last steps: there the jump to the final
    reward is larger than anything else.
    """
    figure = new_figure(9, 6.2 if len(images) else 5)
    frames = computed.frames[computed.frames.episode_index == episode]
    outcome = OUTCOMES[frames.outcome.iloc[0]]
    title = f"{computed.evidence.table.repo_id}, episode {episode}: {OUTCOME_WORDS[outcome]}"
    figure.suptitle(title, fontsize=11, color=OUTCOME_COLORS[outcome])
    write_doubts(figure, doubts)
    place = figure
    if len(images):
        strip, place = figure.subfigures(2, 1, height_ratios=(1, 3.2))
        draw_strip(strip, images, frames.time.iloc[thumbnail_frames(len(frames))])
    above, below = place.subplots(2, 1, sharex=True)
    _draw_values(above, computed, frames, line_width=1.6)
    above.set_ylabel("value")
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    limit = advantage_limit(computed)
    _shade(below, computed, frames, "positive", color=POSITIVE_COLOR, alpha=0.18, linewidth=0)
    below.plot(frames.time, frames.advantage.clip(-limit, limit), color=ADVANTAGE_COLOR, linewidth=1.6)
    said = f"time (s); {frames.positive.mean():.0%} of the frames are positive"
    if beyond := int((frames.advantage.abs() > limit).sum()):
        said += f", {beyond} lie beyond the axis of advantages"
    threshold = computed.table.provenance["thresholds"][frames.task.iloc[0]]
    if threshold is not None:
        label = f"threshold {threshold:.3g}"
        below.axhline(threshold, color="black", linestyle="--", linewidth=1, label=label)
        below.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    below.set_ylim(-limit, limit)
    below.set_ylabel(f"advantage, {computed.table.provenance['n_steps']} steps")
    below.set_xlabel(said)
    below.grid(alpha=0.25, linewidth=0.5)
    save_figure(figure, path)


def advantage_limit(computed: Computed) -> float:
    """End of the axis of advantages: of all episodes, but for their last N steps and the outermost 1 %."""
    frames = computed.frames
    inner = frames.advantage[frames.left > computed.table.provenance["n_steps"]].abs()
    return max(float(np.quantile(inner, 0.99)) if len(inner) else 1.0, 0.05) * 1.1


def _draw_histogram(axes: Axes, computed: Computed, task: str, frames: pd.DataFrame) -> None:
    """Draw the advantages of a task by outcome, and the threshold, into given axes."""
    limit, provenance = advantage_limit(computed), computed.table.provenance
    edges = np.linspace(-limit, limit, 61)
    for code, outcome in OUTCOMES.items():
        advantages = frames.advantage[frames.outcome == code].clip(-limit, limit)
        if len(advantages):
            label = f"{OUTCOME_WORDS[outcome]}: {len(advantages)} frames"
            color = LABEL_COLOR if outcome is None else OUTCOME_COLORS[outcome]
            axes.hist(advantages, edges, color=color, alpha=0.55, label=label)
    threshold = provenance["thresholds"][task]
    if threshold is not None:
        label = f"threshold {threshold:.3g}: {frames.positive.mean():.0%} positive"
        axes.axvline(threshold, color="black", linestyle="--", label=label)
    axes.set_title(task or "(no task)", fontsize=9)
    axes.set_xlabel(f"advantage over {provenance['n_steps']} steps", fontsize=8)
    axes.set_ylabel("frames", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)


def _draw_values(axes: Axes, computed: Computed, frames: pd.DataFrame, line_width: float) -> None:
    """Draw the values of an episode over their target, positive frames shaded."""
    _shade(axes, computed, frames, "positive", color=POSITIVE_COLOR, alpha=0.18, linewidth=0)
    style = {"color": LABEL_COLOR, "linestyle": "--", "label": "what it estimates"}
    axes.plot(frames.time, frames.target, linewidth=line_width, **style)
    axes.plot(frames.time, frames.value, color=VALUE_COLOR, linewidth=line_width, label="value")
    _shade(axes, computed, frames, "intervention", facecolor="none", edgecolor=WARNING_COLOR, hatch="//")
    unit_axes(axes, frames.time.iloc[-1], computed.low)


def _shade(axes: Axes, computed: Computed, frames: pd.DataFrame, name: str, **style: Any) -> None:
    """Shade each run of frames that a column flags; the legend has one entry for them all."""
    edges = np.flatnonzero(np.diff(frames[name].astype(int), prepend=0, append=0))
    starts, ends = frames.time.iloc[0] + (edges.reshape(-1, 2).T - 0.5) / computed.evidence.table.fps
    for number, span in enumerate(zip(starts, ends, strict=True)):
        axes.axvspan(*span, label=name if number == 0 else None, **style)
