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
    table = Table(title=title, title_justify="left", caption="(95 % intervals)", caption_justify="left")
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    any_model = next(iter(values.values()))
    counts = f" ({any_model['n_success']} successes, {any_model['n_failure']} failures)"
    for text, key in ROWS:
        if any(value[key] is not None for value in values.values()):
            cells = (_format(value[key], intervals[name].get(key)) for name, value in values.items())
            table.add_row(text + (counts if key.startswith("auroc_") else ""), *cells)
    console = wide_console()
    console.print(table)
    for remark in remarks:
        console.print(f"[bold red]{remark}[/]", highlight=False, soft_wrap=True)


def wide_console() -> Console:
    """Where tables are printed: as wide as the terminal, and wide enough in a file."""
    return Console(width=None if sys.stdout.isatty() else 120)


def _format(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")


def print_values(report: Mapping[str, Any], title: str) -> None:
    """Print a report on values, the controls below.

    Args:
        report: As `rewact.judge.value_report.judge_values` gives it, with ``written``: values as they go to
            a file.
        title: Heading of the table.
    """
    table = Table(title=title, title_justify="left")
    for heading in ("", "VOC", "MAE"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, model in {
        "values": report["values"],
        "values, as written": report["written"],
        **report["controls"],
    }.items():
        if model is not None:
            table.add_row(name, _format(model["voc"]), _format(model["mae"]))
    console = wide_console()
    console.print(table)
    for name in ("done", "success"):
        if report[name]["auroc"] is not None:
            console.print(
                f"{name}: AUROC {_format(report[name]['auroc'])}, "
                f"average precision {_format(report[name]['average_precision'])}, "
                f"calibration error {_format(report[name]['ece'])}"
            )
    if report["stop"] is not None:
        console.print(describe_stop(report["stop"]))


def describe_stop(stop: Mapping[str, Any]) -> str:
    """What `choose_stop` has chosen, in a line."""
    return (
        f"stop at {stop['threshold']:.3f} for {stop['dwell']} frames: false in {stop['false_stops']:.1%} of "
        f"the episodes ({stop['false_stops_low']:.1%} to {stop['false_stops_high']:.1%}), found "
        f"{stop['recall']:.1%}, delay {_format(stop['delay_s'])} s"
    )
