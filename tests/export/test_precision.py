# SPDX-License-Identifier: MIT
"""Half precision and 8 bits: what is converted, and what it costs is told."""

import json

import numpy as np
import onnx
import pytest

from .conftest import as_numpy, invoke, load, observe, save_checkpoint, write


def test_random_observations_where_there_is_no_dataset(monkeypatch, tmp_path, capsys):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", "actvantage", cfg_beta=2.0, use_reward_head=True)
    arguments = [f"--policy.path={checkpoint}", "--policy.inference_advantage=negative"]
    results = invoke(monkeypatch, *arguments, f"--output_dir={tmp_path / 'out'}", "--precision=fp16")
    assert results["compared_on"] == "64 random observations"
    said = "".join(capsys.readouterr())
    assert "Comparing on random observations; --dataset.repo_id compares on recorded ones" in said
    assert 0 < results["largest_difference"]["actions"] < 0.05 and results["voc"] is None
    metadata = json.loads((tmp_path / "out" / "policy.json").read_text())
    assert metadata["advantage"] == {"condition": "negative", "cfg_beta": 2.0}
    assert (metadata["precision"], metadata["fps"], metadata["action"]["names"]) == ("fp16", None, None)


def test_int8_is_judged_on_held_out_episodes(monkeypatch, tmp_path, trained, root):
    data = ["--dataset.repo_id=local/pick", f"--dataset.root={root}", "--dataset.video_backend=pyav"]
    results = invoke(
        monkeypatch, f"--policy.path={trained}", *data, f"--output_dir={tmp_path / 'out'}", "--precision=int8"
    )
    assert results["accuracy_on"] == "held-out episodes 2, 3 of local/pick"
    assert 0 < results["mean_difference"]["actions"] < 0.1 and 0 < results["mean_difference"]["rewards"] < 0.1
    assert set(results["voc"]) == {"torch", "exported"}
    model = onnx.load(tmp_path / "out" / "policy.onnx")
    made = {name: node for node in model.graph.node for name in node.output}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    in_full = {
        node.input[1] for node in layers if made.get(node.input[1], node).op_type != "DequantizeLinear"
    }
    parts = ("backbone.conv1.", "action_head.", "reward_head.")
    assert {name for name in in_full if not any(part in name for part in parts)} == set()
    assert {part for part in parts if any(part in name for name in in_full)} == set(parts)
    assert len(in_full) < len(layers) / 2
    # What is in the robot's units keeps all digits.
    assert made["actions"].op_type != "DequantizeLinear"


def test_openvino_computes_the_same(tmp_path):
    """CI has no OpenVINO, which is large; where it is installed, it reads the graph."""
    openvino = pytest.importorskip("openvino")
    source = load(save_checkpoint(tmp_path / "checkpoint", "actvantage", cfg_beta=2.0, use_reward_head=True))
    path = write(source, tmp_path / "exported") / "policy.onnx"
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for batch_size in (1, 3):
        observation = observe(source, batch_size)
        found = compiled(as_numpy(observation))
        actions, rewards = source.predict(observation)
        np.testing.assert_allclose(found["actions"], actions.numpy(), atol=1e-4)
        np.testing.assert_allclose(found["rewards"], rewards.numpy(), atol=1e-5)
