# SPDX-License-Identifier: MIT
"""Working together with the other processes of ``accelerate launch``."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from lerobot.configs.policies import auto_select_torch_device  # defined elsewhere in each release
from rewact.options.errors import one_line

# One process may have longer episodes, or a slower machine, than the others, which wait for it.
PATIENCE = timedelta(days=2)


def join_processes(workers: Sequence[Any], option: str = "--policy.device") -> PartialState:
    """Join the other processes and give each worker the device of this one, before any is loaded.

    Workers on "cpu" stay there.

    Args:
        workers: Configurations with a torch ``device``; None takes a GPU where there is one.
        option: What chooses it.

    Raises:
        ValueError: if several processes were launched where they cannot find each other.
    """
    devices = [str(worker.device or auto_select_torch_device().type) for worker in workers]
    state = PartialState(cpu=all(device == "cpu" for device in devices), timeout=PATIENCE)
    launched = int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1
    if launched > state.num_processes:
        raise ValueError(
            f"{launched} processes were launched and cannot share the work on "
            f"{', '.join(sorted(set(devices)))}: launch one, or use {option}=cpu"
        )
    for worker, device in zip(workers, devices, strict=True):
        worker.device = device if device == "cpu" or state.num_processes == 1 else str(state.device)
    return state


def require_device(option: str, device: str) -> None:
    """Stop with a ValueError that names an option, if torch cannot compute on the device that it chose."""
    try:
        torch.ones(1, device=device).item()
    except Exception as error:  # torch raises errors of several kinds, and long ones
        kinds = [kind for kind in ("cuda", "xpu", "mps") if getattr(torch, kind).is_available()]
        known = [f"{kind}:{i}" for kind in kinds for i in range(getattr(torch, kind).device_count())]
        raise ValueError(
            f"{option}={device}: torch finds no such device on this machine, but {', '.join(['cpu', *known])}"
        ) from error


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
