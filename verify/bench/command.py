# SPDX-License-Identifier: MIT
"""How the commands of the benchmark and the demo read their options; a mistake is one sentence."""

import argparse
import tempfile
from pathlib import Path
from typing import NoReturn


class Command(argparse.ArgumentParser):
    """A command whose help is the docstring of its module."""

    def __init__(self, module: str, description: str | None):
        super().__init__(
            prog=f"python -m verify.{module}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")

    def add_json(self) -> None:
        self.add_argument("--json", type=_writable_file, help="file for the figures")

    def add_dataset(self) -> None:
        """`--repo-id`, `--root` and `--cache-dir`, as `lerobot-train-values` has them."""
        self.add_argument("--repo-id", required=True)
        self.add_argument("--root", type=dataset_folder, help="folder of the dataset")
        self.add_argument("--cache-dir", type=Path, help="as of lerobot-train-values")


def dataset_folder(text: str) -> Path:
    """A folder that holds a dataset; LeRobot would ask the Hub for a missing one."""
    if not (Path(text) / "meta" / "info.json").is_file():
        raise argparse.ArgumentTypeError(f"{text} is not a dataset: meta/info.json is missing")
    return Path(text)


def writable_folder(text: str | Path) -> Path:
    """A folder that can be written, made if it is missing."""
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write to {folder}: {error.strerror}") from error


def _writable_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"cannot write to {path}: it is a folder")
    return writable_folder(path.parent) / path.name
