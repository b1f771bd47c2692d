# SPDX-License-Identifier: MIT
"""Which episodes succeeded and which failed."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rewact.keys import FOREIGN_DIR, SUCCESS_KEY
from rewact.labels.columns import read_frame_column
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import EXTENSIONS_DIR, existing_files, is_integer, read_json, write_json
from rewact.options.labels import RewardLabelsConfig

UNKNOWN, FAILURE, SUCCESS = -1, 0, 1
OUTCOMES = {"success": SUCCESS, "failure": FAILURE, "unknown": UNKNOWN}
# Words for them that recordings and people use.
SYNONYMS = {
    **{word: word for word in OUTCOMES},
    **dict.fromkeys(("succeeded", "successful", "succeed"), "success"),
    **dict.fromkeys(("failed", "fail", "unsuccessful"), "failure"),
}
OUTCOMES_FILE = f"{EXTENSIONS_DIR}/outcomes.json"
# Where recordings made with the robocandywrapper plugins keep theirs, in the same format.
FOREIGN_OUTCOMES_FILE = f"{FOREIGN_DIR}/episode_outcome/outcomes.json"
# Name of a dataset that holds failures.
FAIL_PREFIX = "fail_"


def read_outcomes(table: EpisodeTable, config: RewardLabelsConfig, from_columns: bool = True) -> np.ndarray:
    """Outcome of each episode, in the way that ``config.outcomes`` asks for.

    Args:
        table: The dataset's episodes.
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
        paths = outcome_paths(config, table.root)
        if config.outcomes == "file" and not paths:
            raise ValueError(f"reward.outcomes=file: there is no {table.root / OUTCOMES_FILE}")
        outcomes[:] = _from_files(table, paths)
        if config.outcomes == "auto":
            if from_columns:
                _fill_in(outcomes, table)
            if config.mask_actions_for_fail_data and table.name.startswith(FAIL_PREFIX):
                outcomes[outcomes == UNKNOWN] = FAILURE
    return outcomes


def _fill_in(outcomes: np.ndarray, table: EpisodeTable) -> None:
    """Outcomes that no file names, from the dataset itself."""
    if SUCCESS_KEY in table.columns:
        recorded = _success_column(table)
        if (recorded == SUCCESS).any():
            outcomes[outcomes == UNKNOWN] = recorded[outcomes == UNKNOWN]
        elif (recorded == FAILURE).any():
            # Many recordings carry the column without ever setting it.
            logging.info(
                "%s is false in all of %s and says nothing about outcomes; "
                "--dataset.reward.outcomes=next.success takes it as failures",
                SUCCESS_KEY,
                table.repo_id,
            )


def outcome_paths(config: RewardLabelsConfig, root: Path) -> list[Path]:
    """The outcome files of a dataset.

    Raises:
        ValueError: if the configuration names a file that does not exist.
    """
    names = (OUTCOMES_FILE, FOREIGN_OUTCOMES_FILE)
    return existing_files("reward.outcomes_path", config.outcomes_path, root, names)


def load_outcomes(path: Path, table: EpisodeTable) -> dict[int, str]:
    """Read ``[{"episode_index": 0, "outcome": "success", "length": 40, "identity": "90d2a1..."}]``.

    ``length`` and ``identity`` may be left out; by them the episode is found again when its number has
    changed. See :func:`parse_outcome` for the words.

    Raises:
        ValueError: naming file, episode and value, at the first thing that is wrong.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a list of outcomes, got {type(content).__name__}")
    outcomes: dict[int, str] = {}
    for entry in content:
        if not isinstance(entry, dict) or not {"episode_index", "outcome"} <= set(entry):
            raise ValueError(f"{path}: expected an object with 'episode_index' and 'outcome', got {entry!r}")
        episode, outcome = entry["episode_index"], entry["outcome"]
        if not is_integer(episode):
            raise ValueError(f"{path}: {episode!r} is not an episode number")
        where = f"{path}, episode {episode}"
        episode = table.find(episode, entry, where)
        if episode in outcomes:
            raise ValueError(f"{where}: appears twice")
        outcomes[episode] = parse_outcome(outcome, where)
    return outcomes


def parse_outcome(value: Any, where: str) -> str:
    """Outcome of an episode from a word such as "success" or "failed".

    Returns:
        "success", "failure" or "unknown".

    Raises:
        ValueError: starting with ``where``, if it is anything else.
    """
    word = SYNONYMS.get(value.strip().lower()) if isinstance(value, str) else None
    if word is None:
        raise ValueError(f"{where}: the outcome must be one of {', '.join(OUTCOMES)}, got {value!r}")
    return word


def save_outcomes(path: Path, outcomes: Mapping[int, str], table: EpisodeTable | None = None) -> None:
    """Replace an outcomes file in one step.

    Args:
        path: The file.
        outcomes: For each episode "success", "failure" or "unknown".
        table: The dataset's episodes. With it the file notes what they are recognised by.

    Raises:
        OSError: naming the file, if it cannot be written.
    """
    entries = [
        {"episode_index": episode, "outcome": outcome} for episode, outcome in sorted(outcomes.items())
    ]
    if table is not None:
        entries = [{**entry, **table.mark(entry["episode_index"])} for entry in entries]
    write_json(path, entries)


def _from_files(table: EpisodeTable, paths: list[Path]) -> np.ndarray:
    outcomes = np.full(len(table.episodes), UNKNOWN, dtype=np.int8)
    for path in paths:
        for episode, outcome in load_outcomes(path, table).items():
            row, code = table.row(episode), OUTCOMES[outcome]
            if UNKNOWN not in (code, outcomes[row]) and code != outcomes[row]:
                raise ValueError(
                    f"{' and '.join(map(str, paths))} disagree about episode {episode}; correct one of them"
                )
            if code != UNKNOWN:
                outcomes[row] = code
    return outcomes


def _success_column(table: EpisodeTable) -> np.ndarray:
    """An episode succeeded if ``next.success`` is true at any of its frames."""
    if SUCCESS_KEY not in table.columns:
        raise ValueError(f"reward.outcomes=next.success: {table.repo_id} has no such column")
    values = read_frame_column(table, SUCCESS_KEY, missing=np.nan)
    if values is None:
        return _success_statistics(table)
    outcomes = np.where(table.any(values == 1), SUCCESS, FAILURE).astype(np.int8)
    outcomes[table.any(np.isnan(values))] = UNKNOWN  # its data is not on this machine
    return outcomes


def _success_statistics(table: EpisodeTable) -> np.ndarray:
    """The same from the episodes' statistics, which a streamed dataset has on this machine too."""
    outcomes = np.full(len(table.episodes), UNKNOWN, dtype=np.int8)
    column = f"stats/{SUCCESS_KEY}/max"
    for path in sorted((table.root / "meta" / "episodes").glob("*/*.parquet")):
        if column not in pq.read_schema(path).names:
            continue
        content = pq.read_table(path, columns=["episode_index", column])
        for episode, largest in zip(
            content["episode_index"].to_pylist(), content[column].to_pylist(), strict=True
        ):
            if largest is not None:
                outcomes[table.row(episode)] = SUCCESS if np.max(largest) > 0 else FAILURE
    return outcomes
