# SPDX-License-Identifier: MIT
"""CompletionDetector."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewact import CompletionDetector


def run(detector, rewards):
    return [detector(reward).tolist() for reward in rewards]


def test_dwell_and_hysteresis():
    detector = CompletionDetector(threshold=0.8, hysteresis=0.2, dwell=2)
    rewards = [0.9, 0.7, 0.8, 0.8, 0.7, 0.65, 0.55, 0.7, 0.9, 0.9]
    assert run(detector, rewards) == [False, False, False, True, True, True, False, False, False, True]


def test_each_environment_on_its_own():
    detector = CompletionDetector(threshold=0.8, hysteresis=0.1, dwell=2)
    steps = [torch.tensor([0.9, 0.1]), torch.tensor([0.9, 0.9]), torch.tensor([0.1, 0.9])]
    done = [detector(step) for step in steps]
    assert [d.tolist() for d in done] == [[False, False], [True, False], [False, True]]
    assert done[0].dtype == torch.bool


def test_answers_do_not_change_later():
    detector = CompletionDetector(dwell=1)
    first = detector(torch.tensor([1.0]))
    detector(torch.tensor([0.0]))
    assert first.tolist() == [True]


def test_reset_forgets_and_allows_another_batch_size():
    detector = CompletionDetector(dwell=2)
    detector([1.0, 1.0])
    with pytest.raises(ValueError, match=r"the batch changed from \(2,\) to \(1,\)"):
        detector([1.0])
    detector.reset()
    assert run(detector, [[1.0], [1.0]]) == [[False], [True]]


@pytest.mark.parametrize("reward", [float("nan"), [0.5, float("nan")]])
def test_nan_is_an_error(reward):
    with pytest.raises(ValueError, match="NaN"):
        CompletionDetector()(reward)


def test_a_column_of_rewards_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(2, 1\)"):
        CompletionDetector()(torch.zeros(2, 1))


@pytest.mark.parametrize("values", [{"threshold": 0}, {"threshold": 1.1}, {"hysteresis": -0.1}, {"dwell": 0}])
def test_bad_settings(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        CompletionDetector(**values)


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 5))
def test_never_done_without_a_full_dwell(rewards, dwell):
    done = run(CompletionDetector(threshold=0.5, hysteresis=0.25, dwell=dwell), rewards)
    for i, is_done in enumerate(done):
        was_done = i > 0 and done[i - 1]
        rose = i + 1 >= dwell and all(r >= 0.5 for r in rewards[i + 1 - dwell : i + 1])
        assert is_done == (rose or (was_done and rewards[i] >= 0.25))
