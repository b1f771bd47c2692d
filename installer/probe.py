# SPDX-License-Identifier: MIT
"""Run by a Python that is looked at, alone: says what it is, and what is installed there.

A shim that only exists and another program fail to answer, and so does a Python that is too old to read this.

Standard input: JSON, a list of requirements.
Standard output: JSON {"executable": ..., "version": [...], "venv": ..., "missing": [...], "lerobot": ...,
"direct_url": ...}.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import sys


def requirement_class():
    """The reader of requirements that is there, or None."""
    for name in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return importlib.import_module(name).Requirement
        except ImportError:
            continue


def missing(text, read, seen, extra=""):
    """The requirements among `text` and what it needs in turn that are not met."""
    requirement = read(text)
    if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
        return
    try:
        distribution = importlib.metadata.distribution(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        yield text
        return
    # A URL requirement names no version; whoever asks compares direct_url.
    if not requirement.specifier.contains(distribution.version, prereleases=True):
        yield text
    for wanted in ("", *requirement.extras):
        key = (requirement.name.lower(), wanted)
        if key not in seen:
            seen.add(key)
            for line in distribution.requires or ():
                # With an extra, the plain requirements were seen already and are met or reported once.
                yield from missing(line, read, seen, wanted)


def main():
    wanted, seen = json.load(sys.stdin), set()
    read = wanted and requirement_class()
    lacking = {line for text in wanted for line in missing(text, read, seen)} if read else wanted
    answer = {
        "executable": sys.executable,
        "version": sys.version_info[:3],
        "venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
        "missing": sorted(lacking),
        "lerobot": None,
        "direct_url": None,
    }
    try:
        lerobot = importlib.metadata.distribution("lerobot")
        answer["lerobot"] = lerobot.version
        answer["direct_url"] = lerobot.read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        pass
    json.dump(answer, sys.stdout)


main()
