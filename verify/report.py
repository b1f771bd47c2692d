# SPDX-License-Identifier: MIT
"""What `python -m verify` finds out, as a dictionary and as text. Writes nothing into the checkout."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path

from verify.checkout import Checkout
from verify.drift import LABEL
from verify.errors import RewactError
from verify.gitcmd import require_git
from verify.interpreter import best
from verify.originals import Originals
from verify.parity import prove_parity
from verify.plan import plan_checkout
from verify.recognition import unrecorded_states
from verify.record import State
from verify.series import lint_patch_set, load_overlay, load_patch_sets
from verify.standing import file_states, is_blob
from verify.upstream import compare_upstream_tests

_PROOFS = ("parity", "upstream_tests")


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
        if sound:
            report["checkout"] = _checkout(project, checkout)
            sound = not report["checkout"]["faults"]
        if proofs and sound:
            report |= _proofs(checkout)
            sound = not any((report[proof] or {}).get("differences") for proof in _PROOFS)
    report["sound"] = sound
    return report | {"verdict": _verdict(report)}


def _checkout(project: Path, checkout: Checkout) -> dict:
    """Plans an installation without carrying it out, and lists what every file holds now."""
    state = checkout.state()
    facts: dict = {"root": str(checkout.root), "tag": None, "installed": state is not None, "fitted": False}
    facts |= {"outdated": False, "files": {}, "other_policies": None, "faults": []}
    try:
        patch_sets, overlay = load_patch_sets(project / "patches"), load_overlay(project / "overlay")
        plan, _ = plan_checkout(checkout, patch_sets, overlay, Originals(checkout.root))
        facts |= {"tag": plan.patch_set.tag, "fitted": plan.fitted}
        facts["files"] = unrecorded_states(checkout, plan.patch_set, overlay)
        facts["outdated"] = state is not None and state.fingerprint != plan.fingerprint
    except RewactError as error:
        facts["faults"] = str(error).splitlines()
    if state is not None:
        facts |= {"tag": state.tag, "files": file_states(checkout, state)}
        facts["other_policies"] = other_policies(checkout, state)
        wrong = [f"{path} is {name}" for path, name in facts["files"].items() if name != "applied"]
        facts["faults"] = facts["faults"] or wrong
    return facts


def other_policies(checkout: Checkout, state: State) -> dict:
    """How many modules of the policies there are beside those that were touched, and which differ from HEAD.

    Those that differ are somebody else's doing: what the installer writes is recorded.
    """
    released = sorted(checkout.head_blobs(["src/lerobot/policies"]).items())
    others = {path: one for path, one in released if path.endswith(".py") and path not in state.files}
    changed = [path for path, one in others.items() if not is_blob(checkout.read(path), one)]
    return {"files": len(others), "changed": changed}


def _proofs(checkout: Checkout) -> dict:
    """Runs LeRobot, and its tests, in processes of their own."""
    if checkout.state() is None:
        return {"not_run": "nothing is installed that could have changed anything"}
    if (python := best(checkout.root)) is None:
        command = f"python install.py dev {checkout.root}"
        return {"not_run": f"no Python with LeRobot's requirements: run `{command}`"}
    found = prove_parity(checkout, python), compare_upstream_tests(checkout, python)
    return {name: asdict(one) | {"verdict": one.verdict} for name, one in zip(_PROOFS, found, strict=True)}


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
    parts += [report[proof]["verdict"] for proof in _PROOFS if report[proof]]
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
        counts = sorted(Counter(checkout["files"].values()).items())
        listing = ", ".join(f"{count} {name}" for name, count in counts) or "no files"
        lines.append(f"{checkout['root']}: {checkout['tag'] or 'of no supported release'} ({listing})")
        lines += [f"  {state:9} {path}" for path, state in sorted(checkout["files"].items())]
        if (others := checkout["other_policies"]) is not None:
            same = others["files"] - len(others["changed"])
            lines.append(f"  {same} of {others['files']} other modules of LeRobot's policies are as released")
            lines += [f"  edited, not by the installer: {path}" for path in others["changed"]]
        lines += [f"  {fault}" for fault in checkout["faults"]]
    for proof in filter(None, (report[name] for name in _PROOFS)):
        lines.append(proof["verdict"])
        lines += [f"  {case}: {facts} facts" for case, facts in proof.get("compared", {}).items()]
        lines += [
            f"  {verb} {path}"
            for verb, key in (("ran", "files"), ("adapted", "adapted"))
            for path in proof.get(key, ())
        ]
        lines += [f"  {difference}" for difference in proof["differences"]]
        missed = proof.get("not_runnable", {}).items()
        lines += [f"  not runnable: {name} ({reason})" for name, reason in missed]
        skipped = Counter(proof.get("skipped", {}).values()).items()
        lines += [f"  skipped: {count} ({reason})" for reason, count in skipped]
    return "\n".join([*lines, report["verdict"]])
