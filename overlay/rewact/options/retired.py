# SPDX-License-Identifier: MIT
"""Options of earlier releases that saved configurations still hold."""

from functools import partial
from typing import Any

import draccus
from draccus.parsers.decoding import decode_choice_class
from draccus.utils import DecodingError


def reads_retired_options(root: type, options: dict[str, Any], owner: type) -> None:
    """Let configurations hold options that there were, at the only values that they could be trained with.

    Args:
        root: The draccus choice registry that the configurations are read through.
        options: The retired options and their values.
        owner: Class whose descendants had them.
    """
    draccus.decode.register(root, partial(_decode, options, owner), include_subclasses=True)


def _decode(options: dict[str, Any], owner: type, cls: type, raw: Any, path: Any) -> Any:
    if isinstance(raw, dict) and issubclass(cls.get_known_choices().get(raw.get("type"), cls), owner):
        for name, value in options.items():
            if float(raw.get(name, value)) != value:
                raise DecodingError(
                    (*path, name), f"`{name}` is always {value:g}: rewards lie in [0, 1]. Got {raw[name]}."
                )
        raw = {name: value for name, value in raw.items() if name not in options}
    return decode_choice_class(cls, raw, path)
