# SPDX-License-Identifier: MIT
"""From evaluation episodes to the benchmark's table."""

from typing import Any

import numpy as np

from rewact.judge.intervals import share_interval

# What is not a method among the results of a data set: accuracies of the advantages, quality of the values.
FACTS = ("advantages", "values")


def summarize(results: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """Pool the seeds of each data set and method.

    Args:
        results: For each data set and method, one result per seed as `evaluate` gives them; under each of
            `FACTS`, numbers by name.

    Returns:
        For each data set and method: success rate and its interval, rate per seed, successes per 1000 steps
        of the environment, the mean weight of RA-BC. Facts are averaged.
    """
    summary: dict[str, dict[str, Any]] = {}
    for name, methods in results.items():
        summary[name] = {}
        for method, seeds in methods.items():
            if method in FACTS:
                summary[name][method] = {
                    key: float(np.nanmean([seed[key] for seed in seeds])) for key in seeds[0]
                }
                continue
            success = np.concatenate([seed["success"] for seed in seeds])
            low, high = share_interval(int(success.sum()), len(success))
            summary[name][method] = {
                "success": float(success.mean()),
                "low": low,
                "high": high,
                "per_seed": [float(np.mean(seed["success"])) for seed in seeds],
                "per_1000_steps": float(1000 * success.sum() / sum(sum(seed["steps"]) for seed in seeds)),
                "episodes": len(success),
            }
            if "mean_weight" in seeds[0]:
                summary[name][method]["mean_weight"] = float(np.mean([seed["mean_weight"] for seed in seeds]))
    return summary


def format_table(summary: dict[str, dict[str, Any]]) -> str:
    """The summary as Markdown: a table for each kind of data set, with a column for each task."""
    tasks = {name: name.rpartition("-")[::2] for name in summary}
    tables = []
    for data_set in sorted({data_set for _, data_set in tasks.values()}):
        columns = {task: summary[name] for name, (task, of) in tasks.items() if of == data_set}
        heads = (f"{task}, {count_episodes(rows)} episodes" for task, rows in columns.items())
        lines = [
            f"| ({data_set}): success (95 %), successes per 1000 steps | {' | '.join(heads)} |",
            "|---" * (1 + len(columns)) + "|",
        ]
        for method in list_methods(columns):
            cells = (format_cell(rows[method]) if method in rows else "" for rows in columns.values())
            lines.append(f"| {method} | {' | '.join(cells)} |")
        for task, rows in columns.items():
            weights = {method: row.get("mean_weight") for method, row in rows.items() if method not in FACTS}
            facts = {
                f"Advantages of {task} ({data_set}) against the simulator": rows.get("advantages", {}),
                f"Values of {task} ({data_set}) out of fold": rows.get("values", {}),
                f"Mean weight of a frame of {task} ({data_set})": {
                    method: weight for method, weight in weights.items() if weight is not None
                },
            }
            for what, numbers in facts.items():
                if line := ", ".join(
                    f"{key.replace('_', ' ')} {number:.2f}" for key, number in numbers.items()
                ):
                    lines += ["", f"{what}: {line}."]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def list_methods(summary: dict[str, dict[str, Any]]) -> list[str]:
    """The methods that have a result on any of the data sets, in their order."""
    return list(dict.fromkeys(method for rows in summary.values() for method in rows if method not in FACTS))


def count_episodes(rows: dict[str, dict[str, Any]]) -> str:
    """How many episodes the rates are of, as a range while a seed is under way."""
    counts = {rows[method]["episodes"] for method in list_methods({"": rows})}
    return " to ".join(map(str, sorted({min(counts), max(counts)})))


def format_cell(row: dict[str, Any]) -> str:
    return f"{row['success']:.2f} ({row['low']:.2f} to {row['high']:.2f}), {row['per_1000_steps']:.1f}"
