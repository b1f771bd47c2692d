# SPDX-License-Identifier: MIT
"""Writing cross-fitted ensembles as a checkpoint that LeRobot's commands load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lerobot.configs.types import FeatureType, PolicyFeature
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import write_json
from rewact.labels.outcomes import FAILURE
from rewact.options.completion import CompletionDetectorConfig
from rewact.options.values import FeatureOptions, ValueOptions
from rewact.values.checkpoint import TRAIN_CONFIG
from rewact.values.configuration_values import ValuesConfig
from rewact.values.ensemble import Ensemble
from rewact.values.feature_cache import episodes_digest
from rewact.values.modeling_values import ValuesPolicy
from rewact.values.processor_values import make_values_pre_post_processors

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

# An action is judged by what a tenth of an episode makes of it.
PACE = 10


def task_pace(table: EpisodeTable, outcomes: np.ndarray) -> int:
    """N for advantages: a tenth of the median length of the episodes that have not failed, at least 1."""
    lengths = table.lengths[outcomes != FAILURE]
    return max(round(float(np.median(lengths if len(lengths) else table.lengths)) / PACE), 1)


def save_checkpoint(
    folder: Path,
    meta: "LeRobotDatasetMetadata",
    features: FeatureOptions,
    values: ValueOptions,
    ensembles: Sequence[Ensemble],
    folds: Mapping[int, int],
    n_action_steps: int,
    completion_detector: CompletionDetectorConfig | None,
    labels: Mapping[str, Any],
) -> None:
    """Write ensembles with their processors, and how they were trained.

    Args:
        folder: The checkpoint.
        meta: Metadata of the dataset that they were trained on.
        features: How its pictures became features.
        values: How the ensembles were trained.
        ensembles: One per fold.
        folds: For each episode the fold that has not seen it.
        n_action_steps: N for advantages.
        completion_detector: When the task counts as done, None if that is not known.
        labels: The `RewardLabelsConfig` of what they learned, as JSON values.

    Raises:
        OSError: If it cannot be written.
    """
    window = ensembles[0].window
    dims = {
        key: len(projection.mean) for key, projection in zip(window.keys, window.projections, strict=True)
    }
    config = ValuesConfig(
        device="cpu",
        push_to_hub=False,
        input_features={key: _policy_feature(meta, key) for key in dims},
        features=features,
        values=values,
        dims=dims,
        lags=window.lags,
        dataset=episodes_digest(EpisodeTable.from_metadata(meta)),
        episodes=list(folds),
        folds=list(folds.values()),
        completion_detector=completion_detector,
        n_action_steps=n_action_steps,
    )
    policy = ValuesPolicy(config)
    for mine, trained in zip(policy.ensembles, ensembles, strict=True):
        mine.load_state_dict(trained.state_dict())
    for part in (policy, *make_values_pre_post_processors(config)):
        part.save_pretrained(folder)
    # No episode is answered by an ensemble that has seen it.
    dataset = {"repo_id": meta.repo_id, "root": str(meta.root), "episodes": [], "reward": dict(labels)}
    write_json(folder / TRAIN_CONFIG, {"dataset": dataset})


def _policy_feature(meta: "LeRobotDatasetMetadata", key: str) -> PolicyFeature:
    shape = tuple(meta.features[key]["shape"])
    if key in meta.camera_keys:
        names = meta.features[key].get("names") or []
        if list(names)[2:] in (["channel"], ["channels"]):
            shape = (shape[2], shape[0], shape[1])
        return PolicyFeature(FeatureType.VISUAL, shape)
    return PolicyFeature(FeatureType.STATE, shape)
