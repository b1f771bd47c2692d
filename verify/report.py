# SPDX-License-Identifier: MIT
"""What `python -m verify` finds out, as a dictionary and as text. Writes nothing into the checkout."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from verify.checkout import Checkout
from verify.drift import LABEL
from verify.errors import RewactError
from verify.gitcmd import blob_id, require_git
from verify.interpreter import best
from verify.originals import Originals
from verify.parity import prove_parity
from verify.plan import plan_checkout
from verify.recognition import unrecorded_states
from verify.record import State
from verify.series import lint_patch_set, load_overlay, load_patch_sets
from verify.standing import file_states
from verify.upstream import compare_upstream_tests


def collect(project: Path, directory: Path | None, *, proofs: bool = False) -> dict:
    """Lints every patch set and, where a checkout is named, looks at each of its files.

    Args:
        proofs: also prove parity and run upstream's tests, where the checkout is patched.

    Returns:
        patch_sets (tag to faults), checkout (None or: root, tag, fitted, installed, outdated, files,
        other_policies, faults), parity (None or: compared, differences, verdict), upstream_tests (None or:
        files, adapted, passed, skipped, not_runnable, differences, verdict), not_run (why there are no
        proofs, or None), sound, verdict (one line).
    """
    patch_sets = {path.name: lint_patch_set(path) for path in sorted((project / "patches").glob("v*"))}
    report: dict = {"patch_sets": patch_sets, "checkout": None}
    report |= {"parity": None, "upstream_tests": None, "not_run": None}
    sound = bool(patch_sets) and not any(patch_sets.values())
    if directory is not None:
        require_git()
        checkout = Checkout(directory)
        report["checkout"] = _checkout(project, checkout) if sound else None
        sound = sound and not report["checkout"]["faults"]
        if proofs and sound:
            report |= _proofs(checkout)
            results = (report["parity"], report["upstream_tests"])
            sound = not any(result["differences"] for result in results if result)
    report["sound"] = sound
    report["verdict"] = _verdict(report)
    return report


def _checkout(project: Path, checkout: Checkout) -> dict:
    """Plans an installation without carrying it out, and lists what every file holds now."""
    facts: dict = {
        "root": str(checkout.root),
        "tag": None,
        "installed": False,
        "fitted": False,
        "outdated": False,
        "files": {},
        "other_policies": None,
        "faults": [],
    }
    state = checkout.state()
    patch_sets = load_patch_sets(project / "patches")
    try:
        overlay = load_overlay(project / "overlay")
        plan, _ = plan_checkout(checkout, patch_sets, overlay, Originals(checkout.root))
        facts |= {"tag": plan.patch_set.tag, "fitted": plan.fitted}
        facts["files"] = unrecorded_states(checkout, plan.patch_set, overlay)
        facts["outdated"] = state is not None and state.fingerprint != plan.fingerprint
    except RewactError as error:
        facts["faults"] = str(error).splitlines()
    if state is not None:
        facts.update(tag=state.tag, installed=True, files=file_states(checkout, state))
        facts["other_policies"] = other_policies(checkout, state)
        wrong = [f"{path} is {name}" for path, name in facts["files"].items() if name != "applied"]
        facts["faults"] = facts["faults"] or wrong
    return facts


def other_policies(checkout: Checkout, state: State) -> dict:
    """How many modules of the policies there are beside those that were touched, and which differ from HEAD.

    Those that differ are somebody else's doing: what the installer writes is recorded.
    """
    released = checkout.head_blobs(["src/lerobot/policies"])
    others = {
        path: identifier
        for path, identifier in released.items()
        if path.endswith(".py") and path not in state.files
    }
    changed = []
    for path, identifier in sorted(others.items()):
        found = checkout.read(path)
        if found is None or identifier not in (found.blob, blob_id(found.normalised)):
            changed.append(path)
    return {"files": len(others), "changed": changed}


def _proofs(checkout: Checkout) -> dict:
    """Runs LeRobot, and its tests, in processes of their own."""
    if checkout.state() is None:
        return {"not_run": "nothing is installed that could have changed anything"}
    python = best(checkout.root)
    if python is None:
        return {
            "not_run": f"no Python with LeRobot's requirements: run `python install.py dev {checkout.root}`"
        }
    proof = prove_parity(checkout, python)
    tests = compare_upstream_tests(checkout, python)
    return {
        "parity": {**asdict(proof), "verdict": proof.verdict},
        "upstream_tests": {**asdict(tests), "verdict": tests.verdict},
    }


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
            state += f" ({LABEL})" if checkout["fitted"] else ""
            state += ", with another version of the patch set" if checkout["outdated"] else ""
            parts.append(f"{checkout['root']} ({checkout['tag']}) {state}")
    parts += [report[proof]["verdict"] for proof in ("parity", "upstream_tests") if report[proof]]
    if report["not_run"]:
        parts.append(f"no proofs were run ({report['not_run']})")
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
        lines += [f"  {state:9} {path}" for path, state in sorted(checkout["files"].items())]
        if (others := checkout["other_policies"]) is not None:
            same = others["files"] - len(others["changed"])
            lines.append(f"  {same} of {others['files']} other modules of LeRobot's policies are as released")
            lines += [f"  edited, not by the installer: {path}" for path in others["changed"]]
        lines += [f"  {fault}" for fault in checkout["faults"]]
    if (parity := report["parity"]) is not None:
        lines.append(parity["verdict"])
        lines += [f"  {case}: {facts} facts" for case, facts in parity["compared"].items()]
        lines += [f"  {difference}" for difference in parity["differences"]]
    if (tests := report["upstream_tests"]) is not None:
        lines.append(tests["verdict"])
        lines += [f"  ran {path}" for path in tests["files"]]
        lines += [f"  adapted {path}" for path in tests["adapted"]]
        lines += [f"  {difference}" for difference in tests["differences"]]
        lines += [f"  not runnable: {name} ({reason})" for name, reason in tests["not_runnable"].items()]
        lines += [
            f"  skipped: {count} ({reason})" for reason, count in Counter(tests["skipped"].values()).items()
        ]
    return "\n".join([*lines, report["verdict"]])
