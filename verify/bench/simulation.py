# SPDX-License-Identifier: MIT
"""Meta-World tasks with their scripted experts, and experts with faults.

Episodes end at the first success or after `MAX_STEPS`. Observations are either what a robot would know (hand,
gripper, object and goal, without velocities) or what it would see: a camera's image, hand and gripper.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import metaworld
import mujoco
import numpy as np
from metaworld.policies import ENV_POLICY_MAP

TASKS = ("push", "drawer-open", "pick-place")
MAX_STEPS = 200

# Positions within Meta-World's observation of 39 values.
HAND_GRIPPER_OBJECT_GOAL = [0, 1, 2, 3, 4, 5, 6, 36, 37, 38]
HAND, OBJECT, GOAL = slice(0, 3), slice(4, 7), slice(36, 39)
GRIPPER_AND_HEIGHTS = [3, 2, 6]
HAND_GRIPPER = slice(0, 4)

# Near where LeRobot's Meta-World environment looks from, but no wider than what happens: an object is then
# some 7 pixels wide.
CAMERA, CAMERA_POSITION, FIELD_OF_VIEW = "corner2", (0.85, 0.22, 0.7), 34.0
IMAGE_SIZE = 96

SLOW_SPEED = 0.3  # of horizontal motion, so that episodes last some 2.5 times as long
MISS = np.array([0.05, 0.0, 0.0])  # metres beside the object

# Each seed has demonstrations and an evaluation of its own. Starts below the first of these were used to find
# the settings.
TRAINING_STARTS = 10_000
EVALUATION_STARTS = 20_000
STARTS_PER_SEED = 1000


@dataclass
class Episode:
    """Frames before each action, the actions, and how it ended.

    Attributes:
        observations: For each key of the `Observer`, ``(T, ...)`` values.
        actions: ``(T, 4)`` float32 in [-1, 1].
        states: For each frame, what the simulator needs to go back to it.
        start: Number of the start.
        kind: Name of the behaviour.
        success: Whether it ended in success.
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    states: list[Any]
    start: int
    kind: str
    success: bool


