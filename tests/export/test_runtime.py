# SPDX-License-Identifier: MIT
"""`ExportedPolicy` acts as the torch policy does, step by step, on onnxruntime and numpy alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from rewact.export.exported_policy import CompletionDetector, ExportedPolicy
from rewact.export.graph import PolicyGraph
from rewact.export.onnx_file import to_onnx
from rewact.judge.completion import CompletionDetector as TorchDetector

from .conftest import as_numpy, assert_equal_steps, load, observe, save_checkpoint, write

# Settings that change nothing in the graph.
SETTINGS = {
    "forecast": {},
    "one action a chunk": {"n_action_steps": 1},
    "refreshed": {"reward_refresh_steps": 3},
    "always fresh": {"reward_refresh_steps": 1},
    "stops": {"stop_on_completion": "true", "completion_detector.threshold": 0.5},
    "ensemble": {"n_action_steps": 1, "temporal_ensemble_coeff": 0.01},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("rewact"), "rewact")


@pytest.fixture(scope="module")
def model(checkpoint):
    source = load(checkpoint)
    return to_onnx(PolicyGraph(source.policy, source.normalizer, source.unnormalizer), source.names, 18)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_step_by_step(tmp_path, checkpoint, model, setting, batch_size):
    source = load(checkpoint, **SETTINGS[setting])
    exported = ExportedPolicy(write(source, tmp_path / "exported", model))
    assert_equal_steps(source, exported, batch_size)


def test_step_by_step_without_a_forecast(tmp_path):
    source = load(
        save_checkpoint(tmp_path / "checkpoint", "act", use_reward_head=True, reward_forecast=False)
    )
    assert_equal_steps(source, ExportedPolicy(write(source, tmp_path / "exported")), batch_size=2)


def test_step_by_step_without_a_head(tmp_path):
    source = load(save_checkpoint(tmp_path / "checkpoint", "act", use_reward_head=False))
    exported = ExportedPolicy(write(source, tmp_path / "exported"))
    assert_equal_steps(source, exported, batch_size=2)
    observation = as_numpy(observe(source, 1))
    with pytest.raises(ValueError, match="no reward head"):
        exported.predict_reward(observation)
    assert exported.predict_chunk(observation)[1] is None
    assert not (tmp_path / "exported" / "reward.onnx").exists()


def test_readings_leave_the_queue_alone(tmp_path, checkpoint, model):
    source = load(checkpoint)
    exported = ExportedPolicy(write(source, tmp_path / "exported", model))
    first, second = (observe(source, 2) for _ in range(2))
    exported.select_action(as_numpy(first))
    queued = [entry[0].copy() for entry in exported._queue]
    reward = exported.predict_reward(as_numpy(second))
    expected = source.policy.predict_reward(source.preprocessor(dict(second)))
    np.testing.assert_allclose(reward, expected.numpy(), atol=1e-5)
    _, rewards = exported.predict_chunk(as_numpy(second))
    np.testing.assert_allclose(rewards[:, 0], reward, atol=1e-6)
    assert all(np.array_equal(a, b[0]) for a, b in zip(queued, exported._queue, strict=True))


def test_done_follows_the_detector(tmp_path, checkpoint, model):
    source = load(checkpoint, **SETTINGS["stops"])
    exported = ExportedPolicy(write(source, tmp_path / "exported", model))
    settings = source.config.completion_detector
    detector = TorchDetector(settings.threshold, settings.hysteresis, settings.dwell)
    for _ in range(12):
        _, reward = exported.select_action(as_numpy(observe(source, 4)))
        assert exported.done.tolist() == detector(reward).tolist()


def test_the_detector_is_that_of_evaluations():
    random = np.random.default_rng(0)
    for threshold, hysteresis, dwell in ((0.9, 0.1, 3), (0.5, 0.0, 1), (0.7, 0.3, 5)):
        ours, theirs = (kind(threshold, hysteresis, dwell) for kind in (CompletionDetector, TorchDetector))
        for _ in range(3):
            ours.reset()
            theirs.reset()
            for _ in range(60):
                # Values at the thresholds themselves are among them.
                reward = np.round(random.random(5), 1).astype(np.float32)
                assert ours(reward).tolist() == theirs(torch.from_numpy(reward)).tolist()
    with pytest.raises(ValueError, match="NaN"):
        ours(np.array([np.nan]))


def test_one_observation_without_a_batch(tmp_path, checkpoint, model):
    source = load(checkpoint)
    exported = ExportedPolicy(write(source, tmp_path / "exported", model))
    observation = as_numpy(observe(source, 1))
    single = {name: value[0] for name, value in observation.items()} | {"task": "push"}
    action, reward = exported.select_action(single)
    assert action.shape == (2,) and np.ndim(reward) == 0
    exported.reset()
    batched = exported.select_action(observation)
    assert np.array_equal(batched[0][0], action) and batched[1][0] == reward
    with pytest.raises(ValueError, match=r"the batch changed from 1 to 3 observations; call reset\(\)"):
        exported.select_action(as_numpy(observe(source, 3)))
    with pytest.raises(ValueError, match="lacks 'observation.state'"):
        exported.predict_reward({"observation.environment_state": np.zeros(5)})
    with pytest.raises(ValueError, match=r"'observation.state' has shape \(4,\); the policy reads \(3,\)"):
        exported.predict_reward({**single, "observation.state": np.zeros(4)})


def test_files_that_are_missing_or_of_another_version(tmp_path, checkpoint, model):
    folder = write(load(checkpoint), tmp_path / "exported", model)
    (folder / "reward.onnx").unlink()
    exported = ExportedPolicy(folder)  # which reads forecasts
    with pytest.raises(ValueError, match=r"reward.onnx is missing; copy the whole folder"):
        exported.predict_reward(as_numpy(observe(load(checkpoint), 1)))
    with pytest.raises(ValueError, match=r"policy.onnx is missing"):
        ExportedPolicy(tmp_path)
    del model.metadata_props[:]
    (folder / "policy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="is not of this version; export it again"):
        ExportedPolicy(folder)


ON_THE_ROBOT = """
import sys
for name in ("torch", "lerobot", "rewact", "onnx", "torchvision"):
    sys.modules[name] = None  # importing it fails
