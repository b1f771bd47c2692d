# SPDX-License-Identifier: MIT
"""Nothing in a patch, an overlay or the environment leads outside the checkout or bends a byte."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from installer import patching, undo
from tests.install.upstreams import (
    ACT_PATCHED_TWICE,
    TALLY,
    TRAIN_PATCHED,
    Project,
    git,
    refused,
    snapshot,
    write,
)
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.patch import parse_patch
from verify.paths import check_name
from verify.repository import stored_blob
from verify.series import load_overlay

HOSTILE_NAMES = [
    "../outside.py", "src/../../outside.py", "/etc/outside.py", "//etc/outside.py", "src//outside.py",
    "./src/x.py", "src/./x.py", "src/..", "src/", "", ".", "..",
    ".git/config", ".git/hooks/post-checkout", "src/.git/config", ".GIT/config", ".Git/hooks/x", "src/.giT",
    ".git ./config", ".git./config", ".git /config", ".git::$INDEX_ALLOCATION/config", "git~1/config",
    "GIT~1/config", ".g\u200cit/config", ".\ufeffgit/config", "src\\..\\..\\x.py", "C:/x.py", "c:x.py",
    "src/nul", "src/CON.py", "src/aux.tar.gz", "src/x\0.py", "src/x\n.py", "src/x\x1b[2J.py",
    "src/x?.py", "src/x .",
]  # fmt: skip


@contextlib.contextmanager
def hostile_case() -> Iterator[None]:
    """Counts a case, and whether it was held."""
    TALLY["hostile cases"] += 1
    yield
    TALLY["held"] += 1


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_refused(name: str) -> None:
    with hostile_case():
        refused(ExitCode.BAD_PATCH_SET, check_name, name)


@pytest.mark.parametrize(
    "name", ["src/lerobot/a.py", ".gitignore", ".github/x.yml", "src/ünï/x-1_2.py", "a b/c"]
)
def test_honest_names_pass(name: str) -> None:
    check_name(name)


component = st.one_of(
    st.sampled_from([".", "..", "", ".git", ".GIT", "git~1", ".git ", "~", "src", "a.py", "\u200c.git"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)


@settings(max_examples=300)
@given(st.lists(component, max_size=6).map("/".join))
def test_no_accepted_name_leaves_the_checkout(name: str) -> None:
    """Whatever passes is inside, is not the git directory, and means the same on every file system."""
    with hostile_case():
        try:
            check_name(name)
        except RewactError:
            return
        root = Path("/checkout")
        assert Path(os.path.normpath(root / name)) == root / name != root
        for part in name.split("/"):
            assert part.casefold() not in ("", ".", "..", ".git") and "\\" not in part and ":" not in part


def patch_for(path: str, kind: str, mode: str = "100644") -> bytes:
    """A patch that adds, or claims to rename or copy to, a path; written by hand, since git would refuse."""
    quoted = '"' + "".join(f"\\{byte:03o}" for byte in f"b/{path}".encode()) + '"'
    source = '"' + "".join(f"\\{byte:03o}" for byte in f"a/{path}".encode()) + '"'
    header = (
        f"Description: x\nUpstream-Files: {path.splitlines()[0] if path.strip() else 'x'}\n"
        "Forwarded: no\nDrop-When: never\n"
    )
    identifier = "1" * 40
    if kind == "new":
        body = (
            f"diff --git {source} {quoted}\nnew file mode {mode}\nindex {'0' * 40}..{identifier}\n"
            f"--- /dev/null\n+++ {quoted}\n@@ -0,0 +1 @@\n+x\n"
        )
    else:
        body = (
            "diff --git a/src/lerobot/act.py b/src/lerobot/act.py\nsimilarity index 100%\n"
            f"{kind} from src/lerobot/act.py\n{kind} to {path}\nold mode 100644\nnew mode {mode}\n"
        )
    return header.encode() + b"\n" + body.encode()


MODES = ["100644", "100755", "120000", "160000", "040000", "100664", "106755", "000000", "777777"]


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(path=st.one_of(st.sampled_from([*HOSTILE_NAMES, "src/lerobot/x.py"]),
                      st.lists(component, max_size=5).map("/".join)),
       kind=st.sampled_from(["new", "rename", "copy"]), mode=st.sampled_from(MODES))  # fmt: skip
def test_no_patch_escapes(tmp_path: Path, path: str, kind: str, mode: str) -> None:
    """A patch for a hostile path or mode is refused when it is read; one that is read is harmless."""
    file = tmp_path / "0001-x.patch"
    file.write_bytes(patch_for(path, kind, mode))
    with hostile_case():
        try:
            patch = parse_patch(file)
        except RewactError as error:
            assert error.code is ExitCode.BAD_PATCH_SET
            return
        for name in patch.paths:
            check_name(name)
        assert mode in ("100644", "100755")


@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if name.strip("./") and "\0" not in name])
@pytest.mark.parametrize("kind", ["new", "rename", "copy"])
def test_hostile_patch_is_refused(project: Project, checkout: Checkout, name: str, kind: str) -> None:
    project.add_raw("0004-d.patch", patch_for(name, kind))
    before = snapshot(checkout.root.parent)
    with hostile_case():
        refused(ExitCode.BAD_PATCH_SET, patching.install, project.root, checkout)
        assert snapshot(checkout.root.parent) == before


def test_rename_header_that_differs_from_the_diff(project: Project, checkout: Checkout) -> None:
    path = project.patch_path("0002-b.patch")
    lines = b"similarity index 90%\nrename from src/lerobot/train.py\nrename to src/lerobot/__init__.py\n"
    path.write_bytes(path.read_bytes().replace(b"\nindex ", b"\n" + lines + b"index ", 1))
    before = snapshot(checkout.root)
    refused(ExitCode.BAD_PATCH_SET, patching.install, project.root, checkout)
    assert snapshot(checkout.root) == before


@pytest.mark.parametrize("kind", ["link", "directory link", "pipe"])
def test_overlay_holds_regular_files_only(project: Project, tmp_path: Path, kind: str) -> None:
    overlay = project.root / "overlay"
    (tmp_path / "elsewhere").mkdir()
    if kind == "link":
        (overlay / "link.py").symlink_to(tmp_path / "secret")
    elif kind == "directory link":
        (overlay / "link").symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(overlay / "pipe")
    assert "regular" in refused(ExitCode.BAD_PATCH_SET, load_overlay, overlay)


def test_overlay_names_that_differ_in_case_only(project: Project) -> None:
    project.add_overlay("rewact/a.py")
    project.add_overlay("rewact/A.py")
    if len(list((project.root / "overlay/rewact").glob("[aA].py"))) == 2:
        assert "case" in refused(ExitCode.BAD_PATCH_SET, load_overlay, project.root / "overlay")


def test_overlay_file_named_like_the_git_directory(project: Project) -> None:
    project.add_overlay("rewact/.git/config")
    refused(ExitCode.BAD_PATCH_SET, load_overlay, project.root / "overlay")


@pytest.mark.parametrize("name", ["src", "src/lerobot", "src/rewact", "src/rewact/deep"])
def test_linked_parent_directory_is_refused(
    project: Project, checkout: Checkout, tmp_path: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    link = checkout.root / name
    if link.exists():
        link.rename(outside)
    else:
        outside.mkdir()
        link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    before = snapshot(outside)
    message = refused(ExitCode.EDITED, patching.install, project.root, checkout)
    assert "symbolic link" in message and name in message
    assert snapshot(outside) == before


def test_linked_parent_at_uninstall_is_refused(project: Project, checkout: Checkout, tmp_path: Path) -> None:
    patching.install(project.root, checkout)
    outside = tmp_path / "outside"
    (checkout.root / "src/rewact").rename(outside)
    (checkout.root / "src/rewact").symlink_to(outside)
    before = snapshot(outside)
    refused(ExitCode.EDITED, undo.uninstall, project.root, checkout)
    assert snapshot(outside) == before


def test_nested_repository_in_the_way_is_refused(project: Project, checkout: Checkout) -> None:
    nested = checkout.root / "src/rewact"
    nested.mkdir()
    git(nested, "init", "--quiet")
    assert "repository of its own" in refused(ExitCode.EDITED, patching.install, project.root, checkout)


@pytest.mark.parametrize("shown", ["SRC", "Src"])
def test_directory_spelled_with_other_letters_is_refused(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    """A case-insensitive file system opens SRC as src; only the listing tells them apart."""
    listdir = os.listdir

    def listing(directory: Path) -> list[str]:
        return [shown if name == "src" else name for name in listdir(directory)]

    monkeypatch.setattr(os, "listdir", listing)
    assert "upper and lower" in refused(ExitCode.EDITED, patching.install, project.root, checkout)


def test_file_where_a_directory_is_needed_is_refused(project: Project, checkout: Checkout) -> None:
    write(checkout.root, {"src/rewact": b"mine\n"})
    assert "not a directory" in refused(ExitCode.EDITED, patching.install, project.root, checkout)


@pytest.mark.parametrize("path", ["src/lerobot/act.py", "src/lerobot/head.py"])
def test_directory_where_a_file_is_needed_is_refused(project: Project, checkout: Checkout, path: str) -> None:
    target = checkout.root / path
    target.unlink(missing_ok=True)
    target.mkdir()
    assert path in refused(ExitCode.EDITED, patching.install, project.root, checkout)


HOSTILE_CONFIGURATION = """
[core]
	autocrlf = true
	safecrlf = true
	eol = crlf
	fileMode = false
	hooksPath = {hooks}
	fsmonitor = {hooks}/fsmonitor
	attributesFile = {hooks}/attributes
	quotePath = false
	abbrev = 4
	editor = false
	pager = false
	precomposeUnicode = true
