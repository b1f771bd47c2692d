# SPDX-License-Identifier: MIT
"""What `python -m verify` finds out, as a dictionary and as text. Writes nothing into the checkout."""

from collections import Counter
from pathlib import Path

from verify.checkout import Checkout
from verify.errors import RewactError
from verify.gitcmd import require_git
from verify.lint import lint_patch_set
from verify.nearest import plan_checkout
from verify.patchset import load_overlay, load_patch_sets
from verify.plan import file_states, pristine_states

PROJECT = Path(__file__).resolve().parent.parent


def collect(project: Path, directory: Path | None, *, parity: bool = False) -> dict:
    """Lints every patch set and, where a checkout is named, looks at each of its files.

    Returns:
        patch_sets (tag to faults), checkout (None or: root, tag, installed, files, faults), parity (None or:
        compared, differences, verdict), sound, verdict (one line).
    """
    patch_sets = {path.name: lint_patch_set(path) for path in sorted((project / "patches").glob("v*"))}
    report: dict = {"patch_sets": patch_sets, "checkout": None, "parity": None}
    sound = bool(patch_sets) and not any(patch_sets.values())
    if directory is not None:
        require_git()
        checkout = Checkout(directory)
        report["checkout"] = _checkout(project, checkout) if sound else None
        sound = sound and not report["checkout"]["faults"]
        if parity and sound:
            report["parity"] = _parity(checkout)
            sound = not report["parity"]["differences"]
    report["sound"] = sound
    report["verdict"] = _verdict(report)
    return report


def _checkout(project: Path, checkout: Checkout) -> dict:
    """Plans an installation without carrying it out, and lists what every file holds now."""
    facts: dict = {
        "root": str(checkout.root),
        "tag": None,
        "installed": False,
        "outdated": False,
        "files": {},
        "faults": [],
    }
    state = checkout.state()
    patch_sets = load_patch_sets(project / "patches")
    try:
        plan, _ = plan_checkout(checkout, patch_sets, load_overlay(project / "overlay"))
        facts["tag"] = plan.patch_set.tag
        facts["files"] = pristine_states(checkout, plan.patch_set)
        facts["outdated"] = state is not None and state.fingerprint != plan.fingerprint
    except RewactError as error:
        facts["faults"] = str(error).splitlines()
    if state is not None:
        facts.update(tag=state.tag, installed=True, files=file_states(checkout, state))
        wrong = [f"{path} is {name}" for path, name in facts["files"].items() if name != "applied"]
        facts["faults"] = facts["faults"] or wrong
    return facts


def _parity(checkout: Checkout) -> dict:
    from verify.parity import (
        prove_parity,
    )  # runs LeRobot in processes of its own, so imported only when asked for

    proof = prove_parity(checkout)
    return {"compared": proof.compared, "differences": proof.differences, "verdict": proof.verdict}


def _verdict(report: dict) -> str:
    faults = sum(len(found) for found in report["patch_sets"].values())
    parts = [
        f"{len(report['patch_sets'])} patch sets " + (f"have {faults} faults" if faults else "are sound")
    ]
    if (checkout := report["checkout"]) is not None:
        if checkout["faults"]:
            parts.append(f"{checkout['root']} has {len(checkout['faults'])} faults")
        else:
            state = "is patched" if checkout["installed"] else "can be patched"
            state += ", with another version of the patch set" if checkout["outdated"] else ""
            parts.append(f"{checkout['root']} ({checkout['tag']}) {state}")
    if report["parity"] is not None:
        parts.append(report["parity"]["verdict"])
    return ("SOUND: " if report["sound"] else "NOT SOUND: ") + "; ".join(parts)


def show(report: dict) -> str:
    """The report for people; the verdict is its last line."""
    lines = []
    for tag, faults in report["patch_sets"].items():
        lines.append(f"patches/{tag}: {'sound' if not faults else f'{len(faults)} faults'}")
        lines += [f"  {fault}" for fault in faults]
    if (checkout := report["checkout"]) is not None:
        counts = ", ".join(
            f"{count} {name}" for name, count in sorted(Counter(checkout["files"].values()).items())
        )
        lines.append(
            f"{checkout['root']}: {checkout['tag'] or 'of no supported release'} ({counts or 'no files'})"
        )
        lines += [f"  {fault}" for fault in checkout["faults"]]
    if report["parity"] is not None:
        lines += [f"  {difference}" for difference in report["parity"]["differences"]]
    return "\n".join([*lines, report["verdict"]])
