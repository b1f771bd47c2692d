# SPDX-License-Identifier: MIT
"""The command line of `lerobot-recap`, taken apart into the options of its stages."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from rewact.cli.common import read_flags
from rewact.cli.train_values import TrainValuesConfig
from rewact.options.advantages import ComputeAdvantagesConfig
from rewact.options.labels import OPTIONS_OF_SOURCES
from rewact.options.tools import require_seed
from rewact.options.values import ValueOptions

STAGES = ("value", "advantages", "policy", "eval", "compare")
CONDITIONS = ("positive", "negative", "unconditional")
TRAIN = "lerobot.scripts.lerobot_train"
TRAIN_VALUES = "rewact.cli.train_values"
COMPUTE = "rewact.cli.compute_advantages"
EVAL = "lerobot.scripts.lerobot_eval"
# Of a training of `lerobot-train`, in its folder.
TRAINED = "checkpoints/last/pretrained_model"
# Beginnings of options that do not change a stage's result.
HARMLESS = {
    "value": ("num_workers", "log_freq", "save_freq", "wandb.", "cache_dir"),
    "advantages": ("num_workers", "batch_size", "plots_dir", "plot_episodes", "values_dir"),
    "policy": ("num_workers", "log_freq", "save_freq", "wandb."),
    "eval": (),
    "compare": (),
}
# Say that the value function is a policy, trained by `lerobot-train`.
TRAINED_VALUE = {"value.type", "value.policy.type", "value.path", "value.policy.path"}
# What the benchmark has found to matter, for values of progress: a failure's never comes near 1; positive is
# what clearly gains; and most steps that see the few positive frames train the condition.
VALUE_LABELS = {"dataset.reward.failure_ceiling": "0"}
POSITIVE_FRACTION = "0.3"
ADVANTAGE_DROPOUT = "0.1"


class Stage(NamedTuple):
    """A command of the loop.

    Attributes:
        module: What runs it.
        flags: Its options by name, those given for it alone last.
        directory: Where its results go.
        results: Files that it leaves when it is done, the first in its checkpoint if it trains.
        unread: Flags for several stages, of labels that this one does not read.
    """

    module: str
    flags: dict[str, str]
    directory: Path
    results: list[Path]
    unread: set[str]

    @property
    def given(self) -> dict[str, str]:
        """The options that its command is given."""
        return {name: value for name, value in self.flags.items() if name not in self.unread}


@dataclass
class Loop:
    """A run: its folder and dataset, all its stages in order, those to run, and whether it trains values."""

    output_dir: Path
    repo_id: str
    stages: dict[str, Stage]
    chosen: list[str]
    has_value: bool

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Loop":
        """Read the command line.

        Raises:
            ValueError: If an argument is not understood, or something is missing.
        """
        given = read_flags(arguments)
        if missing := [name for name in ("output_dir", "dataset.repo_id") if name not in given]:
            raise ValueError(f"--{missing[0]} is needed; --help says more")
        # The same folder is the same run, however it is written.
        output_dir = Path(given.pop("output_dir")).expanduser().resolve()
        chosen = given.pop("stages", ",".join(STAGES)).split(",")
        if unknown := [stage for stage in chosen if stage not in STAGES]:
            raise ValueError(f"there is no stage {unknown[0]!r}; the stages are {', '.join(STAGES)}")
        is_value_policy = not TRAINED_VALUE.isdisjoint(given)
        known = _known_options(is_value_policy)
        shared, training, own = {}, {}, {stage: {} for stage in STAGES}
        for name, value in given.items():
            stage, _, option = name.partition(".")
            if stage in STAGES and option in ("output_dir", "output_path"):
                raise ValueError(f"--{name}: all stages write under --output_dir; leave it out")
            if stage in STAGES and option:
                own[stage][_full_name(known, stage, option)] = value
            elif stage in ("dataset", "env") and option or name in ("seed", "device"):
                shared[name] = value
                if name == "seed":
                    require_seed(value)
                if name == "device":
                    shared["policy.device"] = value
            elif stage in known["policy"][""]:
                training[name] = value
            elif stage in known["policy"]["policy."] and stage in known["value"].get("policy.", {stage}):
                training[f"policy.{name}"] = value
            else:
                raise ValueError(
                    f"--{name} is not understood: give options of a stage as --<stage>.{name}, with one of "
                    f"{', '.join(STAGES)}"
                )
        from_returns = own["advantages"].get("from_returns", "false").lower() == "true"
        has_value = not from_returns and "policy.path" not in own["advantages"]

        folders = {stage: output_dir / stage for stage in STAGES}
        results = {stage: [folder / TRAINED / "train_config.json"] for stage, folder in folders.items()}
        if not is_value_policy:
            value_files = ("pretrained_model/config.json", "values.json")
            results["value"] = [folders["value"] / name for name in value_files]
        results["advantages"] = [folders["advantages"] / "advantages.parquet"]
        results["eval"] = [folders["eval"] / condition / "eval_info.json" for condition in CONDITIONS]
        results["compare"] = []

        def seen(*beginnings: str) -> dict[str, str]:
            return {name: value for name, value in shared.items() if name.startswith(beginnings)}

        # Values of `lerobot-train-values` are progress, and know the pace of the task.
        is_progress = has_value and not is_value_policy
        advantages_path = str(results["advantages"][0])
        training = {**seen("dataset.", "seed", "policy.device"), "policy.push_to_hub": "false", **training}
        flags = {
            "value": {**VALUE_LABELS, **seen("dataset.", "seed", "device")},
            "advantages": {
                **seen("dataset.", "policy.device"),
                "policy.path": str(results["value"][0].parent),
                "output_path": advantages_path,
                "plots_dir": str(folders["advantages"] / "plots"),
            },
            "policy": {
                "dataset.reward.advantages_path": advantages_path,
                **training,
                "policy.type": "actvantage",
            },
            "eval": {
                **seen("env.", "seed", "policy.device"),
                "policy.path": str(results["policy"][0].parent),
            },
            "compare": {},
        }
        if is_value_policy:
            flags["value"] = {"dataset.reward.sources": '["returns"]', **training, "policy.type": "rewact"}
        if is_progress:
            flags["advantages"] = {
                **VALUE_LABELS,
                "positive_fraction": POSITIVE_FRACTION,
                **flags["advantages"],
            }
            flags["policy"] = {"policy.advantage_dropout": ADVANTAGE_DROPOUT, **flags["policy"]}
        elif from_returns:
            for name in ("policy.path", "policy.device"):
                flags["advantages"].pop(name, None)
        elif executed := {**training, **own["policy"]}.get("policy.n_action_steps"):
            flags["advantages"]["n_steps"] = executed

        def unread(stage: str) -> set[str]:
            given = {**flags[stage], **own[stage]}
            sources = given.get("dataset.reward.sources", "linear")
            names = set() if "linear" in sources else VALUE_LABELS.keys() - shared.keys()
            if "returns" not in sources and stage != "advantages":  # which reads them whatever the labels are
                names = names | {f"dataset.reward.{name}" for name in OPTIONS_OF_SOURCES["returns"]}
                if not any(name.startswith("dataset.reward.mask_actions_under_") for name in given):
                    names.add("dataset.reward.control_modes_path")
            return names - own[stage].keys()

        modules = (TRAIN if is_value_policy else TRAIN_VALUES, COMPUTE, TRAIN, EVAL, "")
        stages = {
            stage: Stage(
                module, {**flags[stage], **own[stage]}, folders[stage], results[stage], unread(stage)
            )
            for stage, module in zip(STAGES, modules, strict=True)
        }
        chosen = [stage for stage in STAGES if stage in chosen]
        return cls(output_dir, shared["dataset.repo_id"], stages, chosen, has_value)

    def before(self, stage: str) -> list[str]:
        """Stages whose results a stage builds on, directly or not."""
        return [name for name in STAGES[: STAGES.index(stage)] if self.has_value or name != "value"]

    def identity(self, stage: str) -> str:
        """What the result of a stage depends on: its own options and those of the stages before it."""
        relevant = {
            name: {
                option: value
                for option, value in self.stages[name].flags.items()
                if not option.startswith(HARMLESS[name])
            }
            for name in (*self.before(stage), stage)
        }
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def _known_options(is_value_policy: bool) -> dict[str, dict[str, set[str]]]:
    """The options of each stage's command up to their first dot, and those of the group in it whose options
    need no second name."""
    from lerobot.configs.default import EvalConfig
    from lerobot.configs.eval import EvalPipelineConfig
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.configs.train import TrainPipelineConfig
    from lerobot.policies import factory  # noqa: F401 - registers the policies

    def names(config: Any, *more: str) -> set[str]:
        return {option.name for option in fields(config)} | {*more}

    def training(policy: str) -> dict[str, set[str]]:
        config = PreTrainedConfig.get_choice_class(policy)
        return {"": names(TrainPipelineConfig, "config_path"), "policy.": names(config, "path", "type")}

    values = {"": names(TrainValuesConfig, "config_path"), "values.": names(ValueOptions)}
    return {
        "value": training("rewact") if is_value_policy else values,
        "advantages": {"": names(ComputeAdvantagesConfig, "config_path")},
        "policy": training("actvantage"),
        "eval": {"": names(EvalPipelineConfig, "config_path"), "eval.": names(EvalConfig)},
        "compare": {},
    }


def _full_name(known: dict[str, dict[str, set[str]]], stage: str, option: str) -> str:
    """The name that an option of a stage has in its command.

    Raises:
        ValueError: If there is no such option, before the first stage has run for hours.
    """
    for group, names in known[stage].items():
        if option.split(".")[0] in names:
            return group + option
    raise ValueError(f"--{stage}.{option}: the stage {stage!r} has no option --{option}")
