# SPDX-License-Identifier: MIT
"""Paired evaluation, and the truth about advantages that only a simulator knows."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from .data import Inputs, keep
from .features import Encode
from .methods import Variant
from .rollout import Observed, run_episodes
from .simulation import EVALUATION_STARTS, MAX_STEPS, OBSERVERS, STARTS_PER_SEED, Episode, make_task
from .training import load, to_policy_input

# Progress of an expert's step counts as 1; a segment is good if it is worth more than half as many steps as
# it took.
GOOD_PACE = 0.5


# Environments side by side. Each has a simulator and a renderer of its own, which take seconds to make.
N_PARALLEL = 5


@torch.inference_mode()
def evaluate(
    directory: Path,
    variant: Variant,
    task_name: str,
    inputs: Inputs,
    seed: int,
    n_episodes: int,
    observations: str,
    encode: Encode,
) -> dict[str, list]:
    """Run a policy from the same numbered starts as all others of this seed.

    Returns:
        For each episode, whether it succeeded and how many steps it took.
    """
    policy, preprocessor, postprocessor = load(directory / variant.policy, **variant.options)
    if variant.without_token:
        policy.model.extra_tokens = None

    def decide(observed: Observed) -> np.ndarray:
        batch = preprocessor(
            {
                name: to_policy_input(torch.from_numpy(values))
                for name, values in keep(encode(observed), inputs).items()
            }
        )
        # What `select_action` would hand out one by one.
        return (
            postprocessor(policy.predict_action_chunk(batch)[:, : policy.config.n_action_steps]).cpu().numpy()
        )

    first = EVALUATION_STARTS + seed * STARTS_PER_SEED
    tasks = [make_task(task_name, place) for place in range(min(N_PARALLEL, n_episodes))]
    runs = run_episodes(tasks, range(first, first + n_episodes), MAX_STEPS, OBSERVERS[observations], decide)
    return {"success": [run.success for run in runs], "steps": [run.n_steps for run in runs]}


def advantage_accuracy(
    advantages: Path,
    episodes: list[Episode],
    task_name: str,
    n_steps: int,
    rng: np.random.Generator,
    n_samples: int,
) -> dict[str, float]:
    """How often "positive" agrees with what the expert would have made of the states before and after the
    action.

    Restores sampled states and those N steps later, and counts the steps that the expert needs from each.

    Returns:
        Balanced accuracy overall, and the share of frames called negative in the last N frames of failures.
    """
    table = pq.read_table(advantages)
    positive, episode_of = table["positive"].to_numpy(zero_copy_only=False), table["episode_index"].to_numpy()
    frame_of = table["frame_index"].to_numpy()
    lengths = np.array([len(episode.actions) for episode in episodes])
    tail = frame_of >= lengths[episode_of] - n_steps
    failed = np.array([not episode.success for episode in episodes])[episode_of]
    task = make_task(task_name)
    truth, called = [], []
    for row in rng.choice(np.flatnonzero(~tail), size=min(n_samples, int((~tail).sum())), replace=False):
        episode, frame = episodes[episode_of[row]], frame_of[row]
        before, after = (
            task.steps_to_success(task.restore(episode.start, episode.states[at]))
            for at in (frame, frame + n_steps)
        )
        truth.append(before - after > GOOD_PACE * n_steps)
        called.append(positive[row])
    truth, called = np.array(truth), np.array(called)
    recalls = [
        float((called[truth == kind] == kind).mean()) for kind in (True, False) if (truth == kind).any()
    ]
    return {
        "balanced_accuracy": float(np.mean(recalls)),
        "good_called_positive": float(called[truth].mean()) if truth.any() else float("nan"),
        "bad_called_positive": float(called[~truth].mean()) if (~truth).any() else float("nan"),
        "truly_good": float(truth.mean()),
        "failure_tails_called_negative": float((~positive[tail & failed]).mean()),
        "n_samples": len(truth),
    }
