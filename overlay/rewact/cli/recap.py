# SPDX-License-Identifier: MIT
r"""Learn from good and bad data in one command: value function, advantages, policy, evaluation, comparison.

```
lerobot-recap \
    --output_dir=outputs/recap \
    --dataset.repo_id=user/dataset \
    --env.type=pusht \
    --value.steps=20000 \
    --policy.steps=50000 --policy.chunk_size=50 --policy.n_action_steps=50 \
    --eval.n_episodes=50
```

The stages are LeRobot's own commands, in this order:

- `value`: `lerobot-train --policy.type=rewact` on labels of source `returns`, or of
  --dataset.reward.sources; left out with --advantages.from_returns=true or --advantages.policy.path=...;
- `advantages`: `lerobot-compute-advantages` with it, written under the output folder; N is
  --policy.n_action_steps, if that is given;
- `policy`: `lerobot-train --policy.type=actvantage`;
- `eval`: `lerobot-eval` of the policy, conditioned on positive, on negative and on nothing (needs
  --env.type);
- `compare`: a table of what these did.

Options:
  --output_dir
      Folder of the run. `results.json` in it holds the comparison and what is done; `logs/` has the output of
      each stage.
  --dataset.<option>, --env.<option>
      Go to all stages that read the dataset, or that evaluate.
  --seed, --device
      Go to all stages.
  --<stage>.<option>
      An option of that stage's command alone: `--value.steps`, `--advantages.positive_fraction`. In `value`
      and `policy` the options of the policy need no second `policy.`: `--policy.chunk_size`. In `eval` those
      of the evaluation need no second `eval.`: `--eval.n_episodes`.
  --<option>
      Any other option of `lerobot-train`, such as --steps or --batch_size, or of both policies, such as
      --chunk_size or --pretrained_backbone_weights, goes to both trainings.
  --stages (default: value,advantages,policy,eval,compare)
      Run only these, on what the others have left.

A stage that is done is not run again; one that was interrupted continues. A stage refuses the results of
another run: if an option of an earlier stage has changed, name another output folder.
"""

import hashlib
import json
import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rewact.cli.common import indent_examples, read_flags, report_errors, start_logging
from rewact.cli.comparison import compare
from rewact.options.advantages import ComputeAdvantagesConfig

STAGES = ("value", "advantages", "policy", "eval", "compare")
CONDITIONS = ("positive", "negative", "unconditional")
# Beginnings of options that do not change a stage's result.
HARMLESS = {
    "value": ("num_workers", "log_freq", "save_freq", "wandb."),
    "advantages": ("num_workers", "batch_size", "plots_dir", "plot_episodes", "values_dir"),
    "policy": ("num_workers", "log_freq", "save_freq", "wandb."),
    "eval": (),
    "compare": (),
}
# Where an option of a stage goes that its command does not have itself.
INNER = {"value": "policy", "policy": "policy", "eval": "eval"}
RESULTS = "results.json"

TRAIN = "lerobot.scripts.lerobot_train"
COMPUTE = "rewact.cli.compute_advantages"
EVAL = "lerobot.scripts.lerobot_eval"


