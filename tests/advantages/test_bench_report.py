# SPDX-License-Identifier: MIT
"""The arithmetic of the benchmark's table; the simulation itself needs Meta-World."""

import pytest

from rewact.judge.intervals import share_interval
from verify.bench.plots import draw_report
from verify.bench.report import format_table, summarize


def test_share_interval():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert share_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert share_interval(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert share_interval(0, 0) is None


def test_seeds_are_pooled():
    seeds = [{"success": [True, False], "steps": [50, 200]}, {"success": [True, True], "steps": [100, 150]}]
    accuracy = [{"balanced_accuracy": 0.6}, {"balanced_accuracy": 0.8}]
    summary = summarize({"push-a": {"ACT": seeds, "advantages": accuracy}})
    row = summary["push-a"]["ACT"]
    assert row["success"] == 0.75 and row["per_seed"] == [0.5, 1.0] and row["episodes"] == 4
    assert row["per_1000_steps"] == 6.0
    assert summary["push-a"]["advantages"]["balanced_accuracy"] == pytest.approx(0.7)
    assert "Mean weight" not in format_table(summary)
    weighted = [{**seed, "mean_weight": weight} for seed, weight in zip(seeds, (0.2, 0.4), strict=True)]
    of_values = [{"MAE": 0.125}, {"MAE": 0.375}]
    table = format_table(summarize({"push-a": {"RA-BC": weighted, "values": of_values}}))
    assert table.splitlines()[2].startswith("| RA-BC |")
    assert "Values of push (a) out of fold: MAE 0.25." in table
    assert "Mean weight of a frame of push (a): RA-BC 0.30." in table
    table = format_table(summary)
    assert table.splitlines()[0].endswith("| push, 4 episodes |")
    assert "| ACT | 0.75 (0.30 to 0.95), 6.0 |" in table and "balanced accuracy 0.70" in table


def test_a_table_for_each_kind_of_data_set_with_the_tasks_beside_each_other():
    result = [{"success": [True], "steps": [100]}]
    names = ("push-a", "drawer-open-a", "push-b")
    table = format_table(summarize({name: {"ACT": result} for name in names}))
    first, second = table.split("\n\n")
    cell = "1.00 (0.21 to 1.00), 10.0"
    assert first.splitlines()[1:] == ["|---|---|---|", f"| ACT | {cell} | {cell} |"]
    assert (
        first.splitlines()[0].endswith("| push, 1 episodes | drawer-open, 1 episodes |") and "(b)" in second
    )

    unfinished = format_table(
        summarize({"push-a": {"ACT": result, "other": result}, "drawer-open-a": {"ACT": result}})
    )
    assert unfinished.splitlines()[-1] == f"| other | {cell} |  |"

    second_seed = summarize({"push-a": {"ACT": result * 2, "other": result}})
    assert "| push, 1 to 2 episodes |" in format_table(second_seed)


def test_the_picture_shows_every_method_of_every_data_set():
    methods = ("ACT on everything", "ACTvantage, cfg_beta 1", "ACTvantage, negative, cfg_beta 1")
    results = {
        name: {
            method: [{"success": [True] * good + [False], "steps": [50] * (good + 1)}] for method in methods
        }
        for name, good in (("push-a", 1), ("push-b", 3))
    }
    figure = draw_report(summarize(results))
    assert [axis.get_title() for axis in figure.axes] == ["push-a", "push-b"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(methods)
    for axis, rate, per_1000_steps in zip(figure.axes, (0.5, 0.75), ("10.0", "15.0"), strict=True):
        assert [bar.get_width() for bar in axis.patches] == [rate] * 3
        assert [text.get_text() for text in axis.texts] == [per_1000_steps] * 3
        assert len({bar.get_facecolor() for bar in axis.patches}) == 3


def test_in_the_picture_methods_keep_their_places_while_others_are_missing():
    result = [{"success": [True], "steps": [100]}]
    figure = draw_report(
        summarize({"push-a": {"first": result, "second": result}, "push-b": {"second": result}})
    )
    bars = [[round(bar.get_y() + bar.get_height() / 2) for bar in axis.patches] for axis in figure.axes]
    assert bars == [[0, 1], [1]]
