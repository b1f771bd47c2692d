# SPDX-License-Identifier: MIT
"""What is wrong with a dataset that LeRobot cannot open."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lerobot.utils import constants
from rewact.options.errors import is_of_network, reason_of


@contextmanager
def opening(data: Any) -> Iterator[None]:
    """Turn what LeRobot raises of a dataset into one sentence, where the dataset's files say why.

    LeRobot's own errors name neither the dataset nor the file, and where files are missing it asks the Hub.

    Args:
        data: ``repo_id`` and ``root`` of the dataset, as the command-line tools have them.

    Raises:
        ValueError: naming the dataset's folder, if it is neither there nor on the Hub, damaged, or of another
            format.
    """
    try:
        yield
    except Exception as error:
        folder = Path(data.root) if data.root is not None else constants.HF_LEROBOT_HOME / data.repo_id
        if (fault := _fault(folder, error)) is None:
            raise
        raise ValueError(f"the dataset {data.repo_id} {fault}") from error


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _fault(folder: Path, error: Exception) -> str | None:
    # Of the Hub, or of a file that is absent; what this machine refuses, such as a full disk, says so itself.
    has_asked = is_of_network(error) or isinstance(error, ConnectionError)
    has_asked = has_asked or isinstance(error, OSError) and error.errno in (None, errno.ENOENT)
    because = f"and the Hub does not give it ({first_line(error)})"
    info = folder / "meta" / "info.json"
    if not info.exists():
        elsewhere = "--dataset.root names the folder of one that lies elsewhere"
        return f"is not in {folder}, {because}; {elsewhere}" if has_asked else None
    if damage := _damage(folder):
        return f"in {folder} is damaged: {damage}; copy it there again"
    version = json.loads(info.read_text(encoding="utf-8")).get("codebase_version")
    if version in ("v1.6", "v2.0", "v2.1"):
        return (
            f"in {folder} has the format {version}, and this LeRobot reads v3.0: from v2.1 its script "
            "convert_dataset_v21_to_v30 converts it"
        )
    return f"in {folder} lacks {_missing(folder, error)}, {because}" if has_asked else None


def _damage(folder: Path) -> str | None:
    """The first file of metadata and data that cannot be read, and why."""
    for path in sorted([*folder.glob("meta/**/*"), *folder.glob("data/*/*")]):
        try:
            if path.suffix == ".parquet":
                pq.read_metadata(path)
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return f"{path.relative_to(folder)} cannot be read ({reason_of(error)})"
    return None


def _missing(folder: Path, error: BaseException | None) -> str:
    """The file that LeRobot did not find before it asked the Hub, if it says which."""
    while error is not None:
        name = getattr(error, "filename", None) or str(error)  # pyarrow's says nothing but the path
        if isinstance(error, FileNotFoundError) and Path(name).is_relative_to(folder):
            return str(Path(name).relative_to(folder))
        error = error.__context__
    return "some of its files"
