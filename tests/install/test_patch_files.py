# SPDX-License-Identifier: MIT
"""Damaged, incomplete and misleading patch sets are refused before anything is written."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from installer import patching
from tests.install.upstreams import (
    ACT,
    ACT_PATCHED,
    PROJECT,
    UPSTREAM,
    Project,
    git,
    make_repository,
    refused,
    snapshot,
)
from verify.applying import apply_series
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.patch import parse_patch
from verify.series import lint_patch_set, load_patch_sets

ACT_PATH = "src/lerobot/act.py"


def assert_refused(project: Project, checkout: Checkout, *words: str) -> None:
    """Refused with the patch set to blame, every word in the message, and nothing changed."""
    before = snapshot(checkout.root)
    message = refused(ExitCode.BAD_PATCH_SET, patching.install, project.root, checkout)
    assert all(word in message for word in words), message
    assert snapshot(checkout.root) == before and not checkout.state_dir.exists()


@pytest.mark.parametrize("name", ["0001-a.patch", "series", "without"])
def test_git_converts_no_line_end_of_a_patch_set(tmp_path: Path, name: str) -> None:
    """A user's core.autocrlf would otherwise break every patch set of a clone of this project."""
    attributes = (PROJECT / ".gitattributes").read_bytes()
    repository = make_repository(tmp_path / "project", {".gitattributes": attributes})
    path = os.path.normpath(f"patches/v9.9.1/{name}")
    assert git(repository, "check-attr", "text", path) == f"{path}: text: unset\n".encode()


def test_missing_patch(project: Project, checkout: Checkout) -> None:
    project.patch_path().unlink()
    assert_refused(project, checkout, "0001-a.patch", "missing")


def test_missing_series(project: Project, checkout: Checkout) -> None:
    project.series("v9.9.1").unlink()
    assert_refused(project, checkout, "series", "missing")


def test_no_patch_sets(project: Project, checkout: Checkout) -> None:
    (project.root / "patches").rename(project.root / "gone")
    assert_refused(project, checkout, "no patch set")


def test_unlisted_patch(project: Project, checkout: Checkout) -> None:
    (project.patch_path().with_name("0009-x.patch")).write_bytes(project.patch_path().read_bytes())
    assert_refused(project, checkout, "0009-x.patch", "not listed")


@pytest.mark.parametrize(
    ("series", "word"),
    [
        (b"0001-a.patch\n0001-a.patch\n", "twice"),
        (b"0001-a.patch\r\n", "CRLF"),
        (b"# nothing\n\n", "lists no patch"),
        (b"../../0001-a.patch\n", "not the name of a patch"),
        (b"0001-a.txt\n", "not the name of a patch"),
    ],
)
def test_bad_series(project: Project, checkout: Checkout, series: bytes, word: str) -> None:
    project.series("v9.9.1").write_bytes(series)
    assert_refused(project, checkout, "series", word)


def test_every_bad_patch_is_reported_not_only_the_first(project: Project, checkout: Checkout) -> None:
    project.patch_path("0001-a.patch").write_bytes(b"")
    project.patch_path("0003-c.patch").unlink()
    assert_refused(project, checkout, "0001-a.patch", "empty", "0003-c.patch", "missing")


