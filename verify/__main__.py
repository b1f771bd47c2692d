# SPDX-License-Identifier: MIT
"""`python -m verify [CHECKOUT]`: one report on the patch sets and a checkout, with a one-line verdict.

Lint of every patch set; of a CHECKOUT the state of every touched file by blob id; of a patched one also the
proof that with the head off nothing has changed, and upstream's own tests for the touched files before and
after. Nothing is written into the checkout.
"""

import argparse
import json
import sys
from pathlib import Path

from verify.errors import ExitCode, RewactError
from verify.interpreter import PROJECT
from verify.report import collect, show


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT", help="a LeRobot clone")
    parser.add_argument("--quick", action="store_true", help="lint and state only")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    try:
        report = collect(PROJECT, arguments.checkout, proofs=not arguments.quick)
    except RewactError as error:
        print(f"verify: {error}", file=sys.stderr)
        return int(error.code)
    print(json.dumps(report, indent=2) if arguments.json else show(report))
    return int(ExitCode.OK if report["sound"] else ExitCode.CHECK_FAILED)


if __name__ == "__main__":
    sys.exit(main())
