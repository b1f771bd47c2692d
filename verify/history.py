# SPDX-License-Identifier: MIT
"""How many commits of LeRobot's history the series fit: by patch and tier, as table, JSON and plot.

python -m verify.drift --history GIT RANGE [--stride N] [--json] [--plot FILE]
"""

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from verify.drift import Drift, Released, nearest
from verify.errors import ExitCode, RewactError
from verify.fit import Read
from verify.interpreter import PROJECT
from verify.originals import Originals
from verify.repository import opened
from verify.series import Content, load_overlay, load_patch_sets

if TYPE_CHECKING:
    import git

_SHOWN = ("clean", "moved", "merged", "left out", "misfit")
_COLOURS = ("#1a7f37", "#7fc97f", "#9ecae1", "#f0ad4e", "#c0392b")


@dataclass(frozen=True)
class Commit:
    """How the series that fits best fares on one commit.

    Attributes:
        patches: of each patch whether it is clean, moved, merged, left out (optional) or a misfit.
        reasons: why it does not fit, or why patches are left out; one line each.
    """

    commit: str
    date: str
    tag: str
    fits: bool
    patches: dict[str, str]
    reasons: tuple[str, ...]


def examine_history(
    git: Path, commits: str, stride: int, series: Mapping[str, Released], overlay: Mapping[str, Content]
) -> list[Commit]:
    """The first-parent commits of a range, oldest first; says on standard error how far it is.

    Raises:
        RewactError: USAGE, where git does not know the range.
    """
    rows = []
    with opened(git) as repository:
        from git import GitCommandError

        try:
            # The newest is always among them.
            chosen = list(repository.iter_commits(commits, first_parent=True))[::stride][::-1]
        except GitCommandError as error:
            said = error.stderr.strip().removeprefix("stderr: '").removesuffix("'").strip()
            raise RewactError(ExitCode.USAGE, f"git does not know {commits} in {git}: {said}") from None
        for number, commit in enumerate(chosen):
            if number % 10 == 0:
                print(f"\r{number} of {len(chosen)} commits", end="", file=sys.stderr, flush=True)
            date = commit.committed_datetime.date().isoformat()
            rows.append(_row(commit.hexsha, date, nearest(series, overlay, _reader(commit), commit.hexsha)))
    print(f"\r{len(rows)} of {len(rows)} commits", file=sys.stderr)
    return rows


def _reader(commit: "git.Commit") -> Read:
    """Reads the files of a commit, each once."""

    @functools.cache
    def read(path: str) -> bytes | None:
        try:
            return (commit.tree / path).data_stream.read()
        except KeyError:
            return None

    return read


def _row(commit: str, date: str, drift: Drift) -> Commit:
    patches, reasons = {}, [*(f"{path} is taken" for path in drift.taken), *map(str, drift.faults)]
    for change in drift.fit.changes:
        unfit = "left out" if change.change.optional else "misfit"
        patches[change.change.name] = change.status if change.fits else unfit
        reasons += [
            f"{change.change.name} ({unfit}): {file.where}: {file.reason}"
            for file in change.files
            if not file.fits
        ]
    return Commit(commit, date, drift.tag, drift.fits, patches, tuple(reasons))


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "none"


def table(title: str, rows: Sequence[Commit], optional: Mapping[str, set[str]]) -> str:
    """The share of commits that fit, of each patch the share of those it was tried on, and what is missing.

    Args:
        optional: of each series its optional patches.
    """
    lines = [f"{title}: {_share(sum(row.fits for row in rows), len(rows))} commits fit"]
    whole = sum(row.fits and "left out" not in row.patches.values() for row in rows)
    lines.append(f"with nothing left out: {_share(whole, len(rows))}")
    for tag in sorted({row.tag for row in rows}):
        of_tag = [row for row in rows if row.tag == tag]
        lines.append(f"series for {tag}, the best on {len(of_tag)} commits:")
        for name in dict.fromkeys(name for row in of_tag for name in row.patches):
            states = [row.patches[name] for row in of_tag if name in row.patches]
            fit = sum(state not in ("left out", "misfit") for state in states)
            tier = "optional" if name in optional[tag] else "core"
            lines.append(f"  {tier:8}  {name:36}  {_share(fit, len(states))}")
    counts = Counter(reason for row in rows for reason in row.reasons)
    first = {reason: row.commit[:9] for row in reversed(rows) for reason in row.reasons}
    lines += [f"{count} commits, first {first[reason]}: {reason}" for reason, count in counts.most_common()]
    return "\n".join(lines)


def plot(title: str, rows: Sequence[Commit], path: Path) -> None:
    """One line a patch, one column a commit."""
    try:
        from matplotlib import pyplot
        from matplotlib.colors import ListedColormap
        from matplotlib.patches import Patch as Swatch
    except ImportError:
        raise RewactError(
            ExitCode.USAGE, "--plot needs matplotlib: run with the Python of an environment that has it."
        ) from None
    patches = sorted({(row.tag, name) for row in rows for name in row.patches})
    cells = [
        [
            _SHOWN.index(row.patches[name]) if row.tag == tag and name in row.patches else float("nan")
            for row in rows
        ]
        for tag, name in patches
    ]
    figure, axes = pyplot.subplots(figsize=(11, 1.5 + 0.22 * len(patches)), layout="constrained")
    colours = ListedColormap(_COLOURS)
    axes.imshow(cells, aspect="auto", cmap=colours, vmin=-0.5, vmax=4.5, interpolation="nearest")
    names = [f"{tag} {name.removesuffix('.patch')}" for tag, name in patches]
    axes.set_yticks(range(len(names)), names, fontsize=7)
    ticks = range(0, len(rows), max(len(rows) // 8, 1))
    axes.set_xticks(ticks, [rows[at].date for at in ticks], fontsize=7)
    axes.set_title(f"{title}: {_share(sum(row.fits for row in rows), len(rows))} commits fit")
    swatches = [Swatch(color=colour, label=word) for colour, word in zip(_COLOURS, _SHOWN, strict=True)]
    figure.legend(handles=swatches, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m verify.drift",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--history", nargs=2, required=True, metavar=("GIT", "RANGE"))
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="look at every Nth commit")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it, too")
    arguments = parser.parse_args()
    git, commits = Path(arguments.history[0]), arguments.history[1]
    if arguments.stride < 1:
        parser.error(f"--stride {arguments.stride}: it has to be at least 1")
    try:
        if not git.is_dir():
            raise RewactError(ExitCode.USAGE, f"{git} is not a directory: name a clone or a git directory.")
        patch_sets = load_patch_sets(PROJECT / "patches")
        series = {tag: Released(patch_set, Originals(git)) for tag, patch_set in patch_sets.items()}
        rows = examine_history(git, commits, arguments.stride, series, load_overlay(PROJECT / "overlay"))
        if arguments.plot is not None:
            plot(commits, rows, arguments.plot)
    except RewactError as error:
        print(f"verify: {error}", file=sys.stderr)
        return int(error.code)
    if arguments.json:
        fits = sum(row.fits for row in rows)
        facts = {"range": commits, "stride": arguments.stride, "commits": len(rows), "fits": fits}
        print(json.dumps(facts | {"rows": [asdict(row) for row in rows]}, indent=2))
    else:
        optional = {
            tag: {patch.name for patch in patch_set.patches if patch.optional}
            for tag, patch_set in patch_sets.items()
        }
        print(table(commits, rows, optional))
    return ExitCode.OK
