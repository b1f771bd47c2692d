# SPDX-License-Identifier: MIT
"""Pictures of advantages: one per episode, and a histogram per task with its threshold."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rewact.advantages.compute import Evidence
from rewact.advantages.file import AdvantageTable
from rewact.advantages.labels import TaskSummary
from rewact.labels.files import write_atomically
from rewact.labels.outcomes import OUTCOMES

POSITIVE_COLOR = "#2a9d58"
OUTCOME_NAMES = {code: name for name, code in OUTCOMES.items()}


def plot_advantages(
    directory: Path,
    evidence: Evidence,
    result: AdvantageTable,
    summaries: list[TaskSummary],
    episodes: list[int] | None = None,
) -> list[Path]:
    """Draw the histogram, and each of some episodes with the threshold of its task.

    Args:
        directory: Where the PNGs go.
        evidence: What is known of the dataset.
        result: Its advantages.
        summaries: One for each task of the result, in the order of the tasks.
        episodes: Episodes of the result to draw; all by default.

    Returns:
        The pictures of the episodes.
    """
    table = evidence.table
    rows = [table.row(episode) for episode in np.unique(result.columns["episode_index"]).tolist()]
    thresholds = dict(zip(np.unique(table.tasks[rows]).tolist(), summaries, strict=True))
    plot_histogram(directory / "histogram.png", evidence, result, summaries)
    paths = []
    for episode in table.episodes[rows].tolist() if episodes is None else episodes:
        threshold = thresholds[int(table.tasks[table.row(episode)])].threshold
        paths.append(directory / f"episode_{episode:06d}.png")
        plot_episode(paths[-1], evidence, result, episode, threshold)
    return paths


def plot_episode(
    path: Path, evidence: Evidence, result: AdvantageTable, episode: int, threshold: float | None
) -> None:
    """Draw value and advantage over the time of an episode, its positive frames shaded. Writes a PNG."""
    columns = {
        name: column[result.columns["episode_index"] == episode] for name, column in result.columns.items()
    }
    row = evidence.table.row(episode)
    interventions = evidence.interventions[columns["index"]]
    time = columns["frame_index"] / evidence.table.fps
    half = 0.5 / evidence.table.fps
    figure, (above, below) = _figure(2, 1, (8, 4.5), sharex=True)
    for axes in (above, below):
        for first, last in _runs(columns["positive"]):
            axes.axvspan(time[first] - half, time[last] + half, color=POSITIVE_COLOR, alpha=0.18, linewidth=0)
        for first, last in _runs(interventions):
            axes.axvspan(
                time[first] - half, time[last] + half, facecolor="none", edgecolor="tab:purple", hatch="//"
            )
        axes.grid(alpha=0.3)
    above.plot(time, columns["value"], color="tab:blue")
    above.set_ylabel("value")
    above.set_title(
        f"{evidence.table.repo_id}, episode {episode}, outcome: {OUTCOME_NAMES[int(evidence.outcomes[row])]}"
        + (" (hatched: intervention)" if interventions.any() else "")
    )
    below.plot(time, columns["advantage"], color="tab:orange")
    if threshold is not None:
        below.axhline(
            threshold, color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:.3g}"
        )
        below.legend(loc="lower left")
    below.set_ylabel("advantage")
    below.set_xlabel(f"seconds (shaded: positive, {columns['positive'].mean():.0%} of the frames)")
    _save(figure, path)


def plot_histogram(
    path: Path, evidence: Evidence, result: AdvantageTable, summaries: list[TaskSummary]
) -> None:
    """Draw the advantages of each task, by outcome, and the threshold. Writes a PNG."""
    table = evidence.table
    rows = np.searchsorted(table.episodes, result.columns["episode_index"])
    figure, grid = _figure(len(summaries), 1, (8, 1.2 + 2.6 * len(summaries)), squeeze=False)
    for axes, task, summary in zip(grid[:, 0], np.unique(table.tasks[rows]), summaries, strict=True):
        of_task = table.tasks[rows] == task
        advantages, outcomes = result.columns["advantage"][of_task], evidence.outcomes[rows[of_task]]
        edges = np.histogram_bin_edges(advantages, bins=60)
        for code, color in ((1, POSITIVE_COLOR), (0, "tab:red"), (-1, "tab:gray")):
            if (outcomes == code).any():
                label = f"{OUTCOME_NAMES[code]}: {(outcomes == code).sum()} frames"
                axes.hist(advantages[outcomes == code], edges, color=color, alpha=0.55, label=label)
        if summary.threshold is not None:
            label = f"threshold {summary.threshold:.3g}: {summary.positive:.0%} positive"
            axes.axvline(summary.threshold, color="black", linestyle="--", label=label)
        axes.set_title(summary.task or "(no task)", fontsize=10)
        axes.set_ylabel("frames")
        axes.legend(fontsize=8)
    grid[-1, 0].set_xlabel(f"advantage over {result.provenance['n_steps']} steps")
    _save(figure, path)


def _figure(n_rows: int, n_columns: int, size: tuple[float, float], **options):
    # Without pyplot, which would need a display or change the caller's backend.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, **options)


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of each run of set flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]
