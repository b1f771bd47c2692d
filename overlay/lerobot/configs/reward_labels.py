# SPDX-License-Identifier: MIT
"""Where the reward labels of a dataset come from: the ``--dataset.reward.*`` flags."""

import math
from dataclasses import dataclass, field

REWARD_SOURCES = ("keypoints", "linear")
# Sources that have a label for every episode: nothing listed after them would ever be used.
EXHAUSTIVE_REWARD_SOURCES = ("linear",)
INTERPOLATIONS = ("pchip", "linear")


@dataclass
class RewardLabelsConfig:
    """Reward labels of a LeRobot dataset, float32 in [0, 1], one per frame.

    Raises:
        ValueError: on construction, when a value is out of its range or contradicts another.

    Example:
        >>> RewardLabelsConfig(start_pct=0.1).sources
        ['keypoints', 'linear']
    """

    # Tried in this order for each episode; the first source that has labels for it is used.
    #   keypoints: rewards given at a few frames of the episode, interpolated between them.
    #   linear:    0 until `start_pct` of the episode, 1 from `end_pct`, a straight line between.
    sources: list[str] = field(default_factory=lambda: ["keypoints", "linear"])
    # Linear labels. Fractions of the episode: 0 is its first frame, 1 its last.
    start_pct: float = 0.05
    end_pct: float = 0.95
    # Between keypoints: "pchip" (smooth, monotone, no overshoot) or "linear".
    interpolation: str = "pchip"
    # Keypoints file. Default: rewact_extensions/reward_keypoints.json in the dataset's folder, if there.
    keypoints_path: str | None = None
    # Exclude the actions of datasets named `eval_*` / `fail_*` from the action loss (not from the reward
    # loss). The name is the part of the repo id after the slash.
    mask_actions_for_eval_data: bool = False
    mask_actions_for_fail_data: bool = False

    def __post_init__(self) -> None:
        self._validate_sources()
        for name in ("start_pct", "end_pct"):
            value = getattr(self, name)
            if not math.isfinite(value) or not 0.0 <= value <= 1.0:
                raise ValueError(f"reward.{name} must be in [0, 1], got {value}")
        if self.start_pct >= self.end_pct:
            raise ValueError(
                f"reward.start_pct must be below reward.end_pct, got {self.start_pct} and {self.end_pct}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"reward.interpolation must be one of {', '.join(INTERPOLATIONS)}, got {self.interpolation!r}"
            )

    def _validate_sources(self) -> None:
        if not self.sources:
            raise ValueError(f"reward.sources is empty; name at least one of {', '.join(REWARD_SOURCES)}")
        for source in self.sources:
            if source not in REWARD_SOURCES:
                raise ValueError(
                    f"reward.sources: unknown source {source!r}; known are {', '.join(REWARD_SOURCES)}"
                )
        if len(set(self.sources)) != len(self.sources):
            raise ValueError(f"reward.sources names a source twice: {self.sources}")
        for source in self.sources[:-1]:
            if source in EXHAUSTIVE_REWARD_SOURCES:
                raise ValueError(
                    f"reward.sources: {source!r} labels every episode, so it has to be the last source, "
                    f"got {self.sources}"
                )

    @property
    def masks_actions(self) -> bool:
        """Whether the dataset has to carry an ``action_mask``."""
        return self.mask_actions_for_eval_data or self.mask_actions_for_fail_data
