# SPDX-License-Identifier: MIT
"""Teach a small ACT to predict reward, on data made for it.

Exit codes: 0 done; 1 training failed; 2 wrong usage or an output folder that cannot be written;
130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Callable

# Before torch is imported, here and in training: nothing is downloaded, and threads that spin while they wait
# hold up those they wait for on a busy machine.
for name, value in {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}.items():
    os.environ.setdefault(name, value)

from verify.bench.command import Command, writable_folder  # noqa: E402
from verify.demo.pipeline import FAST, FULL, run_demo  # noqa: E402
from verify.demo.training import TrainingError  # noqa: E402


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}, got {text!r}")
        return int(text)

    return parse


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo and returns its exit code."""
    parser = Command("demo", __doc__)
    parser.add_argument(
        "--output-dir",
        type=writable_folder,
        default="outputs/demo",
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
