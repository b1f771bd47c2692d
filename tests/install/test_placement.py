# SPDX-License-Identifier: MIT
"""Placing hunks without fuzz, in the function they were made for."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.install.upstreams import Project
from verify.gitcmd import blob_id
from verify.patch import parse_patch
from verify.placement import _most_alike, apply_exactly, fit, merge, split
from verify.repository import Scratch
from verify.scope import scope_of

MODULE = b'''\
import math


class Policy:
    """A policy."""

    def reset(self):
        self.a = 1
        self.b = 2
        self.c = 3

    def forward(self, batch):
        x = batch["x"]
        y = x + 1
        if y:
            y = y * 2
        return y


def make(config):
    self.a = 1
    self.b = 2
    self.c = 3
'''


def diff_between(tmp_path: Path, before: bytes, after: bytes):
    """The diff git makes of two contents, parsed."""
    project = Project(tmp_path / f"project-{len(list(tmp_path.iterdir()))}")
    path = project.add_patch("0001-a.patch", {"src/m.py": before}, {"src/m.py": after})
    return parse_patch(path).diffs[0]


@pytest.mark.parametrize(
    ("line", "scope"),
    [
        (b"import math\n", ()),
        (b'    """A policy."""\n', ("Policy",)),
        (b"    def forward(self, batch):\n", ("Policy",)),
        (b"            y = y * 2\n", ("Policy", "forward")),
        (b"def make(config):\n", ()),
    ],
)
def test_scope_of_a_line(line: bytes, scope: tuple[str, ...]) -> None:
    lines = split(MODULE)
    assert scope_of(lines, lines.index(line)) == scope


def test_scope_of_a_blank_line_is_that_of_the_next() -> None:
    lines = split(MODULE)
    assert scope_of(lines, lines.index(b"    def forward(self, batch):\n") - 1) == ("Policy",)


def test_scope_in_toml_is_the_table() -> None:
    lines = split(b'[project]\nname = "x"\n\n[project.scripts]\na = "b"\n')
    assert scope_of(lines, 1) == ("project",) and scope_of(lines, 4) == ("project.scripts",)


def test_exact_place_is_clean(tmp_path: Path) -> None:
    after = MODULE.replace(b"y = x + 1\n", b"y = x + 2\n")
    diff = diff_between(tmp_path, MODULE, after)
    found = fit(diff, MODULE, after, MODULE)
    assert [hunk.status for hunk in found.hunks] == ["clean"] and b"".join(found.lines) == after


def test_shifted_place_is_moved_with_its_offset_and_function(tmp_path: Path) -> None:
    after = MODULE.replace(b"y = x + 1\n", b"y = x + 2\n")
    tree = b"# one\n# two\n" + MODULE
    found = fit(diff_between(tmp_path, MODULE, after), MODULE, after, tree)
    (hunk,) = found.hunks
    assert (hunk.status, hunk.offset, hunk.scope) == ("moved", 2, "Policy.forward")
    assert b"".join(found.lines) == b"# one\n# two\n" + after


def test_present_change_is_merged(tmp_path: Path) -> None:
    after = MODULE.replace(b"y = x + 1\n", b"y = x + 2\n")
    found = fit(diff_between(tmp_path, MODULE, after), MODULE, after, b"#\n" + after)
    assert [hunk.status for hunk in found.hunks] == ["merged"] and b"".join(found.lines) == b"#\n" + after


def test_changed_context_is_a_conflict_with_expected_and_found_lines(tmp_path: Path) -> None:
    after = MODULE.replace(b"y = x + 1\n", b"y = x + 2\n")
    tree = MODULE.replace(b'x = batch["x"]', b'x = batch["z"]')
    found = fit(diff_between(tmp_path, MODULE, after), MODULE, after, tree)
    (hunk,) = found.hunks
    assert hunk.status == "conflict" and hunk.scope == "Policy.forward"
    assert b'        x = batch["x"]\n' in hunk.expected and b'        x = batch["z"]\n' in hunk.found


def test_lines_found_show_the_one_that_differs() -> None:
    block = (b"import a\n", b"import b\n", b"import c\n")
    lines = [b"x\n", b"import a\n", b"import b\n", b"import other\n", b"import d\n"]
    assert _most_alike(lines, block) == (b"import a\n", b"import b\n", b"import other\n")
    assert _most_alike([b"x\n"], block) == ()


def test_equal_lines_in_another_function_are_no_place(tmp_path: Path) -> None:
    """git apply would put it there "cleanly", with an offset."""
    body = b"    a = 1\n    b = 2\n    c = 3\n    d = 4\n    e = 5\n    f = 6\n    g = 7\n"
    before = b"def first():\n" + body + b"\n\ndef second():\n" + body
    after = before.replace(b"    d = 4\n", b"    d = 40\n", 1)
    # Upstream rewrote first(): only second() still has the lines.
    tree = before.replace(body, b"    return rewritten()\n", 1)
    diff = diff_between(tmp_path, before, after)

    fooled = tmp_path / "fooled"
    fooled.mkdir()
    (fooled / "src").mkdir()
    (fooled / "src/m.py").write_bytes(tree)
    patch = tmp_path / f"project-{0}" / "patches/v9.9.1/0001-a.patch"
    patch = next(tmp_path.glob("project-*/patches/v9.9.1/0001-a.patch"))
    assert subprocess.run(["git", "apply", str(patch)], cwd=fooled, capture_output=True).returncode == 0
    assert (fooled / "src/m.py").read_bytes().endswith(body.replace(b"d = 4\n", b"d = 40\n"))

    assert [hunk.status for hunk in fit(diff, before, after, tree).hunks] == ["conflict"]
    assert merge(before, after, tree) is None


def test_two_places_in_one_function_are_a_conflict(tmp_path: Path) -> None:
    block = b"    a = 1\n    b = 2\n    c = 3\n    d = 4\n"
    before = b"def f():\n" + block
    after = before.replace(b"    b = 2\n", b"    b = 20\n")
    tree = b"def f():\n    start()\n" + block + b"    middle()\n" + block
    diff = diff_between(tmp_path, block, block.replace(b"    b = 2\n", b"    b = 20\n"))
    assert fit(diff, before, after, tree).hunks[0].status == "conflict"


def test_hunks_keep_their_order(tmp_path: Path) -> None:
    """The second hunk may not be placed above the first."""
    lines = [b"x%d = %d\n" % (number, number) for number in range(40)]
    before = b"".join(lines)
    after = before.replace(b"x5 = 5\n", b"x5 = 50\n").replace(b"x30 = 30\n", b"x30 = 300\n")
    tree = b"".join(lines[20:] + lines[:20])
    statuses = [hunk.status for hunk in fit(diff_between(tmp_path, before, after), before, after, tree).hunks]
    assert statuses == ["moved", "conflict"]


def test_three_way_merge_where_context_changed(tmp_path: Path) -> None:
    after = MODULE.replace(b"        return y\n", b"        return y, self.reward(y)\n")
    tree = MODULE.replace(b'x = batch["x"]', b'x = batch["z"]').replace(
        b"import math\n", b"import math, os\n"
    )
    merged = merge(MODULE, after, tree)
    assert merged == tree.replace(b"        return y\n", b"        return y, self.reward(y)\n")


def test_three_way_merge_with_a_conflict_is_none() -> None:
    after = MODULE.replace(b"        return y\n", b"        return y, reward\n")
    tree = MODULE.replace(b"        return y\n", b"        return y.clone()\n")
    assert merge(MODULE, after, tree) is None


NEW_IMPORT = b"from lerobot.utils.ours import head\n"
IMPORTS = [
    b"import math\n",
    b"from lerobot.utils.hub import load\n",
    b"from lerobot.utils.random import seed\n",
]


def importing(*lines: bytes) -> bytes:
    return MODULE.replace(b"import math\n", b"".join(lines), 1)


@pytest.mark.parametrize(
    ("tree", "merged"),
    [
        ([*IMPORTS[:2], b"from lerobot.utils.random import rng, seed\n"],
         [*IMPORTS[:2], NEW_IMPORT, b"from lerobot.utils.random import rng, seed\n"]),
        ([IMPORTS[0], IMPORTS[2]], [IMPORTS[0], NEW_IMPORT, IMPORTS[2]]),
        (IMPORTS[:2], [*IMPORTS[:2], NEW_IMPORT]),
        (IMPORTS[:1], [IMPORTS[0], NEW_IMPORT]),
    ],
)  # fmt: skip
def test_new_import_finds_its_place_where_its_neighbours_changed(tree: list, merged: list) -> None:
    before, after = importing(*IMPORTS), importing(*IMPORTS[:2], NEW_IMPORT, IMPORTS[2])
    assert merge(before, after, importing(*tree)) == importing(*merged)


def test_import_that_replaces_another_is_merged_as_any_line() -> None:
    before, after = importing(IMPORTS[0]), importing(NEW_IMPORT)
    assert merge(before, after, importing(b"import math, os\n")) is None


def test_import_into_a_file_without_imports_is_a_conflict() -> None:
    assert merge(b"import a\nx = 1\n", b"import a\nimport b\nx = 1\n", b"x = 1\n") is None


text = st.lists(
    st.sampled_from([b"a\n", b"b\n", b"    c\n", b"\n", b"def f():\n", b"    d\r\n"]), max_size=25
)


@settings(max_examples=60)
@given(text, text, st.booleans())
def test_exact_application_equals_gits(
    before_lines: list[bytes], after_lines: list[bytes], ended: bool
) -> None:
    """On the very bytes a diff was made from, our placement and git agree, whatever the bytes."""
    from installer.export import diff_of

    before, after = b"".join(before_lines) + b"x", b"".join(after_lines) + (b"x\n" if ended else b"x")
    with Scratch() as scratch:
        body = diff_of(scratch, {"m": before}, {"m": after}, frozenset())
    if not body:
        assert before == after
        return
    with tempfile.TemporaryDirectory() as temporary:
        diff = _parse(Path(temporary, "0001-m.patch"), body, {"m": blob_id(before)})
    assert apply_exactly(diff, before) == after
    found = fit(diff, before, after, before)
    assert b"".join(found.lines) == after and {hunk.status for hunk in found.hunks} == {"clean"}


def _parse(path: Path, body: bytes, pre_images: dict[str, str]):
    header = "Description: x\nUpstream-Files: m\nForwarded: no\nDrop-When: never\n"
    header += "".join(f"Pre-Image: {name} {identifier}\n" for name, identifier in pre_images.items())
    path.write_bytes(header.encode() + b"\n" + body)
    return parse_patch(path).diffs[0]
