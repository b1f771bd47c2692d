# SPDX-License-Identifier: MIT
"""One side of the parity proof: what the LeRobot on the import path does with a fixed ACT checkpoint, with a
dataset whose columns are called like labels, and with configurations that it writes and reads.

Run by `verify.parity` in a process of its own, once on the pristine and once on the patched tree:
`python -m verify.parity_trace FOLDER STEPS [CASE ...]`. The first of the two writes the files of each case to
FOLDER, the second finds them there. Prints JSON.
"""

import hashlib
import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from lerobot.configs.default import DatasetConfig
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.factory import make_policy, make_pre_post_processors

try:
    from lerobot.configs.types import FeatureType, PolicyFeature
except ImportError:
    from lerobot.configs import FeatureType, PolicyFeature

ACTION_STEPS = 25
BATCH_SIZE = 3

STATE = {"observation.state": PolicyFeature(FeatureType.STATE, (4,))}
CAMERAS = {
    f"observation.images.{name}": PolicyFeature(FeatureType.VISUAL, (3, 64, 64)) for name in ("a", "b")
}
ENVIRONMENT = {"observation.environment_state": PolicyFeature(FeatureType.ENV, (6,))}

CASES = {
    "cameras": (STATE | CAMERAS, {}),
    "environment-state": (STATE | ENVIRONMENT, {}),
    "no-vae": (STATE | ENVIRONMENT, {"use_vae": False}),
    "ensembling": (STATE | ENVIRONMENT, {"temporal_ensemble_coeff": 0.01, "n_action_steps": 1}),
    "pre-norm": (
        STATE | ENVIRONMENT,
        {"pre_norm": True, "n_decoder_layers": 2, "feedforward_activation": "gelu"},
    ),
}

# Columns of a dataset's own, under the names that labels have in a batch.
OWN_COLUMNS = {
    "action_mask": ("bool", (3,)),
    "reward": ("float32", (1,)),
    "advantage": ("float32", (1,)),
    "mc_return": ("float32", (1,)),
    "is_terminal": ("bool", (1,)),
    "intervention": ("bool", (1,)),
    "next.success": ("bool", (1,)),
}
SIZES = {"chunk_size": 10, "n_action_steps": 10, "dim_model": 32, "n_heads": 4, "dim_feedforward": 64}
PATCHED_SCRIPTS = ("lerobot.scripts.lerobot_train", "lerobot.scripts.lerobot_eval", "rewact")


def make_config(inputs: dict, options: dict) -> ACTConfig:
    """A small ACT, as LeRobot makes it: nothing of it mentions the reward head."""
    return ACTConfig(
        device="cpu",
        pretrained_backbone_weights=None,
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (3,))},
        **{**SIZES, **options},
    )


def digest(tensor: torch.Tensor) -> str:
    """A hash of dtype, shape and every bit."""
    head = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.sha256(head + tensor.detach().contiguous().numpy().tobytes()).hexdigest()


def weights(policy: ACTPolicy) -> dict[str, str]:
    return {name: digest(value) for name, value in policy.state_dict().items()}


def observations(policy: ACTPolicy) -> dict[str, torch.Tensor]:
    return {
        key: torch.rand(BATCH_SIZE, *feature.shape) for key, feature in policy.config.input_features.items()
    }


def training_batch(policy: ACTPolicy) -> dict[str, torch.Tensor]:
    chunk_size = policy.config.chunk_size
    is_pad = torch.arange(chunk_size) >= torch.randint(1, chunk_size + 1, (BATCH_SIZE, 1))
    actions = torch.randn(BATCH_SIZE, chunk_size, 3)
    return {**observations(policy), "action": actions, "action_is_pad": is_pad}


