# SPDX-License-Identifier: MIT
"""Compare ways to learn from good and bad data on Meta-World.

Needs an environment with the patched LeRobot, `metaworld==3.0.0` and `mujoco<3.4` (Meta-World 3.0.0 cannot
read the models of later releases):

    python -m verify.bench --output-dir outputs/bench --jobs 2
    python -m verify.bench --output-dir outputs/pilot --tasks push --sets a --seeds 1 --episodes 30
    python -m verify.bench --output-dir outputs/camera --observations camera --tasks push --device cuda

On a machine without a screen images need MUJOCO_GL=egl.

What is there already is not done again; `report.json`, `report.png` and a table are brought up to date after
each seed on each data set.
"""

import argparse
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from lerobot.datasets.reward_labels.files import write_atomically

from .data import make_dataset, read_episodes, read_inputs
from .evaluation import advantage_accuracy, evaluate
from .methods import ADVANTAGES, POLICIES, VARIANTS, Variant, train_all
from .parallel import run_all
from .plots import plot_report
from .report import format_table, summarize
from .settings import SETTINGS, Settings, require_same_settings
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
    parser.add_argument("--seeds", type=int, default=3, help="how often, each time on data of its own")
    parser.add_argument("--episodes", type=int, default=100, help="evaluation episodes of each seed")
    parser.add_argument(
        "--samples", type=int, default=200, help="frames whose advantage is checked by simulation"
    )
    parser.add_argument(
        "--observations", choices=SETTINGS, default="states", help="what policies and values are given"
    )
    parser.add_argument("--device", default="cpu", help="where they are trained (default: cpu)")
    parser.add_argument("--jobs", type=int, default=1, help="data sets under way at once, each on one core")
    for field in fields(Settings):
        if field.name == "observations":
            continue
        defaults = " or ".join(
            dict.fromkeys(
                str(getattr(of_set, field.name))
                for of_sets in SETTINGS.values()
                for of_set in of_sets.values()
            )
        )
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, help=f"default: {defaults}")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    given = {field.name: getattr(arguments, field.name) for field in fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    defaults = SETTINGS[arguments.observations]
    settings = {data_set: replace(defaults[data_set], **given) for data_set in arguments.sets}
    used = {data_set: asdict(of_set) for data_set, of_set in settings.items()}
    names = [f"{task}-{data_set}" for task in arguments.tasks for data_set in arguments.sets]
    # All cells of one seed before the next, and a report after each: it can be stopped at any time.
    cells = [(arguments, settings, name, seed) for seed in range(arguments.seeds) for name in names]
    for _ in run_all(run_cell, cells, arguments.jobs):
        report = {"settings": used, "results": summarize(read_results(arguments, names))}
        write_result(arguments.output_dir / "report.json", report)
        plot_report(arguments.output_dir / "report.png", report["results"])
        print(format_table(report["results"]), flush=True)


def run_cell(arguments: argparse.Namespace, settings: dict[str, Settings], name: str, seed: int) -> None:
    """Do what is not there of one seed on one data set."""
    task, data_set = name.rsplit("-", 1)
    directory = arguments.output_dir / name / f"seed_{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    of_set = settings[data_set]
    require_same_settings(directory, of_set)
    data = make_dataset(directory / "data", task, data_set, seed, of_set.observations)
    inputs = read_inputs(data)
    train_all(data, directory, seed, of_set, tuple(arguments.policies), arguments.device)
    for variant in wanted_variants(arguments):
        path = directory / result_file(variant, arguments.episodes)
        if not path.is_file():
            result = evaluate(directory, variant, task, inputs, seed, arguments.episodes, of_set.observations)
            write_result(path, result)
        rate = np.mean(json.loads(path.read_text())["success"])
        print(f"{name}, seed {seed}, {variant.name}: {rate:.2f}", flush=True)
    path = directory / f"accuracy_{arguments.samples}.json"
    if arguments.samples and (directory / ADVANTAGES).is_file() and not path.is_file():
        accuracy = advantage_accuracy(
            directory / ADVANTAGES,
            read_episodes(data),
            task,
            of_set.n_steps,
            np.random.default_rng(seed),
            arguments.samples,
        )
        write_result(path, accuracy)


def write_result(path: Path, result: dict[str, object]) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(result, indent=2)))


def wanted_variants(arguments: argparse.Namespace) -> list[Variant]:
    return [variant for variant in VARIANTS if variant.policy in arguments.policies]


def result_file(variant: Variant, n_episodes: int) -> str:
    return f"{variant.name.replace(' ', '_')}_{n_episodes}.json"


def read_results(arguments: argparse.Namespace, names: list[str]) -> dict[str, dict[str, list[dict]]]:
    """What is there by now: for each data set and method, the results of the seeds that are done."""
    files = {variant.name: result_file(variant, arguments.episodes) for variant in wanted_variants(arguments)}
    files["advantages"] = f"accuracy_{arguments.samples}.json"
    results: dict[str, dict[str, list[dict]]] = {}
    for name in names:
        for method, file in files.items():
            paths = [arguments.output_dir / name / f"seed_{seed}" / file for seed in range(arguments.seeds)]
            found = [json.loads(path.read_text()) for path in paths if path.is_file()]
            if found:
                results.setdefault(name, {})[method] = found
    return results


if __name__ == "__main__":
    main()
