# SPDX-License-Identifier: MIT
"""Printing an evaluation."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

ROWS = (
    ("VOC (order in time)", "voc"),
    ("Spearman with label", "spearman"),
    ("Pearson with label", "pearson"),
    ("MAE", "mae"),
    ("RMSE", "rmse"),
    ("calibration error", "ece"),
    ("labels within 80 % band", "band_coverage"),
    ("AUROC, final", "auroc_final"),
    ("AUROC, highest", "auroc_max"),
    ("detector precision", "precision"),
    ("detector recall", "recall"),
    ("detector delay (frames, median)", "delay_median"),
)


def print_evaluation(
    models: Mapping[str, Mapping[str, Any]], title: str, remarks: Sequence[str] = ()
) -> None:
    """Print a table with a column per model; quantities that no model has are left out.

    Args:
        models: By name, the ``overall`` and ``calibration`` results as :mod:`.metrics` returns them.
        title: Heading of the table.
        remarks: Sentences that stand in red below it.
    """
    values, intervals = {}, {}
    for name, result in models.items():
        overall, detection = result["overall"], result["overall"]["detection"]
        values[name] = {**overall, **detection, "ece": result["calibration"]["ece"]}
        intervals[name] = {**overall["intervals"], **detection["intervals"]}
    any_model = next(iter(values.values()))
    counts = f" ({any_model['n_success']} successes, {any_model['n_failure']} failures)"
    rows = [
        (
            text + (counts if key.startswith("auroc_") else ""),
            *(_format(value[key], intervals[name].get(key)) for name, value in values.items()),
        )
        for text, key in ROWS
        if any(value[key] is not None for value in values.values())
    ]
    has_intervals = any(interval for given in intervals.values() for interval in given.values())
    print_table(title, ["", *models], rows, caption="(95 % intervals)" if has_intervals else "")
    for remark in remarks:
        wide_console().print(remark, style="bold red", highlight=False, soft_wrap=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
    """Print rows of cells, all columns but the first to the right."""
    table = Table(title=title, title_justify="left", caption=caption or None, caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    wide_console().print(table)


def wide_console() -> Console:
    """Where tables are printed: as wide as the terminal, and wide enough in a file.

    Names of tasks, datasets and models are shown as they are: no `[...]` in them is markup.
    """
    return Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False)


def _format(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def print_values(report: Mapping[str, Any], title: str) -> None:
    """Print a report on values, the controls below.

    Args:
        report: As `rewact.judge.values.judge_values` gives it, with ``written``: values as they go to a file.
        title: Heading of the table.
    """
    models = {"values": report["values"], "values, as written": report["written"], **report["controls"]}
    rows = [(name, _format(model["voc"]), _format(model["mae"])) for name, model in models.items()]
    print_table(title, ["", "VOC", "MAE"], rows)
    for name in ("done", "success"):
        auroc, precision, ece = (report[name][key] for key in ("auroc", "average_precision", "ece"))
        if auroc is not None:
            wide_console().print(
                f"{name}: AUROC {_format(auroc)}, average precision {_format(precision)}, calibration error "
                f"{_format(ece)}"
            )
    if report["stop"] is not None:
        wide_console().print(describe_stop(report["stop"]))


def describe_stop(stop: Mapping[str, Any]) -> str:
    """What `choose_stop` has chosen, in a line."""
    if not stop["recall"]:
        return "no threshold finds the end of an episode: the rewards do not say when the task is done"
    frames = "1 frame" if stop["dwell"] == 1 else f"{stop['dwell']} frames"
    return (
        f"stop at {stop['threshold']:.3f} for {frames}: false in {stop['false_stops']:.1%} of "
        f"the episodes ({stop['false_stops_low']:.1%} to {stop['false_stops_high']:.1%}), found "
        f"{stop['recall']:.1%}, delay {_format(stop['delay_s'])} s"
    )
