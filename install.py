#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The one entry point: reads arguments, runs a command of installer/, says in a sentence what went wrong."""

import argparse
import sys
from pathlib import Path

_SUMMARY = (
    "Adds reward prediction to LeRobot: patches a clone of it (or fetches a release), installs it, "
    "removes it."
)
_CODES = """
Exit codes: 0 done; 1 a mistake in install.py itself, with a traceback; 2 wrong arguments; 3 not a LeRobot
clone; 4 unsupported LeRobot version; 5 a file holds your edits; 6 damaged or unsafe patch set; 7 no
permission; 8 git missing, too old or refusing; 9 no fitting Python; 10 package index or network; 11 disk
full, or it fails; 12 another run is at work; 13 damaged record of what was installed; 14 what was installed
does not pass its check; 15 conflict; 130 interrupted. `test` and `demo` pass on the exit code of what they
run.
"""

if sys.version_info < (3, 10):  # noqa: UP036 (an older Python is to read this sentence, not a traceback)
    sys.stderr.write("install.py: needs Python 3.10 or newer, this is {}.{}.\n".format(*sys.version_info))
    sys.exit(9)

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH and -I leave it out

from installer import console, tools, undo  # noqa: E402
from installer.faults import explain  # noqa: E402
from installer.locate import open_checkout  # noqa: E402
from verify.errors import ExitCode, RewactError  # noqa: E402

_CHECKOUT = (
    "a git clone of LeRobot (default: the one you are in or beside, or that this Python has installed)"
)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="install.py", description=_SUMMARY, epilog=_CODES)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *, checkout: bool = True, version: bool = False) -> argparse.ArgumentParser:
        command = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        if checkout:
            command.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT", help=_CHECKOUT)
        if version:
            command.add_argument(
                "--lerobot", metavar="VERSION", help="the release to fetch when there is no clone"
            )
        return command

    dev = add("dev", "patch a LeRobot clone and install it editable", version=True)
    dev.add_argument("--no-install", action="store_true", help="only apply the patches")
    dev.add_argument(
        "--exact", action="store_true", help="refuse what is not a release; else the closest series is fitted"
    )
    prod = add(
        "prod",
        "install a wheel of the patched LeRobot; the clone stays as it is",
        version=True,
    )
    prod.add_argument("--env", type=Path, metavar="PATH", help="the environment (made when it is not there)")
    status = add("status", "say what is installed, file by file")
    status.add_argument("--json", action="store_true", help="for programs")
    add("uninstall", "put every file back as it was")
    update = add("update", "bring a patched clone to another commit, patched again", checkout=False)
    update.add_argument(
        "ref", nargs="?", metavar="REF", help="a branch, tag or commit (default: as git pull)"
    )
    update.add_argument("--checkout", type=Path, metavar="CHECKOUT", help=_CHECKOUT)
    export = add(
        "export",
        "make the patches again from a clone: edits as one more patch, those of the overlay in overlay/",
    )
    export.add_argument("--name", default="edits", help="of the patch with the edits (default: edits)")
    export.add_argument("--description", default="(say what this is for)", help="its first header field")
    drift = add("drift", "say how the patches would fare on any LeRobot tree")
    drift.add_argument("--json", action="store_true", help="for programs")
    test = add("test", "set up, then run pytest with these arguments", checkout=False, version=True)
    test.add_argument("--all", action="store_true", help="on every supported release, each by itself")
    demo = add(
        "demo",
        "set up, then train and predict on data made here (--fast: less; --episodes N; --steps N; --seed N)",
        checkout=False,
        version=True,
    )
    demo.add_argument("--output-dir", type=Path, metavar="PATH", help="(default: outputs/demo)")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "uninstall":  # goes on working with nothing installed
        return undo.command(open_checkout(arguments.checkout))
    tools.require()
    from installer import commands

    return getattr(commands, arguments.command)(arguments)


def main(words: list[str] | None = None) -> int:
    console.accept_any_name()
    parser = build_parser()
    arguments, rest = parser.parse_known_args(words)
    if rest and arguments.command not in ("test", "demo"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        return int(_run(arguments))
    except RewactError as error:
        console.fault(str(error))
        return int(error.code)
    except OSError as error:
        explained = explain(error)
        console.fault(str(explained))
        return int(explained.code)
    except KeyboardInterrupt:
        console.fault("interrupted. Run the same command again to go on.")
        return int(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
