# SPDX-License-Identifier: MIT
r"""Learn from good and bad data in one command: value function, advantages, policy, evaluation, comparison.

```
lerobot-recap \
    --output_dir=outputs/recap \
    --dataset.repo_id=user/dataset \
    --env.type=pusht \
    --policy.steps=50000 --policy.chunk_size=50 --policy.n_action_steps=50 \
    --eval.n_episodes=50
```

The stages are LeRobot's own commands, in this order:

- `value`: `lerobot-train-values`: the progress of every frame, estimated by networks that have not seen its
  episode. With --value.type=rewact instead `lerobot-train --policy.type=rewact`, on labels of source
  `returns`, or of --dataset.reward.sources. Left out with --advantages.from_returns=true or
  --advantages.policy.path=...;
- `advantages`: `lerobot-compute-advantages` with it, written under the output folder. N is a tenth of a
  typical episode, with --value.type=rewact what --policy.n_action_steps says; 0.3 of the frames are positive;
- `policy`: `lerobot-train --policy.type=actvantage`, with an advantage_dropout of 0.1;
- `eval`: `lerobot-eval` of the policy, conditioned on positive, on negative and on nothing (needs
  --env.type);
- `compare`: a table of what these did.

At the end stands `recap.html`, a page with the plots of all stages.

Options:
  --output_dir
      Folder of the run. `results.json` in it holds the comparison and what is done; `logs/` has the output of
      each stage.
  --dataset.<option>, --env.<option>
      Go to all stages that read the dataset, or that evaluate.
  --seed, --device
      Go to all stages.
  --<stage>.<option>
      An option of that stage's command alone: `--value.folds`, `--advantages.positive_fraction`. In `value`
      those of the values need no second `values.`; in `policy` those of the policy no second `policy.`:
      `--policy.chunk_size`; in `eval` those of the evaluation no second `eval.`: `--eval.n_episodes`.
  --<option>
      Any other option of `lerobot-train`, such as --steps or --batch_size, or of the policy, such as
      --chunk_size or --pretrained_backbone_weights, goes to the policy's training; with --value.type=rewact
      to both.
  --stages (default: value,advantages,policy,eval,compare)
      Run only these, on what the others have left.

A stage that is done is not run again; one that was interrupted continues. A stage refuses the results of
another run: if an option of an earlier stage has changed, name another output folder.
"""

import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewact.cli.common import indent_examples, report_errors, start_logging
from rewact.cli.comparison import compare
from rewact.cli.recap_options import CONDITIONS, STAGES, Loop

RESULTS = "results.json"
PAGE = "recap.html"

TRAIN = "lerobot.scripts.lerobot_train"
TRAIN_VALUES = "rewact.cli.train_values"
COMPUTE = "rewact.cli.compute_advantages"
EVAL = "lerobot.scripts.lerobot_eval"


def run_loop(loop: Loop) -> None:
    """Run the stages that are not done, and print the comparison.

    Raises:
        ValueError: If a stage finds the result of another run, or lacks that of an earlier stage.
        RuntimeError: If a stage fails.
    """
    from rewact.draw.recap_page import write_page
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
    page = loop.output_dir / PAGE
    write_page(page, loop.shared["dataset.repo_id"], _read_results(loop).get("comparison"))
    if _is_done(loop, "policy"):
        logging.info("The policy is %s", loop.checkpoint("policy"))
    logging.info("What the stages have drawn is on %s", page)


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
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if "step:" in line:
                    print("  " + line[line.index("step:") :].rstrip(), flush=True)
        except BaseException:
            process.terminate()
            raise
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


def _value(loop: Loop, stage: str) -> None:
    if loop.is_value_policy:
        _train(loop, stage)
    else:  # goes on by itself
        _run(loop, stage, TRAIN_VALUES, {**loop.flags(stage), "output_dir": str(loop.directory(stage))})


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


RUNNERS = {"value": _value, "advantages": _advantages, "policy": _train, "eval": _evaluate}


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
