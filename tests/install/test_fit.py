# SPDX-License-Identifier: MIT
"""A series of changes on a tree it was not made for: what fits, and what is proven of the result."""

import pytest

from verify.edits import MisfitError
from verify.fit import Change, ChangeFit, fit_series
from verify.proof import prove
from verify.toml import place_in_toml

TRAIN = b"""\
from lerobot.data import make


def train(cfg):
    data = make(cfg)
    policy = build(cfg)
    return policy
"""
HOOKED = TRAIN.replace(b"data import make\n", b"data import make\nfrom rewact.hooks import label\n").replace(
    b"make(cfg)\n", b"make(cfg)\n    data = label(data, cfg)\n"
)
DATA = b"def make(cfg, split=0.0):\n    return cfg\n"
HOOKS = b"""\
from lerobot.data import make


def label(data, cfg):
    return data or make(cfg, split=0.5)
"""
PATH, DATA_PATH, HOOKS_PATH = "src/lerobot/train.py", "src/lerobot/data.py", "src/rewact/hooks.py"
LABELS = Change("0001-labels.patch", False, {PATH: TRAIN}, {PATH: HOOKED})


def fitted(change: Change = LABELS, *changes: Change, **files: bytes):
    tree = {PATH: TRAIN, DATA_PATH: DATA} | {
        path.replace("__", "/") + ".py": data for path, data in files.items()
    }
    return fit_series([change, *changes], tree.get), tree


def faults(files: dict[str, bytes], overlay: bytes = HOOKS, change: Change = LABELS) -> list[str]:
    tree = {PATH: TRAIN, DATA_PATH: DATA} | files
    fit = fit_series([change], tree.get)
    assert not fit.misfits
    return [str(fault) for fault in prove(fit, {HOOKS_PATH: overlay}, tree.get)]


def status(tree: bytes | None, change: Change = LABELS) -> str:
    fit = fit_series([change], {PATH: tree}.get)
    return fit.changes[0].status


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (TRAIN, "clean"),
        (TRAIN.replace(b"build(cfg)", b"build(cfg, 1)"), "moved"),
        (HOOKED, "merged"),
        (HOOKED.replace(b"build(cfg)", b"build(cfg, 1)"), "merged"),
        (TRAIN.replace(b"def train", b"def run"), "conflict"),
        (None, "gone"),
    ],
)
def test_a_change_fits_or_says_how_it_does_not(tree: bytes | None, expected: str) -> None:
    assert status(tree) == expected


def test_an_optional_change_is_left_out_and_the_rest_goes_on() -> None:
    optional = Change("0001-a.patch", True, {PATH: TRAIN}, {PATH: TRAIN.replace(b"build(cfg)", b"ours(cfg)")})
    before = optional.after[PATH]
    after = HOOKED.replace(b"build(cfg)", b"ours(cfg)")
    core = Change("0002-b.patch", False, {PATH: before}, {PATH: after})
    tree = {PATH: TRAIN.replace(b"build(cfg)", b"other(cfg)")}
    fit = fit_series([optional, core], tree.get)
    assert [found.change.name for found in fit.left_out] == ["0001-a.patch"] and not fit.misfits
    assert fit.targets[PATH] == HOOKED.replace(b"build(cfg)", b"other(cfg)")


def test_a_change_that_does_not_fit_changes_none_of_its_files() -> None:
    both = Change(
        "0001-a.patch",
        False,
        {PATH: TRAIN, DATA_PATH: DATA},
        {PATH: HOOKED, DATA_PATH: DATA + b"\n\nx = 1\n"},
    )
    tree = {PATH: TRAIN, DATA_PATH: DATA.replace(b"def make", b"def create")}
    fit = fit_series([both], tree.get)
    assert [found.change.name for found in fit.misfits] == ["0001-a.patch"] and fit.targets == {}


def test_a_sound_result_has_no_fault() -> None:
    assert faults({}) == []
    assert faults({PATH: TRAIN.replace(b"build(cfg)", b"build(cfg, 1)")}) == []


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({DATA_PATH: b"def create(cfg): ...\n"}, "imports make from lerobot.data"),
        ({DATA_PATH: b"def make(cfg): ...\n"}, "unexpected keyword argument 'split'"),
        ({DATA_PATH: b"def make(cfg, name, split=0): ...\n"}, "argument: 'name'"),
        ({DATA_PATH: b"def make(*, cfg=1, split=0): ...\n"}, "too many positional arguments"),
        ({PATH: TRAIN.replace(b"(cfg):", b"(config):")}, "reads cfg, which nothing binds"),
    ],
)
def test_what_upstream_renamed_is_found_before_anything_is_written(
    files: dict[str, bytes], reason: str
) -> None:
    assert any(reason in fault for fault in faults(files)), faults(files)


