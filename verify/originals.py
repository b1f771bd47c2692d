# SPDX-License-Identifier: MIT
"""Files of a release, by their blob ids: from a repository's own history, else from the release's archive.

What is found is the file that is meant, wherever it comes from: its id says so. Reads only.
"""

import tarfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from verify.gitcmd import blob_id
from verify.paths import cache_directory
from verify.repository import stored_blob

# The source archive of a release, by its tag; None where there is none.
Archive = Callable[[str], Path | None]


def cached_archive(tag: str) -> Path | None:
    path = cache_directory() / f"lerobot-{tag.removeprefix('v')}.tar.gz"
    return path if path.is_file() else None


class Originals:
    """Finds the files of releases.

    Args:
        root: the repository whose objects are looked at first; None for none.
        archive: where the archives are.
    """

    def __init__(self, root: Path | None, archive: Archive = cached_archive) -> None:
        self._root, self._archive = root, archive

    def find(self, tag: str, path: str, identifier: str) -> bytes | None:
        """The file of a release with this id, or None where it is found nowhere."""
        stored = stored_blob(self._root, identifier) if self._root is not None else None
        if stored is not None:
            return stored
        archive = self._archive(tag)
        data = _sources(archive).get(path) if archive is not None else None
        return data if data is not None and blob_id(data) == identifier else None


@lru_cache(maxsize=4)
def _sources(archive: Path) -> dict[str, bytes]:
    """The Python and TOML files of an archive, by their path below its one directory; {} if it is damaged."""
    found = {}
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                path = member.name.partition("/")[2]
                if member.isreg() and path.endswith((".py", ".toml")):
                    found[path] = opened.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError):
        return {}
    return found
