# SPDX-License-Identifier: MIT
"""What LeRobot writes of a configuration, through draccus' registry of encoders.

Reading has no counterpart: where a class has a decoder of its own, draccus takes it for one value and gives
its fields no flags (`has_custom_decoder`). So an option that is gone, but stands in files of earlier
releases, stays a field that is read and checked: a `former_option`, which help does not list and nothing
writes.
"""

import argparse
import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import draccus
from draccus.choice_types import ChoiceType
from draccus.parsers.encoding import encode_choice, encode_dataclass
from draccus.utils import is_choice_type

# Since draccus 0.11 the declared type of a field decides whether the name of a choice is written.
_KNOWS_DECLARED_TYPES = "declared_type" in inspect.signature(encode_dataclass).parameters


def former_option(default: Any) -> Any:
    """Make the field of an option that is gone: help does not list it. `write_without` must name it.

    Args:
        default: What the option always is now.
    """
    return dataclasses.field(
        default=default, repr=False, metadata={"custom_args": {"help": argparse.SUPPRESS}}
    )


def write_without(cls: type, unused: Callable[[Any], Iterable[str]]) -> None:
    """Leave fields out wherever LeRobot writes a configuration: its files, the Hub, remote jobs, wandb.

    LeRobot without this project refuses fields that it does not know, so those that are not used must not be
    there.

    Args:
        cls: Dataclass of the configuration.
        unused: Names the fields to leave out of an instance.
    """

    def encode(config: Any, declared_type: type | None = None) -> dict[str, Any]:
        if not _KNOWS_DECLARED_TYPES:
            written = (encode_choice if isinstance(config, ChoiceType) else encode_dataclass)(config)
        elif declared_type is not None and is_choice_type(declared_type):
            written = encode_choice(config, declared_type)
        else:
            written = encode_dataclass(config, declared_type)
        for name in unused(config):
            written.pop(name, None)
        return written

    draccus.encode.register(cls, encode)
