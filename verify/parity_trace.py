# SPDX-License-Identifier: MIT
"""One side of the parity proof: what the LeRobot on the import path does with a fixed ACT checkpoint, with a
dataset whose columns are called like labels, and with configurations that it writes and reads.

Run by `verify.parity` in a process of its own, once on the pristine and once on the patched tree. Prints
JSON.
"""

import argparse
import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import torch

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

TRAINING_STEPS = 20
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
OWN_COLUMNS_CASE, CONFIGS_CASE = "own-columns", "configurations"
SIZES = {"chunk_size": 10, "n_action_steps": 10, "dim_model": 32, "n_heads": 4, "dim_feedforward": 64}


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


def observations(policy: ACTPolicy) -> dict[str, torch.Tensor]:
    return {
        key: torch.rand(BATCH_SIZE, *feature.shape) for key, feature in policy.config.input_features.items()
    }


def training_batch(policy: ACTPolicy) -> dict[str, torch.Tensor]:
    chunk_size = policy.config.chunk_size
    is_pad = torch.arange(chunk_size) >= torch.randint(1, chunk_size + 1, (BATCH_SIZE, 1))
    actions = torch.randn(BATCH_SIZE, chunk_size, 3)
    return {**observations(policy), "action": actions, "action_is_pad": is_pad}


def trace(policy: ACTPolicy, steps: int = TRAINING_STEPS) -> dict:
    """Everything that must be equal: names and bits of the weights, losses, actions before and after."""
    record: dict = {"state_dict": {name: digest(value) for name, value in policy.state_dict().items()}}
    record["actions"] = act(policy)

    preset = policy.config.get_optimizer_preset()
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=preset.lr, weight_decay=preset.weight_decay)
    record["losses"] = []
    policy.train()
    for step in range(steps):
        torch.manual_seed(1000 + step)
        loss, loss_dict = policy.forward(training_batch(policy))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        record["losses"].append({"loss": loss.item().hex(), **{k: v.hex() for k, v in loss_dict.items()}})

    record["trained_state_dict"] = {name: digest(value) for name, value in policy.state_dict().items()}
    record["trained_actions"] = act(policy)
    return record


def act(policy: ACTPolicy) -> list[str]:
    torch.manual_seed(2000)
    policy.reset()
    actions = [policy.select_action(observations(policy)) for _ in range(ACTION_STEPS)]
    return [digest(action) for action in actions] + [
        digest(policy.predict_action_chunk(observations(policy)))
    ]


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


def trace_dataset(root: Path) -> dict:
    """Train on a dataset as the training script does: features, processors and batches are LeRobot's."""
    steps = {"action": [index / 10 for index in range(SIZES["chunk_size"])]}
    dataset = LeRobotDataset("me/parity", root=root, delta_timestamps=steps)
    torch.manual_seed(0)
    policy = make_policy(ACTConfig(device="cpu", push_to_hub=False, **SIZES), ds_meta=dataset.meta)
    preprocess, _ = make_pre_post_processors(policy.config, dataset_stats=dataset.meta.stats)
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-3)
    policy.train()
    losses = []
    for step in range(0, len(dataset), BATCH_SIZE):
        items = [dataset[index] for index in range(step, min(step + BATCH_SIZE, len(dataset)))]
        batch = preprocess(torch.utils.data.default_collate(items))
        torch.manual_seed(1000 + step)
        loss, loss_dict = policy.forward(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append({"loss": loss.item().hex(), **{k: v.hex() for k, v in loss_dict.items()}})
    return {
        "losses": losses,
        "trained_state_dict": {name: digest(value) for name, value in policy.state_dict().items()},
    }


def trace_configs(written: Path, create: bool) -> dict:
    """What is written of configurations, byte for byte, and what becomes of those that `create` has written.

    Equal on both trees means that each tree reads what the other writes.
    """
    record = {}
    for policy in (
        ACTConfig(device="cpu", push_to_hub=False),
        DiffusionConfig(device="cpu", push_to_hub=False),
    ):
        cfg = TrainPipelineConfig(dataset=DatasetConfig("me/data"), policy=policy)
        folder = written / policy.type
        if create:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, help="directory of one checkpoint per case")
    parser.add_argument("--create", action="store_true", help="write the checkpoints first")
    parser.add_argument("--steps", type=int, default=TRAINING_STEPS, help="of training")
    parser.add_argument("cases", nargs="*", help="by name; all by default")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    records = {}
    for case in arguments.cases or (*CASES, OWN_COLUMNS_CASE, CONFIGS_CASE):
        if case == OWN_COLUMNS_CASE:
            if arguments.create:
                create_dataset(arguments.checkpoints / case)
            records[case] = trace_dataset(arguments.checkpoints / case)
            continue
        if case == CONFIGS_CASE:
            records[case] = trace_configs(arguments.checkpoints / case, arguments.create)
            continue
        inputs, options = CASES[case]
        torch.manual_seed(0)
        fresh = ACTPolicy(make_config(inputs, options))
        if arguments.create:
            fresh.save_pretrained(arguments.checkpoints / case)
        # Strict: the weights of one tree fit the other exactly.
        loaded = ACTPolicy.from_pretrained(arguments.checkpoints / case, strict=True)
        records[case] = {
            "initial_state_dict": {name: digest(value) for name, value in fresh.state_dict().items()},
            **trace(loaded, arguments.steps),
        }
    # Of the LeRobot that was traced: an editable install may offer the overlay beside a pristine tree.
    patched = "use_reward_head" in ACTConfig.__dataclass_fields__
    print(json.dumps({"patched": patched, "torch": torch.__version__, "cases": records}))


if __name__ == "__main__":
    main()
