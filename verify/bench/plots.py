# SPDX-License-Identifier: MIT
"""The benchmark's table as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rewact.labels.files import write_atomically

from .report import list_methods

ACT_COLOR, POSITIVE_COLOR, OTHER_COLOR = "#8d99ae", "#2a9d58", "#d1495b"


def plot_report(path: Path, summary: dict[str, dict[str, Any]]) -> None:
    """Write the picture of what `summarize` gives as a PNG."""
    figure = draw_report(summary)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def draw_report(summary: dict[str, dict[str, Any]]) -> Figure:
    """Draw success and its interval of every method on every data set, and the successes per 1000 steps."""
    figure = Figure(figsize=(1.5 + 3.2 * len(summary), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    methods = list_methods(summary)
    axes = figure.subplots(1, len(summary), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (name, rows) in zip(axes, summary.items(), strict=True):
        # While a seed is under way, methods are missing; those that are there keep their places.
        for position, method in enumerate(methods):
            if method not in rows:
                continue
            row = rows[method]
            success = row["success"]
            # An interval of rounded figures may miss its own centre by a hair.
            error = [[max(success - row["low"], 0)], [max(row["high"] - success, 0)]]
            axis.barh([position], [success], xerr=error, color=_color(method))
            axis.text(0.02, position, f"{row['per_1000_steps']:.1f}", va="center", fontsize=8, color="white")
        axis.set_title(name)
        axis.set_xlabel("success; in white: successes per 1000 steps", fontsize=8)
    axes[0].set_xlim(0, 1)
    axes[0].set_ylim(len(methods) - 0.5, -0.5)
    axes[0].set_yticks(range(len(methods)), methods, fontsize=8)
    return figure


def _color(method: str) -> str:
    if method.startswith("ACT "):
        return ACT_COLOR
    return POSITIVE_COLOR if method.startswith("ACTvantage, cfg_beta") else OTHER_COLOR
