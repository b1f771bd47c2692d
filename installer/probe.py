# SPDX-License-Identifier: MIT
"""Run by the Python of an environment, alone: says what is installed there.

Standard input: JSON {"requirements": [...]}.
Standard output: JSON {"missing": [...], "version": ..., "direct_url": ...}.
"""

import importlib.metadata
import json
import sys

try:
    from packaging.requirements import Requirement
except ImportError:
    try:
        from pip._vendor.packaging.requirements import Requirement
    except ImportError:
        Requirement = None


def missing(text, seen, extra=""):
    """The requirements among `text` and what it needs in turn that are not met."""
    requirement = Requirement(text)
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
                yield from missing(line, seen, wanted)


def main():
    wanted = json.load(sys.stdin)["requirements"]
    answer = {"missing": list(wanted), "version": None, "direct_url": None}
    if Requirement is not None:
        seen = set()
        answer["missing"] = sorted({line for text in wanted for line in missing(text, seen)})
    try:
        lerobot = importlib.metadata.distribution("lerobot")
        answer["version"] = lerobot.version
        answer["direct_url"] = lerobot.read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        pass
    json.dump(answer, sys.stdout)


main()
