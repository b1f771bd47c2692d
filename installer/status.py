# SPDX-License-Identifier: MIT
"""`status`: what a checkout holds, file by file, without changing anything."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from installer import console, environment, lock, patching, sets, transaction
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.fitted import LABEL
from verify.recognition import recognise, unrecorded_states
from verify.record import State
from verify.series import fingerprint
from verify.standing import file_states, is_recorded_version, tells_of_another_branch

_NEXT = {
    "outdated": "`install.py dev` brings it up to date, `install.py uninstall` takes it out.",
    "mixed": "`install.py dev` completes it, `install.py uninstall` takes it out; `install.py export` keeps "
    "what is edited.",
    "unrecorded": "It is there without a record: `install.py dev` makes one, `install.py uninstall` takes "
    "it out.",
}


def collect(project: Path, checkout: Checkout) -> dict:
    """Everything `status --json` prints.

    Returns:
        checkout; lerobot (tag or None); fitted (whether the series of that tag was fitted to another tree);
        left_out (optional patches that did not fit it); summary (one of: not installed, applied, outdated,
        mixed, unrecorded, interrupted, unsupported); message (what to do about it, or None); files (path to
        pristine, applied, other, edited or missing); environment.
    """
    patch_sets, overlay = sets.load(project)
    state = checkout.state()
    message = tag = None
    fitted = state is not None and state.fitted and is_recorded_version(checkout, state)
    try:
        tag = state.tag if fitted else recognise(checkout, patch_sets, state).tag
    except RewactError as error:
        message = str(error)
        if state is None:
            return _unlisted(project, checkout)
    if state is not None and tag not in (None, state.tag) and tells_of_another_branch(checkout, state):
        state = None  # of another branch, where it was installed too: content decides
    if state is not None:
        files = file_states(checkout, state)
        current = fingerprint(patch_sets[state.tag], overlay) if state.tag in patch_sets else None
        summary = _summary(state, files, current)
    else:
        files = unrecorded_states(checkout, patch_sets[tag], overlay) if tag else {}
        there = "unrecorded" if "applied" in files.values() else "not installed"
        summary = there if tag else "unsupported"
    message = message or _NEXT.get(summary)
    if transaction.needs_recovery(checkout):
        summary, message = "interrupted", "run `install.py dev` or `install.py uninstall` to finish it"
    left_out = state.left_out if state is not None and fitted else ()
    return _report(project, checkout, tag, fitted, left_out, summary, message, files)


def _unlisted(project: Path, checkout: Checkout) -> dict:
    """Of a tree that is not a release, and in which nothing is installed: whether a series fits it."""
    try:
        plan, _ = patching.read_plan(project, checkout, offline=True)
    except RewactError as error:
        summary = "not installed" if error.code is ExitCode.INDEX else "unsupported"
        return _report(project, checkout, None, False, (), summary, str(error), {})
    tag, message = plan.patch_set.tag, f"`install.py dev` fits the series for {plan.patch_set.tag} to it."
    return _report(project, checkout, tag, plan.fitted, plan.left_out, "not installed", message, {})


def _report(
    project: Path,
    checkout: Checkout,
    tag: str | None,
    fitted: bool,
    left_out: Sequence[str],
    summary: str,
    message: str | None,
    files: Mapping[str, str],
) -> dict:
    return {
        "checkout": str(checkout.root),
        "lerobot": tag,
        "fitted": fitted,
        "left_out": list(left_out),
        "summary": summary,
        "message": message,
        "files": dict(sorted(files.items())),
        "environment": _environment(project, checkout),
    }


def refusal_of_dev(project: Path, checkout: Checkout) -> ExitCode:
    """The exit code with which `dev` would refuse this checkout now; OK where it would go on."""
    if lock.is_held(checkout.state_dir):
        return ExitCode.BUSY
    if transaction.needs_recovery(checkout):
        return ExitCode.OK  # it puts that right first
    try:
        patching.read_plan(project, checkout, offline=True)
    except RewactError as error:
        return ExitCode.OK if error.code is ExitCode.INDEX else error.code  # `dev` would fetch
    return ExitCode.OK


def _summary(state: State, files: dict[str, str], current: str | None) -> str:
    if set(files.values()) != {"applied"}:
        return "mixed"
    return "applied" if state.fingerprint == current else "outdated"


def _environment(project: Path, checkout: Checkout) -> dict | None:
    """The environment that holds this checkout or a wheel, if one of those we would use does."""
    for candidate in environment.existing(project, checkout.root):
        found = environment.ask(candidate, [])
        if found.version is not None:
            return {
                "prefix": str(candidate.prefix),
                "python": candidate.python.version_text,
                "lerobot": found.version,
                "editable": str(found.editable) if found.editable else None,
                "is_this_checkout": found.editable == checkout.root,
            }
    return None


def show(report: dict) -> None:
    """Prints a report for people."""
    label = f", {LABEL}" if report["fitted"] else ""
    console.done(f"{report['checkout']}: LeRobot {report['lerobot'] or 'of no supported release'}{label}")
    for name in report["left_out"]:
        console.done(f"  left out  {name} (optional)")
    counts = Counter(report["files"].values())
    listing = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    console.done(f"patch set: {report['summary']}" + (f" ({listing})" if listing else ""))
    for path, name in report["files"].items():
        console.done(f"  {name:9} {path}")
    if (env := report["environment"]) is not None:
        kind = f"editable, from {env['editable']}" if env["editable"] else "a wheel"
        console.done(
            f"environment: {env['prefix']} (Python {env['python']}) has LeRobot {env['lerobot']}, {kind}"
        )
    else:
        console.done("environment: none has LeRobot installed")
    if report["message"]:
        console.done(report["message"])
