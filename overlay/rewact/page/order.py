# SPDX-License-Identifier: MIT
"""Which episode to look at next."""

from typing import Any

import numpy as np

from rewact.labels.episodes import EpisodeTable
from rewact.page.book import GUESSES, LabelBook
from rewact.page.predictions import Predictions


class Listing:
    """The rows of the page's list.

    Args:
        book: The labels.
        predictions: A model's.
        tasks: Task of each row of the book's table.
    """

    def __init__(self, book: LabelBook, predictions: Predictions, tasks: list[str]) -> None:
        self.book = book
        self.predictions = predictions
        self.tasks = tasks
        self._oddness = length_oddness(book.table)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, in the order that saves work.

        Unlabelled episodes come first, then those where prediction and label disagree most, then those whose
        length is unusual.
        """

        def urgency(row: dict[str, Any]) -> tuple[Any, ...]:
            if not row["labelled"]:
                return (0, row["episode"])
            return (1, -(row["disagreement"] or 0.0), -row["oddness"], row["episode"])

        return sorted(map(self.row, self.book.episodes), key=urgency)

    def row(self, episode: int) -> dict[str, Any]:
        """One row.

        ``disagreement`` is the mean distance of prediction and label, None without either; ``oddness`` how
        unusual the length is, see :func:`length_oddness`.
        """
        book = self.book
        row, labels, source = book.table.row(episode), book.labels(episode), book.source(episode)
        prediction = self.predictions.get(episode)
        disagreement = None
        if prediction is not None and source not in GUESSES:
            disagreement = round(float(np.abs(prediction.reward - book.curve(episode)).mean()), 4)
        return {
            "episode": episode,
            "length": int(book.table.lengths[row]),
            "task": self.tasks[row],
            "source": source,
            "labelled": source not in GUESSES,
            "keypoints": len(labels.keypoints.get(episode, ())),
            "outcome": book.outcome(episode),
            "human": any(mode == "human" for *_, mode in labels.control_modes.get(episode, ())),
            "disagreement": disagreement,
            "oddness": round(float(self._oddness[row]), 2),
        }


def length_oddness(table: EpisodeTable) -> np.ndarray:
    """How unusual the length of each episode is, ``(E,)``.

    Robust standard deviations (median absolute deviation) between its logarithm and the median of its task.
    """
    logs = np.log(np.maximum(table.lengths, 1))
    oddness = np.zeros(len(logs))
    for task in np.unique(table.tasks):
        of_task = table.tasks == task
        away = np.abs(logs[of_task] - np.median(logs[of_task]))
        oddness[of_task] = away / max(1.4826 * float(np.median(away)), 0.05)
    return oddness
