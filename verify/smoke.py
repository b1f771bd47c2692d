# SPDX-License-Identifier: MIT
"""What a fitted installation has to do before it is called installed; it takes less than a minute.

1. The scripts that are patched, and our package, import.
2. An ACT with a reward head takes two training steps and gives actions with rewards.
3. With the head off, two training steps and the actions equal those of the same tree without the patches.

Reads the checkout only.

    python -m verify.smoke CHECKOUT
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError, last_words
from verify.interpreter import PROJECT, environment
from verify.parity import prove_parity

STEPS = 2


def smoke(checkout: Checkout, python: str = sys.executable) -> str:
    """Tries a patched checkout.

    Args:
        python: of the environment in which it is installed.

    Returns:
        What was found, in one line.

    Raises:
        RewactError: CHECK_FAILED, with the reason.
    """
    checkout.installed()
    with tempfile.TemporaryDirectory(prefix="rewact-smoke-") as temporary:
        env = environment(checkout.root / "src", PROJECT)
        command = [python, "-B", "-m", "verify.smoke_steps", str(STEPS)]
        tried = subprocess.run(
            command, cwd=temporary, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    if tried.returncode:
        reason = last_words(tried)
        raise RewactError(ExitCode.CHECK_FAILED, f"{checkout.root} does not work as patched: {reason}")
    parity = prove_parity(checkout, python, ["environment-state"], STEPS)
    if parity.differences:
        raise RewactError(
            ExitCode.CHECK_FAILED,
            f"{checkout.root} is not LeRobot's own where the head is off: {parity.differences[0]}",
        )
    facts = sum(parity.compared.values())
    return (
        f"it imports and trains {STEPS} steps; with the head off {facts} facts equal the tree without patches"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m verify.smoke", description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    try:
        print(smoke(Checkout(parser.parse_args().checkout)))
    except RewactError as error:
        print(f"verify: {error}", file=sys.stderr)
        return int(error.code)
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