class Task:
    """One Meta-World task with numbered starts: the same number is the same start, in any order."""

    def __init__(self, name: str):
        self.name = name
        self.expert = ENV_POLICY_MAP[f"{name}-v3"]()
        self.env = metaworld.MT1(f"{name}-v3", seed=0).train_classes[f"{name}-v3"]()
        camera = self.env.model.camera(CAMERA)
        camera.pos, camera.fovy = CAMERA_POSITION, FIELD_OF_VIEW
        self._renderer: mujoco.Renderer | None = None

    def reset(self, start: int) -> np.ndarray:
        self.env.set_task(_starts(self.name, start // 50)[start % 50])
        observation, _ = self.env.reset()
        return observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, bool]:
        observation, _, _, _, info = self.env.step(np.clip(action, -1.0, 1.0).astype(np.float32))
        return observation, bool(info["success"])

    def render(self) -> np.ndarray:
        """``(IMAGE_SIZE, IMAGE_SIZE, 3)`` uint8 image of the camera."""
        if self._renderer is None:
            model = self.env.model
            # Samples and shadows cost software renderers ten times as much as the rest of so small an image.
            # Nothing that is seen reflects, but the scene is drawn once more for it.
            model.vis.quality.offsamples = 0
            self._renderer = mujoco.Renderer(model, IMAGE_SIZE, IMAGE_SIZE)
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._renderer.update_scene(self.env.data, camera=CAMERA)
        return self._renderer.render()[::-1, ::-1].copy()  # the camera hangs upside down

    def save(self) -> tuple[Any, ...]:
        data = self.env.data
        return data.qpos.copy(), data.qvel.copy(), data.mocap_pos.copy(), data.mocap_quat.copy()

    def restore(self, start: int, state: tuple[Any, ...]) -> np.ndarray:
        """Go back to a saved state of an episode that began at `start`. Returns its observation."""
        self.reset(start)
        qpos, qvel, mocap_pos, mocap_quat = state
        self.env.data.mocap_pos[:], self.env.data.mocap_quat[:] = mocap_pos, mocap_quat
        self.env.set_state(qpos, qvel)
        self.env._prev_obs = self.env._get_curr_obs_combined_no_goal()
        return self.env._get_obs()

    def steps_to_success(self, observation: np.ndarray) -> int:
        """Steps that the expert takes from here, `MAX_STEPS` if it does not succeed in as many."""
        for step in range(MAX_STEPS):
            observation, success = self.step(self.expert.get_action(observation))
            if success:
                return step + 1
        return MAX_STEPS


@cache
def make_task(name: str, place: int = 0) -> Task:
    """The one instance of a task in this process with this number: to make one costs as much as to run an
    episode."""
    return Task(name)


@cache
def _starts(name: str, block: int) -> list[Any]:
    return metaworld.MT1(f"{name}-v3", seed=block).train_tasks


Observer = Callable[[Task, np.ndarray], dict[str, np.ndarray]]


def observe_states(task: Task, observation: np.ndarray) -> dict[str, np.ndarray]:
    """What the policies are given of Meta-World's observation.

    Returns:
        As `observation.state`, (10,) float32 hand, gripper, object and goal. As
        `observation.environment_state`, (11,) what does not depend on where in the room it happens: the way
        from the hand to the object and from there to the goal, in metres, the lengths of both, the gripper,
        and the heights of hand and object.
    """
    ways = [observation[OBJECT] - observation[HAND], observation[GOAL] - observation[OBJECT]]
    lengths = [np.linalg.norm(way) for way in ways]
    relations = np.concatenate([*ways, lengths, observation[GRIPPER_AND_HEIGHTS]])
    return {
        "observation.state": observation[HAND_GRIPPER_OBJECT_GOAL].astype(np.float32),
        "observation.environment_state": relations.astype(np.float32),
    }


def observe_camera(task: Task, observation: np.ndarray) -> dict[str, np.ndarray]:
    """What a robot with a camera is given, as in LeRobot's Meta-World environment.

    Returns:
        As `observation.state`, (4,) float32 hand and gripper. As `observation.image`, what `Task.render`
        gives: object and goal are visible there.
    """
    return {
        "observation.state": observation[HAND_GRIPPER].astype(np.float32),
        "observation.image": task.render(),
    }


# "features" are made of the images by `features.Encoder`, of many at once.
OBSERVERS: dict[str, Observer] = {
    "states": observe_states,
    "camera": observe_camera,
    "features": observe_camera,
}


Behaviour = Callable[[Task, np.ndarray], np.ndarray]


def expert(task: Task, observation: np.ndarray) -> np.ndarray:
    return np.clip(task.expert.get_action(observation), -1.0, 1.0)


def slow(task: Task, observation: np.ndarray) -> np.ndarray:
    """The expert at a fraction of its horizontal speed; slowed downwards, the hand would not come down."""
    action = expert(task, observation)
    action[:2] *= SLOW_SPEED
    return action


def missing(task: Task, observation: np.ndarray) -> np.ndarray:
    """The expert, mistaken about where the object is, always to the same side."""
    mistaken = observation.copy()
    mistaken[OBJECT] += MISS
    return expert(task, mistaken)


@dataclass(frozen=True)
class Plan:
    """Behaviours one after the other, each from a given step on."""

    kind: str
    stages: list[tuple[int, Behaviour]]
    max_steps: int = MAX_STEPS
    must_fail: bool = field(default=False)


def run_episode(task: Task, start: int, plan: Plan, observe: Observer) -> Episode:
    observation = task.reset(start)
    observations, actions, states = [], [], []
    success = False
    for step in range(plan.max_steps):
        behaviour = [behaviour for first, behaviour in plan.stages if first <= step][-1]
        action = behaviour(task, observation)
        observations.append(observe(task, observation))
        actions.append(action)
        states.append(task.save())
        observation, success = task.step(action)
        if success:
            break
    columns = {name: np.stack([row[name] for row in observations]) for name in observations[0]}
    return Episode(columns, np.array(actions, np.float32), states, start, plan.kind, success)


def plan_set_a(rng: np.random.Generator) -> Iterator[Plan]:
    """30 clean demonstrations, 45 slow ones, 45 that miss."""
    for kind, behaviour, count in (("clean", expert, 30), ("slow", slow, 45), ("miss", missing, 45)):
        for _ in range(count):
            yield Plan(kind, [(0, behaviour)])


def plan_set_b(rng: np.random.Generator) -> Iterator[Plan]:
    """8 successes; 56 good starts that go wrong, and 56 takeovers by the expert that run out of time."""
    for _ in range(8):
        yield Plan("clean", [(0, expert)])
    for _ in range(56):
        turn = int(rng.integers(15, 45))
        yield Plan("good start", [(0, expert), (turn, missing)], turn + 50, must_fail=True)
    for _ in range(56):
        turn = int(rng.integers(15, 35))
        yield Plan(
            "takeover", [(0, missing), (turn, expert)], turn + int(rng.integers(30, 50)), must_fail=True
        )


PLANS = {"a": plan_set_a, "b": plan_set_b}


def generate(task: Task, data_set: str, seed: int, observe: Observer) -> Iterator[Episode]:
    """Episodes of a data set, shuffled. Those that end otherwise than planned are replaced."""
    start = TRAINING_STARTS + seed * STARTS_PER_SEED
    rng = np.random.default_rng(start)
    plans = list(PLANS[data_set](rng))
    for index in rng.permutation(len(plans)):
        plan = plans[index]
        for _ in range(20):
            episode = run_episode(task, start, plan, observe)
            start += 1
            wanted = {"clean": True, "slow": True, "miss": False}.get(plan.kind, not plan.must_fail)
            if episode.success == wanted:
                break
        else:
            raise RuntimeError(f"no {plan.kind!r} episode of {task.name} in 20 tries")
        yield episode
