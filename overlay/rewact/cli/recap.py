# SPDX-License-Identifier: MIT
"""Learn from good and bad data in one command: value function, advantages, policy, evaluation, comparison.

```shell
lerobot-recap \
    --output_dir=outputs/recap \
    --dataset.repo_id=user/dataset \
    --env.type=pusht \
    --value.steps=20000 \
    --policy.steps=50000 --policy.policy.chunk_size=50 --policy.policy.n_action_steps=50
```

The stages are LeRobot's own commands, in this order:

- `value`: `lerobot-train --policy.type=rewact` on labels of source `returns`, or of
  --dataset.reward.sources; left out with --advantages.from_returns=true or --advantages.policy.path=...;
- `advantages`: `lerobot-compute-advantages` with it, written under the output folder; N is
  --policy.policy.n_action_steps, if that is given;
- `policy`: `lerobot-train --policy.type=actvantage`;
- `eval`: `lerobot-eval` of the policy, conditioned on positive, on negative and on nothing (needs
  --env.type);
- `compare`: a table of what these did, also as `comparison.json`.

Options: `--dataset.*` go to the stages that read it, `--env.*` to those that evaluate, `--seed` and
`--device` to all; `--<stage>.<option>=...` is `--<option>=...` for that stage alone. `--stages=policy,eval`
runs only these, on what the others have left. A stage that is done is not run again; one that was interrupted
continues. A stage refuses the results of another run: if an option of an earlier stage has changed, name
another output folder.
"""

import hashlib
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lerobot.configs.eval import EvalPipelineConfig
from lerobot.configs.train import TrainPipelineConfig
from lerobot.utils.utils import init_logging
from rewact.cli.compute_advantages import ComputeAdvantagesConfig
from rewact.labels.files import read_json, write_json

STAGES = ("value", "advantages", "policy", "eval", "compare")
CONDITIONS = ("positive", "negative", "unconditional")
# Beginnings of options that do not change a stage's result.
HARMLESS = {
    "value": ("num_workers", "log_freq", "save_freq", "wandb."),
    "advantages": ("num_workers", "batch_size", "plots_dir", "plot_episodes"),
    "policy": ("num_workers", "log_freq", "save_freq", "wandb."),
    "eval": (),
    "compare": (),
}

# What the options of each stage belong to.
CONFIGS = {
    "value": TrainPipelineConfig,
    "advantages": ComputeAdvantagesConfig,
    "policy": TrainPipelineConfig,
    "eval": EvalPipelineConfig,
}

TRAIN = "lerobot.scripts.lerobot_train"
COMPUTE = "rewact.cli.compute_advantages"
EVAL = "lerobot.scripts.lerobot_eval"


