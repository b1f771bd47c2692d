# SPDX-License-Identifier: MIT
"""How the benchmark trains on each kind of data set."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rewact.labels.files import read_json, write_json

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Settings:
    """What all methods share, and after it what concerns the value functions and the advantages."""

    # One of `OBSERVERS`.
    observations: str = "states"
    # With half as many a policy learns too little from the eighth of set (a) that is positive.
    steps: int = 2400
    batch_size: int = 64
    value_steps: int = 800
    value_inputs: str = "observation.state,observation.environment_state"
    value_encoder_layers: int = 2
    folds: int = 3
    # Of the networks of an ensemble on features, see `lerobot-train-values`.
    aggregate: str = "mean"
    n_steps: int = 10
    # Values change little from step to step.
    smoothing_window: int = 21
    # Few enough to leave out the slow ones: a tenth of the frames of set (a) are clean.
    positive_fraction: float = 0.12
    # Positive frames are few: most of the steps that see them should train the condition.
    advantage_dropout: float = 0.1


# A value function learns the outcomes of set (b), with so few successes, by heart if it sees where object and
# goal are in the room, and it tells good from bad on episodes it has not seen the better the shallower it is
# and the fewer successes a fold holds out.
_STATES = {
    "a": Settings(),
    "b": Settings(
        steps=1200,
        value_steps=1000,
        value_inputs="observation.environment_state",
        value_encoder_layers=0,
        folds=8,
        positive_fraction=0.3,
    ),
}
# The backbone starts from nothing, which takes more steps than all else; and values that were learned from so
# few images are too rough to tell slow from fast within half a second.
_CAMERA = {
    "observations": "camera",
    "n_steps": 30,
    "steps": 4000,
    "value_steps": 2000,
    "value_inputs": "observation.state,observation.image",
}
# Values come from ensembles on the features, as `lerobot-train-values` trains them, each network for
# `value_steps`. What concerns the size of a value policy is not used.
_OF_FEATURES = {"observations": "features", "value_steps": 500, "folds": 5}
# On set (b) values are right at the top alone: 8 in 10 of the best 15 % of frames are good, 2 in 3 of 30 %.
_FEATURES = {
    "a": {**_OF_FEATURES, "steps": 1500, "n_steps": 30},
    "b": {**_OF_FEATURES, "steps": 1000, "n_steps": 20, "positive_fraction": 0.15},
}
# For each kind of observations and of data set.
SETTINGS = {
    "states": _STATES,
    "camera": {data_set: replace(settings, **_CAMERA) for data_set, settings in _STATES.items()},
    "features": {
        data_set: replace(settings, **_FEATURES[data_set]) for data_set, settings in _STATES.items()
    },
}


def require_same_settings(directory: Path, settings: Settings) -> None:
    """Note down what a folder of results is made with, and stop if it was made with something else."""
    path = directory / SETTINGS_FILE
    wanted = asdict(settings)
    if not path.is_file():
        write_json(path, wanted)
    there = read_json(path)
    changed = [name for name in sorted(there.keys() | wanted) if there.get(name) != wanted.get(name)]
    if changed:
        differences = ", ".join(f"{name}={there.get(name)}, not {wanted.get(name)}" for name in changed)
        raise SystemExit(f"{directory} was made with {differences}: choose another --output-dir")
