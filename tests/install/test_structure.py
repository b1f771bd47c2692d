# SPDX-License-Identifier: MIT
"""A patch's change of one file, placed by structure in another version of it, or refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.edits import MisfitError
from verify.structure import count_anchors, place

BEFORE = b'''\
# A licence.
from __future__ import annotations

import math
from lerobot.configs import parser
from lerobot.utils import (
    device,
    random,
)


@dataclass
class Config:
    """A configuration."""

    # How many there are.
    size: int = 3
    streaming: bool = False

    def __post_init__(self):
        """Checks it."""
        if self.size < 0:
            raise ValueError(self.size)


def train(cfg, log):
    if is_main_process:
        log("dataset")
        dataset = make(cfg)
    wait()
    if not is_main_process:
        dataset = make(cfg)
    policy = build(cfg)
    # Move it over.
    policy.to("cpu")
    for batch in dataset:
        loss = policy(batch)
        log(loss)
    return policy
'''


def changed(*edits: tuple[str, str], of: bytes = BEFORE) -> bytes:
    """A file with some texts put in the place of others, each of which it has once."""
    for old, new in edits:
        assert of.count(old.encode()) == 1, old
        of = of.replace(old.encode(), new.encode())
    return of


HOOK = changed(('policy.to("cpu")\n', 'policy.to("cpu")\n    attach(policy)\n'))
WRAP = BEFORE.replace(b"make(cfg)", b"labelled(cfg, make)")
FIELD = changed(
    ("streaming: bool = False\n", "streaming: bool = False\n    # Labels.\n    reward: int = 0\n")
)
IMPORT = changed(("import parser\n", "import parser\nfrom rewact.hooks import attach\n"))
HEADER = changed(("def train(cfg, log):", "def train(cfg, log, reward=None):"))
START = changed(('"""Checks it."""\n', '"""Checks it."""\n        check(self)\n'))
CHANGES = {"hook": HOOK, "wrap": WRAP, "field": FIELD, "import": IMPORT, "header": HEADER, "start": START}


@pytest.mark.parametrize("after", CHANGES.values(), ids=CHANGES)
def test_on_the_file_it_was_made_for_a_change_gives_its_own_result(after: bytes) -> None:
    assert place(BEFORE, after, BEFORE) == after


@pytest.mark.parametrize(
    ("after", "upstream", "result"),
    [
        # A neighbour goes, the other one is left.
        (
            HOOK,
            ('    # Move it over.\n    policy.to("cpu")\n', ""),
            "    attach(policy)\n    for batch in dataset:\n",
        ),
        (
            HOOK,
            ("    for batch in dataset:\n", "    for batch in loader:\n"),
            '("cpu")\n    attach(policy)\n',
        ),
        # Something comes between the two.
        (
            HOOK,
            ("    for batch in", "    start()\n    for batch in"),
            '("cpu")\n    attach(policy)\n    start()\n',
        ),
        # `with` and `try` around a neighbour come, and the indentation with them.
        (
            HOOK,
            ('    policy.to("cpu")\n', '    with quiet():\n        policy.to("cpu")\n    again()\n'),
            '        policy.to("cpu")\n    attach(policy)\n    again()\n',
        ),
        (
            HOOK,
            (
                '    policy.to("cpu")\n    for batch in',
                '    with quiet():\n        policy.to("cpu")\n    for one in',
            ),
            '        policy.to("cpu")\n        attach(policy)\n    for one in',
        ),
        # Conditions are reworded: both places are found in the file's order.
        (
            WRAP,
            ("    if is_main_process:\n", "    if main():\n"),
            '    if main():\n        log("dataset")\n        dataset = labelled(cfg, make)\n',
        ),
        # A field goes after the last one where its neighbours are gone.
        (
            FIELD,
            ("    streaming: bool = False\n\n    def __post_init__", "    other: int = 4\n\n    def check"),
            "    other: int = 4\n    # Labels.\n    reward: int = 0\n\n    def check",
        ),
        (
            START,
            ('"""Checks it."""\n        if self.size < 0:', '"""Looks."""\n        if self.size < 1:'),
            '"""Looks."""\n        check(self)\n        if self.size < 1:',
        ),
        # A neighbour that assigns something else now still says where.
        (
            changed(("    policy = build(cfg)\n", "    policy = build(cfg)\n    ours()\n")),
            ("build(cfg)\n    # Move it over.\n    policy.to", "make(cfg, log)\n    policy.up"),
            "make(cfg, log)\n    ours()\n",
        ),
        # Imports find the module they stood beside, whatever is imported from it now, else the last import.
        (
            IMPORT,
            ("import parser\n", "import parser, types\n"),
            "parser, types\nfrom rewact.hooks import attach\n",
        ),
        (
            IMPORT,
            (
                "from lerobot.configs import parser\n"
                "from lerobot.utils import (\n    device,\n    random,\n)\n",
                "import os\n",
            ),
            "import os\nfrom rewact.hooks import attach\n",
        ),
        (
            HEADER,
            ('    """A configuration."""\n', '    """Others."""\n'),
            "def train(cfg, log, reward=None):",
        ),
    ],
)
def test_a_change_finds_its_place_in_another_version(
    after: bytes, upstream: tuple[str, str], result: str
) -> None:
    placed = place(BEFORE, after, changed(upstream))
    assert result.encode() in placed
    # Nothing but what was inserted, or what came in place of something, is new.
    assert added(placed, changed(upstream)) == added(after, BEFORE)


def added(new: bytes, old: bytes) -> list[bytes]:
    """The lines that a file has more of than another, their indentation aside."""
    rest = [line.strip() for line in old.splitlines()]
    extra = []
    for line in (line.strip() for line in new.splitlines()):
        rest.remove(line) if line in rest else extra.append(line)
    return extra


def test_an_import_never_comes_above_future_imports() -> None:
    before = b"from __future__ import annotations\n\nimport os\n\nrun(os)\n"
    after = before.replace(b"import os\n", b"import ours\nimport os\n")
    assert place(before, after, before) == after
    tree = b'"""A module."""\n\nfrom __future__ import annotations\n\nrun(1)\n'
    assert place(before, after, tree).index(b"import ours") > tree.index(b"annotations")


def test_a_field_with_a_comment_keeps_it() -> None:
    tree = changed(("    streaming: bool = False\n", "    streaming: bool = False\n    depth: int = 1\n"))
    assert b"    streaming: bool = False\n    # Labels.\n    reward: int = 0\n    depth" in place(
        BEFORE, FIELD, tree
    )


def test_the_branches_before_an_elif_do_not_matter() -> None:
    before = b"def f(x):\n    if x == 1:\n        one()\n    elif x == 2:\n        two()\n"
    after = before.replace(b"two()\n", b"two()\n        ours()\n")
    tree = before.replace(b"    elif", b"    elif x == 3:\n        three()\n    elif")
    assert place(before, after, tree) == tree.replace(b"two()\n", b"two()\n        ours()\n")


@pytest.mark.parametrize(
    ("after", "upstream", "scope", "reason"),
    [
        (HOOK, ("def train", "def run"), "train", "not there"),
        (HOOK, ('    policy.to("cpu")\n    for batch in', "    for one in"), "train", "not there"),
        (WRAP, ("    wait()\n", "    dataset = make(cfg)\n"), "train", "3 times, not 2"),
        (
            HOOK,
            (
                '    policy.to("cpu")\n    for batch in dataset:',
                '    if cfg:\n        policy.to("cpu")\n    for one in dataset:',
            ),
            "train",
            "a condition is around it",
        ),
        (HEADER, ("def train(cfg, log):", "def train(cfg):"), "", "it reads otherwise"),
    ],
)
def test_what_has_no_place_is_refused_with_its_scope(
    after: bytes, upstream: tuple[str, str], scope: str, reason: str
) -> None:
    with pytest.raises(MisfitError, match=re.escape(reason)) as refused:
        place(BEFORE, after, changed(upstream))
    assert refused.value.scope == scope and refused.value.expected in BEFORE


def test_a_refusal_shows_what_stands_there_instead() -> None:
    with pytest.raises(MisfitError) as refused:
        place(BEFORE, HEADER, changed(("def train(cfg, log):", "def train(cfg):")))
    assert refused.value.expected == b"def train(cfg, log):\n" and refused.value.found == b"def train(cfg):\n"


@pytest.mark.parametrize(
    "after",
    [
        changed(("# Move it over.", "# Moves it.")),
        changed(("    policy = build(cfg)\n", "    policy = build(cfg); wait()\n")),
        changed(("    return policy\n", "    return (\n")),
    ],
)
def test_a_change_that_is_no_edit_of_statements_is_refused(after: bytes) -> None:
    with pytest.raises(MisfitError):
        place(BEFORE, after, changed(("    wait()\n", "    wait(1)\n")))


def test_a_file_of_windows_line_ends_in_part_is_refused() -> None:
    with pytest.raises(MisfitError, match="line ends"):
        place(BEFORE, HOOK, BEFORE.replace(b"wait()\n", b"wait()\r\n"))


@given(
    st.lists(st.sampled_from("abcde"), min_size=2, max_size=7),
    st.lists(st.sampled_from("abcdexyz"), min_size=1, max_size=9),
    st.integers(0, 7),
)
def test_wherever_a_statement_lands_it_is_beside_a_neighbour_of_its(
    old: list[str], tree: list[str], at: int
) -> None:
    def module(names: list[str]) -> bytes:
        return b"def f():\n" + b"".join(b"    %s()\n" % name.encode() for name in names)

    at = min(at, len(old))
    new = [*old[:at], "ours", *old[at:]]
    assert place(module(old), module(new), module(old)) == module(new)
    try:
        placed = place(module(old), module(new), module(tree))
    except MisfitError:
        return
    names = re.findall(r"(\w+)\(\)\n", placed.decode())
    assert [name for name in names if name != "ours"] == tree and names.count("ours") == 1
    found = names.index("ours")
    beside = (names[found - 1] if found else None), (names[found + 1] if found + 1 < len(names) else None)
    previous, following = (new[at - 1] if at else None), (new[at + 1] if at + 1 < len(new) else None)
    assert beside[0] == previous or beside[1] == following


def test_anchors_that_are_left_are_counted() -> None:
    before, after = b"a = 1\nb = 2\nc = 3\n", b"a = 1\nours = 0\nb = 2\nc = 3\n"
    assert count_anchors(before, after, before) == (2, 2)
    assert count_anchors(before, after, b"a = 1\nc = 3\n") == (1, 2)
    assert count_anchors(before, b"a = 1\nb = 4\nc = 3\n", b"a = 1\nb = 2\n") == (1, 1)
