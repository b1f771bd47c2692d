# SPDX-License-Identifier: MIT
"""What a checkpoint says about itself: how it was trained, and so what its values mean."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor

from rewact.labels.episodes import EpisodeTable
from rewact.options.errors import one_line

if TYPE_CHECKING:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from lerobot.policies.pretrained import PreTrainedPolicy

TRAIN_CONFIG = "train_config.json"
WEIGHTS = "model.safetensors"


@contextmanager
def opening_checkpoint(path: str | Path) -> Iterator[None]:
    """Name the checkpoint whose weights or processors cannot be read.

    Raises:
        ValueError: naming it, instead of LeRobot's errors, of which some are of no usual kind.
    """
    from lerobot.processor.pipeline import ProcessorMigrationError

    try:
        yield
    except (FileNotFoundError, SafetensorError, ProcessorMigrationError) as error:
        raise ValueError(
            f"the checkpoint {path} cannot be read ({one_line(error)}); if its training was ended while it "
            "saved this one, take the one before"
        ) from error


def load_policy(config: "PreTrainedConfig") -> "PreTrainedPolicy":
    """The policy of a checkpoint, an adapter merged into the policy that it was trained on.

    Args:
        config: The checkpoint's, with `pretrained_path` set.

    Raises:
        ValueError: naming the checkpoint, if it has no weights, or damaged ones.
        ImportError: if it is an adapter, and peft is not installed.
    """
    from lerobot.policies.factory import get_policy_class

    policy_class, path = get_policy_class(config.type), str(config.pretrained_path)
    if not getattr(config, "use_peft", False):
        with opening_checkpoint(path):
            return policy_class.from_pretrained(path, config=config)
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise ImportError(f"{path} is an adapter (use_peft), which needs peft: pip install peft") from error
    with opening_checkpoint(path):
        base = PeftConfig.from_pretrained(path).base_model_name_or_path
        policy = policy_class.from_pretrained(base, config=config)
        return merge_adapter(PeftModel.from_pretrained(policy, path))


def merge_adapter(policy: Any) -> "PreTrainedPolicy":
    """A policy without its adapter: the weights are what the adapter makes of them."""
    if hasattr(policy, "merge_and_unload"):
        policy = policy.merge_and_unload()
        policy.config.use_peft = False
    return policy


def open_processors(
    path: str | Path, config: "PreTrainedConfig", rename_map: Mapping[str, str] | None = None
) -> tuple[Any, Any]:
    """The pre- and postprocessor that were saved with a checkpoint, for the device of a configuration.

    A ``rename_map`` has the policy's names for those observations that the dataset calls otherwise; without
    it they are those that the checkpoint was trained with.

    Raises:
        ValueError: naming the checkpoint, if it has none.
    """
    from lerobot.policies.factory import make_pre_post_processors

    overrides: dict[str, Any] = {"device_processor": {"device": str(config.device)}}
    if rename_map is not None:
        overrides["rename_observations_processor"] = {"rename_map": dict(rename_map)}
    with opening_checkpoint(path):
        return make_pre_post_processors(config, pretrained_path=str(path), preprocessor_overrides=overrides)


def require_renamed(
    rename_map: Mapping[str, str],
    configs: Sequence["PreTrainedConfig"],
    meta: "LeRobotDatasetMetadata | None" = None,
) -> None:
    """Check that `--rename_map` renames what a dataset, if it is known, has to what a policy reads.

    Raises:
        ValueError: Naming what it does not.
    """
    if rename_map and not configs:
        raise ValueError("--rename_map renames what a policy reads: give --policy.path, or leave it out")
    inputs = {name for config in configs for name in config.input_features or {}}
    for theirs, ours in rename_map.items():
        if ours not in inputs:
            raise ValueError(
                f"--rename_map: the policy does not read {ours!r}, but {', '.join(sorted(inputs))}"
            )
        if meta is None:
            continue
        if theirs not in meta.features:
            known = ", ".join(meta.features)
            raise ValueError(f"--rename_map: {meta.repo_id} does not have {theirs!r}, but {known}")
        if both := [key for key in meta.features if key != theirs and rename_map.get(key, key) == ours]:
            raise ValueError(
                f"--rename_map: both {theirs!r} and {both[0]!r} of {meta.repo_id} would be {ours!r}"
            )


def checkpoint_digest(path: Path) -> str | None:
    """SHA-256 of a local checkpoint's weights, None for one on the Hub."""
    weights = Path(path) / WEIGHTS
    return hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None


