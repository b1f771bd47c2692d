# SPDX-License-Identifier: MIT
"""The overlay's rooms import earlier rooms only, and LeRobot's tree imports `rewact.hooks` alone."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "overlay" / "rewact"

# In this order. `hooks` and `cli` may import any room, and so may the public names beside them.
ROOMS = ("keys", "options", "labels", "act", "values", "advantages", "judge", "draw", "export")
ANY = ("hooks", "cli", "__init__", "policy", "page", "reward_model")


def room_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(path: Path) -> list[tuple[int, str]]:
    """Modules of rewact that a file imports, with the line; those for type checkers alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}:{node.lineno}: a relative import hides its room"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found += [(node.lineno, name) for name in names if name.startswith("rewact.")]
    return found


def test_the_map_names_every_room() -> None:
    drawn = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    words = set(drawn.replace(",", " ").split())
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__"} <= words


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_to_earlier_rooms(path: Path) -> None:
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert own in (*ROOMS, *ANY), f"{own} has no place in the order of rooms"
    if own in ANY:
        return
    later = [
        f"line {line}: {module}"
        for line, module in imports_of(path)
        if room_of(module) not in ROOMS[: ROOMS.index(own) + 1]
    ]
    assert not later


@pytest.mark.parametrize(
    "patch",
    sorted(PROJECT.glob("patches/v*/*.patch")),
    ids=lambda path: f"{path.parent.name}/{path.name[:4]}",
)
def test_lerobot_imports_the_hooks_alone(patch: Path) -> None:
    added = [
        line[1:].strip()
        for line in patch.read_text().splitlines()
        if line.startswith("+") and line[1:2] != "+"
    ]
    imports = [line for line in added if line.startswith(("from rewact", "import rewact"))]
    assert [
        line for line in imports if not line.startswith(("from rewact.hooks", "import rewact.hooks"))
    ] == []
