# SPDX-License-Identifier: MIT
"""`python -m verify [CHECKOUT]`: lint of the patch sets, state of a checkout, and the proof of parity."""

import argparse
import json
import sys
from pathlib import Path

from verify.errors import ExitCode, RewactError
from verify.report import PROJECT, collect, show


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m verify", description=__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT", help="a LeRobot clone")
    parser.add_argument(
        "--parity", action="store_true", help="prove that with the head off nothing has changed"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    if arguments.parity and arguments.checkout is None:
        parser.error("--parity needs a CHECKOUT")
    try:
        report = collect(PROJECT, arguments.checkout, parity=arguments.parity)
    except RewactError as error:
        print(f"verify: {error}", file=sys.stderr)
        return int(error.code)
    print(json.dumps(report, indent=2) if arguments.json else show(report))
    return int(ExitCode.OK if report["sound"] else ExitCode.CHECK_FAILED)


if __name__ == "__main__":
    sys.exit(main())
