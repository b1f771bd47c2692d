# SPDX-License-Identifier: MIT
"""--format=lerobot: a checkpoint that LeRobot without this project loads, and acts with as ours does."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lerobot import __file__ as lerobot_file
from rewact.cli.export import ExportConfig, export
from rewact.options.head import RewardHeadConfig
from rewact.options.tools import PolicyOptions
from verify.checkout import Checkout
from verify.parity import rebuild_pristine

from .conftest import CAMERA, STATE, load, observe, save_checkpoint

INPUTS = {"observation.images.front": CAMERA, "observation.state": STATE}
STOCK = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
folder, given, found = sys.argv[1:]
policy = ACTPolicy.from_pretrained(folder, strict=True)
assert not hasattr(policy.config, "use_reward_head") and "rewact" not in sys.modules, "not the stock class"
pre, post = make_pre_post_processors(policy.config, pretrained_path=folder)
observations = np.load(given)
actions = []
for step in range(7):
    batch = pre({name: torch.from_numpy(observations[name][step]) for name in observations})
    actions.append(post(policy.select_action(batch)).numpy())
np.save(found, np.stack(actions))
"""


def plain(checkpoint: Path, folder: Path) -> Path:
    export(ExportConfig(policy=PolicyOptions(str(checkpoint)), output_dir=folder, format="lerobot"))
    return folder


@pytest.mark.parametrize(
    ("policy_type", "options"), [("rewact", {}), ("act", {"use_reward_head": True, "use_vae": False})]
)
def test_nothing_of_ours_is_left(tmp_path, policy_type, options):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", policy_type, n_action_steps=3, **options)
    folder = plain(checkpoint, tmp_path / "plain")
    config = json.loads((folder / "config.json").read_text())
    assert config["type"] == "act" and config["n_action_steps"] == 3 and config["device"] == "cpu"
    assert not {field.name for field in fields(RewardHeadConfig)} & set(config)
    before, after = (load_file(place / "model.safetensors") for place in (checkpoint, folder))
    assert set(before) - set(after) == {name for name in before if "reward_head" in name} != set()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        steps = json.loads((folder / name).read_text())["steps"]
        assert "reward" not in json.dumps(steps) and "rewact" not in json.dumps(steps)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "plain"]


def test_stock_lerobot_acts_with_it_bit_for_bit(tmp_path):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", "rewact", INPUTS)
    folder = plain(checkpoint, tmp_path / "plain")
    rebuild_pristine(Checkout(Path(lerobot_file).parents[2]), tmp_path / "stock")
    source = load(checkpoint, fast_path="false")  # whose numbers are upstream's
    steps = [observe(source, 1) for _ in range(7)]
    given, found = tmp_path / "given.npz", tmp_path / "found.npy"
    np.savez(given, **{name: np.stack([step[name].numpy() for step in steps]) for name in steps[0]})
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "stock" / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-B", "-c", STOCK, str(folder), str(given), str(found)]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert ended.returncode == 0, ended.stderr
    expected = [
        source.postprocessor(source.policy.select_action(source.preprocessor(dict(step)))[0]).numpy()
        for step in steps
    ]
    assert np.array_equal(np.load(found), np.stack(expected))


def test_an_advantage_has_no_place_in_plain_act(tmp_path):
    checkpoint = save_checkpoint(tmp_path / "checkpoint", "actvantage")
    with pytest.raises(ValueError, match="has a token that plain ACT has no place for: export it with"):
        plain(checkpoint, tmp_path / "plain")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
