# SPDX-License-Identifier: MIT
r"""Export a trained `act`, `rewact` or `actvantage` policy for a robot, with its reward.

By default it becomes an ONNX graph that takes raw observations (images float32 in [0, 1], channels first, and
states as recorded) and returns `actions` and `rewards`; beside it lies `exported_policy.py`, which runs it on
onnxruntime and numpy alone. The graph is compared with torch before anything is written.

Examples:

For a robot's computer, compared on the dataset that the policy was trained on:
```
lerobot-export \
    --policy.path=outputs/train/pusht/checkpoints/last/pretrained_model \
    --dataset.repo_id=lerobot/pusht \
    --output_dir=exported
```

In 8 bits, with accuracy on held-out episodes and speed:
```
lerobot-export \
    --policy.path=outputs/train/pusht/checkpoints/last/pretrained_model \
    --dataset.repo_id=lerobot/pusht \
    --dataset.eval_split=0.1 \
    --precision=int8 \
    --benchmark=true \
    --output_dir=exported_int8
```

As a checkpoint of plain ACT, for a robot whose LeRobot is not patched:
```
lerobot-export --policy.path=outputs/train/pusht/checkpoints/last/pretrained_model --format=lerobot \
    --output_dir=plain_act
```
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.cli.common import load_policy_config, run_tool
from rewact.options.tools import DataOptions, PolicyOptions, require_readable

if TYPE_CHECKING:
    from rewact.export.recordings import Recordings

FORMATS = ("onnx", "lerobot")
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass
class ExportConfig:
    policy: PolicyOptions
    # The folder to write. It must not exist.
    output_dir: Path
    # Observations to compare on, and to measure the ranges of int8 on. Default: the dataset that the policy
    # was trained on, where it lies on this machine, else random ones.
    dataset: DataOptions | None = None
    # onnx: a graph with a runtime. lerobot: a checkpoint of plain ACT, for LeRobot without this project.
    format: str = "onnx"
    # fp32; fp16, for GPUs; int8, for CPUs: measures its ranges on the dataset.
    precision: str = "fp32"
    # Version of ONNX's operators, 18 to 23.
    opset: int = 18
    # The policy's names for those observations that the dataset calls otherwise. Default: as in training.
    rename_map: dict[str, str] = field(default_factory=dict)
    # Frames of the dataset that torch and the graph are compared on.
    n_observations: int = 64
    # Episodes of the dataset that the accuracy of fp16 and int8 is measured on, held-out ones first.
    n_episodes: int = 4
    # Measure latency, memory and loading beside torch's.
    benchmark: bool = False
    # As in training: seconds that the timestamp of a frame and its picture in the video may lie apart.
    tolerance_s: float = 1e-4

    def __post_init__(self) -> None:
        for name, value, known in (
            ("format", self.format, FORMATS),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise ValueError(f"--{name} must be one of {', '.join(known)}, got {value!r}")
        if not 18 <= self.opset <= 23:
            raise ValueError(f"--opset must be from 18 to 23, got {self.opset}")
        if self.n_observations < 1 or self.n_episodes < 1:
            raise ValueError("--n_observations and --n_episodes must be at least 1")
        require_readable(self)
        if self.dataset is not None and self.dataset.reward.is_used:
            raise ValueError("--dataset.reward.*: an export reads no labels; leave these options out")
        if self.format == "lerobot" and (self.precision != "fp32" or self.benchmark):
            raise ValueError("--format=lerobot copies the weights: leave out --precision and --benchmark")


def export(cfg: ExportConfig) -> dict[str, Any]:
    """Export a policy; returns what was compared and measured."""
    from rewact.export.onnx_file import require_tools
    from rewact.export.plain import write_plain_act
    from rewact.export.run import export_onnx, new_folder
    from rewact.export.source import load_source, require_exportable
    from rewact.values.checkpoint import require_renamed

    config = load_policy_config(cfg.policy)
    require_exportable(config)
    require_renamed(cfg.rename_map, [config])
    if cfg.format == "onnx":
        require_tools()
    results: dict[str, Any] = {}
    with new_folder(cfg.output_dir) as folder:
        source = load_source(config, cfg.rename_map)
        if cfg.format == "lerobot":
            write_plain_act(source, folder)
        else:
            recordings = _recordings(cfg)
            require_renamed(cfg.rename_map, [config], recordings and recordings.meta)
            results = export_onnx(source, folder, recordings, cfg)
    logging.info("Wrote %s", cfg.output_dir)
    return results


def _recordings(cfg: ExportConfig) -> "Recordings | None":
    """The dataset that was given, or else the one that the policy was trained on, if it lies here."""
    from lerobot.utils import constants
    from rewact.export.recordings import Recordings
    from rewact.values.checkpoint import read_train_config

    if cfg.dataset is not None:
        return Recordings(cfg.dataset, cfg.policy.path, cfg.tolerance_s)
    known = (read_train_config(cfg.policy.path) or {}).get("dataset") or {}
    if not isinstance(known.get("repo_id"), str):
        return None
    root = known.get("root") or str(constants.HF_LEROBOT_HOME / known["repo_id"])
    if not (Path(root) / "meta").is_dir():
        return None
    # LeRobot's choice is torchcodec where it can be loaded, which may be there and not here.
    backend = known.get("video_backend")
    backend = None if backend == "torchcodec" else backend
    dataset = DataOptions(known["repo_id"], root, known.get("episodes"), video_backend=backend)
    return Recordings(dataset, cfg.policy.path, cfg.tolerance_s)


def main() -> None:
    run_tool(ExportConfig, export, __doc__)


if __name__ == "__main__":
    main()
