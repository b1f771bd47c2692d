# SPDX-License-Identifier: MIT
"""Short names that tell models apart in tables, legends and folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lerobot.configs.policies import PreTrainedConfig


def model_names(configs: "Sequence[PreTrainedConfig]", taken: Sequence[str]) -> list[str]:
    """Names of policies: their type, with the folder of the run where types repeat.

    Args:
        configs: Configurations with a ``pretrained_path``.
        taken: Names of others.
    """
    types = [config.type for config in configs]
    runs = []
    for config in configs:
        parts = [
            p for p in Path(config.pretrained_path).parts if p not in ("checkpoints", "pretrained_model")
        ]
        runs.append("-".join(parts[-2:]).strip("/") or config.type)
    return _tell_apart(types, runs, taken)


def file_names(paths: Sequence[Path]) -> list[str]:
    """Names of progress files: without the ending, with the folder where they repeat."""
    stems = [path.stem for path in paths]
    return _tell_apart(stems, [f"{path.absolute().parent.name}-{path.stem}" for path in paths], taken=[])


def _tell_apart(short: Sequence[str], long: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The short names where they are unique, else the long ones, marked where these are not either."""
    names: list[str] = []
    for name, longer in zip(short, long, strict=True):
        if short.count(name) > 1:
            name = longer
        while name in names or name in taken:
            name += "'"
        names.append(name)
    return names
