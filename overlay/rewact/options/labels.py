# SPDX-License-Identifier: MIT
"""Where the reward labels of a dataset come from: the ``--dataset.reward.*`` flags."""

import json
import math
from collections.abc import Container
from dataclasses import dataclass, field, fields
from typing import Any

from rewact.keys import SUCCESS_KEY

REWARD_SOURCES = ("keypoints", "parquet", "returns", "column", "values", "linear")
FAILURE_RETURNS = ("steps", "worst")
# Sources that have a label for every episode: nothing listed after them would ever be used.
EXHAUSTIVE_REWARD_SOURCES = ("column", "linear")
INTERPOLATIONS = ("pchip", "linear")
# Options that one source alone reads.
OPTIONS_OF_SOURCES = {
    "keypoints": ("interpolation", "keypoints_path"),
    "parquet": ("progress_path", "progress_column"),
    "returns": ("c_fail", "failure_return"),
    "column": ("column",),
    "linear": ("start_pct", "end_pct", "failure_ceiling"),
}
OUTCOME_SOURCES = ("auto", "file", SUCCESS_KEY, "success", "failure", "none")


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
    #   parquet: rewards per frame: a `*_progress.parquet` as LeRobot's reward models write it, or
    #            `candywrapper_plugins/labelled_rewards/`.
    #   returns: -1 per step, 0 at success and -c_fail at failure, scaled to [0, 1]; for episodes whose
    #            outcome is known.
    #   values: what `lerobot-train-values` has left in rewact_extensions/, each of a model that has not seen
    #           the episode.
    #   column: a column of the dataset itself, such as next.reward.
    #   linear: 0 until `start_pct` of the episode, 1 from `end_pct`, a straight line between.
    sources: list[str] = field(default_factory=lambda: ["keypoints", "linear"])

    # linear: where the line begins, as a fraction of the episode: 0 is its first frame and 1 its last.
    start_pct: float = 0.05
    # linear: where it ends.
    end_pct: float = 0.95
    # linear: what an episode known to have failed reaches instead of 1.
    failure_ceiling: float = 0.5
    # keypoints: "pchip" (smooth, monotone, no overshoot) or "linear" between them.
    interpolation: str = "pchip"
    # keypoints: their file. Default: rewact_extensions/reward_keypoints.json of the dataset, if there.
    keypoints_path: str | None = None
    # parquet: a file, a folder of one file per episode, or hf://datasets/<user>/<name>/<file>. Default: what
    # is in the dataset's folder, if any.
    progress_path: str | None = None
    # parquet: "progress_sparse" or "progress_dense"; by default sparse where the file has both.
    progress_column: str | None = None
    # returns: penalty of a failure in steps. Default: the longest episode of the task, so that successes fill
    # the upper half of [0, 1] and failures the lower.
    c_fail: float | None = None
    # returns: what the frames of a failure are worth. "steps" (the default): c_fail and the steps that were
    # left of the recording, which makes a failure look better the longer it lasts. "worst": the least
    # possible, in all of them; for failures that end when time is up, or when somebody stops them.
    failure_return: str | None = None
    # column: its name.
    column: str = "reward"

    # How the outcome of an episode is known: "file", the column "next.success", "success" or "failure" for
    # all episodes, "none", or "auto": the file, else next.success unless it is false in all episodes.
    outcomes: str = "auto"
    # File of outcomes. Default: outcomes.json under rewact_extensions/ or
    # candywrapper_plugins/episode_outcome/, if there.
    outcomes_path: str | None = None
    # File of control modes. Default: control_modes.json under rewact_extensions/, or the episode_modes.json
    # that robocandywrapper leaves under dagger_data_source/ or candywrapper_plugins/.
    control_modes_path: str | None = None

    # Advantages of actvantage. Default: rewact_extensions/advantages.parquet in the dataset's folder.
    advantages_path: str | None = field(default=None, metadata={"only_training": True})

    # Leave all actions of a dataset named `eval_*` or `rollout_*` out of the action loss (not of the reward
    # loss). The name of a dataset is the part of its repo id after the slash.
    mask_actions_for_eval_data: bool = False
    # The same for a dataset named `fail_*`, and for episodes known to have failed. With `outcomes=auto` the
    # episodes of such a dataset also count as failures unless something says otherwise.
    mask_actions_for_fail_data: bool = False
    # The same for actions that a policy took, by the control modes file.
    mask_actions_under_policy: bool = False
    # The same for actions of a human who intervened, by the column `intervention` and the control modes file.
    mask_actions_under_intervention: bool = False

    def __post_init__(self) -> None:
        self._validate_sources()
        for name in ("start_pct", "end_pct"):
            self._require(0.0 <= getattr(self, name) <= 1.0, name, "must be in [0, 1]")
        if self.start_pct >= self.end_pct:
            raise ValueError(
                f"reward.start_pct must be below reward.end_pct, got {self.start_pct} and {self.end_pct}"
            )
        self._require(0.0 <= self.failure_ceiling < 1.0, "failure_ceiling", "must be in [0, 1)")
        self._require(self.c_fail is None or 0 < self.c_fail < math.inf, "c_fail", "must be above 0")
        choices: dict[str, tuple[Any, ...]] = {
            "interpolation": INTERPOLATIONS,
            "progress_column": (None, "progress_sparse", "progress_dense"),
            "failure_return": (None, *FAILURE_RETURNS),
            "outcomes": OUTCOME_SOURCES,
        }
        for name, known in choices.items():
            names = ", ".join(choice for choice in known if choice is not None)
            self._require(getattr(self, name) in known, name, f"must be one of {names}")
        if self.outcomes_path is not None and self.outcomes not in ("auto", "file"):
            raise ValueError(f"reward.outcomes_path is not used with reward.outcomes={self.outcomes}")

    # Set where a training run labels its data by these options. Not a field: it is neither read nor written.
    has_labelled = False

    @property
    def is_used(self) -> bool:
        """Whether these options have taken effect, or were given."""
        return self.has_labelled or self != type(self)()

    def given(self) -> set[str]:
        """Names of the options that differ from their defaults."""
        default = type(self)()
        return {each.name for each in fields(self) if getattr(self, each.name) != getattr(default, each.name)}

    def refuse_unread(self, given: Container[str], read: Container[str] = ()) -> None:
        """Stop where an option is given that nothing reads, most often as its source is not chosen.

        Construction lets it be, as files of earlier trainings may hold such options.

        Args:
            given: Names of options.
            read: Those that a tool reads whatever the sources are.

        Raises:
            ValueError: Naming the option and what it is for.
        """
        for source, names in OPTIONS_OF_SOURCES.items():
            for name in names:
                if name in given and name not in read and source not in self.sources:
                    raise ValueError(
                        f"--dataset.reward.{name} is for the source {source!r}, which is not among "
                        f"--dataset.reward.sources='{json.dumps(self.sources)}': add it there, or leave the "
                        "option out"
                    )
        reads_modes = self.mask_actions_under_policy or self.mask_actions_under_intervention
        reads_modes = reads_modes or "returns" in self.sources or "control_modes_path" in read
        if "control_modes_path" in given and not reads_modes:
            raise ValueError(
                "--dataset.reward.control_modes_path is for the source 'returns', mask_actions_under_policy "
                "and mask_actions_under_intervention, none of which is chosen: choose one, or leave the "
                "option out"
            )
        if "advantages_path" in given and "advantages_path" not in read:
            raise ValueError(
                "--dataset.reward.advantages_path is for the training of actvantage: leave the option out"
            )

    def _require(self, condition: bool, name: str, requirement: str) -> None:
        if not condition:
            raise ValueError(f"reward.{name} {requirement}, got {getattr(self, name)!r}")

    def _validate_sources(self) -> None:
        known = ", ".join(REWARD_SOURCES)
        if not self.sources:
            raise ValueError(f"reward.sources is empty; name at least one of {known}")
        for source in self.sources:
            if source not in REWARD_SOURCES:
                raise ValueError(f"reward.sources: unknown source {source!r}; known are {known}")
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
        return (
            self.mask_actions_for_eval_data
            or self.mask_actions_for_fail_data
            or self.mask_actions_under_policy
            or self.mask_actions_under_intervention
        )
