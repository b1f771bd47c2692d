# SPDX-License-Identifier: MIT
"""Label files of a dataset and its repository on the Hub."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from huggingface_hub.errors import RevisionNotFoundError

from rewact.keys import DAGGER_DIR, EXTENSIONS_DIR, FOREIGN_DIR, PROGRESS_FILES
from rewact.labels import files
from rewact.labels.opening import first_line, opening
from rewact.options.errors import is_of_network

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)

LABEL_FILES = tuple(ours for ours, *_ in files.LABEL_FILES.values())
# In the folder of a download: its labels were cleared here, and are not to come back.
CLEARED = ".cache/huggingface/rewact_labels_cleared"


@contextlib.contextmanager
def _asking_the_hub() -> Iterator[None]:
    """Make an OSError of what the Hub's client raises where there is no connection."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) or not is_of_network(error):
            raise
        raise ConnectionError(str(error) or repr(error)) from error


def open_metadata(data: Any) -> "LeRobotDatasetMetadata":
    """The metadata of a dataset.

    Args:
        data: Its ``repo_id``, ``root`` and ``revision``, as the command-line tools have them.

    Raises:
        ValueError: naming its folder, if it is neither there nor on the Hub, damaged, or of another format.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

    with opening(data):
        return LeRobotDatasetMetadata(data.repo_id, root=data.root, revision=data.revision)


def pull_label_files(meta: "LeRobotDatasetMetadata") -> None:
    """Download the label files that belong to a downloaded dataset, unless there are any.

    LeRobot leaves them out where it streams a dataset or loads some of its episodes: training would go on
    without them. A dataset that was not downloaded, and label files that are there, are left as they are.

    Raises:
        OSError: if the dataset lies in the Hub's cache and the Hub cannot be asked. A folder of one's own is
            taken as it is then, with a warning.
    """
    root = Path(meta.root)
    if not _is_download(root) or (root / CLEARED).exists():
        return
    if any((root / name).exists() for name in (*LABEL_FILES, FOREIGN_DIR, DAGGER_DIR)):
        return
    # What was made here stays: advantages, and progress files of models that ran here.
    wanted = [*LABEL_FILES, f"{FOREIGN_DIR}/*", f"{DAGGER_DIR}/*"]
    if not (root / EXTENSIONS_DIR).exists():
        wanted.append(f"{EXTENSIONS_DIR}/*")
    if not any(root.glob(PROGRESS_FILES)):
        wanted.append(PROGRESS_FILES)
    target = {"revision": meta.revision, "local_dir": root}
    if is_cached(root):
        target = {"revision": root.name, "cache_dir": root.parents[2]}
    try:
        with _asking_the_hub():
            snapshot_download(meta.repo_id, repo_type="dataset", allow_patterns=wanted, **target)
    except (OSError, ValueError) as error:
        if is_cached(root):
            raise
        logger.warning(
            "Could not look for label files of %s at revision %s on the Hub (%s): those in %s are all "
            "there is",
            meta.repo_id,
            meta.revision,
            first_line(error),
            root,
        )


@_asking_the_hub()
def push_label_files(meta: "LeRobotDatasetMetadata", cleared: Sequence[str], revision: str | None) -> None:
    """Upload the label files of a dataset, and nothing else, in one commit.

    Without a ``revision`` the tag of the dataset's version, which LeRobot loads datasets by, moves to it.

    Args:
        meta: Metadata of the dataset.
        cleared: Label files to delete on the Hub, where they are not in the dataset's folder.
        revision: Branch to upload to, None for the main one.

    Raises:
        ValueError: if there is nothing to upload or to delete.
        OSError: if the Hub refuses or cannot be asked.
    """
    root, repo = Path(meta.root), {"repo_id": meta.repo_id, "repo_type": "dataset"}
    api = HfApi()
    here = [name for name in LABEL_FILES if (root / name).exists()]
    absent = [name for name in LABEL_FILES if name not in here]
    there = api.get_paths_info(paths=absent, revision=revision, **repo) if absent else []
    stale = [info.path for info in there]
    if left := [name for name in stale if name not in cleared]:
        logger.warning(
            "%s stays in %s on the Hub, though it is not in %s; --clear_all=true with --push_to_hub=true "
            "deletes all labels there",
            ", ".join(left),
            meta.repo_id,
            root,
        )
    gone = [name for name in stale if name in cleared]
    if not here and not gone:
        raise ValueError(f"{meta.repo_id} has no label files to upload: {root} has none")
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=root / name) for name in here]
    operations += [CommitOperationDelete(path_in_repo=name) for name in gone]
    commit = api.create_commit(
        operations=operations, commit_message="Update labels", revision=revision, **repo
    )
    for words, names in (("Uploaded %s to %s", here), ("Deleted %s in %s", gone)):
        if names:
            logger.info(words, ", ".join(names), meta.repo_id)
    if revision is None:
        tag = meta.revision
        with contextlib.suppress(RevisionNotFoundError):
            api.delete_tag(tag=tag, **repo)
        api.create_tag(tag=tag, revision=commit.oid, **repo)


def is_cached(root: Path) -> bool:
    """Whether a dataset lies in the Hub's cache, in a folder named by its commit."""
    return root.parent.name == "snapshots"


def remember_cleared(root: Path) -> None:
    """Note in a downloaded dataset that labels were cleared, which the next run would download again."""
    if _is_download(root):
        (root / CLEARED).parent.mkdir(parents=True, exist_ok=True)
        (root / CLEARED).touch()


def _is_download(root: Path) -> bool:
    return is_cached(root) or (root / ".cache" / "huggingface").is_dir()
