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
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from verify.drift import Released, nearest
from verify.errors import ExitCode, RewactError
from verify.interpreter import PROJECT
from verify.originals import Originals
from verify.repository import opened
from verify.series import Content, load_overlay, load_patch_sets

if TYPE_CHECKING:
    import git

_COLOURS = {
    "clean": "#1a7f37", "moved": "#7fc97f", "merged": "#9ecae1", "left out": "#f0ad4e", "misfit": "#c0392b"
}  # fmt: skip


def examine_history(
    git: Path, commits: str, stride: int, series: Mapping[str, Released], overlay: Mapping[str, Content]
) -> list[dict]:
    """How the series that fits best fares on each first-parent commit of a range, oldest first.

    Says on standard error how far it is.

    Returns:
        commit, date, tag and fits of each; patches (of each patch whether it is clean, moved, merged, left
        out as it is optional, or a misfit); reasons (one line for each that does not fit).

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

            @functools.cache
            def read(path: str, tree: "git.Tree" = commit.tree) -> bytes | None:
                try:
                    return (tree / path).data_stream.read()
                except KeyError:
                    return None

            drift = nearest(series, overlay, read, commit.hexsha)
            patches, reasons = {}, [*(f"{path} is taken" for path in drift.taken), *map(str, drift.faults)]
            for change in drift.fit.changes:
                name, unfit = change.change.name, "left out" if change.change.optional else "misfit"
                patches[name] = change.status if change.fits else unfit
                reasons += [
                    f"{name} ({unfit}): {file.where}: {file.reason}" for file in change.files if not file.fits
                ]
            row = {"commit": commit.hexsha, "date": commit.committed_datetime.date().isoformat()}
            row |= {"tag": drift.tag, "fits": drift.fits, "patches": patches, "reasons": reasons}
            rows.append(row)
    print(f"\r{len(rows)} of {len(rows)} commits", file=sys.stderr)
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "none"


def _title(commits: str, rows: Sequence[dict]) -> str:
    return f"{commits}: {_share(sum(row['fits'] for row in rows), len(rows))} commits fit"


def table(commits: str, rows: Sequence[dict], series: Mapping[str, Released]) -> str:
    """The share of commits that fit, of each patch of those it was tried on, and what is missing."""
    whole = sum(row["fits"] and "left out" not in row["patches"].values() for row in rows)
    lines = [_title(commits, rows), f"with nothing left out: {_share(whole, len(rows))}"]
    for tag in sorted({row["tag"] for row in rows}):
        of_tag = [row["patches"] for row in rows if row["tag"] == tag]
        lines.append(f"series for {tag}, the best on {len(of_tag)} commits:")
        for patch in series[tag].patch_set.patches:
            states = [patches[patch.name] for patches in of_tag if patch.name in patches]
            fit = sum(state not in ("left out", "misfit") for state in states)
            tier = "optional" if patch.optional else "core"
            lines.append(f"  {tier:8}  {patch.name:36}  {_share(fit, len(states))}")
    counts = Counter(reason for row in rows for reason in row["reasons"])
    first = {reason: row["commit"][:9] for row in reversed(rows) for reason in row["reasons"]}
    lines += [f"{count} commits, first {first[reason]}: {reason}" for reason, count in counts.most_common()]
    return "\n".join(lines)


def plot(commits: str, rows: Sequence[dict], path: Path) -> None:
    """One line a patch, one column a commit."""
    from matplotlib import pyplot
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch as Swatch

    patches = sorted({(row["tag"], name) for row in rows for name in row["patches"]})
    shown = list(_COLOURS)
    cells = [
        [
            shown.index(row["patches"][name])
            if row["tag"] == tag and name in row["patches"]
            else float("nan")
            for row in rows
        ]
        for tag, name in patches
    ]
    figure, axes = pyplot.subplots(figsize=(11, 1.5 + 0.22 * len(patches)), layout="constrained")
    colours = ListedColormap(list(_COLOURS.values()))
    axes.imshow(cells, aspect="auto", cmap=colours, vmin=-0.5, vmax=4.5, interpolation="nearest")
    names = [f"{tag} {name.removesuffix('.patch')}" for tag, name in patches]
    axes.set_yticks(range(len(names)), names, fontsize=7)
    ticks = range(0, len(rows), max(len(rows) // 8, 1))
    axes.set_xticks(ticks, [rows[at]["date"] for at in ticks], fontsize=7)
    axes.set_title(_title(commits, rows))
    found = {state for row in rows for state in row["patches"].values()}
    swatches = [Swatch(color=colour, label=word) for word, colour in _COLOURS.items() if word in found]
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
    if arguments.plot is not None:  # which is drawn after minutes
        if find_spec("matplotlib") is None:
            parser.error("--plot needs matplotlib: run with the Python of an environment that has it")
        if not arguments.plot.parent.is_dir():
            parser.error(f"--plot {arguments.plot}: there is no folder {arguments.plot.parent}")
    try:
        if not git.is_dir():
            raise RewactError(ExitCode.USAGE, f"{git} is not a directory: name a clone or a git directory.")
        patch_sets, originals = load_patch_sets(PROJECT / "patches"), Originals(git)
        series = {tag: Released(patch_set, originals) for tag, patch_set in patch_sets.items()}
        rows = examine_history(git, commits, arguments.stride, series, load_overlay(PROJECT / "overlay"))
        if arguments.plot is not None:
            plot(commits, rows, arguments.plot)
    except RewactError as error:
        print(f"verify: {error}", file=sys.stderr)
        return int(error.code)
    if arguments.json:
        fits = sum(row["fits"] for row in rows)
        facts = {"range": commits, "stride": arguments.stride, "commits": len(rows), "fits": fits}
        print(json.dumps(facts | {"rows": rows}, indent=2))
    else:
        print(table(commits, rows, series))
    return ExitCode.OK
