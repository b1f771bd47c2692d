# SPDX-License-Identifier: MIT
"""Compare ways to learn from good and bad data on Meta-World.

Needs an environment with the patched LeRobot, `metaworld==3.0.0` and `mujoco<3.4` (Meta-World 3.0.0 cannot
read the models of later releases):

    python -m verify.bench --output-dir outputs/bench
    python -m verify.bench --output-dir outputs/pilot --tasks push --sets a --seeds 1 --episodes 30

What is there already is not done again. The result is `report.json` and a table.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from .data import make_dataset, read_episodes, read_inputs
from .evaluation import advantage_accuracy, evaluate
from .methods import POLICIES, VARIANTS, Settings, train_all
from .report import format_table, summarize
from .simulation import PLANS, TASKS


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m verify.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--sets", nargs="+", choices=sorted(PLANS), default=sorted(PLANS), help="data sets")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=POLICIES)
    parser.add_argument("--seeds", type=int, default=3, help="number of training seeds")
    parser.add_argument("--episodes", type=int, default=100, help="evaluation episodes, the same for all")
    parser.add_argument(
        "--samples", type=int, default=200, help="frames whose advantage is checked by simulation"
    )
    for name, default in asdict(Settings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    settings = Settings(**{name: getattr(arguments, name) for name in asdict(Settings())})
    results: dict[str, dict] = {}
    for task in arguments.tasks:
        for data_set in arguments.sets:
            name = f"{task}-{data_set}"
            data = make_dataset(arguments.output_dir / "data" / name, task, data_set, seed=0)
            inputs = read_inputs(data)
            for seed in range(arguments.seeds):
                directory = arguments.output_dir / name / f"seed_{seed}"
                directory.mkdir(parents=True, exist_ok=True)
                train_all(data, directory, seed, settings, tuple(arguments.policies))
                for variant in VARIANTS:
                    if variant.policy not in arguments.policies:
                        continue
                    path = directory / f"{variant.name.replace(' ', '_')}_{arguments.episodes}.json"
                    if not path.is_file():
                        result = evaluate(directory, variant, task, inputs, arguments.episodes)
                        path.write_text(json.dumps(result))
                    print(
                        f"{name}, seed {seed}, {variant.name}: "
                        f"{np.mean(json.loads(path.read_text())['success']):.2f}"
                    )
                    results.setdefault(name, {}).setdefault(variant.name, []).append(
                        json.loads(path.read_text())
                    )
                path = directory / f"accuracy_{arguments.samples}.json"
                if arguments.samples and (directory / "advantages.parquet").is_file():
                    if not path.is_file():
                        rng = np.random.default_rng(seed)
                        accuracy = advantage_accuracy(
                            directory / "advantages.parquet",
                            read_episodes(data),
                            task,
                            settings.n_steps,
                            rng,
                            arguments.samples,
                        )
                        path.write_text(json.dumps(accuracy))
                    results[name].setdefault("advantages", []).append(json.loads(path.read_text()))
    report = {"settings": asdict(settings), "results": summarize(results)}
    (arguments.output_dir / "report.json").write_text(json.dumps(report, indent=2))
    print(format_table(report["results"]))


if __name__ == "__main__":
    main()
