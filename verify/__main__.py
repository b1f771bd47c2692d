# SPDX-License-Identifier: MIT
"""`python -m verify [CHECKOUT]`: one report on the patch sets and a checkout, with a one-line verdict.

Lint of every patch set; of a CHECKOUT the state of every touched file by blob id; of a patched one also the
proof that with the head off nothing has changed, and upstream's own tests for the touched files before and
after. Nothing is written into the checkout.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from verify import interpreter, tools
from verify.errors import ExitCode, RewactError
from verify.gitcmd import require_git
from verify.interpreter import PROJECT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT", help="a LeRobot clone")
    parser.add_argument("--quick", action="store_true", help="lint and state only")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    try:
        root = None
        if arguments.checkout is not None:
            from verify.checkout import Checkout

            require_git()
            root = Checkout(arguments.checkout).root
        python, rank = interpreter.best(None if arguments.quick else root)
        if rank == 0 and tools.use_kept():
            rank = 1
        if rank == 0:
            raise RewactError(
                ExitCode.USAGE,
                f"{sys.executable} lacks GitPython or unidiff, and so do the environments beside install.py: "
                "run `python install.py dev` first, or `pip install 'GitPython>=3.2.1' unidiff`.",
            )
        if python != Path(sys.executable) and not os.environ.get(interpreter.HANDED_ON):
            return interpreter.hand_on(python, "verify", sys.argv[1:])
        from verify.report import collect, show  # needs GitPython and unidiff

        report = collect(PROJECT, arguments.checkout, proofs=not arguments.quick, able=rank > 1)
    except RewactError as error:
        print(f"verify: {error}", file=sys.stderr)
        return int(error.code)
    print(json.dumps(report, indent=2) if arguments.json else show(report))
    return int(ExitCode.OK if report["sound"] else ExitCode.CHECK_FAILED)


if __name__ == "__main__":
    sys.exit(main())
