# SPDX-License-Identifier: MIT
"""lerobot-export, from its options to a folder, and what is left where it fails: nothing."""

import json

import numpy as np
import onnx
import pytest
import torch

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.export import run
from rewact.export.exported_policy import ExportedPolicy

from .conftest import CAMERA, as_numpy, assert_equal_steps, invoke, load, save_checkpoint

FILES = ["exported_policy.py", "policy.json", "policy.onnx", "reward.onnx"]


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Exported with nothing but the checkpoint given."""
    folder = tmp_path_factory.mktemp("exported") / "policy"
    with pytest.MonkeyPatch.context() as monkeypatch:
        results = invoke(
            monkeypatch, f"--policy.path={trained}", f"--output_dir={folder}", "--policy.n_action_steps=3"
        )
    return folder, results


def test_compared_on_the_dataset_of_the_training(exported):
    folder, results = exported
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert sorted(path.name for path in folder.parent.iterdir()) == ["policy"]
    assert results["compared_on"] == "21 observations of local/pick"
    assert 0 < results["largest_difference"]["actions"] <= 1e-4
    assert 0 <= results["largest_difference"]["rewards"] <= 1e-4


def test_metadata_is_in_the_graph_and_beside_it(exported):
    folder, _ = exported
    metadata = json.loads((folder / "policy.json").read_text())
    model = onnx.load(folder / "policy.onnx")
    assert json.loads(model.metadata_props[0].value) == metadata == ExportedPolicy(folder).metadata
    assert metadata["inputs"]["observation.images.top"]["shape"] == [3, 48, 64]
    assert metadata["inputs"]["observation.state"]["names"] == metadata["action"]["names"] == ["x", "y"]
    assert (metadata["fps"], metadata["chunk_size"], metadata["n_action_steps"]) == (10, 6, 3)
    assert metadata["reward"]["kind"] == "distributional" and metadata["reward"]["steps"] == 6
    assert metadata["completion_detector"] == {"threshold": 0.9, "hysteresis": 0.1, "dwell": 3}
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "observation.images.top": ["batch", 3, 48, 64],
        "observation.state": ["batch", 2],
        "actions": ["batch", 6, 2],
        "rewards": ["batch", 6],
    }
    onnx.checker.check_model(model)


def test_it_acts_on_recorded_frames(exported, trained, root):
    """Over an episode; a camera's own bytes do as well as LeRobot's tensors."""
    folder, _ = exported
    source, policy = load(trained, n_action_steps=3), ExportedPolicy(folder)
    source.policy.reset()
    dataset = LeRobotDataset("local/pick", root=root, episodes=[2], video_backend="pyav")
    for frame in range(len(dataset)):
        item = {name: dataset[frame][name] for name in source.names.values()}
        batch = source.preprocessor({name: value[None] for name, value in item.items()})
        action, reward = source.policy.select_action(batch)
        image = (item["observation.images.top"].permute(1, 2, 0) * 255).round().to(torch.uint8)
        given = as_numpy({**item, "observation.images.top": image})
        found, found_reward = policy.select_action(given)
        np.testing.assert_allclose(found, source.postprocessor(action)[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(found_reward, reward[0].numpy(), atol=1e-5)
    assert_equal_steps(source, policy, batch_size=2, n_steps=5)


def test_a_reward_alone_leaves_the_transformer_out(exported):
    folder, _ = exported
    full, reward = (onnx.load(folder / name) for name in ("policy.onnx", "reward.onnx"))
    names = {value.name for value in reward.graph.initializer}
    assert [value.name for value in reward.graph.output] == ["rewards"]
    assert len(reward.graph.node) < len(full.graph.node)
    assert any("backbone" in name for name in names) and not any("linear1" in name for name in names)


def test_a_graph_that_differs_leaves_nothing(monkeypatch, tmp_path):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", "act")
    monkeypatch.setattr(run, "to_onnx", differing(run.to_onnx))
    with pytest.raises(SystemExit) as exit:
        invoke(monkeypatch, f"--policy.path={checkpoint}", f"--output_dir={tmp_path / 'out'}")
    message = str(exit.value)
    assert message.startswith("error: the graph differs from torch over 64 random observations, by at most")
    assert message.endswith("nothing was written")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def differing(translate):
    """A translation that gets one bias wrong, by little."""

    def wrong(*arguments):
        model = translate(*arguments)
        (bias,) = (value for value in model.graph.initializer if value.name == "model.action_head.bias")
        changed = onnx.numpy_helper.to_array(bias) + np.float32(2e-4)
        bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
        return model

    return wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--policy.path is needed: The checkpoint"),
        (["--policy.path=CHECKPOINT"], "--output_dir is needed"),
        (["--policy.path=CHECKPOINT", "--output_dir=CHECKPOINT"], "exists; give another --output_dir"),
        (["--policy.path=a/b/c", "--output_dir=OUT"], "a/b/c is not a checkpoint"),
        (
            ["--policy.path=CHECKPOINT", "--output_dir=OUT", "--rename_map={x: y}"],
            "--rename_map: the policy does not read 'y', but observation.",
        ),
        (
            ["--policy.path=FOREIGN", "--output_dir=OUT"],
            "is a 'diffusion'; lerobot-export writes act, rewact",
        ),
        (["--policy.path=CHECKPOINT", "--output_dir=OUT", "--format=onxx"], "--format must be one of onnx"),
        (["--policy.path=CHECKPOINT", "--output_dir=OUT", "--precision=int4"], "--precision must be one of"),
        (["--policy.path=CHECKPOINT", "--output_dir=OUT", "--opset=11"], "--opset must be from 18 to 23"),
        (["--policy.path=CHECKPOINT", "--output_dir=OUT", "--precision=int8"], "give --dataset.repo_id"),
        (
            ["--policy.path=CHECKPOINT", "--output_dir=OUT", "--format=lerobot", "--precision=fp16"],
            "--format=lerobot copies the weights",
        ),
        (["--policy.path=CHECKPOINT", "--output_dir=OUT", "--dataset.root=x"], "--dataset.repo_id is needed"),
        (
            [
                "--policy.path=CHECKPOINT",
                "--output_dir=OUT",
                "--dataset.repo_id=local/pick",
                "--dataset.root=ROOT",
            ],
            "reads 'observation.environment_state', which local/pick does not have; if it is called",
        ),
        (
            [
                "--policy.path=SMALLER",
                "--output_dir=OUT",
                "--dataset.repo_id=local/pick",
                "--dataset.root=ROOT",
                "--dataset.video_backend=pyav",
            ],
            "local/pick has 'observation.images.top' of shape (3, 48, 64); the policy reads (3, 32, 48)",
        ),
    ],
)
def test_mistakes_are_one_sentence(monkeypatch, tmp_path, root, arguments, message):
    places = {"CHECKPOINT": save_checkpoint(tmp_path / "checkpoint"), "OUT": tmp_path / "out", "ROOT": root}
    if any("SMALLER" in word for word in arguments):
        inputs = {"observation.images.top": CAMERA}
        places["SMALLER"] = save_checkpoint(tmp_path / "smaller", "act", inputs)
    foreign = places["FOREIGN"] = tmp_path / "foreign"
    foreign.mkdir()
    config = {"type": "diffusion", "input_features": {}, "output_features": {}}
    (foreign / "config.json").write_text(json.dumps(config))
    for name, place in places.items():
        arguments = [word.replace(f"={name}", f"={place}") for word in arguments]
    with pytest.raises(SystemExit) as exit:
        invoke(monkeypatch, *arguments)
    assert str(exit.value).startswith("error: ") and message in str(exit.value)
    assert "\n" not in str(exit.value)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_what_is_missing_is_named(monkeypatch, tmp_path, name):
    from rewact.export import onnx_file

    find = onnx_file.importlib.util.find_spec
    monkeypatch.setattr(
        onnx_file.importlib.util, "find_spec", lambda wanted: None if wanted == name else find(wanted)
    )
    with pytest.raises(ValueError, match=f"^ONNX needs {name}: pip install {name}$"):
        onnx_file.require_tools()


def test_a_step_that_no_graph_has_is_refused(tmp_path):
    checkpoint = save_checkpoint(tmp_path, "act")
    path = checkpoint / "policy_preprocessor.json"
    pipeline = json.loads(path.read_text())
    pipeline["steps"].append({"registry_name": "to_batch_processor_action", "config": {}})
    path.write_text(json.dumps(pipeline))
    with pytest.raises(ValueError, match="its processors have a step"):
        load(checkpoint)
