# SPDX-License-Identifier: MIT
"""The command line of `lerobot-recap`, taken apart into the options of its stages."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from rewact.cli.common import read_flags
from rewact.cli.train_values import TrainValuesConfig
from rewact.options.advantages import ComputeAdvantagesConfig
from rewact.options.values import ValueOptions

STAGES = ("value", "advantages", "policy", "eval", "compare")
CONDITIONS = ("positive", "negative", "unconditional")
# Beginnings of options that do not change a stage's result.
HARMLESS = {
    "value": ("num_workers", "log_freq", "save_freq", "wandb.", "cache_dir"),
    "advantages": ("num_workers", "batch_size", "plots_dir", "plot_episodes", "values_dir"),
    "policy": ("num_workers", "log_freq", "save_freq", "wandb."),
    "eval": (),
    "compare": (),
}
# Where an option of a stage goes that its command does not have itself.
INNER = {"value": "values", "policy": "policy", "eval": "eval"}
# Say that the value function is a policy, trained by `lerobot-train`.
TRAINED_VALUE = {"value.type", "value.policy.type", "value.path", "value.policy.path"}
# What the benchmark has found to matter, for values of progress: a failure's never comes near 1; positive is
# what clearly gains; and most steps that see the few positive frames train the condition.
VALUE_LABELS = {"dataset.reward.failure_ceiling": "0"}
POSITIVE_FRACTION = "0.3"
ADVANTAGE_DROPOUT = "0.1"


def command_options(is_value_policy: bool) -> dict[str, set[str]]:
    """The options of each stage's command, without what follows a dot."""
    from lerobot.configs.eval import EvalPipelineConfig
    from lerobot.configs.train import TrainPipelineConfig

    configs = {
        "value": TrainPipelineConfig if is_value_policy else TrainValuesConfig,
        "advantages": ComputeAdvantagesConfig,
        "policy": TrainPipelineConfig,
        "eval": EvalPipelineConfig,
    }
    known = {stage: {option.name for option in fields(config)} for stage, config in configs.items()}
    return {stage: names | {"config_path"} for stage, names in known.items()}


