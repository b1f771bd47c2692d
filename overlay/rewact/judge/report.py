# SPDX-License-Identifier: MIT
"""Printing an evaluation."""

from collections.abc import Mapping
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
    ("AUROC, final reward", "auroc_final"),
    ("AUROC, highest reward", "auroc_max"),
    ("average precision, final", "average_precision_final"),
    ("average precision, highest", "average_precision_max"),
    ("detector precision", "precision"),
    ("detector recall", "recall"),
    ("detector delay (frames, median)", "delay_median"),
)


def print_evaluation(models: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Print a table with a column per model; quantities that no model has are left out.

    Args:
        models: By name, the ``overall`` and ``calibration`` results as :mod:`.metrics` returns them.
        title: Heading of the table.
    """
    values = {
        name: {**result["overall"], **result["overall"]["detection"], "ece": result["calibration"]["ece"]}
        for name, result in models.items()
    }
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    for text, key in ROWS:
        if any(value[key] is not None for value in values.values()):
            table.add_row(text, *(_format(value[key]) for value in values.values()))
    Console().print(table)


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
