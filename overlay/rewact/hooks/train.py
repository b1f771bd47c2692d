# SPDX-License-Identifier: MIT
"""What the training script, the maker of its datasets and the sender of remote jobs are decorated with."""

import logging
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.hooks import decorator
from rewact.options.head import RewardHeadConfig
from rewact.options.labels import RewardLabelsConfig

if TYPE_CHECKING:
    import torch

    from lerobot.configs.default import DatasetConfig
    from lerobot.configs.train import TrainPipelineConfig


@decorator
def gives_new_act_a_head(train: Callable, cfg: "TrainPipelineConfig", *args: Any, **kwargs: Any) -> Any:
    """Turn the reward head on for a new policy of type `act` that the training script makes, and refuse flags
    of labels that nothing would read."""
    cfg.dataset.reward.refuse_unread(_label_flags(), ["advantages_path"])
    settle_reward_head(cfg)
    return train(cfg, *args, **kwargs)


def settle_reward_head(cfg: "TrainPipelineConfig") -> None:
    """Decide about the reward head where the command line makes an `act` policy and does not mention it.

    A new policy has it on. One that starts from the weights of another (`--policy.pretrained_path`) has what
    that one has. Whatever a file or a Python program configured stays as it is.

    Raises:
        ValueError: If only the head of a new policy would be trained, which would act at random for ever.
    """
    policy = cfg.policy
    if policy is None or cfg.resume:
        return
    if getattr(policy, "train_only_reward_head", False) is True and policy.pretrained_path is None:
        raise ValueError(
            "--policy.train_only_reward_head=true leaves all but the head as it is, and all else of a new "
            "policy is untrained: name the trained policy that gets the head with --policy.path, or leave "
            "the option out"
        )
    if policy.type != "act":
        return
    if _flag("policy.type") != "act" or _flag("policy.use_reward_head") is not None or _file_has_policy():
        return
    if policy.pretrained_path is None:
        policy.use_reward_head = True
    else:
        from lerobot.configs.policies import PreTrainedConfig

        start = PreTrainedConfig.from_pretrained(policy.pretrained_path)
        for option in fields(RewardHeadConfig) if isinstance(start, RewardHeadConfig) else ():
            if _flag(f"policy.{option.name}") is None:
                setattr(policy, option.name, getattr(start, option.name))
        policy.use_reward_head = policy.use_reward_head or policy.train_only_reward_head
    if not policy.use_reward_head:
        logging.warning(
            "%s has no reward head, so this policy gets none; --policy.use_reward_head=true adds one.",
            policy.pretrained_path,
        )


def _flag(name: str) -> str | None:
    """The value of a flag on the command line, `--name=value` or `--name value`; None where it is not."""
    arguments = sys.argv[1:]
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):  # there may be none
        if argument == f"--{name}":
            return following
        if argument.startswith(f"--{name}="):
            return argument.split("=", 1)[1]
    return None


def _label_flags() -> set[str]:
    """Options of labels on the command line. Those of a file may be of an earlier training that goes on."""
    return {
        each.name for each in fields(RewardLabelsConfig) if _flag(f"dataset.reward.{each.name}") is not None
    }


def _file_has_policy() -> bool:
    """Whether `--config_path` names a file that says what the policy is."""
    path = _flag("config_path")
    if path is None:
        return False
    if not Path(path).is_file():
        return True  # a saved run, in a folder or on the Hub
    import yaml  # LeRobot's parser needs it, too

    return "policy" in (yaml.safe_load(Path(path).read_text()) or {})


@decorator
def adds_reward_labels(make: Callable, cfg: "TrainPipelineConfig") -> Any:
    """Add reward labels, where they are needed, to the dataset, or to those of training and evaluation."""
    if not (_wants_labels(cfg) or _wanted_advantages(cfg) or cfg.dataset.reward.is_used):
        return make(cfg)
    from rewact.labels.opening import opening

    with opening(cfg.dataset):
        require_episodes(cfg.dataset)
        made = make(cfg)
    if isinstance(made, tuple):
        return wrap_train_eval_datasets(cfg, *made)
    return wrap_train_eval_datasets(cfg, made, None)[0]


def _wants_labels(cfg: "TrainPipelineConfig") -> bool:
    return cfg.policy is not None and (
        getattr(cfg.policy, "use_reward_head", False) is True or cfg.dataset.reward.masks_actions
    )


def _wanted_advantages(cfg: "TrainPipelineConfig") -> str | None:
    """Whether the policy needs advantages ("required"), or uses them if there are any ("optional")."""
    return getattr(cfg.policy, "advantage_labels", None)


def require_episodes(config: "DatasetConfig") -> None:
    """Check that a dataset has the episodes that are asked for: the error names the first that it lacks.

    LeRobot itself goes on with a warning, to fail later for a reason that does not name the episode.
    """
    if not config.episodes or config.streaming:
        return
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
    from rewact.labels.episodes import EpisodeTable

    meta = LeRobotDatasetMetadata(config.repo_id, root=config.root, revision=config.revision)
    table = EpisodeTable.from_metadata(meta)
    try:
        for episode in config.episodes:
            table.row(episode)
    except ValueError as error:
        raise ValueError(f"{error}; choose among these with --dataset.episodes") from error


