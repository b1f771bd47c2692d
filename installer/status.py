# SPDX-License-Identifier: MIT
"""`status`: what a checkout holds, file by file, without changing anything."""

import contextlib
import os
from collections import Counter
from pathlib import Path

from installer import console, environment, lock, patching, transaction
from verify.checkout import Checkout
from verify.drift import LABEL
from verify.errors import ExitCode, RewactError
from verify.plan import plan_checkout
from verify.recognition import recognise, unrecorded_states
from verify.series import fingerprint
from verify.standing import file_states, is_recorded_version, tells_of_another_branch

# Where nearly all new files lie.
PACKAGE = "src/rewact/"

_NEXT = {
    "outdated": "`install.py dev` brings it up to date, `install.py uninstall` takes it out.",
    "mixed": "`install.py dev` completes it, `install.py uninstall` takes it out; `install.py export` keeps "
    "what is edited.",
    "unrecorded": "It is there without a record: `install.py dev` makes one, `install.py uninstall` takes "
    "it out.",
}


def collect(project: Path, checkout: Checkout) -> tuple[dict, ExitCode]:
    """Everything `status --json` prints, and the code with which `dev` would refuse this checkout, or OK.

    Returns:
        checkout; lerobot (tag or None); fitted (whether the series of that tag was, or would be, fitted to
        another tree); left_out (optional patches that do not fit it); summary (one of: not installed,
        applied, outdated, mixed, unrecorded, interrupted, unsupported); message (what to do about it, or
        None); files (path to pristine, applied, other, edited or missing); environment.
    """
    patch_sets, overlay = patching.load(project)
    state, originals = checkout.state(), patching.originals_of(checkout.root, offline=True)
    tag = refusal = message = None
    fitted, left_out, files = False, (), {}
    try:
        plan, _ = plan_checkout(checkout, patch_sets, overlay, originals)
        tag, fitted, left_out = plan.patch_set.tag, plan.fitted, plan.left_out
    except RewactError as error:
        refusal, message = error, str(error)
        with contextlib.suppress(RewactError):
            tag, message = recognise(checkout, patch_sets, state).tag, None
        if state is not None and is_recorded_version(checkout, state):
            fitted, left_out = state.fitted, state.left_out
    if state is not None and tag not in (None, state.tag) and tells_of_another_branch(checkout, state):
        state = None  # of another branch, where it was installed too: content decides
    if state is not None:
        files = file_states(checkout, state)
        current = fingerprint(patch_sets[state.tag], overlay) if state.tag in patch_sets else None
        summary = "applied" if state.fingerprint == current else "outdated"
        if set(files.values()) != {"applied"}:
            summary = "mixed"
    elif fitted:
        summary, message = "not installed", f"`install.py dev` fits the series for {tag} to it."
    elif tag is not None:
        files = unrecorded_states(checkout, patch_sets[tag], overlay)
        summary = "unrecorded" if "applied" in files.values() else "not installed"
    else:
        summary = "not installed" if refusal.code is ExitCode.INDEX else "unsupported"
    code = ExitCode.OK if refusal is None or refusal.code is ExitCode.INDEX else refusal.code
    if transaction.needs_recovery(checkout):  # `dev` puts that right first
        summary, message = "interrupted", "run `install.py dev` or `install.py uninstall` to finish it"
        code = ExitCode.OK
    elif state is None and os.path.lexists(checkout.record.update_path):
        summary, message = "interrupted", "an `update` ended in the middle: run it again, or `install.py dev`"
    found = {
        "checkout": str(checkout.root),
        "lerobot": tag,
        "fitted": fitted,
        "left_out": list(left_out),
        "summary": summary,
        "message": message or _NEXT.get(summary),
        "files": dict(sorted(files.items())),
        "environment": _environment(project, checkout),
    }
    return found, ExitCode.BUSY if lock.is_held(checkout.state_dir) else code


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
    near, label = ("near ", f", {LABEL}") if report["fitted"] else ("", "")
    found = report["lerobot"] or "of no supported release"
    console.done(f"{report['checkout']}: LeRobot {near}{found}{label}")
    for name in report["left_out"]:
        console.done(f"  left out  {name} (optional)")
    counts = Counter(report["files"].values())
    listing = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    console.done(f"patch set: {report['summary']}" + (f" ({listing})" if listing else ""))
    files = dict(report["files"])
    ours = [path for path in files if path.startswith(PACKAGE)]
    if len(ours) > 1 and len({files[path] for path in ours}) == 1:  # a line says as much as hundreds
        files[f"{PACKAGE} ({len(ours)} files)"] = [files.pop(path) for path in ours][0]
    for path, name in sorted(files.items()):
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
