# SPDX-License-Identifier: MIT
"""Programs that start warm: they fork from a server that has imported LeRobot's scripts.

A process of its own spends most of its time on imports. What a fork does not show (the import of a script by
itself, the launcher of several processes) is tested by `tests.launch` once per release.
"""

import importlib
import multiprocessing
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from lerobot.utils import constants
from tests.launch import ENVIRONMENT, free_port

PRELOADED = [
    "lerobot.scripts.lerobot_train",
    "lerobot.scripts.lerobot_eval",
    "rewact.cli.compute_advantages",
    "rewact.cli.eval_rewards",
    "rewact.cli.visualize_rewards",
    "tests.warm",
]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


class Ended:
    """How a program ended: its exit code and what it printed, both streams in one."""

    def __init__(self, code: int, output: str):
        self.code, self.output = code, output


def run(module: str, *arguments: object) -> Ended:
    """Run the `main` of a module with these arguments, as its console script would."""
    return run_together(module, *arguments, n_processes=1)[0]


def run_together(module: str, *arguments: object, n_processes: int) -> list[Ended]:
    """Run the `main` of a module in several processes that know of each other, as a launcher would."""
    port = free_port()
    with TemporaryDirectory() as folder:
        processes = []
        for rank in range(n_processes):
            environment = ENVIRONMENT | {"HF_LEROBOT_HOME": str(constants.HF_LEROBOT_HOME)}
            if n_processes > 1:
                environment |= _of_launcher(rank, n_processes, port)
            log = Path(folder) / f"{rank}.log"
            words = [module, *map(str, arguments)]
            process = _context.Process(target=_main, args=(words, environment, os.getcwd(), log))
            process.start()
            processes.append((process, log))
        for process, _ in processes:
            process.join()
        return [Ended(process.exitcode, log.read_text(errors="replace")) for process, log in processes]


def _of_launcher(rank: int, n_processes: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_processes),
        "LOCAL_WORLD_SIZE": str(n_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_MIXED_PRECISION": "no",
        "ACCELERATE_DYNAMO_BACKEND": "NO",
    }


def _main(words: Sequence[str], environment: dict[str, str], directory: str, log: Path) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    constants.HF_LEROBOT_HOME = Path(environment["HF_LEROBOT_HOME"])  # the server has read its own
    module, *arguments = words
    sys.argv = [module.rpartition(".")[2].replace("_", "-"), *arguments]
    try:
        importlib.import_module(module).main()
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