def train(policy: ACTPolicy, batches: Iterable[dict]) -> list[dict[str, str]]:
    """Takes one step on each batch; returns every term of the losses, to the bit."""
    preset = policy.config.get_optimizer_preset()
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=preset.lr, weight_decay=preset.weight_decay)
    policy.train()
    losses = []
    for step, batch in enumerate(batches):
        torch.manual_seed(1000 + step)
        loss, terms = policy.forward(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append({"loss": loss.item().hex(), **{k: v.hex() for k, v in terms.items()}})
    return losses


def act(policy: ACTPolicy) -> list[str]:
    torch.manual_seed(2000)
    policy.reset()
    actions = [policy.select_action(observations(policy)) for _ in range(ACTION_STEPS)]
    return [digest(action) for action in (*actions, policy.predict_action_chunk(observations(policy)))]


def trace_policy(inputs: dict, options: dict, folder: Path, steps: int) -> dict:
    """Everything that must be equal: names and bits of the weights, losses, actions before and after."""
    torch.manual_seed(0)
    fresh = ACTPolicy(make_config(inputs, options))
    if not folder.exists():
        fresh.save_pretrained(folder)
    # Strict: the weights of one tree fit the other exactly.
    policy = ACTPolicy.from_pretrained(folder, strict=True)
    record = {"initial_state_dict": weights(fresh), "state_dict": weights(policy), "actions": act(policy)}
    record["losses"] = train(policy, (training_batch(policy) for _ in range(steps)))
    return {**record, "trained_state_dict": weights(policy), "trained_actions": act(policy)}


def trace_reward_head(folder: Path, steps: int) -> dict:
    """With the head on, on the patched tree alone: the scripts import, the policy trains and acts."""
    for name in PATCHED_SCRIPTS:
        importlib.import_module(name)
    from rewact.keys import mark_labels

    torch.manual_seed(0)
    config = make_config(STATE | ENVIRONMENT, {})
    config.use_reward_head = True
    policy = ACTPolicy(config)
    shape = BATCH_SIZE, config.reward_label_horizon
    labels = {"reward": torch.rand(shape), "reward_is_pad": torch.zeros(shape, dtype=torch.bool)}
    losses = train(policy, (mark_labels(training_batch(policy) | labels, labels) for _ in range(steps)))
    for loss in losses:
        assert math.isfinite(float.fromhex(loss["loss"])), f"the loss is {loss['loss']}"
        assert "reward_loss" in loss, "the loss has no term of the reward"
    policy.reset()
    action, reward = policy.select_action(observations(policy))
    assert action.shape == (BATCH_SIZE, 3), f"an action has the shape {tuple(action.shape)}"
    assert reward.shape == (BATCH_SIZE,), f"a reward has the shape {tuple(reward.shape)}"
    return {"losses": losses}


def create_dataset(root: Path) -> None:
    """Two episodes of random numbers, in all of `OWN_COLUMNS`, too."""
    columns = {
        "action": ("float32", (3,)),
        "observation.state": ("float32", (4,)),
        "observation.environment_state": ("float32", (6,)),
        **OWN_COLUMNS,
    }
    features = {name: {"dtype": d, "shape": shape, "names": None} for name, (d, shape) in columns.items()}
    dataset = LeRobotDataset.create("me/parity", fps=10, features=features, root=root, use_videos=False)
    rng = np.random.default_rng(0)
    for length in (12, 9):
        for _ in range(length):
            frame = {}
            for name, (dtype, shape) in columns.items():
                numbers = rng.random(shape, dtype=np.float32)
                frame[name] = numbers > 0.5 if dtype == "bool" else numbers
            dataset.add_frame({**frame, "task": "do it"})
        dataset.save_episode()
    dataset.finalize()


def trace_dataset(root: Path, steps: int) -> dict:
    """Train on a dataset as the training script does: features, processors and batches are LeRobot's."""
    if not root.exists():
        create_dataset(root)
    deltas = {"action": [index / 10 for index in range(SIZES["chunk_size"])]}
    dataset = LeRobotDataset("me/parity", root=root, delta_timestamps=deltas)
    torch.manual_seed(0)
    policy = make_policy(ACTConfig(device="cpu", push_to_hub=False, **SIZES), ds_meta=dataset.meta)
    preprocess, _ = make_pre_post_processors(policy.config, dataset_stats=dataset.meta.stats)
    losses = train(policy, map(preprocess, DataLoader(dataset, BATCH_SIZE)))
    return {"losses": losses, "trained_state_dict": weights(policy)}


def trace_configs(written: Path, steps: int) -> dict:
    """What is written of configurations, byte for byte, and what becomes of those that were written first.

    Equal on both trees means that each tree reads what the other writes.
    """
    record = {}
    for policy in (
        ACTConfig(device="cpu", push_to_hub=False),
        DiffusionConfig(device="cpu", push_to_hub=False),
    ):
        cfg = TrainPipelineConfig(dataset=DatasetConfig("me/data"), policy=policy)
        folder = written / policy.type
        if not folder.exists():
            folder.mkdir(parents=True)
            cfg.save_pretrained(folder)
            policy.save_pretrained(folder)
        again = folder / "again"
        again.mkdir(exist_ok=True)
        files: dict[str, dict[str, str]] = {}
        for source, saved in (
            ("new", (cfg, policy)),
            ("read", (TrainPipelineConfig.from_pretrained(folder), PreTrainedConfig.from_pretrained(folder))),
        ):
            for config in saved:
                config.save_pretrained(again)
            files[source] = {path.name: path.read_text() for path in sorted(again.glob("*.json"))}
        files["dictionary"] = {"train": json.dumps(cfg.to_dict(), default=str)}
        if importlib.util.find_spec("lerobot.jobs") is not None:
            from lerobot.jobs.hf import build_remote_config_file

            sent = build_remote_config_file(cfg, "me/policy", again / "job" / "train_config.json")
            files["job"] = {"train_config.json": sent.read_text()}
        record[policy.type] = files
    return record


TRACES: dict[str, Callable[[Path, int], dict]] = {
    **{case: partial(trace_policy, *options) for case, options in CASES.items()},
    "own-columns": trace_dataset,
    "configurations": trace_configs,
}


def main() -> None:
    folder, steps, *cases = sys.argv[1:]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    traces = TRACES | {"reward-head": trace_reward_head}
    records = {case: traces[case](Path(folder, case), int(steps)) for case in cases or TRACES}
    # Of the LeRobot that was traced: an editable install may offer the overlay beside a pristine tree.
    patched = "use_reward_head" in ACTConfig.__dataclass_fields__
    print(json.dumps({"patched": patched, "cases": records}))


if __name__ == "__main__":
    main()
