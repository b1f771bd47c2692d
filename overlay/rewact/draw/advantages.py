# SPDX-License-Identifier: MIT
"""Pictures of advantages: a page of all episodes with a histogram per task, and pages of single ones."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
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
    new_figure,
    save_figure,
    thumbnail_frames,
    unit_axes,
    write_doubts,
)
from rewact.labels.outcomes import FAILURE, SUCCESS

VALUE_COLOR, ADVANTAGE_COLOR = MODEL_COLORS[:2]
KNOWN = {SUCCESS: True, FAILURE: False}
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
    columns, tasks = computed.table.columns, computed.summaries
    episodes = np.unique(columns["episode_index"])
    shown = episodes[np.linspace(0, len(episodes) - 1, min(MAX_EPISODES, len(episodes))).round().astype(int)]
    n_rows = math.ceil(len(shown) / N_COLUMNS)
    heights = [2.4 * math.ceil(len(tasks) / 2), max(1.1 * n_rows, 1.6)]
    figure = new_figure(11, sum(heights) + 0.9 + 0.25 * len(doubts))
    title = f"{computed.evidence.table.repo_id}: {len(shown)} of {len(episodes)} episodes"
    figure.suptitle(title, fontsize=12)
    write_doubts(figure, doubts)
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    places = above.subplots(math.ceil(len(tasks) / 2), min(len(tasks), 2), squeeze=False).ravel()
    for number, axes in enumerate(places[: len(tasks)]):
        _draw_histogram(axes, computed, number)
    for axes in places[len(tasks) :]:
        axes.set_axis_off()
    for cell, episode in enumerate(shown.tolist()):
        axes = below.add_subplot(n_rows, N_COLUMNS, cell + 1)
        positive = _draw_values(axes, computed, episode, line_width=1.0)
        outcome = _outcome(computed, episode)
        text = f"{episode}: {OUTCOME_WORDS[outcome]}, {positive:.0%} positive"
        axes.set_title(text, fontsize=6, color=OUTCOME_COLORS[outcome], pad=2)
        axes.set_xticks([])
        low = _low(computed)
        axes.set_yticks([low, low + 1], labels=None if cell % N_COLUMNS == 0 else [])
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
    outcome = _outcome(computed, episode)
    title = f"{computed.evidence.table.repo_id}, episode {episode}: {OUTCOME_WORDS[outcome]}"
    figure.suptitle(title, fontsize=11, color=OUTCOME_COLORS[outcome])
    write_doubts(figure, doubts)
    place = figure
    columns = _of_episode(computed, episode)
    fps = computed.evidence.table.fps
    if len(images):
        strip, place = figure.subfigures(2, 1, height_ratios=(1, 3.2))
        draw_strip(strip, images, thumbnail_frames(len(columns["value"])) / fps)
    above, below = place.subplots(2, 1, sharex=True)
    positive = _draw_values(above, computed, episode, line_width=1.6)
    above.set_ylabel("value")
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    limit = advantage_limit(computed)
    time = columns["frame_index"] / fps
    _shade(below, time, columns["positive"], fps)
    below.plot(time, np.clip(columns["advantage"], -limit, limit), color=ADVANTAGE_COLOR, linewidth=1.6)
    said = f"time (s); {positive:.0%} of the frames are positive"
    if beyond := int((np.abs(columns["advantage"]) > limit).sum()):
        said += f", {beyond} lie beyond the axis of advantages"
    threshold = _summary(computed, episode).threshold
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
    columns, table = computed.table.columns, computed.evidence.table
    rows = np.searchsorted(table.episodes, columns["episode_index"])
    left = table.lengths[rows] - columns["frame_index"]
    inner = np.abs(columns["advantage"][left > computed.table.provenance["n_steps"]])
    return max(float(np.quantile(inner, 0.99)) if len(inner) else 1.0, 0.05) * 1.1


def _draw_histogram(axes: Axes, computed: Computed, number: int) -> None:
    """Draw the advantages of a task by outcome, and the threshold, into given axes."""
    table, columns, summary = computed.evidence.table, computed.table.columns, computed.summaries[number]
    rows = np.searchsorted(table.episodes, columns["episode_index"])
    of_task = table.tasks[rows] == np.unique(table.tasks[rows])[number]
    limit = advantage_limit(computed)
    advantages = np.clip(columns["advantage"][of_task], -limit, limit)
    outcomes = computed.evidence.outcomes[rows[of_task]]
    edges = np.linspace(-limit, limit, 61)
    for outcome, word in OUTCOME_WORDS.items():
        codes = [code for code in np.unique(outcomes) if KNOWN.get(int(code)) is outcome]
        chosen = np.isin(outcomes, codes)
        if chosen.any():
            label = f"{word}: {chosen.sum()} frames"
            color = LABEL_COLOR if outcome is None else OUTCOME_COLORS[outcome]
            axes.hist(advantages[chosen], edges, color=color, alpha=0.55, label=label)
    if summary.threshold is not None:
        label = f"threshold {summary.threshold:.3g}: {summary.positive:.0%} positive"
        axes.axvline(summary.threshold, color="black", linestyle="--", label=label)
    axes.set_title(summary.task or "(no task)", fontsize=9)
    axes.set_xlabel(f"advantage over {computed.table.provenance['n_steps']} steps", fontsize=8)
    axes.set_ylabel("frames", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7)


def _draw_values(axes: Axes, computed: Computed, episode: int, line_width: float) -> float:
    """Draw the values of an episode over their target, positive frames shaded; returns their share."""
    columns = _of_episode(computed, episode)
    fps = computed.evidence.table.fps
    time = columns["frame_index"] / fps
    _shade(axes, time, columns["positive"], fps)
    target = computed.target[columns["index"]]
    axes.plot(
        time, target, color=LABEL_COLOR, linestyle="--", linewidth=line_width, label="what it estimates"
    )
    axes.plot(time, columns["value"], color=VALUE_COLOR, linewidth=line_width, label="value")
    interventions = computed.evidence.interventions[columns["index"]]
    for first, last in _runs(interventions):
        span = (time[first] - 0.5 / fps, time[last] + 0.5 / fps)
        axes.axvspan(*span, facecolor="none", edgecolor=WARNING_COLOR, hatch="//", label="intervention")
    unit_axes(axes, time[-1], _low(computed))
    return float(columns["positive"].mean())


def _shade(axes: Axes, time: np.ndarray, positive: np.ndarray, fps: float) -> None:
    for number, (first, last) in enumerate(_runs(positive)):
        label = "positive" if number == 0 else None
        span = (time[first] - 0.5 / fps, time[last] + 0.5 / fps)
        axes.axvspan(*span, color=POSITIVE_COLOR, alpha=0.18, linewidth=0, label=label)


def _low(computed: Computed) -> float:
    """Lower end of the values' axis: returns lie in [-1, 0], progress and reward labels in [0, 1]."""
    values = computed.table.columns["value"]
    return -1.0 if np.median(values) < 0 else 0.0


def _of_episode(computed: Computed, episode: int) -> dict[str, np.ndarray]:
    mine = computed.table.columns["episode_index"] == episode
    return {name: column[mine] for name, column in computed.table.columns.items()}


def _outcome(computed: Computed, episode: int) -> bool | None:
    return KNOWN.get(int(computed.evidence.outcomes[computed.evidence.table.row(episode)]))


def _summary(computed: Computed, episode: int):
    table = computed.evidence.table
    rows = np.searchsorted(table.episodes, np.unique(computed.table.columns["episode_index"]))
    number = np.searchsorted(np.unique(table.tasks[rows]), table.tasks[table.row(episode)])
    return computed.summaries[int(number)]


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of each run of set flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]
