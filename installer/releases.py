# SPDX-License-Identifier: MIT
"""The LeRobot releases that can be fetched, and what each needs. Patches for them lie in patches/<tag>."""

from dataclasses import dataclass

from verify.errors import ExitCode, RewactError

# Counts the patch sets we released; wheels are called <release>+rewact.<this>.
PATCH_SET_NUMBER = 1


@dataclass(frozen=True)
class Release:
    """One LeRobot release.

    Attributes:
        sha256: of its source archive on the package index.
        python: the oldest Python it runs on.
        extras: those that training, evaluation and the pusht environment need.
    """

    version: str
    sha256: str
    python: tuple[int, int]
    extras: tuple[str, ...]

    @property
    def tag(self) -> str:
        return f"v{self.version}"

    @property
    def patched_version(self) -> str:
        return f"{self.version}+rewact.{PATCH_SET_NUMBER}"


RELEASES = (
    Release(
        "0.6.1",
        "2111d67d72d9f6c2379e3b8d3ea41b58855066314d88f9c0893579b7707f04b5",
        (3, 12),
        ("dataset", "training", "evaluation", "pusht"),
    ),
    Release("0.5.1", "4a05a9d10f013bf8fc408c7bd9c32a261209250cb66987b796416911c96a6fd3", (3, 12), ("pusht",)),
    Release("0.4.4", "50ad61441b1e1260010031406ca836a514af20ae1d2c0149892fe040380b1016", (3, 10), ("pusht",)),
)
DEFAULT = RELEASES[0]


def find_release(version: str) -> Release:
    """The release called `version`, with or without a leading v.

    Raises:
        RewactError: UNSUPPORTED_VERSION, naming those there are.
    """
    for release in RELEASES:
        if version.removeprefix("v") == release.version:
            return release
    known = ", ".join(release.version for release in RELEASES)
    raise RewactError(
        ExitCode.UNSUPPORTED_VERSION, f"LeRobot {version} is not supported. Supported releases: {known}."
    )
