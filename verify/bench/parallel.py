# SPDX-License-Identifier: MIT
"""Independent work in several processes."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch


def run_all(function: Callable[..., None], calls: list[tuple], jobs: int) -> Iterator[tuple]:
    """Make calls in processes with one thread each, and yield the arguments of each as it returns.

    The function must stand in a module that can be imported, which that of `python -m` cannot. Calls begin in
    their order. After one that fails, those that no process was handed yet are not made.

    Raises:
        BaseException: What a call has raised, when those that were handed out have returned.
    """
    # Not forked: the threads of torch and the contexts of CUDA do not outlive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_set_up) as pool:
        futures = {pool.submit(function, *call): call for call in calls}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _set_up() -> None:
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = torch.backends.cuda.matmul.allow_tf32 = True  # as in lerobot-train