[apply]
	whitespace = fix
	ignoreWhitespace = change
[diff]
	noprefix = true
	mnemonicPrefix = true
	external = false
	renames = copies
	algorithm = histogram
[color]
	ui = always
	diff = always
[status]
	relativePaths = true
[alias]
	apply = "!false"
[filter "evil"]
	clean = "sed s/line/LINE/"
	smudge = "sed s/line/LINE/"
	required = true
[commit]
	gpgSign = true
[extensions]
[safe]
	directory = *
"""  # noqa: E101


@pytest.mark.parametrize("where", ["global", "local"])
def test_hostile_git_configuration_changes_no_byte(
    project: Project, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Trailing blanks would be "fixed", hooks would leave a file behind, filters would rewrite lines."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in (
        "post-index-change",
        "pre-commit",
        "post-commit",
        "post-checkout",
        "reference-transaction",
        "fsmonitor",
    ):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
        (hooks / name).chmod(0o755)
    (hooks / "attributes").write_text("* filter=evil text=auto eol=crlf\n")
    blank = "src/lerobot/other.py"
    old = (checkout.root / blank).read_bytes()
    project.add_patch("0004-d.patch", {blank: old}, {blank: old + b"blank = 1  \t\n \t x\n\n\n"})
    text = HOSTILE_CONFIGURATION.format(hooks=hooks)
    if where == "global":
        (tmp_path / "home" / ".gitconfig").write_text(text)
        monkeypatch.delenv("GIT_CONFIG_NOSYSTEM")
    else:
        with open(checkout.git_dir / "config", "a") as file:
            file.write(text)
    (checkout.git_dir / "info").mkdir(exist_ok=True)
    (checkout.git_dir / "info" / "attributes").write_text("* filter=evil text eol=crlf whitespace=fix\n")
    before = snapshot(checkout.root)
    patching.install(project.root, checkout)
    assert (checkout.root / "src/lerobot/act.py").read_bytes() == ACT_PATCHED_TWICE
    assert (checkout.root / blank).read_bytes() == old + b"blank = 1  \t\n \t x\n\n\n"
    undo.uninstall(project.root, checkout)
    assert snapshot(checkout.root) == before
    assert not (tmp_path / "hook-ran").exists()


@pytest.mark.parametrize("variable", [
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_GLOBAL",
    "GIT_CEILING_DIRECTORIES",
    "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_LITERAL_PATHSPECS", "GIT_DEFAULT_HASH", "GIT_QUARANTINE_PATH",
    "GIT_ATTR_SOURCE", "GIT_TRACE", "GIT_EXEC_PATH", "GIT_TEMPLATE_DIR", "GIT_SHALLOW_FILE",
])  # fmt: skip
def test_leaked_git_variable_changes_no_byte(
    project: Project, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv(variable, str(elsewhere))
    checkout = Checkout(checkout.root)
    patching.install(project.root, checkout)
    assert (checkout.root / "src/lerobot/act.py").read_bytes() == ACT_PATCHED_TWICE
    assert (checkout.root / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED
    assert not list(elsewhere.iterdir())


def test_leaked_configuration_in_variables_changes_no_byte(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"COUNT": "1", "KEY_0": "apply.whitespace", "VALUE_0": "error-all"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    patching.install(project.root, checkout)
    assert (checkout.root / "src/lerobot/act.py").read_bytes() == ACT_PATCHED_TWICE


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("how", ["file", "variables"])
def test_trust_from_the_users_own_configuration_counts(
    project: Project, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    subprocess.run(["chown", "-R", "12345", str(upstream)], check=True)
    if how == "file":
        (tmp_path / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    else:
        for name, value in {"COUNT": "1", "KEY_0": "safe.directory", "VALUE_0": "*"}.items():
            monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    patching.install(project.root, Checkout(upstream))
    assert (upstream / "src/lerobot/act.py").read_bytes() == ACT_PATCHED_TWICE


def test_translated_git_messages_change_nothing(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LANG", "LANGUAGE"):
        monkeypatch.setenv(name, "de_DE.UTF-8")
    patching.install(project.root, checkout)


def test_a_dollar_in_the_name_of_a_clone_is_a_dollar(upstream: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitPython would put the variable's value in its place, and open another repository or none."""
    monkeypatch.setenv("ELSEWHERE", "else/where")
    blob = git(upstream, "rev-parse", "HEAD:src/lerobot/act.py").decode().strip()
    clone = upstream.rename(upstream.with_name("l$ELSEWHERE"))
    assert stored_blob(clone, blob) == (clone / "src/lerobot/act.py").read_bytes()
