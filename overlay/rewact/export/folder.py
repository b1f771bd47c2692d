# SPDX-License-Identifier: MIT
"""The folder of an export: all of it or nothing, and what its metadata says."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.export import exported_policy
from rewact.export.exported_policy import FORMAT, GRAPH, REWARD_GRAPH
from rewact.export.graph import PolicyGraph
from rewact.export.onnx_file import add_metadata, only_rewards
from rewact.export.source import Source, is_image
from rewact.labels.files import write_json

if TYPE_CHECKING:
    import onnx

    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

METADATA_FILE = "policy.json"


def require_new(folder: Path) -> None:
    """Refuse a folder that exists, as LeRobot does.

    Raises:
        FileExistsError: If it exists.
    """
    if folder.exists():
        raise FileExistsError(f"output folder {folder} exists; give another --output_dir, or remove it")


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which gets its name once all is written; it goes where that fails."""
    require_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield temporary
        require_new(folder)
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def describe_policy(
    source: Source,
    graph: PolicyGraph,
    meta: "LeRobotDatasetMetadata | None",
    precision: str,
) -> dict[str, Any]:
    """What the runtime and its users need to know of a policy; names and fps only of a known dataset."""
    config = source.config
    features = {} if meta is None else meta.features
    inputs = {
        source.names[name]: {
            "shape": list(config.input_features[name].shape),
            "is_image": is_image(source, name),
            "names": _names(features.get(source.names[name])),
        }
        for name in graph.inputs
    }
    reward = {
        "kind": config.reward_head_type,
        "steps": graph.n_reward_steps,
        "refresh_steps": config.reward_refresh_steps,
        "own_graph": graph.pooling is not None,
    }
    advantage = None
    if config.type == "actvantage":
        advantage = {"condition": config.inference_advantage, "cfg_beta": config.cfg_beta}
    return {
        "format": FORMAT,
        "policy_type": config.type,
        "precision": precision,
        "inputs": inputs,
        "action": {"size": config.action_feature.shape[0], "names": _names(features.get("action"))},
        "fps": None if meta is None else meta.fps,
        "chunk_size": config.chunk_size,
        "n_action_steps": config.n_action_steps,
        "temporal_ensemble_coeff": config.temporal_ensemble_coeff,
        "reward": reward if graph.n_reward_steps else None,
        "advantage": advantage,
        "stop_on_completion": bool(graph.n_reward_steps) and config.stop_on_completion,
        "completion_detector": asdict(config.completion_detector),
    }


def _names(feature: Mapping[str, Any] | None) -> Any:
    """Names of a feature's numbers, `None` for images and where they are not known."""
    if feature is None or feature["dtype"] in ("image", "video"):
        return None
    return feature.get("names")


def write_policy(folder: Path, model: "onnx.ModelProto", metadata: Mapping[str, Any]) -> None:
    """Write the graph, that of the reward alone where there is one, the metadata, and the runtime."""
    reward = metadata["reward"]
    if reward is not None and reward["own_graph"]:
        (folder / REWARD_GRAPH).write_bytes(only_rewards(model).SerializeToString())
    add_metadata(model, metadata)
    (folder / GRAPH).write_bytes(model.SerializeToString())
    write_json(folder / METADATA_FILE, metadata)
    shutil.copy(exported_policy.__file__, folder)
