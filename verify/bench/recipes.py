# SPDX-License-Identifier: MIT
"""The policies compared, and what their training is given: episodes, weights, advantages."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from rewact.advantages.estimate import find_threshold
from rewact.advantages.file import AdvantageTable, read_advantage_file, write_advantage_file

from .settings import Settings

if TYPE_CHECKING:
    from .simulation import Episode  # needs Meta-World

ADVANTAGES = "advantages.parquet"
# Of a success, the part within which an action is judged, where N is from the pace.
PART_OF_SUCCESS = 0.25

# From advantages, episodes and the share of frames to call positive to (N,) bool: what is positive.
Relabel = Callable[[AdvantageTable, "list[Episode]", float], np.ndarray]


def threshold_of_source(table: AdvantageTable, episodes: "list[Episode]", fraction: float) -> np.ndarray:
    """The best frames of each kind of episode, where otherwise those of all together are positive."""
    kinds = np.array([episode.kind for episode in episodes])[table.columns["episode_index"]]
    advantages = table.columns["advantage"]
    positive = np.zeros(len(kinds), dtype=bool)
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        positive[of_kind] = advantages[of_kind] > find_threshold(advantages[of_kind], fraction)
    return positive


def without_failed_tails(table: AdvantageTable, episodes: "list[Episode]", fraction: float) -> np.ndarray:
    """Nothing is positive in a failure from the frame on that has its highest value."""
    positive = table.columns["positive"].copy()
    episode_index, values = table.columns["episode_index"], table.columns["value"]
    for index, episode in enumerate(episodes):
        if not episode.success:
            frames = np.flatnonzero(episode_index == index)
            positive[frames[values[frames].argmax() :]] = False
    return positive


def shortest_episodes(table: AdvantageTable, episodes: "list[Episode]", fraction: float) -> np.ndarray:
    """All frames of the shortest episodes: labels that tell the length and nothing else."""
    lengths = np.array([len(episode.actions) for episode in episodes])
    order = np.argsort(lengths, kind="stable")
    chosen = order[np.cumsum(lengths[order]) <= fraction * lengths.sum()]
    return np.isin(table.columns["episode_index"], chosen)


def steps_of_pace(episodes: "list[Episode]") -> int:
    """N as a part of the length of a success."""
    return round(PART_OF_SUCCESS * np.median([len(e.actions) for e in episodes if e.success]))


@dataclass(frozen=True)
class Recipe:
    """How a policy is trained.

    Attributes:
        what: What is special about it.
        type: As of `--policy.type`.
        trains_on: Whether it sees an episode.
        is_weighted: Whether a frame counts as RA-BC says.
        n_stds: From what gain of progress over a chunk a frame counts in full: so many standard deviations
            above the dataset's mean gain, as LeRobot's documentation advises. None: LeRobot's default, which
            is of long episodes.
        training: Arguments of `train` that differ.
        starts_from: Policy whose weights it starts from.
        settings: Settings of the advantages that differ.
        n_steps: N, from the episodes.
        relabel: Says what is positive.
    """

    what: str
    type: str = "actvantage"
    trains_on: Callable[["Episode"], bool] = lambda episode: True
    is_weighted: bool = False
    n_stds: float | None = None
    training: dict = field(default_factory=dict)
    starts_from: str | None = None
    settings: dict = field(default_factory=dict)
    n_steps: Callable[["list[Episode]"], int] | None = None
    relabel: Relabel | None = None

    @property
    def needs_values(self) -> bool:
        return self.is_weighted or self.type == "actvantage"

    def advantages_file(self, name: str) -> str:
        """Name of the advantages that a policy of this name is conditioned on."""
        is_same = not self.settings and self.n_steps is None and self.relabel is None
        return ADVANTAGES if is_same else f"advantages_{name}.parquet"

    def require_start(self, directory: Path, name: str) -> Path | None:
        """The checkpoint that it starts from, if any.

        Raises:
            SystemExit: If it is not there.
        """
        if self.starts_from is None:
            return None
        start = directory / self.starts_from
        if not start.is_dir():
            raise SystemExit(f"{start} is missing: name {self.starts_from} before {name} in --policies")
        return start

    def changed(self, settings: Settings, episodes: "list[Episode]") -> Settings | None:
        """The settings that the advantages are computed with, or `None` where these do not differ."""
        changes = dict(self.settings)
        if self.n_steps is not None:
            changes["n_steps"] = self.n_steps(episodes)
        return replace(settings, **changes) if changes else None


def write_relabelled(
    source: Path, target: Path, relabel: Relabel, episodes: "list[Episode]", fraction: float
) -> None:
    """Copy a file of advantages with other positives."""
    table = read_advantage_file(source)
    positive = relabel(table, episodes, fraction)
    write_advantage_file(target, replace(table, columns={**table.columns, "positive": positive}))


def rabc_scale(progress: Path, chunk_size: int, n_stds: float) -> float:
    """Mean of a dataset's gains of progress over a chunk, and so many standard deviations more.

    Args:
        progress: A progress file.
        chunk_size: Steps over which a gain is counted, fewer than there are frames.
        n_stds: Standard deviations above the mean.
    """
    table = pq.read_table(progress, columns=["episode_index", "frame_index", "progress_sparse"])
    episode, frame, value = (table[name].to_numpy() for name in table.column_names)
    order = np.lexsort((frame, episode))
    episode, value = episode[order], value[order]
    gains = (value[chunk_size:] - value[:-chunk_size])[episode[chunk_size:] == episode[:-chunk_size]]
    return float(gains.mean() + n_stds * gains.std())


POLICIES = {
    "act": Recipe("on everything", "act"),
    "filtered": Recipe("on successes only (filtered BC)", "act", lambda episode: episode.success),
    "rabc": Recipe("with RA-BC weights, scale 0.01", "act", is_weighted=True),
    "rabc_mean": Recipe("with RA-BC weights, scale at the mean", "act", is_weighted=True, n_stds=0.0),
    "rabc_1std": Recipe("with RA-BC weights, mean + 1 deviation", "act", is_weighted=True, n_stds=1.0),
    "rabc_2std": Recipe("with RA-BC weights, mean + 2 deviations", "act", is_weighted=True, n_stds=2.0),
    "actvantage": Recipe(""),
}
# Knows what nobody tells the others: what perfect labels could give on set (a). On (b) it is filtered BC.
ORACLES = {
    "clean": Recipe("on clean demonstrations only (oracle)", "act", lambda episode: episode.kind == "clean"),
}
# ACTvantage with one thing changed.
ABLATIONS = {
    "half": Recipe("half of each batch positive", training={"positive_share": 0.5}),
    "no_negatives": Recipe("negatives unconditional", training={"use_negatives": False}),
    "weighted": Recipe("RA-BC weights beside the token", is_weighted=True, n_stds=1.0),
    "from_filtered": Recipe("started from filtered BC", starts_from="filtered"),
    "least": Recipe("least value of the ensemble", settings={"aggregate": "min"}),
    "source": Recipe("a threshold for each source", relabel=threshold_of_source),
    "prior": Recipe("no failed tail positive", relabel=without_failed_tails),
    "pace": Recipe("N from the task's pace", n_steps=steps_of_pace),
    "length": Recipe("shortest episodes positive (control)", relabel=shortest_episodes),
}
RECIPES = {**POLICIES, **ORACLES, **ABLATIONS}
