# SPDX-License-Identifier: MIT
"""Recordings store the predicted reward of each frame, with `--policy.record_predicted_reward`.

A robot's recording is a dataset that has been made when we see it, so the feature is added to it while it is
empty. An evaluation makes its own from the features of the environment, and fills it with what stands in the
observations: see `watched_env`.
"""

from typing import TYPE_CHECKING, Any

from rewact.keys import PREDICTED_REWARD

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

FEATURE = {"dtype": "float32", "shape": (1,), "names": None}


def is_asked_for(policy: Any) -> bool:
    """Whether the recordings of a policy store its predicted reward.

    Raises:
        ValueError: If they must, and it predicts none.
    """
    config = getattr(policy, "config", None)
    if getattr(config, "record_predicted_reward", False) is not True:  # a mock's every attribute is true
        return False
    if not config.use_reward_head:
        raise ValueError(
            f"--policy.record_predicted_reward needs a policy that predicts the reward. This {config.type!r} "
            "has no reward head: train one with --policy.use_reward_head=true, or leave the option out."
        )
    return True


def store_predicted_reward(dataset: "LeRobotDataset", policy: Any) -> None:
    """Store what the policy has read last with each frame that is added to a dataset from now on.

    Raises:
        ValueError: If the dataset has episodes without the feature.
    """
    if PREDICTED_REWARD not in dataset.features:
        if dataset.num_episodes:
            raise ValueError(
                f"--policy.record_predicted_reward: the {dataset.num_episodes} episodes of {dataset.repo_id} "
                f"have no {PREDICTED_REWARD!r}; record to another dataset, or leave the option out."
            )
        _add_feature(dataset)
    add_frame = getattr(dataset.add_frame, "without_reward", dataset.add_frame)

    def add_with_reward(frame: dict[str, Any]) -> None:
        reward = policy.last_predicted_reward[:1].float().cpu().numpy()
        add_frame({**frame, PREDICTED_REWARD: reward})

    add_with_reward.without_reward = add_frame  # type: ignore[attr-defined]
    dataset.add_frame = add_with_reward  # type: ignore[method-assign]


def _add_feature(dataset: "LeRobotDataset") -> None:
    """Add the feature to a dataset without episodes; `info.json` is written with the first."""
    dataset.meta.features[PREDICTED_REWARD] = dict(FEATURE)
    writer = dataset if hasattr(dataset, "episode_buffer") else dataset.writer
    writer.episode_buffer[PREDICTED_REWARD] = []
    if hasattr(dataset, "create_hf_dataset"):  # before 0.5 the dataset holds its own columns
        dataset.hf_dataset = dataset.create_hf_dataset()
