# SPDX-License-Identifier: MIT
"""How fast this project is, against LeRobot as it was released.

    python -m verify.bench.speed [--quick] [--row NAME ...] [--repeats 7] [--threads N] [--device cuda]
                                 [--json FILE]

Each ACT runs in a process of its own: stock ACT on the files of the release that the checkout's last commit
holds, ours on the patched checkout. They take turns on batches of the same shape, so that a busy machine
slows all; a ratio is that of neighbouring measurements, and what is printed is their median and quartiles. A
training step is `lerobot-train`'s: forward, backward, clipped gradients, optimiser. Operations are of the
network alone. `--row NAME` runs one row again.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

import lerobot
from verify.interpreter import PROJECT

CHECKOUT = Path(lerobot.__file__).parents[2]
SETTINGS = {
    f"{cameras}x{height}x{width}": (cameras, (height, width), batch_size)
    for cameras in (1, 3)
    for height, width, batch_size in ((96, 96, 8), (240, 320, 2), (480, 640, 1))
}
HEAD = {"use_reward_head": True, "reward_head_type": "distributional"}
STOCK = ("act", {})
PLAIN = ("rewact", {"fast_path": False})
FAST = ("rewact", {})
VARIANTS = {
    "train": {"head": PLAIN, "head, fast": FAST},
    "chunk": {"head": PLAIN, "head, fast": FAST},
    "reading": {"head": PLAIN, "head, fast": FAST},
    "actvantage": {
        "no guidance": ("actvantage", {"fast_path": False}),
        "no guidance, fast": ("actvantage", {}),
    },
}
QUICK = ("train-1x240x320", "chunk-1x240x320", "reading-1x240x320", "labels")


@dataclass
class Row:
    """One figure of the table.

    Args:
        name: Of the row, as `--row` takes it.
        what: What was measured.
        ratio: Lower quartile, median and upper quartile of the ratios to stock's time.
        operations: Ratio to stock's operations.
        memory: Ratio to the peak of stock's process.
        figures: What is no ratio, by name with its unit.
    """

    name: str
    what: str
    ratio: list[float] | None = None
    operations: float | None = None
    memory: float | None = None
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
        for repeat in range(arguments.repeats + 1):
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
        ratios = [ours / stock for ours, stock in zip(times[name], times[""], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        rows.append(
            Row(
                f"{kind}-{setting}",
                name,
                [round(ratio, 3) for ratio in quartiles],
                round(operations[name] / operations[""], 4),
                round(memory[name] / memory[""], 3),
                {"ms": 1e3 * statistics.median(times[name]), "ms stock": 1e3 * statistics.median(times[""])},
            )
        )
    return rows


def labels() -> list[Row]:
    from .label_cost import measure

    return [Row("labels", "a million frames", figures=measure(1_000_000))]


def values() -> list[Row]:
    """Values by a policy's head at 480x640, against its whole forward one by one."""
    rows = []
    for options in ([], ["--use-amp"]):
        command = [sys.executable, "-m", "verify.bench.value_speed", "--frames", "24", "--repeats", "3"]
        out = subprocess.run([*command, *options], check=True, capture_output=True, text=True).stdout
        ratio = float(out.rsplit("ratio", 1)[1])
        rows.append(Row("values", " ".join(options) or "float32", figures={"times one by one": ratio}))
    return rows


def installer() -> list[Row]:
    """Processor time and time of `install.py`: with everything in place, on a release, on a tree near one."""
    commands = {"everything in place": [CHECKOUT]}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("the series applied", "placed by structure"):
            tree = Path(folder) / name.replace(" ", "-")
            subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), str(tree)], check=True)
            commands[name] = ["--no-install", tree]
        target = tree / "src/lerobot/policies/act/modeling_act.py"
        target.write_text(target.read_text().replace("import math\n", "import math  # edited\n", 1))
        author = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
        subprocess.run(["git", "-C", str(tree), *author, "commit", "--quiet", "-am", "edit"], check=True)
        rows = []
        for name, options in commands.items():
            before, start = _processor_seconds_of_children(), time.perf_counter()
            command = [sys.executable, str(PROJECT / "install.py"), "dev", *map(str, options)]
            subprocess.run(command, check=True, capture_output=True)
            spent, lasted = _processor_seconds_of_children() - before, time.perf_counter() - start
            rows.append(Row("installer", name, figures={"s of processor": spent, "s": lasted}))
    return rows


def _processor_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def find_rows(arguments: argparse.Namespace, released: Path) -> dict[str, Callable[[], list[Row]]]:
    """What measures a row, by its name."""
    kinds = {
        **{kind: list(SETTINGS) for kind in ("train", "chunk", "reading")},
        "actvantage": ["1x240x320"],
    }
    found: dict[str, Callable[[], list[Row]]] = {
        f"{kind}-{setting}": lambda kind=kind, setting=setting: compare(kind, setting, arguments, released)
        for kind, settings in kinds.items()
        for setting in settings
    }
    return {**found, "labels": labels, "values": values, "installer": installer}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m verify.bench.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--row", action="append", metavar="NAME", help="measure this row alone; repeatable")
    parser.add_argument("--quick", action="store_true", help=f"rows {', '.join(QUICK)} alone")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own choice)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file for the figures")
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
        report = {"torch": torch.__version__, "device": device, "rows": done}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
