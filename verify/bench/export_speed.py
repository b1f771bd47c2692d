# SPDX-License-Identifier: MIT
"""How fast an exported policy is beside eager torch: default-size ACT with a reward head, batch 1, CPU.

    python -m verify.bench.export_speed
    python -m verify.bench.export_speed --sizes 480x640 --precisions fp32 --threads 1 --json speed.json

Weights and observations are random, which changes no time. Both sides take turns; times are medians of --runs
with their quartiles, from the raw observation to the robot's actions. Load and peak memory are those of a
process of its own: LeRobot with torch, or `exported_policy.py`.
"""

import argparse
import platform
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import make_pre_post_processors
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.modeling_rewact import RewACTPolicy
from rewact.export.benchmark import describe, measure, measure_processes
from rewact.export.exported_policy import ExportedPolicy
from rewact.export.graph import PolicyGraph
from rewact.export.onnx_file import describe_policy, to_float16, to_int8, to_onnx, write_policy
from rewact.export.source import in_batches, load_source, random_observations
from rewact.labels.files import write_json

from .command import Command

N_JOINTS = 14


def save_checkpoint(folder: Path, height: int, width: int, n_cameras: int) -> Path:
    """Write an untrained policy of default size."""
    inputs = {
        f"observation.images.camera{i}": PolicyFeature(FeatureType.VISUAL, (3, height, width))
        for i in range(n_cameras)
    }
    inputs["observation.state"] = PolicyFeature(FeatureType.STATE, (N_JOINTS,))
    outputs = {"action": PolicyFeature(FeatureType.ACTION, (N_JOINTS,))}
    config = RewACTConfig(
        device="cpu",
        push_to_hub=False,
        pretrained_backbone_weights=None,
        input_features=inputs,
        output_features=outputs,
        fast_path=False,  # as LeRobot runs ACT
    )
    stats = {
        name: {
            "mean": torch.full(shape := (3, 1, 1) if "images" in name else feature.shape, 0.4),
            "std": torch.full(shape, 0.2),
        }
        for name, feature in {**inputs, **outputs}.items()
    }
    for part in (RewACTPolicy(config), *make_pre_post_processors(config, dataset_stats=stats)):
        part.save_pretrained(folder)
    return folder


def measure_size(arguments: argparse.Namespace, size: str, folder: Path) -> dict[str, dict]:
    """Measure one image size in all precisions; prints a table of each."""
    height, width = map(int, size.split("x"))
    checkpoint = save_checkpoint(folder / "checkpoint", height, width, arguments.cameras)
    config = PreTrainedConfig.from_pretrained(checkpoint)
    config.pretrained_path = checkpoint
    source = load_source(config, {})
    graph = PolicyGraph(source.policy, source.normalizer, source.unnormalizer)
    model = to_onnx(graph, source.names, opset=18)
    observations = in_batches(random_observations(source, 4), 1)
    convert = {
        "fp32": lambda copy: copy,
        "fp16": to_float16,
        "int8": lambda copy: to_int8(copy, observations),
    }
    found = {}
    for precision in arguments.precisions:
        place = folder / precision
        place.mkdir()
        converted = convert[precision](type(model).FromString(model.SerializeToString()))
        write_policy(place, converted, describe_policy(source, graph, None, precision))
        exported = ExportedPolicy(place, num_threads=arguments.threads)
        times = measure(source, exported, observations[0], arguments.runs)
        processes = measure_processes(str(checkpoint), place)
        print(
            f"\n{size}, {arguments.cameras} camera(s), {precision}\n{describe(times, processes)}", flush=True
        )
        found[precision] = {"times_ms": times, "processes": processes}
    return found


def main() -> None:
    parser = Command("bench.export_speed", __doc__)
    parser.add_argument("--sizes", nargs="+", default=["240x320", "480x640"], help="height x width of images")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"], choices=["fp32", "fp16", "int8"])
    parser.add_argument("--cameras", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30, help="of each, in turns")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="for both (default: torch's own choice)"
    )
    parser.add_json()
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = {"processor": platform.processor() or platform.machine(), "threads": arguments.threads}
    for size in arguments.sizes:
        with TemporaryDirectory() as folder:
            results[size] = measure_size(arguments, size, Path(folder))
    if arguments.json is not None:
        write_json(arguments.json, results)


if __name__ == "__main__":
    main()
