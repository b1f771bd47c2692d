# SPDX-License-Identifier: MIT
"""Label files of a dataset that was downloaded from the Hub."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import snapshot_download

from .files import EXTENSIONS_DIR

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

logger = logging.getLogger(__name__)

LABEL_DIRS = (EXTENSIONS_DIR, "candywrapper_plugins")


def pull_label_files(meta: "LeRobotDatasetMetadata") -> None:
    """Download the label files that belong to a downloaded dataset, unless there are any.

    LeRobot leaves them out where it streams a dataset or loads some of its episodes: training would go on
    without them. A dataset that was not downloaded, and label files that are there, are left as they are.
    """
    root = Path(meta.root)
    if any((root / name).exists() for name in LABEL_DIRS):
        return
    if root.parent.name == "snapshots":  # in the Hub's cache, named by its commit
        target = {"revision": root.name, "cache_dir": root.parents[2]}
    elif (root / ".cache" / "huggingface").is_dir():  # downloaded into a folder of its own
        target = {"revision": meta.revision, "local_dir": root}
    else:
        return
    snapshot_download(
        meta.repo_id, repo_type="dataset", allow_patterns=[f"{name}/*" for name in LABEL_DIRS], **target
    )
    if any((root / name).exists() for name in LABEL_DIRS):
        logger.info("Downloaded the label files of %s", meta.repo_id)
