# SPDX-License-Identifier: MIT
"""A scripted demonstrator for the pick-and-place world, as uneven as a person at the controls.

Speed, pauses, needless detours and second tries are drawn at random, so that the time passed says little
about how far the task has come.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from verify.demo.render import Camera
from verify.demo.simulation import (
    BLOCK_SIZE,
    CARRY,
    CARRY_HEIGHT,
    REACH,
    RETREAT,
    TRAY_FLOOR,
    TREMOR,
    WORKSPACE_X,
    WORKSPACE_Y,
    PickAndPlace,
    Scene,
    inverse_kinematics,
)

CLOSED, OPEN = 0.2, 0.85


class Outcome(str, Enum):
    """How an attempt is meant to end."""

    SUCCESS = "success"
    MISS = "miss"  # the gripper closes above the block and carries nothing
    DROP = "drop"  # the block is lost on the way to the tray


@dataclass
class Episode:
    """One recorded attempt of T frames.

    Attributes:
        images: `(T, H, W, 3)` uint8 RGB.
        states: `(T, 3)` float32, see `PickAndPlace.state`.
        actions: `(T, 3)` float32, the command given at each frame.
        progress: `(T,)` float32 in [0, 1], the simulator's own progress.
        keypoints: the frames a person labelling the recording would mark, with the progress there.
        outcome: how it ended.
        success: whether the block ended in the tray.
    """

    images: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    progress: np.ndarray
    keypoints: dict[int, float]
    outcome: Outcome
    success: bool

    def __len__(self) -> int:
        return len(self.progress)


class Demonstrator:
    """Plans the tool's path for one scene and yields one command per step."""

    def __init__(self, scene: Scene, rng: np.random.Generator, outcome: Outcome = Outcome.SUCCESS):
        self._scene = scene
        self._rng = rng
        self._outcome = outcome
        self._tip = np.array(scene.tip)
        self._opening = scene.opening

    def commands(self) -> Iterator[np.ndarray]:
        """Commands `(3,)` float32 (shoulder angle, elbow angle, opening) until the attempt is over."""
        scene, rng = self._scene, self._rng
        grasp = np.array([scene.block_x, BLOCK_SIZE / 2])
        place = np.array([scene.tray_x, TRAY_FLOOR + BLOCK_SIZE / 2 + 0.004])
        above_block = grasp + (0.0, rng.uniform(0.07, 0.11))
        above_tray = np.array([scene.tray_x, CARRY_HEIGHT + rng.uniform(0.01, 0.06)])

        yield from self._wait(rng.integers(1, 4))
        if rng.random() < 0.35:
            yield from self._move(self._detour_before_reaching(grasp))
        yield from self._move(above_block, opening=OPEN)
        yield from self._maybe_hesitate()
        if rng.random() < 0.30:
            yield from self._close_too_high(grasp)
        if self._outcome is Outcome.MISS:
            grasp = grasp + (0.0, rng.uniform(0.055, 0.075))
        yield from self._move(grasp)
        yield from self._wait(rng.integers(1, 3))
        yield from self._grip(CLOSED, steps=4)
        yield from self._maybe_hesitate()

        for waypoint in self._way_to(above_tray, start=grasp):
            yield from self._move(waypoint)
        yield from self._maybe_hesitate()
        yield from self._move(place)
        yield from self._wait(rng.integers(1, 3))
        yield from self._grip(OPEN, steps=3)
        yield from self._move(place + (0.0, rng.uniform(0.24, 0.28)))
        yield from self._wait(rng.integers(3, 6))

    def _command(self) -> np.ndarray:
        return np.array([*inverse_kinematics(self._tip), self._opening], dtype=np.float32)

    def _wait(self, steps: int) -> Iterator[np.ndarray]:
        for _ in range(steps):
            yield self._command()

    def _grip(self, opening: float, steps: int) -> Iterator[np.ndarray]:
        self._opening = opening
        yield from self._wait(steps)

    def _move(self, target: np.ndarray, opening: float | None = None) -> Iterator[np.ndarray]:
        """A straight minimum-jerk movement at a random mean speed, changing the grip on the way."""
        start, start_opening = self._tip, self._opening
        end_opening = start_opening if opening is None else opening
        speed = self._rng.uniform(0.022, 0.048)
        steps = max(3, round(float(np.linalg.norm(target - start)) / speed))
        for s in np.linspace(0.0, 1.0, steps + 1)[1:]:
            eased = s**3 * (10 - 15 * s + 6 * s**2)
            self._tip = start + eased * (target - start)
            self._opening = start_opening + eased * (end_opening - start_opening)
            yield self._command()

    def _maybe_hesitate(self) -> Iterator[np.ndarray]:
        if self._rng.random() < 0.35:
            yield from self._wait(self._rng.integers(4, 12))

    def _detour_before_reaching(self, grasp: np.ndarray) -> np.ndarray:
        """A point farther from the block than the start: nothing of the way to it counts as progress."""
        away = self._tip - grasp
        away = away / np.linalg.norm(away)
        target = self._tip + away * self._rng.uniform(0.05, 0.12)
        return np.clip(target, (WORKSPACE_X[0], 0.2), (WORKSPACE_X[1], WORKSPACE_Y[1]))

    def _close_too_high(self, grasp: np.ndarray) -> Iterator[np.ndarray]:
        """A first try that grips the air above the block, and a second thought."""
        yield from self._move(grasp + (0.0, self._rng.uniform(0.055, 0.07)))
        yield from self._grip(CLOSED, steps=3)
        yield from self._wait(self._rng.integers(1, 4))
        yield from self._grip(OPEN, steps=3)

    def _way_to(self, above_tray: np.ndarray, start: np.ndarray) -> Iterator[np.ndarray]:
        lifted = np.array([start[0], above_tray[1]])
        yield lifted
        if self._outcome is Outcome.DROP:
            # Clear of both where it lay and the tray.
            lost = np.array([self._rng.uniform(above_tray[0] + 0.13, start[0] - 0.03), above_tray[1]])
            yield lost
            self._opening = OPEN
        yield above_tray


