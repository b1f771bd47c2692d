# SPDX-License-Identifier: MIT
"""Writing, shrinking and running ONNX graphs of policies."""

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rewact.export.exported_policy import METADATA
from rewact.export.graph import PolicyGraph

if TYPE_CHECKING:
    import onnx

TOOLS = ("onnx", "onnxruntime", "onnxscript")
MIN_TORCH = (2, 7)

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
    outputs = ["actions", *(["rewards"] if graph.n_reward_steps else [])]
    with _quietly():
        program = torch.onnx.export(
            graph,
            example,
            input_names=[names[name] for name in graph.inputs],
            output_names=outputs,
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
def _quietly() -> Iterable[None]:
    """torch's exporter tells its own users how to write their models."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def only_rewards(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The part of a graph that the rewards need."""
    import onnx.utils

    inputs = [value.name for value in model.graph.input]
    part = onnx.utils.Extractor(model).extract_model(inputs, ["rewards"])
    used = {name for node in part.graph.node for name in node.input}
    for value in [value for value in part.graph.input if value.name not in used]:
        part.graph.input.remove(value)
    return part


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
        def __init__(self) -> None:
            self._batches = iter(observations)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: value.numpy() for name, value in batch.items()}

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


def add_metadata(model: "onnx.ModelProto", metadata: Mapping[str, Any]) -> None:
    """Put names, sizes and settings into a model, where the runtime reads them."""
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata)
