# SPDX-License-Identifier: MIT
"""The numbers that `lerobot-eval-rewards` reports."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from PIL import Image

from rewact import CompletionDetector
from rewact.draw import plots
from rewact.draw.plots import odd_episodes, plot_overview
from rewact.judge.metrics import (
    EpisodeRewards,
    calibration,
    detection_metrics,
    episode_metrics,
    outcome_metrics,
    overall_metrics,
)


def rewards(prediction, label=None, success=None, episode=0, **band):
    prediction = np.float32(prediction)
    label = np.linspace(0, 1, len(prediction)) if label is None else label
    return EpisodeRewards(episode, prediction, np.float32(label), success, **band)


def test_a_perfect_and_a_reversed_prediction():
    perfect = episode_metrics(rewards(np.linspace(0, 1, 9)))
    assert (perfect["voc"], perfect["spearman"]) == (1, 1) and perfect["pearson"] == pytest.approx(1)
    assert (perfect["mae"], perfect["rmse"]) == (0, 0)
    assert (perfect["final"], perfect["max"], perfect["mean"]) == (1, 1, 0.5)
    reversed_ = episode_metrics(rewards(np.linspace(1, 0, 9)))
    assert reversed_["voc"] == -1 and reversed_["final"] == 0 and reversed_["max"] == 1


def test_a_collapsed_prediction_has_no_order():
    """Leaving it out of the mean would reward a head that says nothing."""
    flat = episode_metrics(rewards([0.5] * 9))
    assert (flat["voc"], flat["spearman"], flat["pearson"]) == (0, 0, 0)
    detector = CompletionDetector()
    assert overall_metrics([rewards([0.5] * 9), rewards(np.linspace(0, 1, 9))], detector)["voc"] == 0.5


def test_episodes_without_any_order_to_find():
    one_frame = episode_metrics(rewards([0.5], label=[1.0]))
    assert one_frame["voc"] is None and one_frame["mae"] == 0.5
    flat_label = episode_metrics(rewards(np.linspace(0, 1, 9), label=[0.3] * 9))
    assert flat_label["voc"] == 1 and flat_label["spearman"] is None


def test_errors_are_pooled_over_frames():
    episodes = [rewards([1.0] * 9, label=[0.0] * 9), rewards([0.5], label=[0.5])]
    overall = overall_metrics(episodes, CompletionDetector())
    assert overall["n_frames"] == 10 and overall["mae"] == pytest.approx(0.9)
    assert overall["rmse"] == pytest.approx(0.9**0.5)


def test_frames_without_a_label_are_left_out():
    label = np.linspace(0, 1, 9)
    label[3] = np.nan
    band = {"lower": np.zeros(9), "upper": np.ones(9)}
    episode = rewards(np.linspace(0, 1, 9), label, success=True, **band)
    found = episode_metrics(episode)
    assert (found["spearman"], found["mae"], found["voc"], found["length"]) == (1, 0, 1, 9)
    overall = overall_metrics([episode], CompletionDetector(threshold=0.9, dwell=1))
    assert (overall["mae"], overall["rmse"], overall["band_coverage"]) == (0, 0, 1)
    assert overall["detection"]["delay_mean"] == 0
    assert sum(b["count"] for b in calibration([episode])["bins"]) == 8


def test_outcomes():
    assert outcome_metrics([True, False, True, False], [0.9, 0.8, 0.7, 0.1], "final") == {
        "auroc_final": 0.75,
        "average_precision_final": pytest.approx(0.5 * 1 + 0.5 * 2 / 3),
    }
    assert set(outcome_metrics([True, True], [0.9, 0.8], "max").values()) == {None}
    assert set(outcome_metrics([], [], "max").values()) == {None}


def test_ties_count_half():
    assert outcome_metrics([True, False], [0.5, 0.5], "final")["auroc_final"] == 0.5


def test_detection():
    high = [0.1, 0.95, 0.95, 0.95]
    episodes = [
        rewards(high, label=[0, 0.5, 1, 1], success=True, episode=0),
        rewards(high, success=False, episode=1),
        rewards([0.1] * 4, success=True, episode=2),
        rewards([0.1] * 4, success=False, episode=3),
        rewards(high, success=None, episode=4),
    ]
    found = detection_metrics(episodes, CompletionDetector(threshold=0.9, dwell=2))
    assert found["precision"] == 0.5 and found["recall"] == 0.5
    assert found["delay_median"] == found["delay_mean"] == 0
    assert found["detected"] == {0: 2, 1: 2, 2: None, 3: None, 4: 2}


def test_detection_without_known_outcomes():
    found = detection_metrics([rewards([1.0] * 5)], CompletionDetector(dwell=1))
    assert found["precision"] is None and found["recall"] is None and found["detected"] == {0: 0}


def test_calibration():
    result = calibration([rewards([0.1, 0.1, 0.75, 0.75], label=[0.1, 0.3, 0.75, 0.25])], n_bins=4)
    assert [entry["count"] for entry in result["bins"]] == [2, 2]
    assert [entry["label"] for entry in result["bins"]] == pytest.approx([0.2, 0.5])
    assert result["ece"] == pytest.approx((2 * 0.1 + 2 * 0.25) / 4)


@given(st.lists(st.floats(-0.2, 1.2), min_size=1, max_size=30), st.integers(1, 12))
def test_calibration_counts_every_frame(predictions, n_bins):
    result = calibration([rewards(predictions)], n_bins)
    assert sum(entry["count"] for entry in result["bins"]) == len(predictions)
    assert 0 <= result["ece"] <= np.float32(1.2)  # predictions are float32


def test_band_coverage():
    band = {"lower": np.zeros(4), "upper": np.full(4, 0.5)}
    covered = overall_metrics([rewards([0.5] * 4, label=[0, 0.4, 0.6, 1], **band)], CompletionDetector())
    assert covered["band_coverage"] == 0.5
    assert overall_metrics([rewards([0.5] * 4)], CompletionDetector())["band_coverage"] is None


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6), st.sampled_from([True, False, None])
        ),
        min_size=1,
        max_size=5,
    )
)
def test_results_are_json(episodes):
    """No NaN and no numpy scalar, whatever the predictions are."""
    episodes = [rewards(p, success=s, episode=i) for i, (p, s) in enumerate(episodes)]
    json.dumps(overall_metrics(episodes, CompletionDetector()), allow_nan=False)
    json.dumps([episode_metrics(episode) for episode in episodes], allow_nan=False)


def test_odd_episodes_stand_out():
    rng = np.random.default_rng(0)
    good = [rewards(np.linspace(0, 1, 50) + rng.normal(0, 0.02, 50), episode=i) for i in range(20)]
    stuck = rewards(np.full(50, 0.1), episode=20)
    assert list(odd_episodes([*good, stuck])) == [20]
    assert odd_episodes(good) == {}


def straight(n):
    return [rewards(np.linspace(0, 1, 5), episode=episode) for episode in range(n)]


def test_an_overview_measures_and_draws_each_panel_a_few_times(tmp_path, monkeypatch):
    """However many panels there are; that each was measured for every other took minutes."""
    calls = []
    for name in ("draw", "get_tightbbox"):
        original = getattr(Axes, name)
        monkeypatch.setattr(
            Axes, name, lambda *args, f=original, **kwargs: calls.append(1) or f(*args, **kwargs)
        )

    def count(n):
        calls.clear()
        plot_overview(tmp_path / "overview.png", straight(n), {}, fps=10, title="title")
        return len(calls)

    assert count(30) >= 30 and count(120) <= 4 * count(30) + 20


def test_an_overview_explains_the_words_and_marks_that_it_uses(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    odd = [replace(e, prediction=1 - e.label) if e.episode == 3 else e for e in straight(9)]
    labelled = [replace(episode, success=True) for episode in straight(9)]
    plot_overview(tmp_path / "overview.png", straight(9), {}, fps=10, title="title")
    plot_overview(tmp_path / "overview.png", labelled, {"model": odd}, fps=10, title="title")
    plain, marked = (" ".join(text.get_text() for text in figure.texts) for figure in figures)
    assert plain == "title all axes 0 to 1"
    assert "\N{CHECK MARK} success, \N{BALLOT X} failure" in marked
    assert "up and down: rises less steadily than the other episodes" in marked


def test_shares_of_episodes_are_drawn_from_0_to_1(tmp_path, monkeypatch):
    """They began where the first episode lay: of two failures that end alike, half of them had no line."""
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: figures.append(figure))
    ends = [rewards([0, 0.25], success=False), rewards([0, 0.25], success=False)]
    bins = {"ece": 0.0, "bins": [{"count": 4, "prediction": 0.1, "label": 0.1}]}
    plots.plot_evaluation(tmp_path / "judged.png", {"model": ends}, {"model": bins}, title="title")
    (line,) = figures[0].axes[2].get_lines()
    assert line.get_xdata().tolist() == [0, 0.25, 0.25, 1] and line.get_ydata().tolist() == [0, 0.5, 1, 1]


def test_an_overview_of_very_many_episodes_shows_some_of_each_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "MAX_OVERVIEW", 10)
    shown = []
    draw = plots.draw_curves

    def drawn(axes, labelled, models, fps, line_width):
        shown.extend(rewards.episode for rewards in models.values())
        draw(axes, labelled, models, fps, line_width)

    monkeypatch.setattr(plots, "draw_curves", drawn)
    predicted = straight(100)
    for odd in (17, 40, 99):
        predicted[odd] = rewards(np.linspace(0, 0.2, 5), label=np.linspace(0, 1, 5), episode=odd)
    plot_overview(tmp_path / "overview.png", straight(100), {"model": predicted}, fps=10, title="title")
    assert len(shown) == 10 and {0, 17, 40, 99} <= set(shown) and shown == sorted(shown)
    assert Image.open(tmp_path / "overview.png").width < 1000
