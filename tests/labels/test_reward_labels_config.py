# SPDX-License-Identifier: MIT
"""The --dataset.reward.* flags."""

import math

import draccus
import pytest

from lerobot.configs.default import DatasetConfig
from rewact.options.labels import RewardLabelsConfig


def test_defaults():
    config = RewardLabelsConfig()
    assert config.sources == ["keypoints", "linear"]
    assert (config.start_pct, config.end_pct) == (0.05, 0.95)
    assert not config.masks_actions


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"start_pct": 0.5, "end_pct": 0.5}, "start_pct must be below reward.end_pct, got 0.5 and 0.5"),
        ({"start_pct": 0.9, "end_pct": 0.1}, "got 0.9 and 0.1"),
        ({"start_pct": -0.1}, r"start_pct must be in \[0, 1\], got -0.1"),
        ({"end_pct": 1.5}, r"end_pct must be in \[0, 1\], got 1.5"),
        ({"start_pct": math.nan}, "got nan"),
        ({"interpolation": "cubic"}, "'cubic'"),
        ({"failure_ceiling": 1.0}, r"failure_ceiling must be in \[0, 1\), got 1.0"),
        ({"c_fail": 0}, "c_fail must be above 0, got 0"),
        ({"c_fail": math.inf}, "c_fail must be above 0, got inf"),
        ({"failure_return": "best"}, "failure_return must be one of steps, worst, got 'best'"),
        ({"progress_column": "reward"}, "progress_column must be one of progress_sparse, progress_dense"),
        ({"outcomes": "maybe"}, "outcomes must be one of auto, .*got 'maybe'"),
        (
            {"outcomes": "none", "outcomes_path": "x.json"},
            "outcomes_path is not used with reward.outcomes=none",
        ),
        ({"sources": []}, "sources is empty"),
        ({"sources": ["magic"]}, "unknown source 'magic'; known are keypoints"),
        ({"sources": ["linear", "keypoints"]}, "'linear' labels every episode"),
        ({"sources": ["keypoints", "keypoints"]}, "twice"),
    ],
)
def test_bad_values_are_named(values, named):
    with pytest.raises(ValueError, match=named):
        RewardLabelsConfig(**values)


def test_flags_reach_the_dataset_config():
    args = ["--repo_id=a/b", "--reward.start_pct=0", "--reward.end_pct=1", '--reward.sources=["linear"]']
    config = draccus.parse(DatasetConfig, args=args)
    assert config.reward == RewardLabelsConfig(start_pct=0.0, end_pct=1.0, sources=["linear"])
