# SPDX-License-Identifier: MIT
"""Training on a dataset that is small enough to be held in memory, on the CPU or a GPU.

The policies, their losses, optimizers and processors and the labels are LeRobot's own. What differs from
`lerobot-train` is that a batch is cut out of arrays, where the training script would read its items one by
one: on state observations that costs as much as the network, and on images more.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file
from torch import Tensor

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import (
    get_policy_class,
    make_policy,
    make_policy_config,
    make_pre_post_processors,
)
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import PolicyProcessorPipeline
from lerobot.utils.constants import OBS_ENV_STATE, OBS_IMAGE
from rewact.advantages import load_advantages
from rewact.keys import ADVANTAGE_KEY, REWARD_KEY, REWARD_PAD_KEY, mark_labels
from rewact.labels.build import build_reward_labels
from rewact.options.labels import RewardLabelsConfig

GRADIENT_CLIP_NORM = 10.0
# Pixels by which images are shifted in training.
MAX_SHIFT = 4
WEIGHTS_FILE = "model.safetensors"
# How far along a success is; in a failure nothing is gained. The slower an episode, the less a step is worth.
LABELS = RewardLabelsConfig(sources=["linear"], start_pct=0.0, end_pct=1.0, failure_ceiling=0.0)


class Frames:
    """The frames of the dataset in a folder, held on a device."""

    def __init__(self, root: Path, device: str = "cpu"):
        dataset = LeRobotDataset(f"bench/{root.name}", root=root)
        self.meta = dataset.meta
        labels = build_reward_labels(self.meta, LABELS)
        self.device = torch.device(device)
        self.table, self.rewards = labels.table, labels.rewards.to(self.device)
        inputs = [name for name in self.meta.features if name.startswith("observation.")]
        self.observations = {name: self.read(dataset, name).to(self.device) for name in inputs}
        self.actions = self.read(dataset, "action").to(self.device)
        self.ends = torch.from_numpy(np.repeat(self.table.ends, self.table.lengths)).to(self.device)

    @staticmethod
    def read(dataset: LeRobotDataset, name: str) -> Tensor:
        """All values of a feature, float32, or uint8 for images (N, H, W, C)."""
        values = np.stack(dataset.hf_dataset.with_format("numpy")[name])
        return torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.float32))

    def __len__(self) -> int:
        return len(self.ends)

    def input_features(self, names: Iterable[str]) -> dict[str, PolicyFeature]:
        """Some of the observations, for a policy that is not to see all."""
        samples = {name: to_policy_input(self.observations[name][0]) for name in names}
        return {
            name: PolicyFeature(_feature_type(name), tuple(sample.shape)) for name, sample in samples.items()
        }

    def of_episodes(self, episodes: list[int]) -> Tensor:
        """(n,) absolute indices of the frames of some episodes."""
        return torch.from_numpy(self.table.frames(np.array([self.table.row(e) for e in episodes])))

    def observation(self, indices: Tensor) -> dict[str, Tensor]:
        """The observations at (B,) absolute indices, images as float32 in [0, 1]."""
        indices = indices.to(self.device)
        return {name: to_policy_input(column[indices]) for name, column in self.observations.items()}

    def batch(self, indices: Tensor, chunk_size: int) -> dict[str, Tensor]:
        """The collated items at (B,) absolute indices, with their reward labels."""
        indices = indices.to(self.device)
        window = indices[:, None] + torch.arange(chunk_size, device=self.device)
        last = self.ends[indices][:, None] - 1
        is_pad = window > last
        window = torch.minimum(window, last)
        batch = {
            **self.observation(indices),
            "index": indices,
            "action": self.actions[window],
            "action_is_pad": is_pad,
            REWARD_KEY: self.rewards[window],
            REWARD_PAD_KEY: is_pad,
        }
        return mark_labels(batch, (REWARD_KEY, REWARD_PAD_KEY))


def to_policy_input(values: Tensor) -> Tensor:
    """Vectors as they are; (..., H, W, C) uint8 images as (..., C, H, W) float32 in [0, 1]."""
    return values.movedim(-1, -3).float() / 255 if values.dtype == torch.uint8 else values


def _feature_type(name: str) -> FeatureType:
    if name.startswith(OBS_IMAGE):
        return FeatureType.VISUAL
    return FeatureType.ENV if name == OBS_ENV_STATE else FeatureType.STATE


def shift_images(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move each (B, C, H, W) image by up to `MAX_SHIFT` pixels, its border repeated.

    What keeps networks that learn from pixels from learning them by heart, see "Image Augmentation Is All You
    Need" (https://huggingface.co/papers/2004.13649), section 3.1.
    """
    shifted = dict(batch)
    for name in batch:
        if not name.startswith(OBS_IMAGE):
            continue
        images = batch[name]
        n, _, height, width = images.shape
        padded = F.pad(images, (MAX_SHIFT,) * 4, mode="replicate")
        corners = torch.randint(2 * MAX_SHIFT + 1, (n, 2, 1)).to(images.device)
        rows = corners[:, 0] + torch.arange(height, device=images.device)
        columns = corners[:, 1] + torch.arange(width, device=images.device)
        samples = torch.arange(n, device=images.device)
        # Indexing puts the channels last.
        shifted[name] = padded[samples[:, None, None], :, rows[:, :, None], columns[:, None]].movedim(-1, 1)
    return shifted


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
    use_negatives: bool = True,
    positive_share: float | None = None,
    start: Path | None = None,
) -> None:
    """Train a policy as `lerobot-train` does, but with a learning rate that falls to 0, and save it.

    Does nothing if it is there.

    Args:
        seed: Of initialization and order.
        episodes: Those to train on; all by default.
        advantages: File of the advantages that the policy is conditioned on.
        weighter: LeRobot's `SampleWeighter`.
        use_negatives: Whether the policy is told which actions are negative; else these are unconditional.
        positive_share: Share of each batch that is drawn from the positive frames; by default their own.
        start: Checkpoint of another ACT whose weights it starts from.
    """
    if (output / WEIGHTS_FILE).is_file():
        return
    torch.manual_seed(seed)
    config = make_policy_config(policy_type, push_to_hub=False, **options)
    policy = make_policy(config, ds_meta=frames.meta)
    if start is not None:
        policy.load_state_dict(load_file(start / WEIGHTS_FILE), strict=False)
    preprocessor, postprocessor = make_pre_post_processors(config, dataset_stats=frames.meta.stats)
    optimizer = config.get_optimizer_preset().build(policy.get_optim_params())
    # At a constant rate so short a training ends anywhere: success differs more from step to step than from
    # method to method.
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    labels = None if advantages is None else torch.from_numpy(load_advantages(frames.meta, advantages))
    population = torch.arange(len(frames)) if episodes is None else frames.of_episodes(episodes)
    positive = torch.empty(0) if labels is None else torch.nonzero(labels > 0)[:, 0]
    if not use_negatives:
        labels = labels.masked_fill(labels < 0, torch.nan)
    n_positive = 0 if positive_share is None else round(positive_share * batch_size)
    policy.train()
    order = population[:0]
    for _ in range(steps):
        while len(order) < batch_size:
            order = torch.cat([order, population[torch.randperm(len(population))]])
        n_any = batch_size - n_positive
        indices, order = order[:n_any], order[n_any:]
        if n_positive:
            indices = torch.cat([indices, positive[torch.randint(len(positive), (n_positive,))]])
        batch = frames.batch(indices, config.chunk_size)
        if labels is not None:
            batch[ADVANTAGE_KEY] = labels[indices].to(frames.device)
            batch = mark_labels(batch, (REWARD_KEY, REWARD_PAD_KEY, ADVANTAGE_KEY))
        batch = preprocessor(shift_images(batch))
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
    """A policy that `train` has written, with options that differ from training, and its two processors."""
    config = PreTrainedConfig.from_pretrained(checkpoint)
    for name, value in options.items():
        setattr(config, name, value)
    policy = get_policy_class(config.type).from_pretrained(checkpoint, config=config)
    return policy, *make_pre_post_processors(config, pretrained_path=str(checkpoint))
