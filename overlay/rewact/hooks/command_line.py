# SPDX-License-Identifier: MIT
"""What LeRobot's reader of command lines is decorated with."""

import inspect
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

from rewact.hooks import decorator
from rewact.options.errors import our_error, say_errors_in_one_line
from rewact.options.head import say_gone

# Flags of earlier releases of this project, before and after; those that end in a dot stand for all below.
FORMER_FLAGS = {
    "eval.stop_on_completion": "policy.stop_on_completion",
    "eval.completion_detector.": "policy.completion_detector.",
    # Of lerobot-rollout and lerobot-record.
    "stop_on_completion": "policy.stop_on_completion",
    "completion_detector.": "policy.completion_detector.",
}


@decorator
def knows_former_flags(wrap: Callable, *args: Any, **kwargs: Any) -> Callable:
    """Let a script say in one line what flags are called now, and what is wrong with our options."""
    decorate = wrap(*args, **kwargs)
    return lambda main: _say_what_is_wrong(decorate(main))


@decorator
def _say_what_is_wrong(main: Callable, *args: Any, **kwargs: Any) -> Any:
    if not args and not kwargs:  # the command line is read
        say_errors_in_one_line()
        config_class = next(iter(inspect.signature(main).parameters.values())).annotation
        refuse_former_flags(sys.argv[1:], getattr(config_class, "__dataclass_fields__", ()))
    try:
        return main(*args, **kwargs)
    except SystemExit as end:
        # LeRobot has told in several lines what draccus could not read, and not why.
        if end.__context__ is not None and (cause := our_error(end.__context__)) is not None:
            print(f"error: {cause}", file=sys.stderr)
        raise


def refuse_former_flags(arguments: Sequence[str], known: Collection[str]) -> None:
    """End the process with one sentence where a flag of ours, not of the script's known options, has another
    name now or is gone."""
    for argument in arguments:
        flag = argument.split("=", 1)[0].removeprefix("--")
        if argument.startswith("--policy.") and (refusal := say_gone(flag.removeprefix("policy."))):
            sys.exit(f"error: {refusal}")
        for before, now in FORMER_FLAGS.items():
            is_former = flag.startswith(before) if before.endswith(".") else flag == before
            if argument.startswith("--") and is_former and before.split(".")[0] not in {*known} - {"eval"}:
                sys.exit(f"error: --{flag} is called --{now}{flag.removeprefix(before)} now.")
