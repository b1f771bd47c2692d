# SPDX-License-Identifier: MIT
"""The RewACT policy, and a short way to make one for a dataset."""

from typing import TYPE_CHECKING

from lerobot.policies.factory import make_policy
from lerobot.policies.pretrained import PreTrainedPolicy
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.modeling_rewact import RewACTPolicy

if TYPE_CHECKING:
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

__all__ = ["RewACTConfig", "RewACTPolicy", "make_rewact_policy"]


def make_rewact_policy(
    config: "PreTrainedConfig", meta: "LeRobotDatasetMetadata", device: str | None = None
) -> PreTrainedPolicy:
    """Make a policy for a dataset, in training shape: on its device, its features those of the dataset.

    Args:
        config: A ``RewACTConfig``, or the configuration of any other LeRobot policy. Features it does not
            name are filled in from the dataset; ``pretrained_path`` loads weights.
        meta: Metadata of the dataset, ``dataset.meta``.
        device: Torch device such as "cpu" or "cuda"; by default the one in the configuration.
    """
    if device is not None:
        config.device = str(device)
    return make_policy(config, ds_meta=meta)
