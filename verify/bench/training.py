# SPDX-License-Identifier: MIT
"""Training on a dataset that is small enough to be held in memory.

The policies, their losses, optimizers and processors and the labels are LeRobot's own. What differs from
`lerobot-train` is that a batch is cut out of arrays, where the training script would read its items one by
one: on state observations that costs as much as the network.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lerobot.advantages import load_advantages
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.reward_labels import RewardLabelsConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.reward_labels.build import build_reward_labels
from lerobot.policies.factory import (
    get_policy_class,
    make_policy,
    make_policy_config,
    make_pre_post_processors,
)
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import PolicyProcessorPipeline
from lerobot.utils.constants import OBS_ENV_STATE

GRADIENT_CLIP_NORM = 10.0
WEIGHTS_FILE = "model.safetensors"
# How far along a success is; in a failure nothing is gained. The slower an episode, the less a step is worth.
LABELS = RewardLabelsConfig(sources=["linear"], start_pct=0.0, end_pct=1.0, failure_ceiling=0.0)


class Frames:
    """The frames of a dataset with state observations.

    Args:
        root: Folder of the dataset.
    """

    def __init__(self, root: Path):
        dataset = LeRobotDataset(f"bench/{root.name}", root=root)
        self.meta = dataset.meta
        labels = build_reward_labels(self.meta, LABELS)
        self.table, self.rewards = labels.table, labels.rewards
        rows = dataset.hf_dataset.with_format("numpy")
        inputs = [name for name in self.meta.features if name.startswith("observation.")]
        self.observations = {name: _to_tensor(rows[name]) for name in inputs}
        self.actions = _to_tensor(rows["action"])
        self.ends = torch.from_numpy(np.repeat(self.table.ends, self.table.lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def input_features(self, names: Iterable[str]) -> dict[str, PolicyFeature]:
        """Some of the observations, for a policy that is not to see all."""
        return {
            name: PolicyFeature(
                type=FeatureType.ENV if name == OBS_ENV_STATE else FeatureType.STATE,
                shape=tuple(self.observations[name].shape[1:]),
            )
            for name in names
        }

    def of_episodes(self, episodes: list[int]) -> Tensor:
        """(n,) absolute indices of the frames of some episodes."""
        return torch.from_numpy(self.table.frames(np.array([self.table.row(e) for e in episodes])))

    def observation(self, indices: Tensor) -> dict[str, Tensor]:
        """The observations at (B,) absolute indices."""
        return {name: column[indices] for name, column in self.observations.items()}

    def batch(self, indices: Tensor, chunk_size: int) -> dict[str, Tensor]:
        """The collated items at (B,) absolute indices, with their reward labels."""
        window = indices[:, None] + torch.arange(chunk_size)
        last = self.ends[indices][:, None] - 1
        is_pad = window > last
        window = torch.minimum(window, last)
        return {
            **self.observation(indices),
            "index": indices,
            "action": self.actions[window],
            "action_is_pad": is_pad,
            "reward": self.rewards[window],
            "reward_is_pad": is_pad,
        }


def _to_tensor(column: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(column).astype(np.float32))


def train(
    frames: Frames,
    output: Path,
    policy_type: str,
    options: dict[str, object],
    steps: int,
    batch_size: int,
    seed: int,
    episodes: list[int] | None = None,
    advantages: Path | None = None,
    weighter: object | None = None,
) -> None:
    """Train a policy as `lerobot-train` does, but with a learning rate that falls to 0, and save it.

    Does nothing if it is there.

    Args:
        frames: What to train on.
        output: Folder of the checkpoint.
        policy_type: As for `--policy.type`.
        options: Options of the policy.
        steps: Number of optimizer steps.
        batch_size: Samples per step.
        seed: Of initialization and order.
        episodes: Episodes to train on; all by default.
        advantages: File of the advantages that the policy is conditioned on.
        weighter: LeRobot's `SampleWeighter`.
    """
    if (output / WEIGHTS_FILE).is_file():
        return
    torch.manual_seed(seed)
    config = make_policy_config(policy_type, push_to_hub=False, **options)
    policy = make_policy(config, ds_meta=frames.meta)
    preprocessor, postprocessor = make_pre_post_processors(config, dataset_stats=frames.meta.stats)
    optimizer = config.get_optimizer_preset().build(policy.get_optim_params())
    # At a constant rate so short a training ends anywhere: success differs more from step to step than from
    # method to method.
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    labels = None if advantages is None else torch.from_numpy(load_advantages(frames.meta, advantages))
    population = torch.arange(len(frames)) if episodes is None else frames.of_episodes(episodes)
    policy.train()
    order = population[:0]
    for _ in range(steps):
        while len(order) < batch_size:
            order = torch.cat([order, population[torch.randperm(len(population))]])
        indices, order = order[:batch_size], order[batch_size:]
        batch = frames.batch(indices, config.chunk_size)
        if labels is not None:
            batch["advantage"] = labels[indices]
        batch = preprocessor(batch)
        if weighter is None:
            loss, _ = policy.forward(batch)
        else:
            weights, _ = weighter.compute_batch_weights(batch)
            losses, _ = policy.forward(batch, reduction="none")
            loss = (losses * weights).sum() / (weights.sum() + 1e-6)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), GRADIENT_CLIP_NORM)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    preprocessor.save_pretrained(output)
    postprocessor.save_pretrained(output)
    policy.save_pretrained(output)  # last: it marks the checkpoint as complete


def load(
    checkpoint: Path, **options: object
) -> tuple[PreTrainedPolicy, PolicyProcessorPipeline, PolicyProcessorPipeline]:
    """A trained policy with its pre- and postprocessor.

    Args:
        checkpoint: Folder that `train` has written.
        options: Options of the policy that are to be others than in training.
    """
    config = PreTrainedConfig.from_pretrained(checkpoint)
    for name, value in options.items():
        setattr(config, name, value)
    policy = get_policy_class(config.type).from_pretrained(checkpoint, config=config)
    return policy, *make_pre_post_processors(config, pretrained_path=str(checkpoint))