@dataclass
class Loop:
    """The command line, taken apart.

    Args:
        output_dir: Folder of the run.
        stages: Stages to run.
        shared: Flags for several stages, without dashes, by name.
        own: For each stage, the flags for it alone.
    """

    output_dir: Path
    stages: tuple[str, ...] = STAGES
    shared: dict[str, str] = field(default_factory=dict)
    own: dict[str, dict[str, str]] = field(default_factory=lambda: {stage: {} for stage in STAGES})

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Loop":
        """Read the command line.

        Raises:
            ValueError: If an argument is not understood, or something is missing.
        """
        flags: dict[str, str] = {}
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if not name.startswith("--") or not equals:
                raise ValueError(f"{argument!r} is not understood: options are given as --name=value")
            flags[name[2:]] = value
        if "output_dir" not in flags or "dataset.repo_id" not in flags:
            raise ValueError("--output_dir and --dataset.repo_id are needed")
        # The same folder is the same run, however it is written.
        loop = cls(Path(flags.pop("output_dir")).expanduser().resolve())
        if "stages" in flags:
            chosen = flags.pop("stages").split(",")
            if unknown := [stage for stage in chosen if stage not in STAGES]:
                raise ValueError(f"there is no stage {unknown[0]!r}; the stages are {', '.join(STAGES)}")
            loop.stages = tuple(stage for stage in STAGES if stage in chosen)
        for name, value in flags.items():
            stage, _, option = name.partition(".")
            if stage in STAGES and option:
                loop.own[stage][option] = value
            elif stage in ("dataset", "env") and option or name in ("seed", "device"):
                loop.shared[name] = value
            else:
                raise ValueError(
                    f"--{name} is not understood: give options of a stage as --<stage>.{name}, with one of "
                    f"{', '.join(STAGES)}"
                )
        loop.check_options()
        return loop

    def check_options(self) -> None:
        """Find a wrong option before the first stage has run for hours.

        Raises:
            ValueError: If a stage's command has no such option.
        """
        for stage, flags in self.own.items():
            config = CONFIGS.get(stage)
            known = {field.name for field in fields(config)} | {"config_path"} if config else set()
            for option in flags:
                if option.split(".")[0] not in known:
                    hint = f"; is --{stage}.{stage}.{option} meant?" if stage in known else ""
                    raise ValueError(
                        f"--{stage}.{option}: the stage {stage!r} has no option --{option}{hint}"
                    )

    def directory(self, stage: str) -> Path:
        return self.output_dir / stage

    def checkpoint(self, stage: str) -> Path:
        return self.directory(stage) / "checkpoints" / "last" / "pretrained_model"

    @property
    def from_returns(self) -> bool:
        return self.own["advantages"].get("from_returns", "false").lower() == "true"

    def before(self, stage: str) -> list[str]:
        """Stages whose results a stage builds on, directly or not."""
        has_values = self.from_returns or "policy.path" in self.own["advantages"]
        earlier = STAGES[: STAGES.index(stage)]
        return [name for name in earlier if not (has_values and name == "value")]

    def results(self, stage: str) -> list[Path]:
        """Files that a stage leaves when it is done."""
        return {
            "advantages": [self.advantages_path],
            "eval": [self.directory("eval") / condition / "eval_info.json" for condition in CONDITIONS],
            "compare": [self.output_dir / "comparison.json"],
        }.get(stage, [self.checkpoint(stage) / "train_config.json"])

    @property
    def advantages_path(self) -> Path:
        return self.directory("advantages") / "advantages.parquet"

    def flags(self, stage: str) -> dict[str, str]:
        """All flags of a stage, those given for it alone last."""
        dataset = {name: value for name, value in self.shared.items() if name.startswith("dataset.")}
        environment = {name: value for name, value in self.shared.items() if name.startswith("env.")}
        general = {"seed": self.shared["seed"]} if "seed" in self.shared else {}
        device = {"policy.device": self.shared["device"]} if "device" in self.shared else {}
        training = {**dataset, **general, **device, "policy.push_to_hub": "false"}
        executed = self.own["policy"].get("policy.n_action_steps")
        flags = {
            "value": {"dataset.reward.sources": '["returns"]', **training, "policy.type": "rewact"},
            "advantages": {
                **dataset,
                **({"n_steps": executed} if executed and not self.from_returns else {}),
                **device,
                "policy.path": str(self.checkpoint("value")),
                "output_path": str(self.advantages_path),
                "plots_dir": str(self.directory("advantages") / "plots"),
            },
            "policy": {
                "dataset.reward.advantages_path": str(self.advantages_path),
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


def run_loop(loop: Loop) -> None:
    """Run the stages that are not done.

    Raises:
        ValueError: If a stage finds the result of another run, or lacks that of an earlier stage.
        RuntimeError: If a stage fails.
    """
    for stage in loop.stages:
        for earlier in loop.before(stage):
            if earlier not in loop.stages and not _is_done(loop, earlier):
                raise ValueError(
                    f"the stage {stage!r} needs the result of {earlier!r}, which has not been run"
                )
    for stage in loop.stages:
        if stage == "value" and "value" not in loop.before("policy"):
            logging.info("No value function to train")
        elif stage in ("eval", "compare") and "env.type" not in loop.flags("eval"):
            logging.info(f"The stage {stage!r} is left out: there is no --env.type")
        elif _is_done(loop, stage):
            logging.info(f"The stage {stage!r} is done already")
        else:
            logging.info(f"Stage {stage!r}")
            if loop.directory(stage).exists() and not _note_path(loop, stage).is_file():
                raise ValueError(
                    f"{loop.directory(stage)} is there already, and this command has not made it; name "
                    "another --output_dir"
                )
            _note(loop, stage, is_done=False)
            RUNNERS[stage](loop, stage)
            _note(loop, stage, is_done=True)


def _note_path(loop: Loop, stage: str) -> Path:
    return loop.output_dir / f"{stage}.json"


def _note(loop: Loop, stage: str, is_done: bool) -> None:
    write_json(_note_path(loop, stage), {"identity": loop.identity(stage), "is_done": is_done})


def _is_done(loop: Loop, stage: str) -> bool:
    path = _note_path(loop, stage)
    if not path.is_file():
        return False
    note = read_json(path)
    if note["identity"] != loop.identity(stage):
        raise ValueError(
            f"{path} is of a run with other options for this stage or one before it; repeat these, or name "
            "another --output_dir"
        )
    return note["is_done"] and all(result.is_file() for result in loop.results(stage))


def _run(module: str, flags: dict[str, str]) -> None:
    command = [sys.executable, "-m", module, *(f"--{name}={value}" for name, value in flags.items())]
    logging.info(" ".join(command))
    if subprocess.run(command, check=False).returncode:
        raise RuntimeError(f"{module.rsplit('.', 1)[-1]} failed; start the same command again to continue")


def _train(loop: Loop, stage: str) -> None:
    directory = loop.directory(stage)
    # `last` is missing if training was stopped while it was being renewed.
    saved = [loop.checkpoint(stage), *sorted(directory.glob("checkpoints/[0-9]*/pretrained_model"))[::-1]]
    for config in (checkpoint / "train_config.json" for checkpoint in saved):
        if config.is_file():
            _run(TRAIN, {"config_path": str(config), "resume": "true"})
            return
    # Left by a run that was stopped before its first checkpoint; the training script wants a new folder.
    shutil.rmtree(directory, ignore_errors=True)
    _run(TRAIN, {**loop.flags(stage), "output_dir": str(directory)})


def _advantages(loop: Loop, stage: str) -> None:
    _run(COMPUTE, loop.flags(stage))


def _evaluate(loop: Loop, stage: str) -> None:
    for condition in CONDITIONS:
        directory = loop.directory(stage) / condition
        if not (directory / "eval_info.json").is_file():
            _run(
                EVAL,
                {**loop.flags(stage), "policy.inference_advantage": condition, "output_dir": str(directory)},
            )


def _compare(loop: Loop, stage: str) -> None:
    from rich.console import Console
    from rich.table import Table

    comparison: dict[str, Any] = {}
    for condition, path in zip(CONDITIONS, loop.results("eval"), strict=True):
        overall = json.loads(path.read_text())["overall"]
        comparison[condition] = {
            key: value for key, value in overall.items() if isinstance(value, (int, float))
        }
    write_json(loop.results(stage)[0], comparison)
    table = Table(title="The policy, asked for actions of each kind", title_justify="left")
    columns = [key for key in next(iter(comparison.values())) if key not in ("eval_s", "eval_ep_s")]
    for heading in ("advantage", *columns):
        table.add_column(heading)
    for condition, values in comparison.items():
        table.add_row(condition, *(f"{values.get(key, float('nan')):.4g}" for key in columns))
    Console().print(table)


RUNNERS = {
    "value": _train,
    "advantages": _advantages,
    "policy": _train,
    "eval": _evaluate,
    "compare": _compare,
}


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    init_logging()
    try:
        run_loop(Loop.parse(sys.argv[1:]))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
