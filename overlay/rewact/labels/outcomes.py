# SPDX-License-Identifier: MIT
"""Which episodes succeeded and which failed.

The file is ``rewact_extensions/outcomes.json`` in the dataset's folder::

    [{"episode_index": 0, "outcome": "success", "length": 40, "identity": "90d2a1..."}]
"""

import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from rewact.keys import SUCCESS_KEY
from rewact.labels.columns import read_frame_column, set_unknown
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import LABEL_FILES, is_integer, label_files, parse_episodes, read_json, write_json
from rewact.options.labels import RewardLabelsConfig

UNKNOWN, FAILURE, SUCCESS = -1, 0, 1
OUTCOMES = {"success": SUCCESS, "failure": FAILURE, "unknown": UNKNOWN}
# Words for them that recordings and people use.
SYNONYMS = {
    **{word: word for word in OUTCOMES},
    **dict.fromkeys(("succeeded", "successful", "succeed"), "success"),
    **dict.fromkeys(("failed", "fail", "unsuccessful"), "failure"),
}
OUTCOMES_FILE, FOREIGN_OUTCOMES_FILE = LABEL_FILES["outcomes"]
# Name of a dataset that holds failures.
FAIL_PREFIX = "fail_"


def read_outcomes(table: EpisodeTable, config: RewardLabelsConfig, from_columns: bool = True) -> np.ndarray:
    """Outcome of each episode, in the way that ``config.outcomes`` asks for.

    Args:
        config: Where outcomes come from.
        from_columns: Whether the column ``next.success`` may say what no file says.

    Returns:
        int8 ``(E,)``: 1 success, 0 failure, -1 unknown.

    Raises:
        ValueError: naming file and episode, if a file is broken, missing but asked for, or contradicts
            another.
    """
    outcomes = np.full(len(table.episodes), UNKNOWN, dtype=np.int8)
    if config.outcomes in ("success", "failure"):
        outcomes[:] = OUTCOMES[config.outcomes]
    elif config.outcomes == SUCCESS_KEY and from_columns:
        outcomes[:] = _success_column(table)
    elif config.outcomes in ("auto", "file"):
        paths = label_files("outcomes", table.root, config)
        if config.outcomes == "file" and not paths:
            raise ValueError(f"reward.outcomes=file: there is no {table.root / OUTCOMES_FILE}")
        for path in paths:
            for episode, outcome in load_outcomes(path, table).items():
                set_unknown(outcomes, table.row(episode), OUTCOMES[outcome], UNKNOWN, paths, episode)
    if config.outcomes == "auto":
        if from_columns and SUCCESS_KEY in table.columns:
            recorded = _success_column(table)
            if (recorded == SUCCESS).any():
                outcomes[outcomes == UNKNOWN] = recorded[outcomes == UNKNOWN]
            elif (recorded == FAILURE).any():
                # Many recordings carry the column without ever setting it.
                _say_once(
                    f"{SUCCESS_KEY} is false in all of {table.repo_id} and says nothing about outcomes; "
                    "--dataset.reward.outcomes=next.success takes it as failures"
                )
        if config.mask_actions_for_fail_data and table.name.startswith(FAIL_PREFIX):
            outcomes[outcomes == UNKNOWN] = FAILURE
    return outcomes


@cache
def _say_once(sentence: str) -> None:
    """Log what the labelling page would repeat at each change."""
    logging.info(sentence)


def load_outcomes(path: Path, table: EpisodeTable) -> dict[int, str]:
    """Read an outcomes file, see :func:`.files.parse_episodes`, and :func:`parse_outcome` for the words."""
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of outcomes, got {type(content).__name__}")
    for entry in content:
        if not isinstance(entry, dict) or not {"episode_index", "outcome"} <= set(entry):
            raise ValueError(f"{path}: expected an object with 'episode_index' and 'outcome', got {entry!r}")
        if not is_integer(entry["episode_index"]):
            raise ValueError(f"{path}: {entry['episode_index']!r} is not an episode number")
    entries = [(entry["episode_index"], entry) for entry in content]

    def parse(entry: dict[str, Any], length: int, table: EpisodeTable, where: str) -> str:
        return parse_outcome(entry["outcome"], where)

    return parse_episodes(entries, path, table, parse)


def parse_outcome(value: Any, where: str) -> str:
    """ "success", "failure" or "unknown", from a word such as "failed".

    Raises:
        ValueError: starting with ``where``, if it is anything else.
    """
    word = SYNONYMS.get(value.strip().lower()) if isinstance(value, str) else None
    if word is None:
        raise ValueError(f"{where}: the outcome must be one of {', '.join(OUTCOMES)}, got {value!r}")
    return word


def save_outcomes(path: Path, outcomes: Mapping[int, str], table: EpisodeTable) -> None:
    """Replace an outcomes file in one step, see :func:`.files.write_atomically`."""
    content = [
        {"episode_index": episode, "outcome": outcome, **table.mark(episode)}
        for episode, outcome in sorted(outcomes.items())
    ]
    write_json(path, content)


def _success_column(table: EpisodeTable) -> np.ndarray:
    """An episode succeeded if ``next.success`` is true at any of its frames."""
    if SUCCESS_KEY not in table.columns:
        raise ValueError(f"reward.outcomes=next.success: {table.repo_id} has no such column")
    values = read_frame_column(table, SUCCESS_KEY, is_needed=False)
    if values is None:  # streamed; the statistics of the episodes are on this machine too
        column = f"stats/{SUCCESS_KEY}/max"
        outcomes = np.full(len(table.episodes), UNKNOWN)
        for row in table.metadata([column]):
            if (largest := row.get(column)) is not None:
                outcomes[table.row(row["episode_index"])] = SUCCESS if np.max(largest) > 0 else FAILURE
        return outcomes
    outcomes = np.where(table.any(values == 1), SUCCESS, FAILURE)
    outcomes[table.any(np.isnan(values))] = UNKNOWN  # its data is not on this machine
    return outcomes
