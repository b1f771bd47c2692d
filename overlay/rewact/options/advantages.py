# SPDX-License-Identifier: MIT
"""How advantages are computed: the options of `lerobot-compute-advantages`."""

from dataclasses import dataclass
from pathlib import Path

from rewact.options.tools import PredictionOptions

VALUE_TYPES = ("auto", "progress", "returns")


@dataclass
class AdvantageOptions:
    """How advantages are computed and what is called positive.

    Raises:
        ValueError: On construction, if a value is out of its range.
    """

    # How many steps ahead an action is judged. Default: what the policy of the checkpoint executes of a
    # chunk; where values are progress at most half of a short episode. Monte-Carlo advantages look to the end
    # of the episode; N, by default one second, only serves interventions.
    n_steps: int | None = None
    # Share of each task's frames that is called positive.
    positive_fraction: float = 0.4
    # Frames of a moving average over the values of an episode, odd; 1 is none.
    smoothing_window: int = 1

    def __post_init__(self) -> None:
        if self.n_steps is not None and self.n_steps < 1:
            raise ValueError(f"n_steps must be at least 1, got {self.n_steps}")
        if not 0.0 < self.positive_fraction < 1.0:
            raise ValueError(f"positive_fraction must be between 0 and 1, got {self.positive_fraction}")
        if self.smoothing_window < 1 or self.smoothing_window % 2 == 0:
            raise ValueError(f"smoothing_window must be an odd number of frames, got {self.smoothing_window}")


@dataclass(kw_only=True)
class ComputeAdvantagesConfig(AdvantageOptions, PredictionOptions):
    """Options of `lerobot-compute-advantages`."""

    # Do without a value function: compare each episode's returns with those of the task's other episodes.
    from_returns: bool = False
    # What the values are: "returns" (labels of --dataset.reward.sources='["returns"]'), "progress", or
    # "auto": by the labels that the checkpoint was trained on.
    value_type: str = "auto"
    # Train this many value models like the given one, each without the episodes it then judges.
    folds: int = 0
    # Where the value models of --folds go. Default: `folds` beside the checkpoint.
    folds_dir: Path | None = None

    # The file to write. Default: rewact_extensions/advantages.parquet in the dataset's folder.
    output_path: Path | None = None
    # Folder for `overview.png`, a page with all episodes and a histogram. Default: nothing is drawn.
    plots_dir: Path | None = None
    # Episodes that get a page of their own, with images and advantages. Default: none.
    plot_episodes: list[int] | None = None
    batch_size: int = 64

    READS = ("c_fail", "failure_return", "keypoints_path", "control_modes_path")

    def __post_init__(self) -> None:
        AdvantageOptions.__post_init__(self)
        PredictionOptions.__post_init__(self)
        if self.from_returns == (self.policy is not None):
            raise ValueError("give either a value function with --policy.path, or --from_returns=true")
        if self.value_type not in VALUE_TYPES:
            raise ValueError(f"value_type must be one of {', '.join(VALUE_TYPES)}, got {self.value_type!r}")
        if self.folds and self.from_returns:
            raise ValueError("--folds trains value models, and --from_returns=true uses none: leave one out")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds must be 0 or at least 2, got {self.folds}")
        if self.plot_episodes is not None and self.plots_dir is None:
            raise ValueError("plot_episodes says which episodes to draw: say where with --plots_dir")
