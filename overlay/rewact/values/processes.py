# SPDX-License-Identifier: MIT
"""Working together with the other processes of ``accelerate launch``."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from accelerate import PartialState
from accelerate.utils import gather_object

# The module that defines the second one is another in each release.
from lerobot.configs.policies import PreTrainedConfig, auto_select_torch_device
from rewact.options.errors import one_line

# One process may have longer episodes, or a slower machine, than the others, which wait for it.
PATIENCE = timedelta(days=2)


def join_processes(policies: Sequence[PreTrainedConfig]) -> PartialState:
    """Join the other processes and give each policy the device of this one, before any is loaded.

    Policies on "cpu" stay there.

    Raises:
        ValueError: as `join_on` does.
    """
    state = join_on([str(policy.device) for policy in policies], "--policy.device")
    for policy in policies:
        policy.device = own_device(str(policy.device))
    return state


def join_on(devices: Sequence[str], option: str) -> PartialState:
    """Join the other processes, to work on these torch devices, which an option of the command chooses.

    Raises:
        ValueError: if several processes were launched where they cannot find each other.
    """
    state = PartialState(cpu=all(device == "cpu" for device in devices), timeout=PATIENCE)
    launched = int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1
    if launched > state.num_processes:
        names = ", ".join(sorted(set(devices)))
        raise ValueError(
            f"{launched} processes were launched and cannot share the work on {names}: launch one, or use "
            f"{option}=cpu"
        )
    return state


def choose_device() -> str:
    """A GPU where there is one, otherwise "cpu"."""
    return auto_select_torch_device().type


def own_device(device: str) -> str:
    """The device of this process, where several share the work; "cpu" stays."""
    state = PartialState()
    return device if device == "cpu" or state.num_processes == 1 else str(state.device)


@contextmanager
def together() -> Iterator[None]:
    """Do something in all processes at once: none leaves before all are done, and an error of one stops all.

    Raises:
        ChildProcessError: naming the process, if only another one has failed.
    """
    state = PartialState()
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    message = None if error is None else one_line(error)
    # The others wait for this process: they have to hear of its error, or they would wait on.
    messages = [message] if state.num_processes == 1 else gather_object([message])
    if error is not None:
        raise error
    for process, message in enumerate(messages):
        if message is not None:
            raise ChildProcessError(f"process {process} of {state.num_processes} has failed: {message}")
