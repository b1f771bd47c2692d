# SPDX-License-Identifier: MIT
"""What the reward head costs: time of a training step and of an inference step, against ACT without the head.

Both policies take turns in one process on the same random batches, so that a busy machine slows both; the
printed figure is the median of the ratios of neighbouring measurements.

    python -m verify.bench.step_cost [--default-size] [--repeats 20]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from rewact.keys import mark_labels

SMALL = {
    "dim_model": 128,
    "n_heads": 4,
    "dim_feedforward": 512,
    "n_encoder_layers": 2,
    "n_vae_encoder_layers": 2,
}
BATCH_SIZE = 8
ACTION_DIM = 14


def make_policy(image_size: tuple[int, int], sizes: dict, **head) -> ACTPolicy:
    torch.manual_seed(0)
    config = ACTConfig(
        device="cpu",
        pretrained_backbone_weights=None,
        input_features={
            "observation.images.top": PolicyFeature(FeatureType.VISUAL, (3, *image_size)),
            "observation.state": PolicyFeature(FeatureType.STATE, (ACTION_DIM,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION_DIM,))},
        **sizes,
        **head,
    )
    return ACTPolicy(config)


def make_batch(policy: ACTPolicy, image_size: tuple[int, int]) -> dict[str, torch.Tensor]:
    chunk_size = policy.config.chunk_size
    batch = {
        "observation.images.top": torch.rand(BATCH_SIZE, 3, *image_size),
        "observation.state": torch.rand(BATCH_SIZE, ACTION_DIM),
        "action": torch.randn(BATCH_SIZE, chunk_size, ACTION_DIM),
        "action_is_pad": torch.zeros(BATCH_SIZE, chunk_size, dtype=torch.bool),
        "reward": torch.rand(BATCH_SIZE, chunk_size),
        "reward_is_pad": torch.zeros(BATCH_SIZE, chunk_size, dtype=torch.bool),
    }
    return mark_labels(batch, ("reward", "reward_is_pad"))


def training_step(policy: ACTPolicy, batch: dict[str, torch.Tensor]) -> None:
    policy.train()
    policy.forward(batch)[0].backward()
    policy.zero_grad()


def inference_step(policy: ACTPolicy, batch: dict[str, torch.Tensor]) -> None:
    policy.reset()  # an empty queue: the network runs
    policy.select_action(batch)


def seconds(step: Callable, *arguments) -> float:
    start = time.perf_counter()
    step(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--default-size", action="store_true", help="ACT's default size on 480x640 images")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()

    image_size, sizes = ((480, 640), {}) if arguments.default_size else ((96, 96), SMALL)
    plain = make_policy(image_size, sizes, use_reward_head=False)
    variants = {
        "sigmoid": make_policy(image_size, sizes),
        "distributional": make_policy(image_size, sizes, reward_head_type="distributional"),
    }
    batch = make_batch(plain, image_size)
    for step in (training_step, inference_step):
        for name, policy in variants.items():
            for warm in (plain, policy):
                step(warm, batch)
            pairs = [
                (seconds(step, policy, batch), seconds(step, plain, batch)) for _ in range(arguments.repeats)
            ]
            ratio = statistics.median(head / base for head, base in pairs)
            base = statistics.median(base for _, base in pairs)
            print(f"{step.__name__}: {name} head takes {ratio:.2f} times plain ACT's {base * 1000:.0f} ms")


if __name__ == "__main__":
    main()
