# SPDX-License-Identifier: MIT
"""Episodes of several environments side by side, so that a policy reads the observations of all at once."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np

Observed = dict[str, np.ndarray]


class Simulator(Protocol):
    def reset(self, start: int) -> np.ndarray: ...

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool]: ...


class Run:
    """One episode.

    Args:
        task: Where it happens, used by no other at the time.
        start: Number of its start.
        max_steps: After which it is over.
    """

    def __init__(self, task: Simulator, start: int, max_steps: int):
        self.task, self.max_steps = task, max_steps
        self.observation = task.reset(start)
        self.n_steps, self.success = 0, False

    @property
    def is_over(self) -> bool:
        return self.success or self.n_steps == self.max_steps

    def act(self, actions: np.ndarray) -> None:
        """Take ``(n, A)`` actions, or as many as there is time for."""
        for action in actions:
            if self.is_over:
                return
            self.observation, self.success = self.task.step(action)
            self.n_steps += 1


def run_episodes(
    tasks: Sequence[Simulator],
    starts: Iterable[int],
    max_steps: int,
    observe: Callable[[Any, np.ndarray], Observed],
    decide: Callable[[Observed], np.ndarray],
) -> list[Run]:
    """Run an episode from each start, as many at a time as there are tasks.

    Args:
        tasks: Simulators of the same task.
        starts: Numbers of the starts.
        max_steps: After which an episode is over.
        observe: From a task and what it returned to an observation.
        decide: From the observations of the n episodes under way, ``(n, ...)`` each, to the actions that they
            take next, ``(n, T, A)``.
    """
    starts, done = iter(starts), []
    while block := list(islice(starts, len(tasks))):
        runs = [Run(task, start, max_steps) for task, start in zip(tasks, block, strict=False)]
        while going := [run for run in runs if not run.is_over]:
            seen = [observe(run.task, run.observation) for run in going]
            chunks = decide({name: np.stack([each[name] for each in seen]) for name in seen[0]})
            for run, chunk in zip(going, chunks, strict=True):
                run.act(chunk)
        done += runs
    return done
