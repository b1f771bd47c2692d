# SPDX-License-Identifier: MIT
"""Values of all frames of a dataset, from a checkpoint with a reward head."""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.data import DataLoader
from torchvision.ops.misc import FrozenBatchNorm2d
from tqdm import tqdm

from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.policies.factory import make_policy, make_pre_post_processors
from rewact.labels.files import read_json, write_atomically, write_json
from rewact.values.batches import EpisodeBatches

if TYPE_CHECKING:
    from rewact.act.mixin import ACTRewardMixin

TRAIN_CONFIG = "train_config.json"
WEIGHTS = "model.safetensors"


class ValueStore:
    """Values of finished episodes, kept beside the result until it is written, so that a run can be resumed.

    Args:
        directory: Where they are kept; made when the first episode is stored.
        source: What the values are from, as JSON values. Values from another source are thrown away.
        is_main_process: Whether this process may throw away.
    """

    def __init__(self, directory: Path, source: dict[str, Any], is_main_process: bool = True):
        self.directory = directory
        self._manifest = directory / "source.json"
        self._source = source
        if not is_main_process:
            return
        if directory.exists() and not (self._manifest.is_file() and read_json(self._manifest) == source):
            logging.info(f"{directory} holds values from something else, and is started anew")
            shutil.rmtree(directory)

    def path(self, episode: int) -> Path:
        return self.directory / f"episode_{episode:06d}.npy"

    def missing(self, episodes: Iterable[int]) -> list[int]:
        return [episode for episode in episodes if not self.path(episode).is_file()]

    def save(self, episode: int, values: np.ndarray) -> None:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, values, allow_pickle=False)

        if not self._manifest.is_file():
            write_json(self._manifest, self._source)
        write_atomically(self.path(episode), write)

    def load(self, episode: int) -> np.ndarray:
        return np.load(self.path(episode), allow_pickle=False)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)


def require_reward_head(config: PreTrainedConfig) -> None:
    """Stop with a ValueError if a checkpoint cannot serve as a value function."""
    if not getattr(config, "use_reward_head", False):
        raise ValueError(
            f"{config.pretrained_path} ({config.type}) has no reward head to read values from: train one "
            "with --policy.type=rewact, or do without by --from_returns=true"
        )


def load_value_policy(
    config: PreTrainedConfig, dataset: LeRobotDataset, rename_map: dict[str, str]
) -> "tuple[ACTRewardMixin, Any]":
    """Load a checkpoint and its preprocessor.

    Args:
        config: Configuration of the policy, with its `pretrained_path`.
        dataset: The dataset that it is to read.
        rename_map: Names of the policy's inputs for those keys of the dataset that are called otherwise.

    Raises:
        ValueError: If the policy has no reward head, or the dataset lacks one of its inputs.
    """
    require_reward_head(config)
    there = {rename_map.get(key, key) for key in dataset.meta.features}
    if missing := [key for key in config.input_features or {} if key not in there]:
        raise ValueError(
            f"{config.pretrained_path} reads {missing[0]!r}, which {dataset.repo_id} does not have; if it is "
            "called otherwise there, say so with --rename_map"
        )
    policy = make_policy(cfg=config, ds_meta=dataset.meta, rename_map=rename_map)
    policy.eval()
    if config.image_features:
        # Each makes convolutions on a CPU up to a third faster, and changes values by no more than rounding.
        _fuse_norms(policy.model.backbone)
        policy.model.backbone.to(memory_format=torch.channels_last)
    preprocessor, _ = make_pre_post_processors(
        config,
        pretrained_path=str(config.pretrained_path),
        preprocessor_overrides={
            "device_processor": {"device": str(config.device)},
            "rename_observations_processor": {"rename_map": rename_map},
        },
    )
    return policy, preprocessor


def _fuse_norms(module: nn.Module) -> None:
    """Fuse each frozen batch norm of a ResNet with the convolution before it, which it scales and shifts."""
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
    for _, child in children:
        _fuse_norms(child)


