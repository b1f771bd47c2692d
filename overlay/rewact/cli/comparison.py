# SPDX-License-Identifier: MIT
"""How a policy did under each condition that it was evaluated in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def compare(reports: Mapping[str, Path], results: Path) -> dict[str, Any]:
    """Print what a policy did under each condition; returns it.

    Args:
        reports: `eval_info.json` of each condition; the first two should differ.
        results: The file where it will stand, for the caption.
    """
    from rewact.judge.intervals import mean_interval, share_interval
    from rewact.judge.report import print_table, wide_console
    from rewact.labels.files import is_number, read_json

    comparison: dict[str, Any] = {}
    for condition, path in reports.items():
        info = read_json(path)
        overall = {key: value for key, value in info["overall"].items() if is_number(value)}
        of_tasks = [task["metrics"] for task in info.get("per_task", [])]
        outcomes = [bool(success) for metrics in of_tasks for success in metrics.get("successes", [])]
        returns = [float(reward) for metrics in of_tasks for reward in metrics.get("sum_rewards", [])]
        success = share_interval(sum(outcomes), len(outcomes))
        intervals = {
            "pc_success": success and [100 * end for end in success],
            "avg_sum_reward": mean_interval(returns) if returns else None,
        }
        comparison[condition] = {**overall, "n_episodes": len(outcomes), "intervals": intervals}
    has_intervals = any(any(values["intervals"].values()) for values in comparison.values())
    kinds = {"pc_success": "success (%)", "avg_sum_reward": "sum of rewards", "n_episodes": "episodes"}
    print_table(
        "The policy, asked for actions of each kind",
        ["asked for", *kinds.values()],
        [(condition, *(_cell(values, key) for key in kinds)) for condition, values in comparison.items()],
        caption=f"({'95 % intervals; ' if has_intervals else ''}in {results})",
    )
    names = list(comparison)[:2]
    first, second = (comparison[name]["intervals"]["pc_success"] for name in names)
    if first and second and first[0] <= second[1] and second[0] <= first[1]:
        wide_console().print(
            f"{' and '.join(names)} cannot be told apart on {comparison[names[0]]['n_episodes']} "
            "episodes: evaluate more (--eval.n_episodes), or look at the advantages",
            style="bold red",
            soft_wrap=True,
        )
    return comparison


def _cell(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "-"
    ends = values["intervals"].get(key)
    return f"{values[key]:.4g}" + (f" ({ends[0]:.3g} to {ends[1]:.3g})" if ends else "")
