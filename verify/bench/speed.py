# SPDX-License-Identifier: MIT
"""How fast this project is, against LeRobot as it was released.

    python -m verify.bench.speed [--quick] [--row NAME ...] [--repeats 7] [--threads N] [--device cuda]
                                 [--json FILE]

Each ACT, of default size, runs in a process of its own: stock ACT on the files of the release that the
checkout's last commit holds, ours on the patched checkout. They take turns on batches of the same shape, so
that a busy machine slows all; a ratio is that of neighbouring measurements, and what is printed is their
median and quartiles. A training step is `lerobot-train`'s: forward, backward, clipped gradients, optimiser.
Operations are of the network alone; `--repeats 0` counts them and measures no time. `--row NAME` runs one row
again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from rewact.labels.files import write_json
from verify.interpreter import PROJECT

from .command import Command
from .speed_rows import CHECKOUT, measure_installer, measure_labels, measure_values

SETTINGS = {
    f"{cameras}x{height}x{width}": (cameras, (height, width), batch_size)
    for cameras in (1, 3)
    for height, width, batch_size in ((96, 96, 8), (240, 320, 2), (480, 640, 1))
}
STOCK = ("act", {})
HEADS = {
    "head": ("rewact", {"fast_path": False}),
    "head, fast": ("rewact", {}),
    "head at decoder": ("rewact", {"fast_path": False, "reward_head_input": "decoder"}),
}
VARIANTS = {
    "train": HEADS,
    "chunk": HEADS,
    "reading": HEADS,
    "actvantage": {
        "no guidance": ("actvantage", {"fast_path": False}),
        "no guidance, fast": ("actvantage", {}),
    },
}
QUICK = ("train-1x240x320", "chunk-1x240x320", "reading-1x240x320", "labels")


@dataclass
class Row:
    """One line of the table."""

    name: str
    what: str
    # Lower quartile, median and upper quartile of the ratios to stock's time.
    ratio: list[float] | None = None
    # Ratios to stock's operations, and to the peak of stock's process.
    operations: float | None = None
    memory: float | None = None
    # What is measured by itself, by name with its unit.
    figures: dict[str, float] | None = None

    def __str__(self) -> str:
        parts = [f"{self.name:<20}", f"{self.what:<18}"]
        if self.ratio:
            low, middle, high = self.ratio
            parts.append(f"{middle:5.2f} ({low:.2f} to {high:.2f})")
        parts += [f"operations {self.operations:.3f}"] if self.operations else []
        parts += [f"memory {self.memory:.2f}"] if self.memory else []
        parts += [f"{value:.3g} {name}" for name, value in (self.figures or {}).items()]
        return "  ".join(parts)


class Worker:
    """A process of `speed_worker`."""

    def __init__(self, tree: Path, **settings: Any):
        paths = os.pathsep.join([str(tree / "src"), str(PROJECT)])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "verify.bench.speed_worker"],
            # A process that waits for its turn must not spin in a thread of the one that is measured.
            env={**os.environ, "PYTHONPATH": paths, "OMP_WAIT_POLICY": "PASSIVE"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.write(settings)

    def write(self, what: Any) -> None:
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a process that measures has ended: run the row alone to see why")
        return json.loads(line)

    def ask(self, method: str, *arguments: Any) -> Any:
        self.write([method, arguments])
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@contextmanager
def released_tree() -> Iterator[Path]:
    """LeRobot's sources without this project, from the commit that the checkout stands on."""
    archive = subprocess.run(
        ["git", "-C", str(CHECKOUT), "archive", "HEAD", "src"], check=True, capture_output=True
    ).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        if (Path(folder) / "src/rewact").exists():
            raise SystemExit(f"the last commit of {CHECKOUT} holds the patches: nothing to compare with")
        yield Path(folder)


def compare(kind: str, setting: str, arguments: argparse.Namespace, released: Path) -> list[Row]:
    """Rows of ACT: one a variant."""
    cameras, size, batch_size = SETTINGS[setting]
    step = "chunk" if kind == "actvantage" else kind
    common = {"cameras": cameras, "size": size, "device": arguments.device}
    common["batch_size"] = 1 if step != "train" else batch_size
    with ExitStack() as stack:
        workers = {
            name: Worker(CHECKOUT if name else released, type=policy_type, options=options, **common)
            for name, (policy_type, options) in {"": STOCK, **VARIANTS[kind]}.items()
        }
        for worker in workers.values():
            stack.callback(worker.close)
        for worker in workers.values():
            worker.read()
        times: dict[str, list[float]] = {name: [] for name in workers}
        for repeat in range(arguments.repeats + 1 if arguments.repeats else 0):
            for name, worker in workers.items():
                spent = worker.ask("seconds", step, arguments.threads)
                if repeat:  # the first one warms up
                    times[name].append(spent)
        memory = {name: worker.ask("peak_bytes") for name, worker in workers.items()}
        for worker in workers.values():
            worker.write(["operations", [step]])
        operations = {name: worker.read() for name, worker in workers.items()}
    rows = []
    for name in VARIANTS[kind]:
        row = Row(f"{kind}-{setting}", name, operations=round(operations[name] / operations[""], 4))
        if arguments.repeats:
            ratios = [ours / stock for ours, stock in zip(times[name], times[""], strict=True)]
            quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            row.ratio = [round(ratio, 3) for ratio in quartiles]
            row.memory = round(memory[name] / memory[""], 3)
            medians = (1e3 * statistics.median(times[of]) for of in (name, ""))
            row.figures = dict(zip(("ms", "ms stock"), medians, strict=True))
        rows.append(row)
    return rows


def find_rows(arguments: argparse.Namespace, released: Path) -> dict[str, Callable[[], list[Row]]]:
    """What measures a row, by its name."""
    kinds = {**dict.fromkeys(("train", "chunk", "reading"), list(SETTINGS)), "actvantage": ["1x240x320"]}
    others = {"labels": measure_labels, "values": measure_values, "installer": measure_installer}

    def of_act(kind: str, setting: str) -> list[Row]:
        return compare(kind, setting, arguments, released)

    def of_others(name: str) -> list[Row]:
        return [Row(name, what, figures=figures) for what, figures in others[name]().items()]

    found = {f"{kind}-{setting}": partial(of_act, kind, setting) for kind in kinds for setting in kinds[kind]}
    return {**found, **{name: partial(of_others, name) for name in others}}


def main() -> None:
    parser = Command("bench.speed", __doc__)
    parser.add_argument("--row", action="append", metavar="NAME", help="measure this row alone; repeatable")
    parser.add_argument("--quick", action="store_true", help=f"rows {', '.join(QUICK)} alone")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own choice)")
    parser.add_argument("--device", default="cpu")
    parser.add_json()
    arguments = parser.parse_args()

    with released_tree() as released:
        rows = find_rows(arguments, released)
        names = arguments.row or (QUICK if arguments.quick else rows)
        if unknown := [name for name in names if name not in rows]:
            parser.error(f"unknown row {unknown[0]!r}: there are {', '.join(rows)}")
        done = []
        for name in names:
            for row in rows[name]():
                print(row, flush=True)
                done.append({**vars(row), "command": f"python -m verify.bench.speed --row {name}"})
    if arguments.json:
        device = torch.cuda.get_device_name() if arguments.device != "cpu" else "cpu"
        write_json(arguments.json, {"torch": torch.__version__, "device": device, "rows": done})


if __name__ == "__main__":
    main()