@torch.inference_mode()
def predict_values(
    policy: "ACTRewardMixin",
    preprocessor: Any,
    dataset: LeRobotDataset,
    episodes: list[int],
    store: ValueStore,
    batch_size: int,
    num_workers: int,
    rename_map: dict[str, str],
    show_progress: bool = True,
) -> None:
    """Read the value of every frame of some episodes, and store those of each episode as it is finished.

    With `use_amp` in the policy's configuration in mixed precision, as in `lerobot-eval`.

    Raises:
        ValueError: Naming episode and frame, if a value is not finite.
    """
    names = {key: rename_map.get(key, key) for key in dataset.meta.camera_keys}
    cameras = [key for key, name in names.items() if name in policy.config.input_features]
    batches = EpisodeBatches(dataset, episodes, batch_size, cameras)
    num_workers = min(num_workers, len(episodes))
    context = "spawn" if num_workers else None  # the video decoder does not survive a fork
    loader = DataLoader(batches, batch_size=None, num_workers=num_workers, multiprocessing_context=context)
    n_frames = sum(int(dataset.meta.episodes[episode]["length"]) for episode in episodes)
    # Workers take turns, so several episodes are under way at once.
    started: dict[int, list[np.ndarray]] = {}
    device_type = torch.device(policy.config.device).type
    with (
        torch.autocast(device_type) if policy.config.use_amp else nullcontext(),
        tqdm(total=n_frames, desc="Values", unit="frame", disable=not show_progress) as progress,
    ):
        for episode, first, batch in loader:
            values = policy.predict_reward(preprocessor(batch)).float().cpu().numpy()
            broken = np.flatnonzero(~np.isfinite(values))
            if len(broken):
                store.remove()  # what it says of other frames is worth as little
                raise ValueError(
                    f"the value of episode {episode}, frame {first + broken[0]}, is "
                    f"{values[broken[0]]}: the training "
                    f"of {policy.config.pretrained_path} has diverged"
                )
            parts = started.setdefault(episode, [])
            parts.append(values)
            if first + len(values) == int(dataset.meta.episodes[episode]["length"]):
                store.save(episode, np.concatenate(started.pop(episode)))
            progress.update(len(values))


def checkpoint_digest(path: Path) -> str | None:
    """SHA-256 of a local checkpoint's weights, None for one on the Hub."""
    weights = Path(path) / WEIGHTS
    return hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None


def read_train_config(path: str | Path) -> dict[str, Any] | None:
    """How a checkpoint was trained, None if it does not say.

    Args:
        path: Folder of a checkpoint, or its name on the Hub.

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


def trained_labels(train_config: dict[str, Any] | None) -> dict[str, Any]:
    """Which reward labels a checkpoint was trained on, as far as `read_train_config` says."""
    return ((train_config or {}).get("dataset") or {}).get("reward") or {}


def guess_value_type(config: PreTrainedConfig, train_config: dict[str, Any] | None) -> str:
    """Whether a checkpoint's values are "returns" or "progress", by the labels it was trained on."""
    if config.value_min < 0:
        return "returns"
    if train_config is None:
        logging.warning(
            f"{config.pretrained_path} does not say what it was trained on: its values are taken as "
            "progress. If they are returns, say so with --value_type=returns."
        )
    return "returns" if _is_trained_on_returns(train_config) else "progress"


def guess_value_offset(config: PreTrainedConfig, train_config: dict[str, Any] | None) -> float:
    """What values of type "returns" have on top of the return: 1 if they are like the labels of source
    `returns`, in [0, 1]; 0 if they are in [-1, 0]."""
    return 1.0 if _is_trained_on_returns(train_config) or config.value_min >= 0 else 0.0


def _is_trained_on_returns(train_config: dict[str, Any] | None) -> bool:
    return trained_labels(train_config).get("sources", [None])[0] == "returns"
