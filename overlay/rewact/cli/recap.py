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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewact.cli.common import indent_examples, report_errors, require_outputs, start_logging
from rewact.cli.recap_options import COMPUTE, CONDITIONS, EVAL, STAGES, TRAIN, Loop
from rewact.options.advantages import ComputeAdvantagesConfig
from rewact.options.tools import require_writable

RESULTS = "results.json"
PAGE = "recap.html"


def run_loop(loop: Loop) -> None:
    """Run the stages that are not done, and print the comparison.

    Raises:
        ValueError: If a stage finds the result of another run, or lacks that of an earlier stage, or cannot
            write where it is to write.
        RuntimeError: If a stage fails.
    """
    from rewact.draw.recap_page import write_page
    from rewact.labels.files import write_json

    for name in loop.chosen:
        for earlier in loop.before(name):
            if earlier not in loop.chosen and not _is_done(loop, earlier):
                raise ValueError(
                    f"the stage {name!r} needs the result of {earlier!r}, which has not been run"
                )
    require_writable("--output_dir", loop.output_dir)
    require_outputs(ComputeAdvantagesConfig, loop.stages["advantages"].flags, "--advantages.")
    results_path = loop.output_dir / RESULTS
    for number, name in enumerate(loop.chosen, 1):
        heading, stage = f"[{number}/{len(loop.chosen)}] {name}", loop.stages[name]
        if name == "value" and not loop.has_value:
            logging.info(f"{heading}: there is no value function to train")
        elif name in ("eval", "compare") and "env.type" not in loop.stages["eval"].flags:
            logging.info(f"{heading}: left out, as there is no --env.type")
        elif name == "compare":
            reports = dict(zip(CONDITIONS, loop.stages["eval"].results, strict=True))
            comparison = compare(reports, results_path)
            write_json(results_path, {**_read_results(loop), "comparison": comparison})
        elif _is_done(loop, name):
            logging.info(f"{heading}: done already")
        else:
            if stage.directory.exists() and name not in _read_results(loop)["stages"]:
                raise ValueError(
                    f"{stage.directory} is there already, and this command has not made it; name another "
                    "--output_dir"
                )
            logging.info(heading)
            _note(loop, name, is_done=False)
            _run_stage(loop, name)
            _note(loop, name, is_done=True)
    page = loop.output_dir / PAGE
    write_page(page, loop.repo_id, _read_results(loop).get("comparison"))
    if _is_done(loop, "policy"):
        logging.info("The policy is %s", loop.stages["policy"].results[0].parent)
    logging.info("What the stages have drawn is on %s", page)


def _read_results(loop: Loop) -> dict[str, Any]:
    from rewact.labels.files import read_json

    path = loop.output_dir / RESULTS
    if path.is_file():
        return read_json(path)
    # Earlier releases kept a file for each stage.
    notes = {stage: loop.output_dir / f"{stage}.json" for stage in STAGES}
    return {"stages": {stage: read_json(note) for stage, note in notes.items() if note.is_file()}}


def _note(loop: Loop, name: str, is_done: bool) -> None:
    from rewact.labels.files import write_json

    results = _read_results(loop)
    results["stages"][name] = {"identity": loop.identity(name), "is_done": is_done}
    write_json(loop.output_dir / RESULTS, results)


def _is_done(loop: Loop, name: str) -> bool:
    note = _read_results(loop)["stages"].get(name)
    if note is None:
        return False
    stage = loop.stages[name]
    if note["identity"] != loop.identity(name):
        left = [*stage.results, *stage.directory.glob("checkpoints/[0-9]*")]
        if not note["is_done"] and not any(path.exists() for path in left):
            return False  # it failed, and its options have been corrected
        raise ValueError(
            f"{loop.output_dir / RESULTS}: the stage {name!r} is of a run with other options for it or for "
            "one before it; repeat these, or name another --output_dir"
        )
    return note["is_done"] and all(result.is_file() for result in stage.results)


def _run_stage(loop: Loop, name: str) -> None:
    """Run the command of a stage, from where it was stopped."""
    stage = loop.stages[name]
    flags = {**stage.given, "output_dir": str(stage.directory)}
    if stage.module == COMPUTE:
        flags = stage.given
    elif stage.module == EVAL:
        for condition, report in zip(CONDITIONS, stage.results, strict=True):
            if not report.is_file():
                chosen = {"policy.inference_advantage": condition, "output_dir": str(report.parent)}
                _run(loop, f"{name}_{condition}", EVAL, {**stage.given, **chosen})
        return
    elif stage.module == TRAIN:
        # `last` is missing if training was stopped while it was being renewed.
        saved = sorted(stage.directory.glob("checkpoints/[0-9]*/pretrained_model/train_config.json"))
        if left := [config for config in (*stage.results, *saved[::-1]) if config.is_file()]:
            flags = {"config_path": str(left[0]), "resume": "true"}
        else:
            # Left by a run that was stopped before its first checkpoint; training wants a new folder.
            shutil.rmtree(stage.directory, ignore_errors=True)
    _run(loop, name, stage.module, flags)


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
        if module == TRAIN:  # where its options have another name; those of a command that it names have not
            of_training, *command = said.partition(" lerobot-")
            said = of_training.replace("--policy.", "--") + "".join(command)
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


def compare(reports: Mapping[str, Path], results: Path) -> dict[str, Any]:
    """Print what a policy did under each condition; returns it.

    Args:
        reports: `eval_info.json` of each condition; the first two should differ.
        results: The file where it will stand, for the caption.
    """
    from rewact.judge.intervals import mean_interval, share_interval
    from rewact.judge.report import print_table, wide_console
    from rewact.labels.files import is_number, read_json

    comparison: dict[str, Any] = {}
    for condition, path in reports.items():
        info = read_json(path)
        overall = {key: value for key, value in info["overall"].items() if is_number(value)}
        of_tasks = [task["metrics"] for task in info.get("per_task", [])]
        outcomes = [bool(success) for metrics in of_tasks for success in metrics.get("successes", [])]
        returns = [float(reward) for metrics in of_tasks for reward in metrics.get("sum_rewards", [])]
        success = share_interval(sum(outcomes), len(outcomes))
        intervals = {
            "pc_success": success and [100 * end for end in success],
            "avg_sum_reward": mean_interval(returns) if returns else None,
        }
        comparison[condition] = {**overall, "n_episodes": len(outcomes), "intervals": intervals}
    has_intervals = any(any(values["intervals"].values()) for values in comparison.values())
    kinds = {"pc_success": "success (%)", "avg_sum_reward": "sum of rewards", "n_episodes": "episodes"}
    print_table(
        "The policy, asked for actions of each kind",
        ["asked for", *kinds.values()],
        [(condition, *(_cell(values, key) for key in kinds)) for condition, values in comparison.items()],
        caption=f"({'95 % intervals; ' if has_intervals else ''}in {results})",
    )
    names = list(comparison)[:2]
    first, second = (comparison[name]["intervals"]["pc_success"] for name in names)
    if first and second and first[0] <= second[1] and second[0] <= first[1]:
        wide_console().print(
            f"{' and '.join(names)} cannot be told apart on {comparison[names[0]]['n_episodes']} "
            "episodes: evaluate more (--eval.n_episodes), or look at the advantages",
            style="bold red",
            soft_wrap=True,
        )
    return comparison


def _cell(values: dict[str, Any], key: str) -> str:
    if key not in values:
        return "-"
    ends = values["intervals"].get(key)
    return f"{values[key]:.4g}" + (f" ({ends[0]:.3g} to {ends[1]:.3g})" if ends else "")


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