sys.path.insert(0, sys.argv[1])
import numpy as np
from exported_policy import ExportedPolicy
assert "lerobot" not in ExportedPolicy.__module__
policy = ExportedPolicy()
observations = dict(np.load(sys.argv[2]))
steps = [policy.select_action({k: v[t] for k, v in observations.items()}) for t in range(9)]
np.savez(sys.argv[3], actions=[a for a, _ in steps], rewards=[r for _, r in steps])
"""


def test_a_robot_needs_neither_torch_nor_lerobot(tmp_path, checkpoint, model):
    source = load(checkpoint)
    folder = write(source, tmp_path / "exported", model)
    observations = observe(source, 9)
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    np.savez(given, **as_numpy(observations))
    command = [sys.executable, "-I", "-c", ON_THE_ROBOT, str(folder), str(given), str(found)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stderr
    found = np.load(found)
    source.policy.reset()
    for step in range(9):
        batch = {name: value[step : step + 1] for name, value in observations.items()}
        action, reward = source.policy.select_action(source.preprocessor(batch))
        np.testing.assert_allclose(found["actions"][step], source.postprocessor(action)[0], atol=2e-5)
        np.testing.assert_allclose(found["rewards"][step], reward[0], atol=1e-5)


def test_it_measures_itself(tmp_path, checkpoint, model):
    folder = write(load(checkpoint), tmp_path / "exported", model)
    command = [sys.executable, str(folder / "exported_policy.py")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(ended.stdout)
    assert {"load_ms", "chunk_ms", "reward_ms"} <= set(measured) and min(measured.values()) > 0
