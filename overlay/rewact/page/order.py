# SPDX-License-Identifier: MIT
"""Which episode to look at next."""

from typing import Any

import numpy as np

from rewact.page.book import GUESSES, LabelBook
from rewact.page.predictions import Predictions


def describe_episodes(
    book: LabelBook, predictions: Predictions | None, tasks: list[str]
) -> list[dict[str, Any]]:
    """The rows of the page's list, in the order that saves work.

    Unlabelled episodes come first, then those where prediction and label disagree most, then those whose
    length is unusual.

    Args:
        book: The labels.
        predictions: The model's, None without one.
        tasks: Task of each row of the book's table.
    """
    rows = [describe_episode(book, predictions, tasks, episode) for episode in book.episodes]
    return sorted(
        rows,
        key=lambda row: (
            (row["labelled"], -(row["disagreement"] or 0.0), -row["oddness"], row["episode"])
            if row["labelled"]
            else (row["labelled"], 0.0, 0.0, row["episode"])
        ),
    )


def describe_episode(
    book: LabelBook, predictions: Predictions | None, tasks: list[str], episode: int
) -> dict[str, Any]:
    """One row of the list.

    ``disagreement`` is the mean distance of prediction and label, None without a prediction; ``oddness`` how
    many robust standard deviations the logarithm of the length lies from that of the task's other episodes.
    """
    table, row = book.table, book.table.row(episode)
    labels, source = book.labels(episode), book.source(episode)
    lengths = table.lengths[table.tasks == table.tasks[row]]
    prediction = None if predictions is None else predictions.get(episode)
    disagreement = None
    if prediction is not None and source is not None:
        disagreement = round(float(np.abs(prediction.reward - book.curve(episode)).mean()), 4)
    return {
        "episode": episode,
        "length": int(table.lengths[row]),
        "task": tasks[row],
        "source": source,
        "labelled": source not in GUESSES,
        "keypoints": len(labels.keypoints),
        "outcome": book.outcome(episode),
        "human": any(mode == "human" for *_, mode in labels.control_modes),
        "disagreement": disagreement,
        "oddness": round(length_oddness(lengths, table.lengths[row]), 2),
    }


def length_oddness(lengths: np.ndarray, length: int) -> float:
    """How unusual a length is among others: robust standard deviations of its logarithm."""
    logs = np.log(np.maximum(lengths, 1))
    middle = np.median(logs)
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.05)
    return float(abs(np.log(max(length, 1)) - middle) / spread)
