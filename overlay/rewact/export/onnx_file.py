# SPDX-License-Identifier: MIT
"""Writing and shrinking ONNX graphs of policies, and what lies beside them."""

import contextlib
import importlib.util
import io
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewact.export import exported_policy
from rewact.export.exported_policy import FORMAT, GRAPH, METADATA, REWARD_GRAPH
from rewact.export.graph import PolicyGraph
from rewact.export.source import Source
from rewact.labels.files import write_json

if TYPE_CHECKING:
    import onnx

    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

TOOLS = ("onnx", "onnxruntime", "onnxscript")
MIN_TORCH = (2, 7)

METADATA_FILE = "policy.json"

# What stays in float32 in int8: the first convolution, which sees the image, and the layers whose outputs are
# actions and rewards.
_FULL_PRECISION = ("backbone.conv1.", "action_head.", "reward_head.")
_QUANTIZED = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool")


def require_tools() -> None:
    """Stop with a ValueError that says what to install, where something is missing."""
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {', '.join(missing)}: pip install {' '.join(missing)}")
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < MIN_TORCH:
        raise ValueError(f"exporting to ONNX needs torch 2.7 or newer, and this is {torch.__version__}")


def to_onnx(graph: PolicyGraph, names: Mapping[str, str], opset: int) -> "onnx.ModelProto":
    """Translate a policy, in float32.

    Args:
        graph: The policy.
        names: The graph's name of each of its inputs.
        opset: Version of ONNX's operators.

    Raises:
        RuntimeError: If torch cannot translate it.
    """
    example = tuple(torch.zeros(2, *graph.config.input_features[name].shape) for name in graph.inputs)
    batch = torch.export.Dim("batch", min=1, max=4096)
    with _quietly():
        program = torch.onnx.export(
            graph,
            example,
            input_names=[names[name] for name in graph.inputs],
            output_names=["actions", "rewards"] if graph.n_reward_steps else ["actions"],
            opset_version=opset,
            dynamic_shapes={"observation": tuple({0: batch} for _ in example)},
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    if not all(value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input):
        raise RuntimeError("torch has made the batch size of the graph a constant; another torch may not")
    return model


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """torch's exporter tells its own users how to write their models."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def to_float16(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The same graph in half precision, but for its inputs, its outputs and their normalisation."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(model, keep_io_types=True, node_block_list=_normalization(model))


def _normalization(model: "onnx.ModelProto") -> list[str]:
    """Names of the nodes before the first layers and after the last: a robot's units may need all digits."""
    layers = {"Conv", "Gemm", "MatMul", "Shape"}
    found = set()
    known = {value.name for value in model.graph.input}
    for node in model.graph.node:  # they are in the order of computation
        if node.op_type not in layers and known.intersection(node.input):
            found.add(node.name)
            known.update(node.output)
    known = {"actions"}
    for node in reversed(model.graph.node):
        if node.op_type not in layers and known.intersection(node.output):
            found.add(node.name)
            known.update(node.input)
    return sorted(found)


def to_int8(model: "onnx.ModelProto", observations: Sequence[Mapping[str, Tensor]]) -> "onnx.ModelProto":
    """The same graph with 8-bit convolutions and linear layers, all but those that `_FULL_PRECISION` names.

    Args:
        model: In float32.
        observations: What the ranges of the activations are measured on.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        batches = iter([{name: value.numpy() for name, value in batch.items()} for batch in observations])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.batches, None)

    excluded = _normalization(model) + [
        node.name
        for node in model.graph.node
        if any(part in name for name in node.input for part in _FULL_PRECISION)
    ]
    with TemporaryDirectory() as folder, _quietly():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            nodes_to_exclude=excluded,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)


def describe_policy(
    source: Source, graph: PolicyGraph, meta: "LeRobotDatasetMetadata | None", precision: str
) -> dict[str, Any]:
    """What the runtime and its users need to know of a policy; names and fps only of a known dataset."""
    config = source.config
    features = {} if meta is None else meta.features

    def names(feature: str) -> Any:
        """Of a feature's numbers, `None` for images and where they are not known."""
        known = features.get(feature, {"dtype": "image"})
        return None if known["dtype"] in ("image", "video") else known.get("names")

    inputs = {
        source.names[name]: {
            "shape": list(config.input_features[name].shape),
            "is_image": source.is_image(name),
            "names": names(source.names[name]),
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
        "action": {"size": config.action_feature.shape[0], "names": names("action")},
        "fps": None if meta is None else meta.fps,
        "chunk_size": config.chunk_size,
        "n_action_steps": config.n_action_steps,
        "temporal_ensemble_coeff": config.temporal_ensemble_coeff,
        "reward": reward if graph.n_reward_steps else None,
        "advantage": advantage,
        "stop_on_completion": bool(graph.n_reward_steps) and config.stop_on_completion,
        "completion_detector": asdict(config.completion_detector),
    }


def write_policy(folder: Path, model: "onnx.ModelProto", metadata: Mapping[str, Any]) -> None:
    """Write the graph, that of the reward alone where there is one, the metadata, and the runtime."""
    import onnx

    reward = metadata["reward"]
    onnx.helper.set_model_props(model, {})
    if reward is not None and reward["own_graph"]:
        onnx.save(_only_rewards(model), folder / REWARD_GRAPH)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    onnx.save(model, folder / GRAPH)
    write_json(folder / METADATA_FILE, metadata)
    shutil.copy(exported_policy.__file__, folder)


def _only_rewards(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The part of a graph that the rewards need."""
    import onnx.utils

    inputs = [value.name for value in model.graph.input]
    part = onnx.utils.Extractor(model).extract_model(inputs, ["rewards"])
    used = {name for node in part.graph.node for name in node.input}
    for value in [value for value in part.graph.input if value.name not in used]:
        part.graph.input.remove(value)
    return part
