# SPDX-License-Identifier: MIT
"""The commands of install.py: arguments in, exit code out."""

import argparse
import sys
from pathlib import Path

from _rewact_installer import console, patching
from _rewact_installer.locate import find_checkout
from _rewact_installer.releases import find_release
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError

PROJECT = Path(__file__).resolve().parent.parent


def _checkout(arguments: argparse.Namespace) -> Checkout:
    if arguments.checkout is not None:
        return patching.open_checkout(arguments.checkout)
    version = getattr(arguments, "lerobot", None)
    found = find_checkout(PROJECT, version and find_release(version).version)
    if found is None:
        raise RewactError(ExitCode.NOT_LEROBOT, "No LeRobot clone was found here or beside: name one.")
    directory, how = found
    console.step(f"using {directory} ({how})")
    return patching.open_checkout(directory)


def dev(arguments: argparse.Namespace) -> int:
    checkout = _checkout(arguments)
    patching.install(PROJECT, checkout)
    return ExitCode.OK


def uninstall(arguments: argparse.Namespace) -> int:
    patching.uninstall(PROJECT, _checkout(arguments))
    return ExitCode.OK


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="install.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("dev", help="patch a LeRobot clone and install it editable")
    command.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT")
    command.add_argument("--no-install", action="store_true", help="only apply the patches")
    command.add_argument("--lerobot", metavar="VERSION", help="the release to fetch where there is no clone")
    command.set_defaults(run=dev)

    command = commands.add_parser("uninstall", help="put every file back as it was")
    command.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT")
    command.set_defaults(run=uninstall)
    return parser


def main(words: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(words)
    try:
        return int(arguments.run(arguments))
    except RewactError as error:
        console.fault(str(error))
        return int(error.code)
    except KeyboardInterrupt:
        console.fault("interrupted; the checkout is as it was.")
        return int(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
