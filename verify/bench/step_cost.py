# SPDX-License-Identifier: MIT
"""What the reward head costs: operations and time of a step, against ACT without the head, at ACT's default
size.

Operations are counted by torch without computing anything. For times, both policies take turns in one process
on the same random batches, so that a busy machine slows both; the printed figure is the median of the ratios
of neighbouring measurements, with their quartiles.

    python -m verify.bench.step_cost [--repeats 0] [--batch-size 8] [--device cuda] [--json FILE]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from rewact.keys import REWARD_KEY, REWARD_PAD_KEY, mark_labels

IMAGE_SIZES = ((96, 96), (240, 320), (480, 640))
CAMERA_COUNTS = (1, 3)
ACTION_DIM = 14
PLAIN = {"use_reward_head": False}
HEADS = {
    "sigmoid": {"use_reward_head": True},
    "distributional": {"use_reward_head": True, "reward_head_type": "distributional"},
    "sigmoid, read from the decoder": {"use_reward_head": True, "reward_head_input": "decoder"},
}


def make_policy(n_cameras: int, image_size: tuple[int, int], device: str, **head) -> ACTPolicy:
    torch.manual_seed(0)
    camera = PolicyFeature(FeatureType.VISUAL, (3, *image_size))
    state = {"observation.state": PolicyFeature(FeatureType.STATE, (ACTION_DIM,))}
    config = ACTConfig(
        device=device,
        pretrained_backbone_weights=None,
        input_features={**{f"observation.images.{i}": camera for i in range(n_cameras)}, **state},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION_DIM,))},
        **head,
    )
    return ACTPolicy(config).to(device)


def make_batch(policy: ACTPolicy, batch_size: int) -> dict[str, torch.Tensor]:
    chunk_size, device = policy.config.chunk_size, policy.config.device
    inputs = policy.config.input_features.items()
    is_pad = torch.zeros(batch_size, chunk_size, dtype=torch.bool, device=device)
    batch = {
        **{name: torch.rand(batch_size, *feature.shape, device=device) for name, feature in inputs},
        "action": torch.randn(batch_size, chunk_size, ACTION_DIM, device=device),
        "action_is_pad": is_pad,
        REWARD_KEY: torch.rand(batch_size, chunk_size, device=device),
        REWARD_PAD_KEY: is_pad,
    }
    return mark_labels(batch, (REWARD_KEY, REWARD_PAD_KEY))


def training_step(policy: ACTPolicy, batch: dict[str, torch.Tensor]) -> None:
    policy.train()
    policy.forward(batch)[0].backward()
    policy.zero_grad()


def inference_step(policy: ACTPolicy, batch: dict[str, torch.Tensor]) -> None:
    policy.reset()  # an empty queue: the network runs
    policy.select_action(batch)


def count_operations(
    step: Callable, n_cameras: int, image_size: tuple[int, int], batch_size: int, **head
) -> int:
    """Floating-point operations of one step, as torch counts them."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        policy = make_policy(n_cameras, image_size, "cpu", **head)
        batch = policy.add_image_list(make_batch(policy, batch_size))
        with FlopCounterMode(display=False) as counter:
            if step is training_step:
                actions, latent, *logits = policy.train().model(batch)
                sum(output.sum() for output in (actions, *latent, *logits)).backward()
            else:
                policy.eval().requires_grad_(False).model(batch)
    return counter.get_total_flops()


def seconds(step: Callable, policy: ACTPolicy, batch: dict[str, torch.Tensor]) -> float:
    start = time.perf_counter()
    step(policy, batch)
    if policy.config.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_ratios(
    step: Callable, policy: ACTPolicy, plain: ACTPolicy, batch_size: int, repeats: int
) -> list[float]:
    """Ratios of neighbouring measurements of a step, sorted."""
    batch = make_batch(plain, batch_size)
    for warm in (plain, policy):
        step(warm, batch)
    return sorted(seconds(step, policy, batch) / seconds(step, plain, batch) for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="0 counts operations only")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()

    rows = []
    for n_cameras in CAMERA_COUNTS:
        for image_size in IMAGE_SIZES:
            for step in (training_step, inference_step):
                where = (step, n_cameras, image_size, arguments.batch_size)
                base = count_operations(*where, **PLAIN)
                for name, head in HEADS.items():
                    row = {
                        "step": step.__name__,
                        "cameras": n_cameras,
                        "image": f"{image_size[0]}x{image_size[1]}",
                        "head": name,
                        "operations": round(count_operations(*where, **head) / base, 4),
                    }
                    if arguments.repeats:
                        policies = (
                            make_policy(n_cameras, image_size, arguments.device, **options)
                            for options in (head, PLAIN)
                        )
                        ratios = time_ratios(step, *policies, arguments.batch_size, arguments.repeats)
                        quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
                        row["time"] = [round(ratio, 3) for ratio in quartiles]
                    rows.append(row)
                    print(" | ".join(map(str, row.values())), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