def wrap_train_eval_datasets(
    cfg: "TrainPipelineConfig", train: Any, eval: Any | None
) -> tuple[Any, Any | None]:
    """Add one set of reward labels to the dataset to train on and the held-out one, if there is any.

    Labels are needed when the policy has a reward head (``use_reward_head``) or is conditioned on advantages
    (``advantage_labels``), or when ``--dataset.reward.*`` masks actions. Otherwise, and for the training of a
    reward model, both datasets are returned as they are.

    Raises:
        ValueError: if the labels cannot be built, see :class:`LeRobotDatasetWithReward`; or if
            options are given for a policy that knows no labels.
    """
    config = cfg.dataset.reward
    if config.is_used and not isinstance(cfg.policy, RewardHeadConfig):
        trained = "a reward model" if cfg.policy is None else f"the policy {cfg.policy.type!r}"
        raise ValueError(
            f"--dataset.reward.*: {trained} learns neither from these labels nor from masks; leave the "
            "options out, or train act, rewact or actvantage"
        )
    if _wanted_advantages(cfg) is None and (given := _label_flags()):
        config.refuse_unread(given & {"advantages_path"})
        if not _wants_labels(cfg):
            raise ValueError(
                "--dataset.reward.*: this policy has no reward head, and learns from no labels: leave these "
                "options out, or give it one with --policy.use_reward_head=true"
            )
    advantages = _load_advantages(cfg, [train] if eval is None else [train, eval])
    if not _wants_labels(cfg) and advantages is None:
        return train, eval

    from torch.utils.data import IterableDataset

    from rewact.labels.build import build_reward_labels
    from rewact.labels.dataset import LeRobotDatasetWithReward, StreamingLeRobotDatasetWithReward

    config.has_labelled = True
    labels = build_reward_labels(train.meta, config)
    logging.info(labels.describe(_chosen_episodes([train] if eval is None else [train, eval])))

    def wrap(dataset: Any, **held_out: Any) -> Any:
        streams = isinstance(dataset, IterableDataset)
        wrapper = StreamingLeRobotDatasetWithReward if streams else LeRobotDatasetWithReward
        return wrapper(dataset, policy=cfg.policy, labels=labels, advantages=advantages, **held_out)

    if eval is None:
        return wrap(train), None
    trained_on = getattr(train, "episodes", None)
    return wrap(train), wrap(eval, trained_on=labels.table.episodes if trained_on is None else trained_on)


def _chosen_episodes(datasets: list[Any]) -> list[int] | None:
    """Ids of the episodes that datasets read, None for all."""
    from torch.utils.data import IterableDataset

    # A streaming dataset yields all episodes, whatever its `episodes` are.
    chosen = [
        None if isinstance(each, IterableDataset) else getattr(each, "episodes", None) for each in datasets
    ]
    return None if None in chosen else sorted({episode for some in chosen for episode in some})


def _load_advantages(cfg: "TrainPipelineConfig", datasets: list[Any]) -> "torch.Tensor | None":
    wanted = _wanted_advantages(cfg)
    if wanted is None:
        return None
    import torch

    from rewact.advantages import ADVANTAGES_FILE, load_advantages
    from rewact.labels.hub import pull_label_files

    meta, path = datasets[0].meta, cfg.dataset.reward.advantages_path
    pull_label_files(meta)
    if wanted == "optional" and path is None and not (Path(meta.root) / ADVANTAGES_FILE).exists():
        return None
    episodes = _chosen_episodes(datasets)
    return torch.from_numpy(load_advantages(meta, None if path is None else Path(path), episodes=episodes))


@decorator
def refuses_reward_options(submit: Callable, cfg: "TrainPipelineConfig", *args: Any, **kwargs: Any) -> Any:
    """Refuse a remote job that needs what its image lacks: it runs LeRobot without this project."""
    policy = cfg.policy
    if policy is None:  # `--policy.path` is only read when the configuration is validated
        from lerobot.configs import parser
        from lerobot.configs.policies import PreTrainedConfig

        path, flags = parser.get_path_arg("policy"), parser.get_cli_overrides("policy") or []
        policy = path and PreTrainedConfig.from_pretrained(path, cli_overrides=flags)
    if isinstance(policy, RewardHeadConfig) and policy.type != "act":
        needed, remedy = (
            f"the policy type {policy.type}",
            "with --policy.type=act --policy.use_reward_head=false",
        )
    elif isinstance(policy, RewardHeadConfig) and policy.use_reward_head:
        needed, remedy = "the reward head", "with --policy.use_reward_head=false"
    elif cfg.dataset.reward.is_used:
        needed, remedy = "--dataset.reward.*", "without these options"
    else:
        return submit(cfg, *args, **kwargs)
    raise ValueError(
        f"--job.target={cfg.job.target}: the remote machine runs LeRobot without {needed}; train here, or "
        f"send the job {remedy}."
    )
