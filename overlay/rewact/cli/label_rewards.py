# SPDX-License-Identifier: MIT
r"""Label a dataset: rewards at keypoints, outcomes and control modes of its episodes.

Labels are kept under `rewact_extensions/` in the dataset's folder, where training finds them. Without
anything to apply or clear, the labels that are there are listed.

Examples:

Apply a file, after looking at what it would change:
```
lerobot-label-rewards --labels=labels.json --dry_run=true
lerobot-label-rewards --labels=labels.json
```
where `labels.json` holds
```
{"repo_id": "me/pick", "episodes": {
  "0": {"keypoints": [{"timestamp": 0.3, "reward": 0.0}, {"frame_index": 80, "reward": 1.0}],
        "outcome": "success",
        "control_modes": [{"start_index": 0, "end_index": 57, "mode": "policy"}]},
  "1": {"outcome": "failure"}
}}
```
Each of the three may be left out. The files under `rewact_extensions/` are read as well, and so is
`{"1": "failed"}`.

Say how episodes ended:
```
lerobot-label-rewards --dataset.repo_id=me/pick --failed='[2, 5]' --succeeded='[0, 1]'
```

List the labels, clear those of two episodes, or of all:
```
lerobot-label-rewards --dataset.repo_id=me/pick
lerobot-label-rewards --dataset.repo_id=me/pick --clear='[3, 4]'
lerobot-label-rewards --dataset.repo_id=me/pick --clear_all=true
```

Upload the label files, and nothing else, to the dataset's repository on the Hub; with `--clear` or
`--clear_all`, those that this leaves empty are deleted there too:
```
lerobot-label-rewards --dataset.repo_id=me/pick --push_to_hub=true
```
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewact.cli.common import run_tool
from rewact.options.errors import say_unread

if TYPE_CHECKING:
    from rewact.labels.episodes import EpisodeTable
    from rewact.labels.label_file import LabelSet


@dataclass
class LabelledDatasetConfig:
    """Which dataset to label."""

    # Name of the dataset, as user/name. Default: the repo_id that the file of --labels names.
    repo_id: str
    # Its folder. Default: where LeRobot keeps it.
    root: str | None = None
    # Branch or tag. Default: the tag of the dataset's version; uploading moves it, unless a branch is given.
    revision: str | None = None


@dataclass
class LabelRewardsConfig:
    dataset: LabelledDatasetConfig
    # JSON file with labels to apply. They replace what the episodes they name had of the same kind.
    labels: str | None = None
    # Episodes that succeeded.
    succeeded: list[int] | None = None
    # Episodes that failed.
    failed: list[int] | None = None
    # Episodes whose labels to remove, before any are applied.
    clear: list[int] | None = None
    # Remove the labels of all episodes, before any are applied.
    clear_all: bool = False
    # Show what would change, and change nothing.
    dry_run: bool = False
    # Make the label files in the dataset's repository those that are here.
    push_to_hub: bool = False

    def __post_init__(self) -> None:
        if self.clear and self.clear_all:
            raise ValueError("give either --clear or --clear_all, not both")
        if both := {*(self.succeeded or [])} & {*(self.failed or [])}:
            raise ValueError(f"episode {min(both)} is named in --succeeded and in --failed")

    @staticmethod
    def fill_in(content: dict[str, Any]) -> None:
        """Take the dataset's name from the file of labels, where it stands there and is not given."""
        if isinstance(content.get("labels"), str) and "dataset.repo_id" not in content:
            path = Path(content["labels"]).expanduser()
            try:
                labels = json.loads(path.read_text(encoding="utf-8-sig"))
            except (OSError, ValueError) as error:
                raise ValueError(say_unread(f"--labels={path}", error)) from error
            if isinstance(labels, dict) and isinstance(labels.get("repo_id"), str):
                content["dataset.repo_id"] = labels["repo_id"]


