# SPDX-License-Identifier: MIT
"""Compare ways to learn from good and bad data on Meta-World.

Needs an environment with the patched LeRobot, `metaworld==3.0.0` and `mujoco<3.4` (Meta-World 3.0.0 cannot
read the models of later releases):

    python -m verify.bench --output-dir outputs/bench --jobs 2
    python -m verify.bench --output-dir outputs/pilot --tasks push --sets a --seeds 1 --episodes 30
    python -m verify.bench --output-dir outputs/features --observations features --tasks push --seeds 2
    python -m verify.bench --output-dir outputs/camera --observations camera --tasks push --device cuda

On a machine without a screen images need MUJOCO_GL=egl.

What is there already is not done again; `report.json`, `report.png` and a table are brought up to date after
each seed on each data set.
"""

import argparse
from dataclasses import asdict, fields, replace

from .cells import read_results, run_cell, write_result
from .command import Command, writable_folder
from .parallel import run_all
from .plots import plot_report
from .recipes import ABLATIONS, ORACLES, POLICIES, RECIPES
from .report import format_table, summarize
from .settings import SETTINGS, Settings
from .simulation import PLANS, TASKS


def parse_arguments() -> argparse.Namespace:
    parser = Command("bench", __doc__)
    parser.add_argument("--output-dir", type=writable_folder, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--sets", nargs="+", choices=sorted(PLANS), default=sorted(PLANS), help="data sets")
    parser.add_argument(
        "--policies",
        nargs="+",
        choices=RECIPES,
        default=list(POLICIES),
        help=f"to train and evaluate (default: {' '.join(POLICIES)}; {' '.join(ORACLES)} sees which "
        f"demonstrations are clean; {' '.join(ABLATIONS)} are ACTvantage with one thing changed)",
    )
    parser.add_argument(
        "--diagnostics",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether ACTvantage is also asked for bad actions and the like",
    )
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


if __name__ == "__main__":
    main()
