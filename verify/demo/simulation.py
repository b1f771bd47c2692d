# SPDX-License-Identifier: MIT
"""A small planar pick-and-place world, seen from the side: an arm, a block and a tray on a table.

Lengths are metres, angles radians, one step is 0.1 s. The origin lies on the table under the arm's shoulder,
x points to the right and y up. The arm has two driven joints; the wrist keeps the gripper pointing down, so
a pose is ``(shoulder, elbow, opening)`` and the tool tip (between the fingers' ends) hangs ``TOOL_LENGTH``
below the wrist.

The world knows how far the task has come: `PickAndPlace.progress` is computed from positions and contacts
only, never from the clock, which is what makes it a fair judge of a policy that predicts progress.
"""

from dataclasses import dataclass, field

import numpy as np

FPS = 10

SHOULDER = np.array([0.0, 0.14])
UPPER_ARM = 0.35
FOREARM = 0.34
TOOL_LENGTH = 0.12

BLOCK_SIZE = 0.085
TRAY_HALF_WIDTH = 0.085
TRAY_FLOOR = 0.014
CARRY_HEIGHT = 0.18
# A box that the arm reaches whole: its farthest corner is 0.688 from the shoulder, the arm is 0.69 long.
WORKSPACE_X = (0.17, 0.58)
WORKSPACE_Y = (0.0, 0.39)
TRAY_X = (0.18, 0.27)
BLOCK_X = (0.45, 0.58)
HOME = (0.36, 0.31)

GRASP_TOLERANCE = 0.025
GRASP_OPENING = 0.35
RELEASE_OPENING = 0.45
SERVO_GAIN = 0.75
FALL_ACCELERATION = 0.06

# What each stage of the task is worth: (value at its start, value at its end).
REACH = (0.0, 0.35)
CARRY = (0.40, 0.85)
RETREAT = (0.90, 1.0)
RETREAT_HEIGHT = 0.18
TREMOR = 0.01


def inverse_kinematics(tip: np.ndarray) -> np.ndarray:
    """Joint angles that put the tool tip at a point, elbow up.

    Args:
        tip: `(2,)` float, metres. A point out of reach is moved to the nearest one within reach.

    Returns:
        `(2,)` float, shoulder angle from the x axis and elbow angle from the upper arm, radians.
    """
    x, y = np.asarray(tip, dtype=float) + (0.0, TOOL_LENGTH) - SHOULDER
    distance = np.clip(np.hypot(x, y), abs(UPPER_ARM - FOREARM) + 1e-6, UPPER_ARM + FOREARM - 1e-6)
    cos_elbow = (distance**2 - UPPER_ARM**2 - FOREARM**2) / (2 * UPPER_ARM * FOREARM)
    elbow = -np.arccos(np.clip(cos_elbow, -1.0, 1.0))
    shoulder = np.arctan2(y, x) - np.arctan2(FOREARM * np.sin(elbow), UPPER_ARM + FOREARM * np.cos(elbow))
    return np.array([shoulder, elbow])