def digest_tensors(tensors: Mapping[str, Tensor], settings: str = "") -> str:
    """SHA-256 of named tensors, and of settings as text."""
    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_train_config(path: str | Path) -> dict[str, Any] | None:
    """How a checkpoint, a folder or a name on the Hub, was trained; None if it does not say.

    Raises:
        OSError: If the checkpoint is on the Hub, which cannot be reached.
    """
    file = Path(path) / TRAIN_CONFIG
    if not Path(path).is_dir():
        try:
            file = Path(hf_hub_download(str(path), TRAIN_CONFIG))
        except LocalEntryNotFoundError as error:  # not known to be absent
            raise OSError(f"{path}: its {TRAIN_CONFIG} cannot be read: {error}") from error
        except EntryNotFoundError:
            return None
    return json.loads(file.read_text()) if file.is_file() else None


def trained_episodes(path: str | Path, table: EpisodeTable) -> set[int] | None:
    """Episodes of a dataset that a checkpoint, or the one it started from, was trained on.

    Returns:
        Their ids, none if it was trained on another dataset; None if the checkpoint does not say.
    """
    train_config = read_train_config(path)
    if train_config is None:
        return None
    known = train_config["dataset"]
    same_folder = known.get("root") and Path(known["root"]).resolve() == table.root.resolve()
    seen: set[int] = set()
    if known["repo_id"] == table.repo_id or same_folder:
        episodes = table.episodes.tolist() if known.get("episodes") is None else known["episodes"]
        seen = set(episodes) - set(held_out_episodes(table, episodes, known.get("eval_split") or 0.0))
    base = (train_config.get("policy") or {}).get("pretrained_path")
    if base and not train_config.get("resume") and Path(base).resolve() != Path(path).resolve():
        before = trained_episodes(base, table) if Path(base).is_dir() else None
        return None if before is None else seen | before
    return seen


def held_out_episodes(table: EpisodeTable, episodes: Sequence[int], eval_split: float) -> list[int]:
    """Episodes that ``lerobot-train`` keeps for evaluation: of each task the last ``eval_split``, rounded up.

    Args:
        table: The dataset.
        episodes: The episodes of the training run.
        eval_split: Fraction in [0, 1), the run's ``--dataset.eval_split``.
    """
    tasks: dict[int, list[int]] = {}
    for episode in episodes:
        tasks.setdefault(int(table.tasks[table.row(episode)]), []).append(episode)
    held_out = []
    for members in tasks.values():
        held_out.extend(members[len(members) - int(np.ceil(len(members) * eval_split)) :])
    return held_out


def trained_labels(train_config: dict[str, Any] | None) -> dict[str, Any]:
    """Which reward labels a checkpoint was trained on, as far as `read_train_config` says."""
    return ((train_config or {}).get("dataset") or {}).get("reward") or {}


def guess_value_type(path: str | Path, train_config: dict[str, Any] | None) -> str:
    """Whether a checkpoint's values are "returns" or "progress", by the labels it was trained on."""
    if train_config is None:
        logging.warning(
            f"{path} does not say what it was trained on: its values are taken as progress. If they are "
            "returns, say so with --value_type=returns."
        )
    return "returns" if trained_labels(train_config).get("sources", [None])[0] == "returns" else "progress"
