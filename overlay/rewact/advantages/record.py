# SPDX-License-Identifier: MIT
"""What advantages were computed from, kept in their file, and whether it is still so."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.labels.build import shorten
from rewact.labels.control import read_control_modes
from rewact.labels.episodes import EpisodeTable
from rewact.labels.keypoints import read_keypoints
from rewact.labels.outcomes import OUTCOMES, read_outcomes
from rewact.options.labels import RewardLabelsConfig
from rewact.values.checkpoint import checkpoint_digest, trained_labels

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

# Options that say where outcomes and control modes come from.
PATHS = ("outcomes_path", "control_modes_path", "keypoints_path")
LABEL_OPTIONS = ("outcomes", *PATHS, "mask_actions_for_fail_data")
RENEW = "lerobot-compute-advantages"
_WORDS = {code: word for word, code in OUTCOMES.items()}


def record_episodes(
    table: EpisodeTable, config: RewardLabelsConfig, episodes: Iterable[int], with_keypoints: bool
) -> dict[int, dict[str, str]]:
    """What is known of some episodes now.

    Args:
        table: The dataset's episodes.
        config: Where it is known from.
        episodes: Episode ids.
        with_keypoints: Whether values depend on keypoints.

    Returns:
        For each episode ``outcome``: "success", "failure" or "unknown"; ``control_modes``: a digest of who
        was in control, "" where nobody knows; ``keypoints``: a digest of them, "" without any.

    Raises:
        ValueError: naming file and episode, if a label file is broken.
    """
    outcomes = read_outcomes(table, config, from_columns=False)
    modes = read_control_modes(table, config)
    keypoints = read_keypoints(table, config) if with_keypoints else {}
    records = {}
    for episode in episodes:
        row = table.row(episode)
        controlled = modes[table.span(row)]
        records[episode] = {
            "outcome": _WORDS[int(outcomes[row])],
            "control_modes": _digest(controlled.tobytes()) if controlled.any() else "",
            "keypoints": _digest(repr(keypoints[episode]).encode()) if episode in keypoints else "",
        }
    return records


def make_record(
    meta: "LeRobotDatasetMetadata",
    config: RewardLabelsConfig,
    train_config: dict[str, Any] | None,
    has_values: bool,
) -> dict[str, Any]:
    """The part of an advantages file that says which labels it was computed from.

    Args:
        meta: Metadata of the dataset.
        config: Where outcomes and control modes come from.
        train_config: How the value function was trained, None if it does not say.
        has_values: Whether there is a value function.

    Returns:
        JSON values: ``labels``, the options; ``episodes``, what `record_episodes` says of each.
    """
    table = EpisodeTable.from_metadata(meta)
    with_keypoints = has_values and "keypoints" in trained_labels(train_config).get("sources", ["keypoints"])
    records = record_episodes(table, config, table.episodes.tolist(), with_keypoints)
    options: dict[str, Any] = {name: getattr(config, name) for name in LABEL_OPTIONS}
    for name in PATHS:
        if options[name] is not None:
            options[name] = str(Path(options[name]).expanduser().resolve())
    return {
        "labels": {**options, "keypoints": with_keypoints},
        "episodes": {str(e): {**table.mark(e), **record} for e, record in records.items()},
    }


def require_current(
    path: Path, provenance: dict[str, Any], table: EpisodeTable, episodes: Iterable[int]
) -> None:
    """Check that advantages are of the labels and the checkpoint that there are now.

    Args:
        path: Their file, for the message.
        provenance: What it says of itself. Files of earlier releases say nothing of labels.
        table: The dataset's episodes.
        episodes: Those whose advantages are needed.

    Raises:
        ValueError: naming what has changed, and the command that computes them again.
    """
    renew = f"compute them again: {provenance.get('command', RENEW)}"
    checkpoint, digest = provenance.get("checkpoint"), provenance.get("checkpoint_sha256")
    if checkpoint and digest and checkpoint_digest(Path(checkpoint)) not in (None, digest):
        raise ValueError(f"{path} is of another checkpoint than {checkpoint} holds now; {renew}")
    if "labels" not in provenance:
        return
    options = dict(provenance["labels"])
    with_keypoints = options.pop("keypoints")
    try:
        now = record_episodes(table, RewardLabelsConfig(**options), episodes, with_keypoints)
    except ValueError as error:
        raise ValueError(f"{path}: what it was computed from cannot be read: {error}; {renew}") from error
    for name in ("outcome", "control_modes", "keypoints"):
        then = {episode: provenance["episodes"].get(str(episode), {}).get(name) for episode in now}
        changed = [episode for episode in now if then[episode] not in (None, now[episode][name])]
        if not changed:
            continue
        first, is_one = changed[0], len(changed) == 1
        what = f"the {name.replace('_', ' ')} of "
        what += f"episode {first}" if is_one else f"{len(changed)} episodes ({shorten(changed)})"
        if name == "outcome":
            what += f", {'' if is_one else f'episode {first} '}from {then[first]} to {now[first][name]},"
        raise ValueError(f"{path} is out of date: {what} changed since; {renew}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