def command_options() -> dict[str, set[str]]:
    """The options of each stage's command, without what follows a dot."""
    from lerobot.configs.eval import EvalPipelineConfig
    from lerobot.configs.train import TrainPipelineConfig

    configs = {
        "value": TrainPipelineConfig,
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
    """

    output_dir: Path
    stages: tuple[str, ...] = STAGES
    shared: dict[str, str] = field(default_factory=dict)
    training: dict[str, str] = field(default_factory=dict)
    own: dict[str, dict[str, str]] = field(default_factory=lambda: {stage: {} for stage in STAGES})

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
        commands = command_options()
        for name, value in flags.items():
            stage, _, option = name.partition(".")
            if stage in STAGES and option:
                loop.own[stage][_full_name(stage, option, commands)] = value
            elif stage in ("dataset", "env") and option or name in ("seed", "device"):
                loop.shared[name] = value
            elif stage in commands["policy"]:
                loop.training[name] = value
            elif all(_has_inner(training, stage) for training in ("value", "policy")):
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


def _full_name(stage: str, option: str, commands: dict[str, set[str]]) -> str:
    """The name that an option of a stage has in its command.

    Raises:
        ValueError: If there is no such option, before the first stage has run for hours.
    """
    known, first = commands.get(stage, set()), option.split(".")[0]
    if first in known:
        return option
    if stage not in INNER or not (_has_inner(stage, first) or first in ("path", "type")):
        raise ValueError(f"--{stage}.{option}: the stage {stage!r} has no option --{option}")
    return f"{INNER[stage]}.{option}"


def _has_inner(stage: str, option: str) -> bool:
    from lerobot.configs.default import EvalConfig
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies import factory  # noqa: F401 - registers the policies

    kind = {"value": "rewact", "policy": "actvantage"}.get(stage)
    config = EvalConfig if kind is None else PreTrainedConfig.get_choice_class(kind)
    return option in {known.name for known in fields(config)}


def run_loop(loop: Loop) -> None:
    """Run the stages that are not done, and print the comparison.

    Raises:
        ValueError: If a stage finds the result of another run, or lacks that of an earlier stage.
        RuntimeError: If a stage fails.
    """
    from rewact.labels.files import write_json

    for stage in loop.stages:
        for earlier in loop.before(stage):
            if earlier not in loop.stages and not _is_done(loop, earlier):
                raise ValueError(
                    f"the stage {stage!r} needs the result of {earlier!r}, which has not been run"
                )
    for number, stage in enumerate(loop.stages, 1):
        heading = f"[{number}/{len(loop.stages)}] {stage}"
        if stage == "value" and "value" not in loop.before("policy"):
            logging.info(f"{heading}: there is no value function to train")
        elif stage in ("eval", "compare") and "env.type" not in loop.flags("eval"):
            logging.info(f"{heading}: left out, as there is no --env.type")
        elif stage == "compare":
            reports = dict(zip(CONDITIONS, loop.results("eval"), strict=True))
            path = loop.output_dir / RESULTS
            write_json(path, {**_read_results(loop), "comparison": compare(reports, path)})
        elif _is_done(loop, stage):
            logging.info(f"{heading}: done already")
        else:
            if loop.directory(stage).exists() and stage not in _read_results(loop)["stages"]:
                raise ValueError(
                    f"{loop.directory(stage)} is there already, and this command has not made it; name "
                    "another --output_dir"
                )
            logging.info(heading)
            _note(loop, stage, is_done=False)
            RUNNERS[stage](loop, stage)
            _note(loop, stage, is_done=True)
    if _is_done(loop, "policy"):
        logging.info(
            "The policy is %s; what it was asked to imitate is drawn in %s",
            loop.checkpoint("policy"),
            loop.flags("advantages")["plots_dir"],
        )


def _read_results(loop: Loop) -> dict[str, Any]:
    from rewact.labels.files import read_json

    path = loop.output_dir / RESULTS
    if path.is_file():
        return read_json(path)
    # Earlier releases kept a file for each stage.
    notes = {stage: loop.output_dir / f"{stage}.json" for stage in STAGES}
    return {"stages": {stage: read_json(note) for stage, note in notes.items() if note.is_file()}}


def _note(loop: Loop, stage: str, is_done: bool) -> None:
    from rewact.labels.files import write_json

    results = _read_results(loop)
    results["stages"][stage] = {"identity": loop.identity(stage), "is_done": is_done}
    write_json(loop.output_dir / RESULTS, results)


def _is_done(loop: Loop, stage: str) -> bool:
    note = _read_results(loop)["stages"].get(stage)
    if note is None:
        return False
    if note["identity"] != loop.identity(stage):
        if not note["is_done"] and not loop.has_left_something(stage):
            return False  # it failed, and its options have been corrected
        raise ValueError(
            f"{loop.output_dir / RESULTS}: the stage {stage!r} is of a run with other options for it or for "
            "one before it; repeat these, or name another --output_dir"
        )
    return note["is_done"] and all(result.is_file() for result in loop.results(stage))


def _run(loop: Loop, log: str, module: str, flags: dict[str, str]) -> None:
    """Run a command, its output in a file of its own but for the lines that tell how far it is.

    Raises:
        RuntimeError: Naming the file, if it fails.
    """
    words = [f"--{name}={value}" for name, value in flags.items()]
    name = module.rsplit(".", 1)[-1].replace("_", "-")
    name = name if name.startswith("lerobot") else f"lerobot-{name}"
    path = loop.output_dir / "logs" / f"{log}.log"
    logging.info("%s\n  output: %s", " \\\n    ".join([name, *map(shlex.quote, words)]), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if code := execute([sys.executable, "-m", module, *words], path):
        last = path.read_text(errors="replace").strip().splitlines()[-1:] if path.is_file() else []
        said = f": {last[0].strip().removeprefix('error: ')}" if last else f" with code {code}"
        if module == TRAIN:  # where its options have another name
            said = said.replace("--policy.", "--")
        raise RuntimeError(f"{name} failed{said} ({path}); the same command goes on from here")


def execute(command: Sequence[str], log: Path) -> int:
    """Run a command with its output in a file; lines on training steps are shown. Returns its exit code."""
    with (
        log.open("a") as file,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        for line in process.stdout:
            file.write(line)
            file.flush()
            if "step:" in line:
                print("  " + line[line.index("step:") :].rstrip(), flush=True)
    return process.returncode


def _train(loop: Loop, stage: str) -> None:
    directory = loop.directory(stage)
    # `last` is missing if training was stopped while it was being renewed.
    saved = [loop.checkpoint(stage), *sorted(directory.glob("checkpoints/[0-9]*/pretrained_model"))[::-1]]
    for config in (checkpoint / "train_config.json" for checkpoint in saved):
        if config.is_file():
            _run(loop, stage, TRAIN, {"config_path": str(config), "resume": "true"})
            return
    # Left by a run that was stopped before its first checkpoint; the training script wants a new folder.
    shutil.rmtree(directory, ignore_errors=True)
    _run(loop, stage, TRAIN, {**loop.flags(stage), "output_dir": str(directory)})


def _advantages(loop: Loop, stage: str) -> None:
    _run(loop, stage, COMPUTE, loop.flags(stage))


def _evaluate(loop: Loop, stage: str) -> None:
    for condition in CONDITIONS:
        directory = loop.directory(stage) / condition
        if not (directory / "eval_info.json").is_file():
            _run(
                loop,
                f"{stage}_{condition}",
                EVAL,
                {**loop.flags(stage), "policy.inference_advantage": condition, "output_dir": str(directory)},
            )


RUNNERS = {"value": _train, "advantages": _advantages, "policy": _train, "eval": _evaluate}


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(indent_examples(__doc__))
        return
    with report_errors():
        loop = Loop.parse(sys.argv[1:])
        start_logging()
        run_loop(loop)


if __name__ == "__main__":
    main()