def test_a_name_may_come_from_another_module_or_be_made_when_asked_for() -> None:
    moved = {DATA_PATH: b"from .other import *\n", "src/lerobot/other.py": DATA}
    lazy = {DATA_PATH: b"def __getattr__(name): ...\n"}
    assert faults(moved) == [] and faults(lazy) == []


def test_an_import_whose_failure_is_caught_may_find_nothing() -> None:
    overlay = HOOKS.replace(
        b"from lerobot.data import make\n",
        b"try:\n    from lerobot.data import make\nexcept ImportError:\n    from lerobot.other import make\n",
    )
    assert faults({"src/lerobot/data.py": b"", "src/lerobot/other.py": DATA}, overlay) == []
    assert faults({"src/lerobot/data.py": b""}, overlay)


def test_a_hooked_call_has_to_bind_to_our_function() -> None:
    assert any("label" in fault for fault in faults({}, HOOKS.replace(b"data, cfg", b"data")))


def test_a_name_that_is_bound_only_later_is_a_fault() -> None:
    change = Change(
        "0001-a.patch",
        False,
        {PATH: TRAIN},
        {PATH: TRAIN.replace(b"    policy =", b"    use(data)\n    policy =")},
    )
    tree = TRAIN.replace(b"    data = make(cfg)\n", b"").replace(
        b"    return", b"    for data in cfg:\n        log(data)\n    return"
    )
    assert any("bound only on line" in fault for fault in faults({PATH: tree}, change=change))


DECORATED = TRAIN.replace(b"import make\n", b"import make\nfrom rewact import hooks\n").replace(
    b"def train", b"@hooks.labels\ndef train"
)
DECORATOR = b"""\
@decorator
def labels(train, cfg, *args, **kwargs):
    called = signature(train).bind(cfg, *args, **kwargs)
    return called.arguments["cfg"]
"""
DECORATION = Change("0001-a.patch", False, {PATH: TRAIN}, {PATH: DECORATED})


def test_a_decorator_stays_on_its_function_whatever_its_parameters_are_now() -> None:
    tree = TRAIN.replace(b"def train(cfg)", b"def timed(f): ...\n\n\n@timed\ndef train(cfg, log=None)")
    fit = fit_series([DECORATION], {PATH: tree, DATA_PATH: DATA}.get)
    assert b"@timed\n@hooks.labels\ndef train(cfg, log=None)" in fit.targets[PATH]
    assert faults({PATH: tree}, DECORATOR, DECORATION) == []


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"(train, cfg,", b"(train, config,", "takes config"),
        (b"cfg, *args, **kwargs):", b"cfg):", "does not pass on log"),
        (b'["cfg"]', b'["policy"]', "needs the parameter policy"),
        (b"def labels", b"def label", "has no labels"),
    ],
)
def test_a_decorator_has_to_take_the_calls_of_what_it_decorates(old: bytes, new: bytes, reason: str) -> None:
    tree = {PATH: TRAIN.replace(b"def train(cfg)", b"def train(cfg, log=None)")}
    found = faults(tree, DECORATOR.replace(old, new), DECORATION)
    assert any(reason in fault for fault in found), found


TOML = b'[project]\nname = "x"\n\n[project.scripts]\na = "m:a"\nb = "m:b"\n\n# Tools\n[tool.x]\ny = 1\n'


def test_keys_go_into_their_table_of_a_toml_file() -> None:
    after = TOML.replace(b'b = "m:b"\n', b'b = "m:b"\nours = "o:o"\n')
    assert place_in_toml(TOML, after, TOML) == after
    other = TOML.replace(b'b = "m:b"\n', b'c = [\n  "d",\n]\n')
    assert place_in_toml(TOML, after, other) == other.replace(b"]\n\n# Tools", b']\nours = "o:o"\n\n# Tools')


@pytest.mark.parametrize(
    "tree", [TOML.replace(b"scripts", b"others"), TOML.replace(b'a = "m:a"', b'ours = "m:a"')]
)
def test_a_table_that_is_gone_or_has_the_key_is_refused(tree: bytes) -> None:
    with pytest.raises(MisfitError):
        place_in_toml(TOML, TOML.replace(b'b = "m:b"\n', b'b = "m:b"\nours = "o:o"\n'), tree)


def test_a_large_change_asks_each_of_its_files_once() -> None:
    """The proof asks for every file whether the change fits: of 20,000 files that took minutes."""
    asked = []

    class Asked:
        @property
        def fits(self) -> bool:
            asked.append(self)
            return True

    change = ChangeFit(Change("a.patch", False, {}, {}), (Asked(), Asked()))
    assert all(change.fits for _ in range(3)) and len(asked) == 2
