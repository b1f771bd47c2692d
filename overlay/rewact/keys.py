# SPDX-License-Identifier: MIT
"""Names of labels, in a batch and on disk, and how to tell them from columns that a dataset has of its own.

A dataset may well have a column called `reward` or `action_mask`. What the dataset wrapper adds to an item is
named in the item itself, under `LABELS_KEY`. Only that counts as a label.
"""

from collections.abc import Iterable, Mapping
from typing import Any

REWARD_KEY = "reward"
REWARD_PAD_KEY = "reward_is_pad"
ACTION_MASK_KEY = "action_mask"
ADVANTAGE_KEY = "advantage"
# Absolute index of a frame that training holds out: rewards predicted for it are judged.
HELD_OUT_KEY = "held_out_frame"
# Feature of recordings that holds the reward which the policy predicted of each frame.
PREDICTED_REWARD = "predicted_reward"
# Columns of a dataset that RECAP's training reads.
RETURN_KEY = "mc_return"
TERMINAL_KEY = "is_terminal"
SUCCESS_KEY = "next.success"
INTERVENTION_KEY = "intervention"
RECAP_KEYS = (RETURN_KEY, TERMINAL_KEY, SUCCESS_KEY, INTERVENTION_KEY)

# Names of the labels of an item, separated by spaces. A string survives every collate function, as a list.
LABELS_KEY = "rewact_labels"

# Where labels lie in a dataset's folder: ours, those of robocandywrapper, and of models that read progress.
EXTENSIONS_DIR = "rewact_extensions"
FOREIGN_DIR = "candywrapper_plugins"
DAGGER_DIR = "dagger_data_source"
PROGRESS_FILES = "*_progress.parquet"


def mark_labels(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A copy of an item, or of a batch, that says which of its entries are labels."""
    return {**item, LABELS_KEY: " ".join(names)}


def read_labels(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of an item or a batch that are marked as labels.

    Raises:
        ValueError: If the items of a batch are marked differently, or a label is missing.
    """
    marked = batch.get(LABELS_KEY, "")
    if not isinstance(marked, str):
        if len(set(marked)) > 1:
            raise ValueError(
                f"The items of a batch have different labels: {sorted(set(marked))}. Wrap all datasets of a "
                "training run with the same settings."
            )
        marked = marked[0]
    names = marked.split()
    if missing := [name for name in names if name not in batch]:
        raise ValueError(f"The batch has no {missing[0]!r}, which its {LABELS_KEY!r} names.")
    return {name: batch[name] for name in names}


def extract_labels(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a conversion of a batch must keep so that its labels stay labels; empty where it has none."""
    return {**read_labels(batch), LABELS_KEY: batch[LABELS_KEY]} if LABELS_KEY in batch else {}
