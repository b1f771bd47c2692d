# SPDX-License-Identifier: MIT
"""Label files beside a dataset: where they lie, strict reading, atomic writing."""

import contextlib
import json
import math
import operator
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.keys import DAGGER_DIR, EXTENSIONS_DIR, FOREIGN_DIR
from rewact.options.errors import say_unread
from rewact.options.labels import RewardLabelsConfig

if TYPE_CHECKING:
    from rewact.labels.episodes import EpisodeTable

with contextlib.suppress(ImportError):  # not on Windows
    import fcntl

ADVANTAGES_FILE = f"{EXTENSIONS_DIR}/advantages.parquet"
# Of each kind of labels our file in a dataset's folder, then those in the same format that recordings made
# with the robocandywrapper plugins leave.
LABEL_FILES = {
    "keypoints": (f"{EXTENSIONS_DIR}/reward_keypoints.json",),
    "outcomes": (f"{EXTENSIONS_DIR}/outcomes.json", f"{FOREIGN_DIR}/episode_outcome/outcomes.json"),
    "control_modes": (
        f"{EXTENSIONS_DIR}/control_modes.json",
        f"{DAGGER_DIR}/episode_modes.json",
        f"{FOREIGN_DIR}/{DAGGER_DIR}/episode_modes.json",
        f"{FOREIGN_DIR}/control_mode/episode_modes.json",
    ),
}


def label_files(kind: str, root: Path, config: RewardLabelsConfig) -> list[Path]:
    """The files of a kind of labels: the one that the configuration names, or those that a dataset has.

    Raises:
        ValueError: if the configuration names a file that does not exist.
    """
    given = getattr(config, f"{kind}_path")
    if given is None:
        return [path for path in (root / name for name in LABEL_FILES[kind]) if path.exists()]
    path = Path(given).expanduser()
    if not path.is_file():
        raise ValueError(f"reward.{kind}_path: there is no file {path}")
    return [path]


def read_json(path: Path) -> Any:
    """Read a JSON file that must be whole: no repeated keys, nothing missing.

    Raises:
        ValueError: naming the file, if it cannot be read or is not valid JSON.
    """

    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in pairs:
            if key in content:
                repeated.append(key)
            content[key] = value
        return content

    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows begins files with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(say_unread(path, error)) from error
    try:
        content = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # of its form, or too deep, or a number of too many digits
        raise ValueError(f"{path} is not valid JSON ({error}); repair or delete it") from error
    if repeated:
        raise ValueError(f"{path}: the key {repeated[0]!r} appears twice")
    return content


def read_by_episode(path: Path, what: str) -> list[tuple[str, Any]]:
    """Read a JSON object from episode to something; returns its items.

    Raises:
        ValueError: naming the file, if it is anything else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object from episode to {what}, got {type(content).__name__}")
    return list(content.items())


def parse_episodes(
    entries: Iterable[tuple[Any, Any]],
    path: Path,
    table: "EpisodeTable",
    parse: Callable[[Any, int, "EpisodeTable", str], Any],
) -> dict[int, Any]:
    """Parse what a file says of each episode, found again where its number has changed.

    Args:
        entries: Episodes as the file names them, and what it says of each.
        path: The file, for messages.
        parse: Takes an entry, the length of its episode, the table, and the start of an error message.

    Raises:
        ValueError: naming file, episode and value, at the first thing that is wrong.
    """
    episodes: dict[int, Any] = {}
    for key, entry in entries:
        where = f"{path}, episode {key}"
        episode = table.find(parse_episode(key, where), entry, where)
        if episode in episodes:
            raise ValueError(f"{where}: appears twice")
        episodes[episode] = parse(entry, table.length(episode), table, where)
    return episodes


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file in one step; see :func:`write_atomically`."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Replace a file in one step, so that a reader sees the old content or the new, never a part.

    Args:
        path: The file to replace; its folder is made if missing.
        write: Writes the new content to the path it is given, a temporary file in the same folder.

    Raises:
        OSError: naming the file, if it cannot be written; the old content is then still there.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(descriptor)
        temporary = Path(name)
        write(temporary)
        # mkstemp makes the file private to its owner; label files are as shareable as the dataset.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError):
            raise OSError(f"{path} cannot be written: {error.strerror or error}") from error
        raise
    with contextlib.suppress(OSError):  # some systems cannot open a folder; the file itself is safe
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Keep other writers of a folder waiting, so that what they add is not lost between reading and writing.

    The folder is made if missing, and goes again if nothing was written. Where the system cannot lock a
    folder, as on Windows, nobody waits.
    """
    descriptor, is_new = None, not folder.exists()
    try:
        with contextlib.suppress(OSError):  # what stands in the way of writing is said on writing
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)  # which ends the lock, as does the end of the process
        if is_new:
            with contextlib.suppress(OSError):  # it is in use
                folder.rmdir()


def parse_episode(key: Any, where: str) -> int:
    """Episode id from a JSON value or key, as ``12`` or ``"12"``; a ValueError that starts with ``where``."""
    if is_integer(key):
        return int(key)
    if isinstance(key, str) and key.isascii() and key.isdigit() and str(int(key)) == key:
        return int(key)
    raise ValueError(f"{where}: {key!r} is not an episode number")


def is_integer(value: Any) -> bool:
    """Whether a value from JSON or a caller is an integer, numpy's included; True and False are not."""
    with contextlib.suppress(TypeError):
        return not isinstance(value, bool) and operator.index(value) is not None
    return False


def is_number(value: Any) -> bool:
    """Whether it is a finite number, numpy's and torch's scalars included; True, False and text are not."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return not isinstance(value, (bool, str)) and math.isfinite(float(value))
    return False