@dataclass
class Loop:
    """The command line, taken apart.

    Args:
        output_dir: Folder of the run.
        stages: Stages to run.
        shared: Flags for several stages, without dashes, by name.
        training: Flags for both trainings.
        own: For each stage, the flags for it alone.
        is_value_policy: Whether the value function is a policy of `lerobot-train`.
    """

    output_dir: Path
    stages: tuple[str, ...] = STAGES
    shared: dict[str, str] = field(default_factory=dict)
    training: dict[str, str] = field(default_factory=dict)
    own: dict[str, dict[str, str]] = field(default_factory=lambda: {stage: {} for stage in STAGES})
    is_value_policy: bool = False

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Loop":
        """Read the command line.

        Raises:
            ValueError: If an argument is not understood, or something is missing.
        """
        flags = read_flags(arguments)
        if missing := [name for name in ("output_dir", "dataset.repo_id") if name not in flags]:
            raise ValueError(f"--{missing[0]} is needed; --help says more")
        # The same folder is the same run, however it is written.
        loop = cls(Path(flags.pop("output_dir")).expanduser().resolve())
        if "stages" in flags:
            chosen = flags.pop("stages").split(",")
            if unknown := [stage for stage in chosen if stage not in STAGES]:
                raise ValueError(f"there is no stage {unknown[0]!r}; the stages are {', '.join(STAGES)}")
            loop.stages = tuple(stage for stage in STAGES if stage in chosen)
        loop.is_value_policy = not TRAINED_VALUE.isdisjoint(flags)
        trainings = ("value", "policy") if loop.is_value_policy else ("policy",)
        commands = command_options(loop.is_value_policy)
        for name, value in flags.items():
            stage, _, option = name.partition(".")
            if stage in STAGES and option:
                loop.own[stage][loop._full_name(stage, option, commands)] = value
            elif stage in ("dataset", "env") and option or name in ("seed", "device"):
                loop.shared[name] = value
            elif stage in commands["policy"]:
                loop.training[name] = value
            elif all(loop._has_inner(training, stage) for training in trainings):
                loop.training[f"policy.{name}"] = value
            else:
                raise ValueError(
                    f"--{name} is not understood: give options of a stage as --<stage>.{name}, with one of "
                    f"{', '.join(STAGES)}"
                )
        return loop

    def directory(self, stage: str) -> Path:
        return self.output_dir / stage

    def checkpoint(self, stage: str) -> Path:
        if stage == "value" and not self.is_value_policy:
            return self.directory(stage) / "pretrained_model"
        return self.directory(stage) / "checkpoints" / "last" / "pretrained_model"

    @property
    def from_returns(self) -> bool:
        return self.own["advantages"].get("from_returns", "false").lower() == "true"

    @property
    def has_trained_values(self) -> bool:
        """Whether the advantages are of values that `lerobot-train-values` trains here."""
        return "value" in self.before("advantages") and not self.is_value_policy

    def before(self, stage: str) -> list[str]:
        """Stages whose results a stage builds on, directly or not."""
        has_values = self.from_returns or "policy.path" in self.own["advantages"]
        earlier = STAGES[: STAGES.index(stage)]
        return [name for name in earlier if not (has_values and name == "value")]

    def results(self, stage: str) -> list[Path]:
        """Files that a stage leaves when it is done."""
        if stage == "value" and not self.is_value_policy:
            return [self.directory(stage) / "values.json", self.checkpoint(stage) / "config.json"]
        return {
            "advantages": [self.advantages_path],
            "eval": [self.directory("eval") / condition / "eval_info.json" for condition in CONDITIONS],
            "compare": [],
        }.get(stage, [self.checkpoint(stage) / "train_config.json"])

    def has_left_something(self, stage: str) -> bool:
        """Whether a stage, done or not, has got as far as a result or a checkpoint."""
        made = [*self.results(stage), *self.directory(stage).glob("checkpoints/[0-9]*")]
        return any(path.exists() for path in made)

    @property
    def advantages_path(self) -> Path:
        return self.directory("advantages") / "advantages.parquet"

    def flags(self, stage: str) -> dict[str, str]:
        """All flags of a stage, those given for it alone last."""
        dataset = {name: value for name, value in self.shared.items() if name.startswith("dataset.")}
        environment = {name: value for name, value in self.shared.items() if name.startswith("env.")}
        general = {"seed": self.shared["seed"]} if "seed" in self.shared else {}
        device = {"policy.device": self.shared["device"]} if "device" in self.shared else {}
        training = {**dataset, **general, **device, "policy.push_to_hub": "false", **self.training}
        executed = {**self.training, **self.own["policy"]}.get("policy.n_action_steps")
        of_values = self.has_trained_values
        labels = VALUE_LABELS if of_values else {}
        value = {**labels, **dataset, **general}
        if "device" in self.shared:
            value["device"] = self.shared["device"]
        if self.is_value_policy:
            value = {"dataset.reward.sources": '["returns"]', **training, "policy.type": "rewact"}
        flags = {
            "value": value,
            "advantages": {
                **labels,
                **dataset,
                **({"positive_fraction": POSITIVE_FRACTION} if of_values else {}),
                # Values of `lerobot-train-values` know the pace of the task.
                **({"n_steps": executed} if executed and not (of_values or self.from_returns) else {}),
                **device,
                "policy.path": str(self.checkpoint("value")),
                "output_path": str(self.advantages_path),
                "plots_dir": str(self.directory("advantages") / "plots"),
            },
            "policy": {
                "dataset.reward.advantages_path": str(self.advantages_path),
                **({"policy.advantage_dropout": ADVANTAGE_DROPOUT} if of_values else {}),
                **training,
                "policy.type": "actvantage",
            },
            "eval": {**environment, **general, **device, "policy.path": str(self.checkpoint("policy"))},
            "compare": {},
        }[stage]
        if stage == "advantages" and self.from_returns:
            flags.pop("policy.path")
            flags.pop("policy.device", None)
        return {**flags, **self.own[stage]}

    def identity(self, stage: str) -> str:
        """What the result of a stage depends on: its own options and those of the stages before it."""
        relevant = {
            name: {
                option: value
                for option, value in self.flags(name).items()
                if not option.startswith(HARMLESS[name])
            }
            for name in (*self.before(stage), stage)
        }
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()

    def _full_name(self, stage: str, option: str, commands: dict[str, set[str]]) -> str:
        """The name that an option of a stage has in its command.

        Raises:
            ValueError: If there is no such option, before the first stage has run for hours.
        """
        known, first = commands.get(stage, set()), option.split(".")[0]
        if first in known:
            return option
        if not self._has_inner(stage, first):
            raise ValueError(f"--{stage}.{option}: the stage {stage!r} has no option --{option}")
        is_policy = stage == "value" and self.is_value_policy
        return f"{'policy' if is_policy else INNER[stage]}.{option}"

    def _has_inner(self, stage: str, option: str) -> bool:
        """Whether an option of a stage belongs to its policy, its evaluation or its values."""
        from lerobot.configs.default import EvalConfig
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies import factory  # noqa: F401 - registers the policies

        if stage not in INNER:
            return False
        if stage == "eval":
            config = EvalConfig
        elif stage == "value" and not self.is_value_policy:
            config = ValueOptions
        else:
            config = PreTrainedConfig.get_choice_class({"value": "rewact", "policy": "actvantage"}[stage])
        is_policy = config not in (EvalConfig, ValueOptions)
        return option in {known.name for known in fields(config)} or is_policy and option in ("path", "type")
