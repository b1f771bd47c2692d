# SPDX-License-Identifier: MIT
"""``python -m verify.demo``: records, trains, predicts and shows, one step after the other.

Exit codes: 0 done; 1 training failed; 2 wrong usage or an output folder that cannot be written;
130 interrupted.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

# Before torch is imported: threads that spin while they wait hold up those they wait for on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from verify.demo.pipeline import FAST, FULL, run_demo
from verify.demo.training import TrainingError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, got {text!r}")
        return int(text)

    return parse


def _writable_folder(folder: Path) -> str | None:
    """Makes the folder; what stands in the way, or None."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo and returns its exit code."""
    parser = _Parser(
        prog="verify.demo", description="Teach a small ACT to predict reward, on data made for it."
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("outputs/demo"),
        help="where everything goes (default: outputs/demo)",
    )
    parser.add_argument(
        "--fast", action="store_true", help="less data and training: quicker, and a lower score"
    )
    for name, full, fast in (
        ("episodes", FULL.train_episodes, FAST.train_episodes),
        ("steps", FULL.steps, FAST.steps),
    ):
        parser.add_argument(
            f"--{name}",
            type=_at_least(1),
            metavar="N",
            help=f"{name} of training (default: {full}, with --fast {fast})",
        )
    parser.add_argument(
        "--seed", type=_at_least(0), default=0, help="of the data and the training (default: 0)"
    )
    options = parser.parse_args(arguments)
    obstacle = _writable_folder(options.output_dir)
    if obstacle:
        print(
            f"{parser.prog}: cannot write to {options.output_dir}: {obstacle}; choose another --output-dir",
            file=sys.stderr,
        )
        return 2
    try:
        preset = (FAST if options.fast else FULL).sized(options.episodes, options.steps)
        run_demo(options.output_dir, preset, options.seed)
    except TrainingError as error:
        print(f"verify.demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nverify.demo: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
