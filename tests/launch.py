# SPDX-License-Identifier: MIT
"""How tests start two processes that share their work."""

import os
import socket

# Two processes for two cores, which also a machine with one GPU can run.
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "WANDB_MODE": "disabled",
    "TQDM_DISABLE": "1",
}


def two_processes() -> list[str]:
    """What follows `python`, and is followed by a script or by `-m` and a module."""
    return [
        "-m",
        "accelerate.commands.launch",
        # Without it accelerate starts one process on a machine that has no GPU.
        "--multi_gpu",
        "--num_processes=2",
        "--num_machines=1",
        "--mixed_precision=no",
        "--dynamo_backend=no",
        # So that such tests can run side by side.
        f"--main_process_port={free_port()}",
    ]


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
