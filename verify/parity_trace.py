# SPDX-License-Identifier: MIT
"""One side of the parity proof: what the LeRobot on the import path does with a fixed ACT checkpoint.

Run by `verify.parity` in a process of its own, once on the pristine and once on the patched tree. Prints
JSON.
"""

import argparse
import hashlib
import importlib.util
import json
from pathlib import Path

import torch

from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy

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


def make_config(inputs: dict, options: dict) -> ACTConfig:
    """A small ACT. On the patched tree `use_reward_head=False` is what a new policy without the head says."""
    sizes = {"chunk_size": 10, "n_action_steps": 10, "dim_model": 32, "n_heads": 4, "dim_feedforward": 64}
    without_head = {"use_reward_head": False} if "use_reward_head" in ACTConfig.__dataclass_fields__ else {}
    return ACTConfig(
        device="cpu",
        pretrained_backbone_weights=None,
        input_features=inputs,
        output_features={"action": PolicyFeature(FeatureType.ACTION, (3,))},
        **{**sizes, **options, **without_head},
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


def trace(policy: ACTPolicy) -> dict:
    """Everything that must be equal: names and bits of the weights, losses, actions before and after."""
    record: dict = {"state_dict": {name: digest(value) for name, value in policy.state_dict().items()}}
    record["actions"] = act(policy)

    preset = policy.config.get_optimizer_preset()
    optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=preset.lr, weight_decay=preset.weight_decay)
    record["losses"] = []
    policy.train()
    for step in range(TRAINING_STEPS):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, help="directory of one checkpoint per case")
    parser.add_argument("--create", action="store_true", help="write the checkpoints first")
    parser.add_argument("cases", nargs="*", help="by name; all by default")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    records = {}
    for case in arguments.cases or CASES:
        inputs, options = CASES[case]
        torch.manual_seed(0)
        fresh = ACTPolicy(make_config(inputs, options))
        if arguments.create:
            fresh.save_pretrained(arguments.checkpoints / case)
        # Strict: the weights of one tree fit the other exactly.
        loaded = ACTPolicy.from_pretrained(arguments.checkpoints / case, strict=True)
        records[case] = {
            "initial_state_dict": {name: digest(value) for name, value in fresh.state_dict().items()},
            **trace(loaded),
        }
    patched = importlib.util.find_spec("rewact.act.head") is not None
    print(json.dumps({"patched": patched, "torch": torch.__version__, "cases": records}))


if __name__ == "__main__":
    main()