def edit(*replacements: tuple[bytes, bytes]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        for old, new in replacements:
            assert old in data
            data = data.replace(old, new, 1)
        return data

    return change


def insert_header(line: bytes) -> Callable[[bytes], bytes]:
    return edit((b"Forwarded:", line + b"\nForwarded:"))


def change_mode(mode: bytes) -> Callable[[bytes], bytes]:
    return edit((b"\nindex ", b"\nold mode 100644\nnew mode %s\nindex " % mode))


DAMAGE = {
    "empty": (lambda data: b"", "empty"),
    "blank": (lambda data: b"\n\n", "empty"),
    "garbage": (lambda data: b"this is no patch\n", "header line"),
    "no diff": (lambda data: data.partition(b"diff --git")[0], "no diff"),
    "cut off in a line": (lambda data: data[:-4], "cut off"),
    "cut off at a line": (lambda data: data[: data.rindex(b"\n", 0, -1) + 1], "shorter"),
    "converted to CRLF": (lambda data: data.replace(b"\n", b"\r\n"), "CRLF"),
    "header not UTF-8": (edit((b"Description: ", b"Description: \xff")), "UTF-8"),
    "no Description": (lambda data: re.sub(rb"Description:.*\n", b"", data), "Description is missing"),
    "no Upstream-Files": (
        lambda data: re.sub(rb"Upstream-Files:.*\n", b"", data),
        "Upstream-Files is",
    ),
    "no Forwarded": (lambda data: re.sub(rb"Forwarded:.*\n", b"", data), "Forwarded is missing"),
    "no Drop-When": (lambda data: re.sub(rb"Drop-When:.*\n", b"", data), "Drop-When is missing"),
    "no Pre-Image": (lambda data: re.sub(rb"Pre-Image:.*\n", b"", data), "Pre-Image"),
    "Pre-Image of another file": (
        edit((b"Pre-Image: src/lerobot/act.py", b"Pre-Image: src/lerobot/x.py")),
        "Pre-",
    ),
    "Pre-Image cut": (lambda data: re.sub(rb"(Pre-Image: \S+ \S{20})\S*", rb"\1", data), "Pre-Image"),
    "field twice": (insert_header(b"Description: again"), "twice"),
    "header with diff -": (insert_header(b"diff -u a/setup.py b/setup.py"), "header line"),
    "header with ---": (insert_header(b"--- a/setup.py"), "header line"),
    "header with +++": (insert_header(b"+++ b/setup.py"), "header line"),
    "header with Index:": (insert_header(b"Index: setup.py"), "header line"),
    "header with @@": (insert_header(b"@@ -1 +1 @@"), "header line"),
    "other Upstream-Files": (
        edit((b"Upstream-Files: ", b"Upstream-Files: a.py, ")),
        "Upstream-Files",
    ),
    "traditional diff in the middle": (
        lambda data: data + b"--- a/x.py\n+++ b/x.py\n@@ -0,0 +1 @@\n+x\n",
        "belongs to no diff",
    ),
    "trailing text": (lambda data: data + b"-- \n2.39.5\n", "belongs to no diff"),
    "short blob ids": (
        lambda data: re.sub(rb"index (.{7}).*\.\.(.{7}).*\n", rb"index \1..\2\n", data),
        "line",
    ),
    "link": (change_mode(b"120000"), "120000"),
    "gitlink": (change_mode(b"160000"), "160000"),
    "setuid": (change_mode(b"104755"), "104755"),
    "group-writable": (change_mode(b"100664"), "100664"),
    "hunk too short": (edit((b"@@ -8,6 +8,7 @@", b"@@ -8,6 +8,8 @@")), "hunk"),
    "hunk too long": (edit((b"@@ -8,6 +8,7 @@", b"@@ -8,6 +8,6 @@")), "hunk"),
    "unlike names in ---": (edit((b"--- a/src/lerobot/act.py", b"--- a/src/lerobot/x.py")), "another file"),
    "unlike names in +++": (edit((b"+++ b/src/lerobot/act.py", b"+++ b/src/lerobot/x.py")), "without source"),
    "unlike names in diff --git": (
        edit((b" b/src/lerobot/act.py\nindex", b" b/src/lerobot/x.py\nindex")),
        "without source",
    ),
    "no prefix": (edit((b"--- a/src", b"--- src")), "another file"),
    "combined diff": (edit((b"diff --git a/", b"diff --cc ")), "line"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_patch(project: Project, checkout: Checkout, kind: str) -> None:
    damage, word = DAMAGE[kind]
    path = project.patch_path("0001-a.patch")
    data = project.add_patch("tmp.patch", {ACT_PATH: ACT}, {ACT_PATH: ACT_PATCHED}).read_bytes()
    project.patch_path("tmp.patch").unlink()
    project.series("v9.9.1").write_bytes(b"0001-a.patch\n0002-b.patch\n0003-c.patch\n")
    path.write_bytes(damage(data))
    assert_refused(project, checkout, "0001-a.patch", word)


def test_every_changed_byte_of_a_diff_fails(project: Project) -> None:
    """One byte at a time, everywhere after the header: a patch applies as it was made, or not at all."""
    path = project.patch_path("0002-b.patch")
    data = path.read_bytes()
    pristine = {"src/lerobot/train.py": UPSTREAM["src/lerobot/train.py"]}
    survived = []
    for position in range(data.index(b"diff --git"), len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            apply_series([parse_patch(path)], pristine)
        except RewactError as error:
            assert error.code is ExitCode.BAD_PATCH_SET
        else:
            survived.append(position)
    # What a hunk header says beyond the number of lines is a hint: the result is known by its id.
    hints = range(data.index(b"@@"), data.index(b"\n", data.index(b"@@")))
    assert set(survived) <= set(hints)


def test_pre_image_that_is_not_the_release(project: Project, checkout: Checkout) -> None:
    path = project.patch_path("0002-b.patch")
    path.write_bytes(re.sub(rb"(Pre-Image: \S+) \S+", rb"\1 " + b"1" * 40, path.read_bytes()))
    before = snapshot(checkout.root)
    message = refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert "src/lerobot/train.py" in message and snapshot(checkout.root) == before


def test_pre_images_of_one_file_must_agree(project: Project, checkout: Checkout) -> None:
    path = project.patch_path("0003-c.patch")
    path.write_bytes(re.sub(rb"(Pre-Image: \S+) \S+", rb"\1 " + b"1" * 40, path.read_bytes()))
    assert_refused(project, checkout, "0003-c.patch", "differs from an earlier patch's")


def test_failure_in_a_later_patch_leaves_the_checkout_and_reports_all(
    project: Project, checkout: Checkout
) -> None:
    """A wrong result in patch 1 and a failed hunk in patch 3, while patch 2 is sound."""
    for name, old, new in (
        ("0001-a.patch", b"+print(None)\n", b"+reward tail\n"),
        ("0003-c.patch", b" print(19)\n", b" line xx\n"),
    ):
        path = project.patch_path(name)
        path.write_bytes(edit((old, new))(path.read_bytes()))
    before = snapshot(checkout.root)
    message = refused(ExitCode.BAD_PATCH_SET, patching.install, project.root, checkout)
    assert "0001-a.patch" in message and "0003-c.patch" in message and "0002-b.patch" not in message
    assert snapshot(checkout.root) == before


def test_file_that_is_patched_and_in_the_overlay(project: Project, checkout: Checkout) -> None:
    project.add_overlay("lerobot/act.py")
    assert_refused(project, checkout, "src/lerobot/act.py", "both")


def test_patch_may_not_add_a_file_that_is_there(project: Project, checkout: Checkout) -> None:
    new = "src/lerobot/new.py"
    project.add_patch("0004-d.patch", {"a": b"a\n"}, {new: b"new\n"})
    (checkout.root / new).write_bytes(b"mine\n")
    assert new in refused(ExitCode.EDITED, patching.install, project.root, checkout)
    (checkout.root / new).unlink()
    patching.install(project.root, checkout)
    assert (checkout.root / new).read_bytes() == b"new\n"


def test_a_parsed_diff_says_which_file_and_lines_it_changes(project: Project) -> None:
    (diff,) = parse_patch(project.patch_path("0001-a.patch")).diffs
    (hunk,) = diff.hunks
    assert diff.old_path == diff.new_path == ACT_PATH
    assert (hunk.source_start, hunk.target_start) == (8, 8)
    old, new = ("".join(line.value for line in side) for side in (hunk.source_lines(), hunk.target_lines()))
    assert new == old.replace("print(10)\n", "print(10)\nprint(None)\n") != old


def test_a_file_may_end_without_a_newline(project: Project) -> None:
    path = project.add_patch("0004-d.patch", {"src/a": b"a\nb"}, {"src/a": b"a\nc"})
    assert apply_series([parse_patch(path)], {"src/a": b"a\nb"})[0].after == {"src/a": b"a\nc"}


def test_lint_agrees_with_unidiff(project: Project) -> None:
    assert lint_patch_set(project.root / "patches" / "v9.9.1") == []


def test_lint_reports_a_patch_that_is_not_single_purpose_enough() -> None:
    """Every patch set of this repository is sound."""
    for directory in sorted(path for path in (PROJECT / "patches").glob("v*")):
        assert lint_patch_set(directory) == []


def test_real_patch_sets_load() -> None:
    for tag, patch_set in load_patch_sets(PROJECT / "patches").items():
        assert patch_set.pre_images, tag


def test_patches_are_kept_from_end_of_line_conversion() -> None:
    assert b"*.patch -text" in (PROJECT / ".gitattributes").read_bytes()
    for path in Path(PROJECT, "patches").rglob("*.patch"):
        assert b"\r" not in path.read_bytes(), path


def test_upstream_is_as_the_tests_say() -> None:
    assert UPSTREAM[ACT_PATH] == ACT