def label_rewards(cfg: LabelRewardsConfig) -> "LabelSet":
    """Apply, clear, list and upload labels; returns the labels that the dataset then has."""
    from rewact.labels.episodes import EpisodeTable
    from rewact.labels.files import ADVANTAGES_FILE, EXTENSIONS_DIR, writing_in
    from rewact.labels.hub import (
        LABEL_FILES,
        is_cached,
        open_metadata,
        pull_label_files,
        push_label_files,
    )
    from rewact.labels.label_file import LabelSet, load_labels, read_label_file, save_labels

    meta = open_metadata(cfg.dataset)
    pull_label_files(meta)  # uploaded again, they would replace those that only the Hub has
    table = EpisodeTable.from_metadata(meta)
    succeeded, failed = cfg.succeeded or [], cfg.failed or []
    for episode in (*(cfg.clear or []), *succeeded, *failed):
        table.row(episode)
    new = LabelSet() if cfg.labels is None else read_label_file(Path(cfg.labels).expanduser(), table)
    new.outcomes |= dict.fromkeys(succeeded, "success") | dict.fromkeys(failed, "failure")

    def changed(labels: LabelSet) -> LabelSet:
        return labels.without(labels.episodes() if cfg.clear_all else cfg.clear or []).updated(new)

    before = load_labels(table)
    after = changed(before)
    after.check(table.repo_id, before)
    print_labels(table, after, before)
    if cfg.dry_run:
        logging.info("Dry run: nothing was written")
        return before
    cleared = list(LABEL_FILES) if cfg.clear_all else []
    advantages = table.root / ADVANTAGES_FILE
    if cfg.clear_all and advantages.exists():  # they were computed from these labels
        advantages.unlink()
        logging.info("Deleted %s", advantages)
    if after != before:
        with writing_in(table.root / EXTENSIONS_DIR):
            before = load_labels(table)  # with what others have written since
            after = changed(before)
            paths = save_labels(table, after, before)
        for path in paths:
            logging.info("%s %s", "Wrote" if path.exists() else "Deleted", path)
        cleared += [path.relative_to(table.root).as_posix() for path in paths if not path.exists()]
        if is_cached(table.root) and not cfg.push_to_hub:
            logging.warning(
                "%s is the Hub's cache of one commit: when the tag of %s moves, training no longer finds "
                "these labels. Keep them with --push_to_hub=true, or label a copy of your own with "
                "--dataset.root",
                table.root,
                table.repo_id,
            )
    if cfg.push_to_hub:
        push_label_files(meta, cleared, cfg.dataset.revision)
    return after


def print_labels(table: "EpisodeTable", labels: "LabelSet", before: "LabelSet") -> None:
    """Print the labelled episodes; where some differ from before, those alone."""
    from rich.console import Console
    from rich.table import Table

    episodes = sorted({*labels.episodes(), *before.episodes()})
    total, labelled = len(table.episodes), len(labels.episodes())
    counts = f"{len(labels.keypoints)} with keypoints, {len(labels.outcomes)} with an outcome"
    console = Console(markup=False, emoji=False)  # names are shown as they are
    console.print(
        f"{table.repo_id}, {total} episodes: {counts}, {total - labelled} without labels", soft_wrap=True
    )
    if not episodes:
        return
    changed = [episode for episode in episodes if labels.of(episode) != before.of(episode)]
    if changed:
        console.print(f"{len(changed)} changed:")
    grid = Table()
    for name in ("episode", "frames", "keypoints (frame: reward)", "outcome", "control modes"):
        grid.add_column(name)
    for episode in changed or episodes:
        grid.add_row(str(episode), str(table.length(episode)), *_cells(labels, episode))
    console.print(grid)
    try:
        labels.check(table.repo_id)
    except ValueError as error:  # left by a tool that does not know both
        console.print(f"Training refuses these labels. {error}", style="bold red", soft_wrap=True)


def _cells(labels: "LabelSet", episode: int) -> tuple[str, str, str]:
    keypoints = labels.keypoints.get(episode, {})
    segments = labels.control_modes.get(episode, [])
    return (
        ", ".join(f"{frame}: {reward:.3g}" for frame, reward in keypoints.items()),
        labels.outcomes.get(episode, ""),
        ", ".join(f"{first}-{last} {mode}" for first, last, mode in segments),
    )


def main() -> None:
    run_tool(LabelRewardsConfig, label_rewards, __doc__)


if __name__ == "__main__":
    main()
