# SPDX-License-Identifier: MIT
"""Advantages against episodes computed by hand, and what is called positive."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewact.advantages.estimate import (
    advantages_of_progress,
    advantages_of_returns,
    find_threshold,
    label_positive,
    monte_carlo_advantages,
    smooth,
)
from rewact.labels.episodes import EpisodeTable
from rewact.labels.returns import compute_returns

SUCCESS, FAILURE, UNKNOWN = 1, 0, -1


def make_table(lengths, tasks=None):
    ends = np.cumsum(lengths)
    starts = ends - np.asarray(lengths)
    tasks = np.zeros(len(lengths), dtype=np.int64) if tasks is None else np.asarray(tasks)
    return EpisodeTable("local/test", Path("."), 10.0, (), np.arange(len(lengths)), starts, ends, tasks)


# --- Returns


def test_returns_of_a_success_and_a_failure():
    returns = compute_returns(make_table([5, 3]), np.array([SUCCESS, FAILURE]))
    # H = 5, C_fail = 5, norm = 5 - 1 + 5 = 9.
    np.testing.assert_allclose(returns.values, np.array([-4, -3, -2, -1, 0, -7, -6, -5]) / 9)
    assert returns.norm.tolist() == [9, 9] and returns.c_fail.tolist() == [5, 5]
    assert returns.values.min() >= -1 and returns.values.max() <= 0


def test_returns_of_a_failure_that_is_worth_the_worst():
    returns = compute_returns(make_table([5, 3]), np.array([SUCCESS, FAILURE]), failure_return="worst")
    np.testing.assert_allclose(returns.values, np.array([-4, -3, -2, -1, 0, -9, -9, -9]) / 9)
    # Each step still costs 1, and the end 9, the worst of all returns.
    np.testing.assert_allclose(returns.rewards_to_go[5:], np.array([-11, -10, -9]) / 9)


def test_the_norm_is_of_the_task():
    returns = compute_returns(make_table([5, 3, 2], tasks=[0, 1, 1]), np.array([1, 1, 0]), c_fail=4.0)
    assert returns.norm.tolist() == [8, 6, 6]
    np.testing.assert_allclose(returns.values[5:], np.array([-2, -1, 0, -5, -4]) / 6)


def test_what_a_human_had_to_correct_counts_as_failing():
    """Takeovers at frames 3 and 7 of a success; the human begins the second episode, and the third failed."""
    human = np.zeros(20, dtype=bool)
    human[[3, 4, 7, 10, 11, 16]] = True
    outcomes = np.array([SUCCESS, SUCCESS, FAILURE])
    returns = compute_returns(make_table([10, 5, 5]), outcomes, interventions=human)  # norm = 19
    first = [-12, -11, -10, -6, -5, -11, -10, -2, -1, 0]
    second = [-4, -3, -2, -1, 0]
    third = [-14, -13, -12, -11, -10]
    np.testing.assert_allclose(returns.values, np.array(first + second + third) / 19)


def test_one_frame_and_no_penalty():
    returns = compute_returns(make_table([1]), np.array([SUCCESS]), c_fail=0.0)
    assert returns.values.tolist() == [0.0]


# --- N-step advantages, by hand. Steps of 0.1, V in the same units.


def test_success():
    returns = np.array([-0.4, -0.3, -0.2, -0.1, 0.0])
    values = np.array([-0.6, -0.5, -0.2, -0.15, -0.05])
    expected = [
        -0.2 + -0.2 - -0.6,  # two steps cost 0.2, then V_2
        -0.2 + -0.15 - -0.5,
        -0.2 + -0.05 - -0.2,
        -0.1 - -0.15,  # the episode ends after one more step, at a return of 0
        0.0 - -0.05,
    ]
    np.testing.assert_allclose(advantages_of_returns(values, returns, 2, True), expected)


def test_failure_carries_its_penalty_to_the_end():
    returns = np.array([-0.9, -0.8, -0.7, -0.6])  # C_fail is 0.6
    values = np.array([-0.3, -0.3, -0.3, -0.3])  # a value function that saw nothing coming
    expected = [-0.2, -0.2, -0.7 - -0.3, -0.6 - -0.3]
    advantages = advantages_of_returns(values, returns, 2, True)
    np.testing.assert_allclose(advantages, expected)
    # The same frames of a success: the penalty must not cancel out.
    success = advantages_of_returns(values, np.array([-0.3, -0.2, -0.1, 0.0]), 2, True)
    assert (advantages[2:] < 0).all() and (success[2:] > 0).all()


def test_the_end_of_a_hopeless_failure_is_no_gain():
    """A hand that hangs in the air until time is up: V cannot tell the time, and expects half of it."""
    returns = compute_returns(make_table([100]), np.array([FAILURE])).values
    values = np.full(100, returns.mean())
    assert (returns - values)[-10:].min() > 0.2  # what is left by then is better than V expects
    advantages = advantages_of_returns(values, returns, 10, True)
    np.testing.assert_allclose(advantages, -10 / 199)  # as bad at the end as before


def test_to_get_stuck_is_no_gain():
    """A hand that goes astray for 20 frames and then hangs there until time is up.

    V knows the place, not the time, and is right on average. By the remaining steps of the recording the way
    there is worth less than the place itself, and going there would be positive.
    """
    table = make_table([100, 20])
    positive = {}
    for failure_return in ("steps", "worst"):
        returns = compute_returns(table, np.array([FAILURE, SUCCESS]), failure_return=failure_return)
        failure = slice(0, 100)
        values = returns.values[failure].copy()
        values[:20], values[20:] = values[:20].mean(), values[20:].mean()
        advantages = advantages_of_returns(values, returns.rewards_to_go[failure], 10, True)
        positive[failure_return] = (advantages > 0).nonzero()[0].tolist()
    assert positive == {"steps": list(range(10, 20)), "worst": []}


def test_the_worst_return_still_carries_its_penalty_to_the_end():
    returns = compute_returns(make_table([4]), np.array([FAILURE]), failure_return="worst")  # norm = 7
    values = np.array([-0.3, -0.3, -0.3, -0.3])
    expected = [-2 / 7, -2 / 7, -1 / 7 - 1 + 0.3, -1 + 0.3]
    np.testing.assert_allclose(advantages_of_returns(values, returns.rewards_to_go, 2, True), expected)


@pytest.mark.parametrize("n_steps", [4, 5, 1000])
def test_n_longer_than_the_episode_compares_with_the_true_return(n_steps):
    values = np.array([-0.2, -0.3, -0.1, -0.05])
    success = np.array([-0.3, -0.2, -0.1, 0.0])
    np.testing.assert_allclose(advantages_of_returns(values, success, n_steps, True), [-0.1, 0.1, 0.0, 0.05])
    failure = np.array([-0.9, -0.8, -0.7, -0.6])
    np.testing.assert_allclose(
        advantages_of_returns(values, failure, n_steps, True), [-0.7, -0.5, -0.6, -0.55]
    )
    # Expected worse still: at most four steps that lead nowhere.
    np.testing.assert_allclose(advantages_of_returns(values - 0.9, failure, n_steps, True), [-0.4] * 4)


def test_a_recorded_success_may_end_a_little_below_0():
    returns, values = np.array([-0.2, -0.1, -1e-7]), np.array([-0.5, -0.5, -0.5])
    np.testing.assert_allclose(advantages_of_returns(values, returns, 1, True), [-0.1, -0.1, 0.5], atol=1e-6)


def test_an_episode_that_was_cut_off_ends_in_its_last_value():
    returns = np.array([-0.2, -0.1, 0.0])
    values = np.array([-0.5, -0.45, -0.3])
    expected = [-0.1 + -0.45 - -0.5, -0.1 + -0.3 - -0.45, 0.0]
    np.testing.assert_allclose(advantages_of_returns(values, returns, 1, False), expected, atol=1e-12)


def test_a_perfect_value_function_leaves_no_advantage():
    returns = compute_returns(make_table([7, 4]), np.array([SUCCESS, FAILURE]))
    success, failure = returns.values[:7], returns.values[7:]
    np.testing.assert_allclose(advantages_of_returns(success, success, 3, True), 0, atol=1e-12)
    # The last frames of a failure are negative even where it was foreseen.
    expected = [0, -3 / 13, -3 / 13, -3 / 13]
    np.testing.assert_allclose(advantages_of_returns(failure, failure, 3, True), expected, atol=1e-12)


def test_progress():
    values = np.array([0.0, 0.2, 0.5, 0.6, 0.9])
    success = advantages_of_progress(values, 2, SUCCESS)
    # The last two frames share the window from frame 2 to the end, which is at 1.
    np.testing.assert_allclose(success, [0.5, 0.4, 0.4, 0.5, 0.5])
    failure = advantages_of_progress(values, 2, FAILURE)
    np.testing.assert_allclose(failure, [0.5, 0.4, 0.4, -0.6, -0.9])
    unknown = advantages_of_progress(values, 2, UNKNOWN)
    np.testing.assert_allclose(unknown, [0.5, 0.4, 0.4, 0.4, 0.4])


def test_progress_of_an_episode_shorter_than_twice_n():
    """Over half of it, at its pace: 2 steps of progress count for 4."""
    values = np.array([0.2, 0.3, 0.5, 0.8])
    np.testing.assert_allclose(advantages_of_progress(values, 4, SUCCESS), [0.6, 1.0, 1.4, 1.4])
    np.testing.assert_allclose(advantages_of_progress(values, 4, UNKNOWN), [0.6, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(advantages_of_progress(values, 4, FAILURE), [0.6, 1.0, -0.5, -0.8])
    np.testing.assert_allclose(advantages_of_progress(np.array([0.2]), 1, SUCCESS), [0.8])


def test_what_is_fast_is_good_all_along():
    """Perfect values of fast and slow demonstrations, N longer than the fast ones: it was a clock."""
    fast, slow = (advantages_of_progress(np.linspace(0, 1, n), 100, SUCCESS) for n in (80, 300))
    threshold = find_threshold(np.concatenate([fast] * 10 + [slow] * 10), 0.4)
    assert (fast > threshold).all() and slow.max() < fast.min()


@given(
    values=st.lists(st.floats(-1, 0), min_size=1, max_size=30),
    n_steps=st.integers(1, 40),
    is_failure=st.booleans(),
    is_terminal=st.booleans(),
)
def test_returns_against_the_sum_of_rewards(values, n_steps, is_failure, is_terminal):
    """The definition, step by step."""
    length = len(values)
    values = np.array(values)
    table = make_table([length])
    all_returns = compute_returns(table, np.array([FAILURE if is_failure else SUCCESS]), c_fail=3.0)
    returns, norm = all_returns.values, all_returns.norm[0]
    rewards = np.full(length, -1 / norm)
    rewards[-1] = -3 / norm if is_failure else 0.0
    advantages = advantages_of_returns(values, returns, n_steps, is_terminal)
    for t in range(length):
        if t + n_steps < length:
            expected = rewards[t : t + n_steps].sum() + values[t + n_steps] - values[t]
        elif is_terminal:
            expected = rewards[t:].sum() - values[t]
            if is_failure:
                expected = min(expected, -min(n_steps, length) / norm if length > 1 else 0.0)
        else:
            expected = rewards[t:-1].sum() + values[-1] - values[t]
        assert advantages[t] == pytest.approx(expected, abs=1e-9)


# --- Without a value function


def test_monte_carlo_against_the_other_episodes_of_the_task():
    table = make_table([2, 4, 3], tasks=[0, 0, 1])
    returns = compute_returns(table, np.array([SUCCESS, FAILURE, SUCCESS]))
    # Task 0: H = 4, C_fail = 4, norm = 7; returns (-1, 0) and (-7, -6, -5, -4). The first ends after two
    # steps.
    baseline = np.array([-4, -3, -2.5, -2]) / 7
    baselines, advantages = monte_carlo_advantages(table, returns, np.arange(3))
    np.testing.assert_allclose(baselines[:6], np.concatenate([baseline[:2], baseline]))
    np.testing.assert_allclose(advantages[:2], np.array([3, 3]) / 7)
    np.testing.assert_allclose(advantages[2:6], np.array([-3, -3, -2.5, -2]) / 7)
    np.testing.assert_allclose(advantages[6:], 0)  # alone in its task


# --- What is positive


def test_the_exact_fraction_without_ties():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 999):
        advantages = rng.permutation(np.linspace(-1, 1, n)).astype(np.float32)
        for fraction in (0.1, 0.3, 0.4, 0.9):
            count = int((advantages > find_threshold(advantages, fraction)).sum())
            assert count == min(round(fraction * n), n - 1)


@pytest.mark.parametrize(
    ("advantages", "fraction", "expected"),
    [
        ([3, 2, 2, 2, 2, 1, 1, 0, 0, 0], 0.4, 5),  # 1 or 5 of 10, not in between
        ([3, 2, 2, 2, 2, 1, 1, 0, 0, 0], 0.2, 1),
        ([3, 2, 2, 2, 2, 1, 1, 0, 0, 0], 0.3, 1),  # as far from 1 as from 5
        ([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], 0.4, 0),
        ([1, 1, 1, 1, 1, 1, 1, 0, 0, 0], 0.4, 7),
        ([5, 5, 5, 5], 0.9, 0),
        ([5], 0.9, 0),
    ],
)
def test_ties_are_never_split(advantages, fraction, expected):
    advantages = np.array(advantages, dtype=np.float32)
    assert (advantages > find_threshold(advantages, fraction)).sum() == expected


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60),
    st.floats(0.01, 0.99),
)
def test_no_cut_is_closer(advantages, fraction):
    advantages = np.array(advantages, dtype=np.float32)
    wanted = round(fraction * len(advantages))
    count = (advantages > find_threshold(advantages, fraction)).sum()
    others = [(advantages > value).sum() for value in advantages]
    assert abs(count - wanted) == min(abs(other - wanted) for other in others)


def label(table, advantages, interventions=None, rows=None, n_steps=2, fraction=0.4):
    interventions = (
        np.zeros(table.n_frames, bool) if interventions is None else np.asarray(interventions, bool)
    )
    rows = np.arange(len(table.episodes)) if rows is None else rows
    return label_positive(table, np.asarray(advantages, np.float32), interventions, rows, n_steps, fraction)


def test_each_task_has_its_own_threshold():
    table = make_table([10, 10], tasks=[0, 1])
    positive, thresholds = label(table, np.concatenate([np.arange(10), 1000 + np.arange(10)]))
    assert positive[:10].sum() == positive[10:].sum() == 4
    assert thresholds == {0: 5.0, 1: 1005.0}
    assert positive[[6, 7, 8, 9, 16]].all()


def test_interventions():
    table = make_table([8, 4])
    advantages = [9, 8, 7, 6, -5, -6, 5, 4, 3, 2, 1, 0]
    interventions = [0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    positive, thresholds = label(table, advantages, interventions, n_steps=2, fraction=0.5)
    # The threshold is of the ten other frames: five of them are above 4.
    assert thresholds == {0: 4.0}
    #                       precede the correction -^  ^     corrected -v  v
    assert positive.tolist()[:8] == [True, True, False, False, True, True, True, False]
    assert not positive[8:].any()


def test_an_intervention_does_not_reach_into_the_episode_before():
    table = make_table([3, 3])
    positive, thresholds = label(table, [5, 4, 3, 2, 1, 0], [0, 0, 0, 1, 0, 0], n_steps=3, fraction=0.4)
    assert positive.tolist() == [True, True, False, True, False, False]


def test_all_frames_under_intervention():
    table = make_table([3])
    positive, thresholds = label(table, [1, 2, 3], [1, 1, 1])
    assert positive.all() and thresholds == {}


def test_only_the_given_rows_count():
    table = make_table([5, 5])
    advantages = np.concatenate([np.arange(5.0), np.full(5, np.nan)])
    positive, thresholds = label(table, advantages, rows=np.array([0]))
    assert positive.tolist() == [False, False, False, True, True] + [False] * 5


# --- Smoothing


def test_smoothing():
    values = np.array([0.0, 3.0, 0.0, 3.0, 6.0])
    np.testing.assert_allclose(smooth(values, 1), values)
    np.testing.assert_allclose(smooth(values, 3), [0.0, 1.0, 2.0, 3.0, 6.0])
    np.testing.assert_allclose(smooth(values, 99), [0.0, 1.0, 2.4, 3.0, 6.0])


@settings(max_examples=50)
@given(st.integers(1, 30), st.sampled_from([1, 3, 9]), st.floats(-1, 1), st.floats(-0.1, 0.1))
def test_smoothing_keeps_lines(length, window, start, slope):
    line = start + slope * np.arange(length)
    np.testing.assert_allclose(smooth(line, window), line, atol=1e-9)
