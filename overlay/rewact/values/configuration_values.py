# SPDX-License-Identifier: MIT
from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from rewact.options.completion import CompletionDetectorConfig
from rewact.options.values import FeatureOptions, ValueOptions


@PreTrainedConfig.register_subclass("values")
@dataclass
class ValuesConfig(PreTrainedConfig):
    """Configuration of the values that `lerobot-train-values` trains: a reward head without a policy.

    Args:
        features: How pictures become features.
        values: How values are read from them.
        dims: Length of each stream's feature vectors, by key of the observation.
        lags: Frames that the window looks back.
        dataset: Fingerprint of the dataset that was trained on.
        episodes: Its episodes, by number.
        folds: Fold of each: the ensemble that has not seen it.
        completion_detector: When the task counts as done, None where the data could not say.
        n_action_steps: N for `lerobot-compute-advantages`, from the pace of the task.
    """

    features: FeatureOptions = field(default_factory=FeatureOptions)
    values: ValueOptions = field(default_factory=ValueOptions)
    dims: dict[str, int] = field(default_factory=dict)
    lags: list[int] = field(default_factory=list)
    dataset: str = ""
    episodes: list[int] = field(default_factory=list)
    folds: list[int] = field(default_factory=list)
    completion_detector: CompletionDetectorConfig | None = None
    n_action_steps: int = 1
    use_reward_head: bool = True

    def validate_features(self) -> None:
        pass

    # It reads single frames.
    observation_delta_indices = action_delta_indices = reward_delta_indices = None

    def get_optimizer_preset(self) -> Any:
        raise NotImplementedError("values are trained by lerobot-train-values, not by lerobot-train")

    def get_scheduler_preset(self) -> Any:
        return None