def forward_kinematics(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the elbow, the wrist and the tool tip, each `(2,)` in metres, for joint angles `(2,)`."""
    shoulder, elbow = joints
    elbow_at = SHOULDER + UPPER_ARM * np.array([np.cos(shoulder), np.sin(shoulder)])
    wrist = elbow_at + FOREARM * np.array([np.cos(shoulder + elbow), np.sin(shoulder + elbow)])
    return elbow_at, wrist, wrist - (0.0, TOOL_LENGTH)


@dataclass(frozen=True)
class Scene:
    """Where everything is at the start of one attempt."""

    block_x: float
    tray_x: float
    tip: tuple[float, float]
    opening: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Scene":
        """A scene with the tray on the left, the block on the right and the gripper near its home."""
        return cls(
            block_x=float(rng.uniform(*BLOCK_X)),
            tray_x=float(rng.uniform(*TRAY_X)),
            tip=(float(HOME[0] + rng.uniform(-0.08, 0.08)), float(HOME[1] + rng.uniform(-0.05, 0.05))),
            opening=float(rng.uniform(0.5, 1.0)),
        )


@dataclass
class PickAndPlace:
    """One attempt at moving the block into the tray.

    Attributes:
        joints: `(2,)` float, radians.
        opening: gripper opening in [0, 1], 0 closed on nothing, 1 wide open.
        block: `(2,)` float, centre of the block, metres.
        held: whether the gripper holds the block.
    """

    scene: Scene
    joints: np.ndarray = field(init=False)
    opening: float = field(init=False)
    block: np.ndarray = field(init=False)
    held: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.joints = inverse_kinematics(np.array(self.scene.tip))
        self.opening = self.scene.opening
        self.block = np.array([self.scene.block_x, BLOCK_SIZE / 2])
        self._fall_speed = 0.0
        self._reach_distance = self._distance_to_block()
        self._carry_distance = self._distance_to_tray()
        self._progress = 0.0

    @property
    def tip(self) -> np.ndarray:
        """Position of the tool tip, `(2,)` float, metres."""
        return forward_kinematics(self.joints)[2]

    @property
    def state(self) -> np.ndarray:
        """What the robot's own sensors read: `(3,)` float32, shoulder and elbow angle, gripper opening."""
        return np.array([*self.joints, self.opening], dtype=np.float32)

    @property
    def over_block(self) -> bool:
        """Whether the gripper is straight above the block."""
        return bool(abs(self.tip[0] - self.block[0]) < GRASP_TOLERANCE)

    @property
    def over_tray(self) -> bool:
        """Whether the block is in the tray or above it, so that it would fall into it."""
        return bool(abs(self.block[0] - self.scene.tray_x) <= TRAY_HALF_WIDTH - BLOCK_SIZE / 2)

    @property
    def in_tray(self) -> bool:
        """Whether the block lies in the tray and is not held."""
        return (
            self.over_tray and not self.held and bool(np.isclose(self.block[1], TRAY_FLOOR + BLOCK_SIZE / 2))
        )

    @property
    def success(self) -> bool:
        """Whether the block lies in the tray and the gripper has let go and moved clear of it."""
        return self.progress >= RETREAT[1]

    @property
    def progress(self) -> float:
        """How far the task has come, in [0, 1], from positions and contacts alone.

        The way from the start to the block counts 0 to 0.35, the way of the held block to the tray 0.40 to
        0.85, and once the block lies in the tray the gripper's way up counts 0.90 to 1. Going away from the
        next aim takes progress back, and so does losing the block; the arm's tremor (`TREMOR`) does not.
        """
        return self._progress

    def step(self, action: np.ndarray) -> None:
        """Advances the world by 0.1 s.

        Args:
            action: `(3,)` float, the wanted shoulder angle, elbow angle and gripper opening.
        """
        target = np.asarray(action, dtype=float)
        self.joints = self.joints + SERVO_GAIN * (target[:2] - self.joints)
        # Fingers around the block stop at its sides.
        narrowest = GRASP_OPENING if self._block_within_grasp() or self.held else 0.0
        opening = self.opening + SERVO_GAIN * (np.clip(target[2], 0.0, 1.0) - self.opening)
        self.opening = max(float(opening), narrowest)

        if self.held and self.opening > RELEASE_OPENING:
            self.held = False
        elif not self.held and self.opening <= GRASP_OPENING + 0.02 and self._block_within_grasp():
            self.held = True

        if self.held:
            self.block = self.tip.copy()
            self._fall_speed = 0.0
        else:
            self._fall()

        reached = self._stage_progress()
        if not self._progress - TREMOR < reached < self._progress:
            self._progress = reached

    def _stage_progress(self) -> float:
        if self.in_tray:
            stage, done = RETREAT, (self.tip[1] - self.block[1]) / RETREAT_HEIGHT
        elif self.held:
            stage, done = CARRY, 1.0 - self._distance_to_tray() / self._carry_distance
        else:
            stage, done = REACH, 1.0 - self._distance_to_block() / self._reach_distance
        low, high = stage
        return float(low + (high - low) * np.clip(done, 0.0, 1.0))

    def _fall(self) -> None:
        floor = BLOCK_SIZE / 2 + (TRAY_FLOOR if self.over_tray else 0.0)
        self._fall_speed += FALL_ACCELERATION
        self.block = np.array([self.block[0], max(floor, self.block[1] - self._fall_speed)])
        if self.block[1] <= floor:
            self._fall_speed = 0.0

    def _block_within_grasp(self) -> bool:
        return bool(np.all(np.abs(self.tip - self.block) < GRASP_TOLERANCE))

    def _distance_to_block(self) -> float:
        return float(np.linalg.norm(self.tip - self.block))

    def _distance_to_tray(self) -> float:
        """Length of the way still before the block: up to carrying height, across, and down into the tray."""
        x, y = self.block
        floor = TRAY_FLOOR + BLOCK_SIZE / 2
        across = abs(x - self.scene.tray_x)
        down = max(min(y, CARRY_HEIGHT) - floor, 0.0)
        if self.over_tray:
            return across + down
        return across + max(CARRY_HEIGHT - y, 0.0) + (CARRY_HEIGHT - floor)
