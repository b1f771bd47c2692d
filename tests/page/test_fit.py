# SPDX-License-Identifier: MIT
"""A curve as few keypoints."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewact.labels.interpolation import interpolate_keypoints
from rewact.page.fit import fit_keypoints

curves = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40).map(np.array)


def drawn(keypoints, length, method):
    return interpolate_keypoints(
        np.array(list(keypoints)), np.array(list(keypoints.values())), length, method
    )


@settings(derandomize=True, deadline=None, max_examples=40)
@given(curves, st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from(["linear", "pchip"]))
def test_keypoints_follow_the_curve_within_the_tolerance(curve, tolerance, method):
    keypoints = fit_keypoints(curve, tolerance, method)
    assert np.abs(drawn(keypoints, len(curve), method) - curve).max() <= tolerance + 1e-6
    for frame in keypoints if len(keypoints) > 1 else ():
        fewer = {other: reward for other, reward in keypoints.items() if other != frame}
        rounding = 1e-3
        assert np.abs(drawn(fewer, len(curve), method) - curve).max() > tolerance - rounding


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 10), min_size=1, max_size=8))
def test_straight_lines_are_the_fewest(tenths):
    curve, tolerance = np.array(tenths) / 10, 0.12
    found = fit_keypoints(curve, tolerance, "linear")
    for n in range(1, len(found)):
        for frames in itertools.combinations(range(len(curve)), n):
            values = interpolate_keypoints(np.array(frames), curve[list(frames)], len(curve), "linear")
            assert np.abs(values - curve).max() > tolerance - 1e-3


def test_a_drop_is_a_step_of_two_keypoints():
    curve = np.r_[np.linspace(0, 0.8, 20), np.full(10, 0.1)]
    assert fit_keypoints(curve, 0.02, "linear") == {0: 0.0, 19: 0.8, 20: 0.1}


@pytest.mark.parametrize("method", ["linear", "pchip"])
def test_a_constant_curve_is_one_keypoint(method):
    assert len(fit_keypoints(np.full(9, 0.25), 0.01, method)) == 1