def record_attempt(
    seed: int | Sequence[int], outcome: Outcome = Outcome.SUCCESS, camera: Camera | None = None
) -> Episode:
    """Lets the demonstrator make one attempt at a random scene.

    Args:
        seed: everything random about the attempt follows from it.
        outcome: how the attempt is meant to end.
        camera: what to film with, a 96x96 camera by default.

    Returns:
        The recorded attempt; the same seed and outcome give the same attempt.
    """
    rng = np.random.default_rng(seed)
    camera = camera or Camera()
    world = PickAndPlace(Scene.random(rng))
    demonstrator = Demonstrator(world.scene, rng, outcome)
    frames: list[tuple] = []
    for command in demonstrator.commands():
        flags = (world.held, world.over_block, world.over_tray)
        frames.append((camera.render(world), world.state, command, world.progress, *flags))
        world.step(command)
    images, states, actions, progress, *flags = (np.stack(column) for column in zip(*frames, strict=True))
    progress = progress.astype(np.float32)
    return Episode(images, states, actions, progress, _keypoints(progress, *flags), outcome, world.success)


def _keypoints(
    progress: np.ndarray, held: np.ndarray, over_block: np.ndarray, over_tray: np.ndarray
) -> dict[int, float]:
    """The frames a person would mark in the recording, with the progress at each: where stages begin and end.

    These are the first and the last frame, setting off, reaching the place above the block, the grasp, the
    lift, the arrival over the tray, letting go, and the end of the retreat. In a failed attempt also its best
    moment, the moment it is left behind and the one when nothing is left of it.
    """
    last = len(progress) - 1
    marks = [0, last, *_first(over_block), *_first(held & over_tray)]
    for start, _ in (REACH, CARRY, RETREAT):
        marks += [max(t - 1, 0) for t in _first(progress > start + TREMOR)]
    for t in np.flatnonzero(held[1:] != held[:-1]):
        marks += [t + 1] if held[t + 1] else [t, t + 1]
    if progress[last] == 1.0:
        marks += _first(progress == 1.0)
    else:
        best = int(np.argmax(progress))
        marks += [best]
        marks += [best + t for t in _first(progress[best + 1 :] < progress[best:-1] - TREMOR)]
        marks += [best + t for t in _first(progress[best:] < 0.05)]
    return {int(t): float(progress[t]) for t in sorted(set(marks))}


def _first(flags: np.ndarray) -> list[int]:
    """The index of the first true value in a list, or an empty list."""
    return [int(np.argmax(flags))] if flags.any() else []
