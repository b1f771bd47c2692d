# SPDX-License-Identifier: MIT
"""Rewards between keypoints and along episodes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewact.labels.interpolation import STEP_DROP, interpolate_keypoints, linear_rewards

METHODS = ("pchip", "linear")
REWARDS = st.floats(0.0, 1.0, width=32)


@st.composite
def episodes(draw, rewards=REWARDS):
    """Keypoints of an episode: frames, rewards, number of frames."""
    n_frames = draw(st.integers(1, 300))
    frames = sorted(draw(st.sets(st.integers(0, n_frames - 1), min_size=1, max_size=12)))
    values = draw(st.lists(rewards, min_size=len(frames), max_size=len(frames)))
    return np.array(frames), np.array(values), n_frames


@pytest.mark.parametrize("method", METHODS)
@given(episodes())
def test_exact_at_keypoints_and_between_neighbours(method, episode):
    frames, rewards, n_frames = episode
    curve = interpolate_keypoints(frames, rewards, n_frames, method)
    assert curve.shape == (n_frames,) and curve.dtype == np.float32
    assert np.array_equal(curve[frames], rewards.astype(np.float32))
    assert np.all(curve[: frames[0]] == curve[frames[0]])
    assert np.all(curve[frames[-1] :] == curve[frames[-1]])
    for k in range(len(frames) - 1):
        piece = curve[frames[k] : frames[k + 1] + 1]
        low, high = sorted((piece[0], piece[-1]))
        assert np.all((piece >= low) & (piece <= high))


@pytest.mark.parametrize("method", METHODS)
@given(episodes())
def test_monotone_between_rising_keypoints(method, episode):
    frames, rewards, n_frames = episode
    curve = interpolate_keypoints(frames, np.sort(rewards), n_frames, method)
    assert np.all(np.diff(curve) >= 0)


@pytest.mark.parametrize("method", METHODS)
@given(episodes())
def test_a_large_drop_is_a_step(method, episode):
    frames, rewards, n_frames = episode
    curve = interpolate_keypoints(frames, rewards, n_frames, method)
    for k in np.flatnonzero(np.diff(rewards) < -STEP_DROP):
        assert np.all(curve[frames[k] : frames[k + 1]] == curve[frames[k]])


def test_a_drop_of_exactly_one_half_is_a_ramp():
    curve = interpolate_keypoints(np.array([0, 4]), np.array([0.75, 0.25]), 5)
    assert curve.tolist() == [0.75, 0.625, 0.5, 0.375, 0.25]


def test_a_step_does_not_bend_its_neighbours():
    """The rise before a drop is the same as without the drop."""
    frames, rewards = np.array([0, 10, 20, 21, 30]), np.array([0.0, 0.2, 0.9, 0.1, 0.5])
    curve = interpolate_keypoints(frames, rewards, 31)
    assert np.array_equal(curve[:21], interpolate_keypoints(frames[:3], rewards[:3], 21))


def test_rises_where_a_natural_cubic_spline_falls():
    """Keypoints through which a natural spline dips below 0.1, overshoots 1, and falls in between."""
    frames, rewards = np.array([0, 20, 25, 60, 99]), np.array([0.1, 0.1, 0.9, 0.95, 1.0])
    curve = interpolate_keypoints(frames, rewards, 100)
    assert np.all(np.diff(curve) >= 0) and curve.min() == np.float32(0.1) and curve.max() == 1.0


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=8),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: pair[1] - pair[0] > 1e-9),
)
def test_linear_follows_its_definition(lengths, bounds):
    start, end = bounds
    curve = linear_rewards(np.array(lengths), start, end)
    expected = []
    for n in lengths:
        for i in range(n):
            p = i / (n - 1) if n > 1 else 1.0
            expected.append(min(max((p - start) / (end - start), 0.0), 1.0))
    assert curve.dtype == np.float32
    assert curve.tolist() == np.array(expected, dtype=np.float32).tolist()


def test_linear_at_its_corners():
    curve = linear_rewards(np.array([101]), 0.05, 0.95)
    assert curve[5] == 0 and curve[6] > 0 and curve[94] < 1 and curve[95] == 1
    assert curve[50] == np.float32(0.5)


def test_linear_with_a_ceiling_per_episode():
    curve = linear_rewards(np.array([3, 3]), 0.0, 1.0, ceilings=np.array([1.0, 0.5]))
    assert curve.tolist() == [0, 0.5, 1, 0, 0.25, 0.5]
