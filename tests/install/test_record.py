# SPDX-License-Identifier: MIT
"""The record in the git directory is input like any other: it can come from an archive, a volume, a share."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from installer import patching, undo
from tests.install.upstreams import ACT, PROJECT, Project, git, refused, snapshot, write
from verify.checkout import Checkout
from verify.errors import ExitCode, RewactError
from verify.gitcmd import blob_id
from verify.places import check_record, read_places

ACT_PATH, HEAD_PATH = "src/lerobot/act.py", "src/lerobot/head.py"
PIPE = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")


def tamper(checkout: Checkout, **changes: object) -> dict:
    """Changes values of the record, and returns what it holds then."""
    record = json.loads(checkout.record.state_path.read_bytes())
    record.update(changes)
    checkout.record.state_path.write_text(json.dumps(record))
    return record


def assert_damaged(project: Project, checkout: Checkout) -> None:
    """Refused by every command that reads the record, with a sentence, and nothing changed anywhere."""
    before, record = snapshot(checkout.root), _names(checkout)
    for call in (patching.install, undo.uninstall, check_record):
        message = refused(ExitCode.DAMAGED_STATE, call, project.root, checkout)
        assert len(message.splitlines()) == 1
    assert snapshot(checkout.root) == before and _names(checkout) == record


def _names(checkout: Checkout) -> set[str]:
    return {path.name for path in (checkout.git_dir / "rewact").rglob("*")} - {"lock"}


@pytest.fixture
def installed(project: Project, checkout: Checkout) -> Checkout:
    patching.install(project.root, checkout)
    return checkout


SIDE = {"blob": "1" * 40, "mode": 0o644}


def one(path: str = "src/a", kind: str = "patch", pristine=SIDE, target=SIDE) -> dict:
    """A record of one file."""
    return {"files": {path: {"kind": kind, "pristine": pristine, "target": target}}}


DAMAGE = {
    "a list for the tag": {"tag": ["v9.9.1"]},
    "a number for the tag": {"tag": 9},
    "a tag that is a path": {"tag": "../v9.9.1"},
    "a number for the fingerprint": {"fingerprint": 1},
    "a name for the transaction": {"transaction": "a/b"},
    "text for nearest": {"nearest": "no"},
    "a branch for the commit": {"commit": "main"},
    "an option for the commit": {"commit": "--output=/tmp/x"},
    "a number for the environment": {"environment": 3},
    "NUL in the environment": {"environment": "/a\0b"},
    "a directory outside": {"directories": ["../x"]},
    "a number for a directory": {"directories": [3]},
    "text for the directories": {"directories": "src"},
    "a list for the files": {"files": []},
    "a file outside": one("../x"),
    "an absolute file": one("/etc/x"),
    "a file of git's": one(".git/config"),
    "NUL in a file": one("src/a\0b"),
    "an unknown kind": one(kind="mine"),
    "an overlay file that was there": one(kind="overlay"),
    "a file made elsewhere": one("data/keep.bin", pristine=None),
    "a file without sides": one(pristine=None, target=None),
    "a mode with an exponent": one(pristine=SIDE | {"mode": 1e21}),
    "a negative mode": one(pristine=SIDE | {"mode": -1}),
    "a mode of a link": one(pristine=SIDE | {"mode": 0o120777}),
    "true for a mode": one(pristine=SIDE | {"mode": True}),
    "a path for a blob": one(pristine=SIDE | {"blob": "../../x"}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_value_that_no_record_holds(project: Project, installed: Checkout, kind: str) -> None:
    tamper(installed, **DAMAGE[kind])
    assert_damaged(project, installed)


def test_record_of_very_deep_nesting(project: Project, installed: Checkout) -> None:
    installed.record.state_path.write_text("[" * 500_000)
    assert_damaged(project, installed)


def test_record_larger_than_any(project: Project, installed: Checkout) -> None:
    with open(installed.record.state_path, "r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no room
    assert_damaged(project, installed)


@PIPE
@pytest.mark.parametrize("name", ["state.json", "journal.json", "lock", "blobs", ""])
def test_pipe_in_the_place_of_a_part(project: Project, installed: Checkout, name: str) -> None:
    """Opened like a file, a pipe would make the installer wait for ever."""
    path = installed.state_dir / name
    if path.exists():
        shutil.move(path, path.with_name("moved"))
    os.mkfifo(path)
    assert_damaged(project, installed)


@pytest.mark.parametrize("name", ["state.json", "journal.json", "lock"])
def test_directory_in_the_place_of_a_file(project: Project, installed: Checkout, name: str) -> None:
    (installed.state_dir / name).unlink(missing_ok=True)
    (installed.state_dir / name).mkdir()
    assert_damaged(project, installed)


@pytest.mark.parametrize("name", ["state.json", "journal.json", "lock", "blobs", ""])
def test_part_that_cannot_be_read(
    project: Project, installed: Checkout, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Every command says which; the superuser, who may run the tests, could read it."""
    shutil.copyfile(installed.record.state_path, installed.state_dir / "journal.json")
    unreadable = str(installed.git_dir / "rewact" / name).rstrip("/")
    for function in ("open", "listdir"):
        real = getattr(os, function)

        def guarded(path, *arguments, real=real, **options):
            if str(path) == unreadable:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, function, guarded)
    for call in (patching.install, undo.uninstall, check_record):
        with pytest.raises(PermissionError) as caught:
            call(project.root, installed)
        assert caught.value.filename == unreadable


@pytest.mark.parametrize("name", ["state.json", "journal.json"])
def test_link_in_the_place_of_a_file(
    project: Project, installed: Checkout, tmp_path: Path, name: str
) -> None:
    path = installed.state_dir / name
    victim = tmp_path / "victim.json"
    shutil.copyfile(installed.record.state_path, victim)
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    assert_damaged(project, installed)


def test_linked_lock_truncates_nothing(project: Project, installed: Checkout, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (installed.state_dir / "lock").unlink()
    (installed.state_dir / "lock").symlink_to(victim)
    assert_damaged(project, installed)
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["", "blobs"])
def test_linked_directory_empties_nothing(
    project: Project, installed: Checkout, tmp_path: Path, name: str
) -> None:
    """Originals are removed when nobody needs them: those of a link's target were somebody else's."""
    place = installed.state_dir / name if name else installed.state_dir
    target = tmp_path / "elsewhere"
    shutil.move(place, target)
    (target / "precious.txt").write_bytes(b"precious")
    place.symlink_to(target)
    before = snapshot(target)
    assert_damaged(project, installed)
    assert snapshot(target) == before


def test_files_that_we_did_not_name_stay_among_the_originals(project: Project, installed: Checkout) -> None:
    blobs = installed.state_dir / "blobs"
    (blobs / "notes.txt").write_bytes(b"mine")
    (blobs / ("1" * 40)).mkdir()
    undo.uninstall(project.root, installed)
    assert sorted(path.name for path in blobs.iterdir()) == ["1" * 40, "notes.txt"]


@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize(
    "path", ["src/lerobot/other.py", "src/mine.py", "tests/mine.py", "src/rewact/mine.py"]
)
def test_file_that_is_not_ours_stays_whatever_the_record_says(
    project: Project, installed: Checkout, path: str, was_there: bool
) -> None:
    """Tracked or not, named with its exact blob id: it would be removed, or replaced by a kept original."""
    if path != "src/lerobot/other.py":
        write(installed.root, {path: b"precious\n"})
    entry = {"blob": blob_id((installed.root / path).read_bytes()), "mode": 0o644}
    (installed.record.blobs / blob_id(b"evil\n")).write_bytes(b"evil\n")
    pristine = {"blob": blob_id(b"evil\n"), "mode": 0o644} if was_there else None
    kind = "patch" if was_there else "overlay"
    files = tamper(installed)["files"] | {path: {"kind": kind, "pristine": pristine, "target": entry}}
    tamper(installed, files=files)
    assert_damaged(project, installed)


def test_patched_file_that_the_record_calls_ours_stays(project: Project, installed: Checkout) -> None:
    files = tamper(installed)["files"]
    files[ACT_PATH]["pristine"] = None
    tamper(installed, files=files)
    assert_damaged(project, installed)


def test_empty_directory_that_is_not_ours_stays(project: Project, installed: Checkout) -> None:
    (installed.root / "outputs").mkdir()
    tamper(installed, directories=["outputs"])
    assert_damaged(project, installed)


@pytest.mark.parametrize("change", ["made", "replaced", "directory"])
def test_file_that_is_not_ours_stays_whatever_the_journal_says(
    project: Project, checkout: Checkout, change: str
) -> None:
    write(checkout.root, {"src/mine.py": b"precious\n"})
    (checkout.root / "outputs").mkdir()
    (checkout.state_dir / "blobs").mkdir(parents=True)
    (checkout.record.blobs / blob_id(b"evil\n")).write_bytes(b"evil\n")
    side = {"blob": blob_id(b"precious\n"), "mode": 0o644}
    old = {"blob": blob_id(b"evil\n"), "mode": 0o644} if change == "replaced" else None
    changes = [] if change == "directory" else [{"path": "src/mine.py", "old": old, "new": side}]
    directories = ["outputs"] if change == "directory" else []
    text = json.dumps(JOURNAL | {"changes": changes, "directories": directories})
    checkout.record.journal_path.write_text(text)
    assert_damaged(project, checkout)


def test_what_an_earlier_version_wrote_is_taken_out(project: Project, installed: Checkout) -> None:
    """Its names are listed: the installation stays ours when the overlay and the patches have moved on."""
    before = git(installed.root, "ls-tree", "-r", "HEAD")
    (project.root / "overlay/lerobot/head.py").unlink()
    project.patch_path("0002-b.patch").unlink()
    project.series("v9.9.1").write_text("0001-a.patch\n0003-c.patch\n")
    assert_damaged(project, installed)
    project.retire("overlay/lerobot/head.py", "src/lerobot/train.py")
    undo.uninstall(project.root, installed)
    assert git(installed.root, "status", "--porcelain") == b""
    assert git(installed.root, "ls-tree", "-r", "HEAD") == before


def test_former_names_what_the_history_of_this_project_wrote() -> None:
    """Whoever takes a file out of overlay/ or patches/ lists it: clones are rid of it then as well."""
    if not (PROJECT / ".git").exists():
        pytest.skip("no history")
    names = git(PROJECT, "log", "--format=", "--name-only", "--no-renames", "--", "overlay").decode()
    made = {f"src/{name.removeprefix('overlay/')}" for name in names.split() if not name.endswith(".pyc")}
    assert made - read_places(PROJECT).made == set()


def test_directory_behind_a_link_is_not_removed(
    project: Project, installed: Checkout, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere" / "empty").mkdir(parents=True)
    (installed.root / "src/rewact/linked").symlink_to(tmp_path / "elsewhere")
    project.retire("overlay/rewact/linked/empty/former.py")
    tamper(installed, directories=["src/rewact/deep", "src/rewact/linked/empty", "src/rewact"])
    undo.uninstall(project.root, installed)
    assert (tmp_path / "elsewhere" / "empty").is_dir()


@pytest.mark.parametrize("damage", ["missing", "changed", "link"])
def test_lost_original_is_kept_again_by_dev(project: Project, installed: Checkout, damage: str) -> None:
    """Nothing is to do for the files, but undo would not go through."""
    path = installed.record.blobs / blob_id(ACT)
    path.unlink()
    if damage == "changed":
        path.write_bytes(b"other\n")
    if damage == "link":
        path.symlink_to(installed.root / "README.md")
    before = snapshot(installed.root)
    refused(ExitCode.DAMAGED_STATE, undo.uninstall, project.root, installed)
    patching.install(project.root, installed)
    assert snapshot(installed.root) == before
    undo.uninstall(project.root, installed)
    assert git(installed.root, "status", "--porcelain") == b""


JOURNAL = {"transaction": "0123456789abcdef", "removes_state": False, "directories": [], "changes": []}


@pytest.mark.parametrize(
    "changes",
    [
        {"transaction": "a/b"},
        {"transaction": 7},
        {"removes_state": "yes"},
        {"directories": [["src"]]},
        {"changes": {"src/a": 1}},
        {"changes": [{"path": "src/a\0b", "old": None, "new": None}]},
        {"changes": [{"path": 7, "old": None, "new": None}]},
        {"changes": [{"path": "src/a", "old": {"blob": "1" * 40, "mode": 1e21}, "new": None}]},
    ],
)
def test_journal_that_no_run_wrote(project: Project, checkout: Checkout, changes: dict) -> None:
    checkout.state_dir.mkdir()
    checkout.record.journal_path.write_text(json.dumps(JOURNAL | changes))
    assert_damaged(project, checkout)


def test_staged_name_that_is_no_file_of_ours_stays(
    project: Project, checkout: Checkout, tmp_path: Path
) -> None:
    """Recovery removes what a run staged beside its place: a regular file, never what a link leads to."""
    patching.install(project.root, checkout)
    old = {"blob": blob_id((checkout.root / ACT_PATH).read_bytes()), "mode": 0o644}
    changes = [{"path": ACT_PATH, "old": old, "new": None}]
    checkout.record.journal_path.write_text(json.dumps(JOURNAL | {"changes": changes}))
    staged = (checkout.root / ACT_PATH).with_name(".act.py.rewact-0123456789abcdef")
    staged.mkdir()
    undo.recover(project.root, checkout)
    assert staged.is_dir() and (checkout.root / ACT_PATH).exists()


def test_record_of_the_release_before_is_understood(project: Project, installed: Checkout) -> None:
    record = tamper(installed)
    del record["environment"]
    installed.record.state_path.write_text(json.dumps(record))
    undo.uninstall(project.root, installed)
    assert git(installed.root, "status", "--porcelain") == b"" and not installed.state_dir.exists()


@PIPE
@pytest.mark.parametrize("place", ["pyproject.toml", "patch", "series"])
def test_pipe_where_a_file_is_read(project: Project, checkout: Checkout, place: str) -> None:
    path = {
        "pyproject.toml": checkout.root / "pyproject.toml",
        "patch": project.patch_path(),
        "series": project.series("v9.9.1"),
    }[place]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RewactError) as caught:
        patching.install(project.root, Checkout(checkout.root))
    assert caught.value.code in (ExitCode.NOT_LEROBOT, ExitCode.BAD_PATCH_SET)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_patch_without_an_end(project: Project, checkout: Checkout) -> None:
    project.patch_path().unlink()
    project.patch_path().symlink_to("/dev/zero")
    assert "not a regular file" in refused(ExitCode.BAD_PATCH_SET, patching.install, project.root, checkout)


def test_hunk_of_a_length_of_five_thousand_digits(project: Project, checkout: Checkout) -> None:
    path = project.patch_path()
    path.write_bytes(path.read_bytes().replace(b"@@ -8,6 ", b"@@ -8,%s " % (b"9" * 5000)))
    assert len(refused(ExitCode.BAD_PATCH_SET, patching.install, project.root, checkout)) < 1000


def test_patch_of_twenty_thousand_diffs_is_read_in_one_pass(project: Project, checkout: Checkout) -> None:
    """Each path was once looked for among all: a minute and more."""
    paths = [f"src/lerobot/many/f{number}.py" for number in range(20_000)]
    header = f"Description: x\nUpstream-Files: {', '.join(paths)}\nForwarded: no\nDrop-When: never\n\n"
    made = "".join(
        f"diff --git a/{path} b/{path}\nnew file mode 100644\nindex {'0' * 40}..{blob_id(b'x' * 1)}\n"
        f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"
        for path in paths
    )
    project.add_raw("0004-d.patch", (header + made).encode())
    message = refused(ExitCode.BAD_PATCH_SET, patching.install, project.root, checkout)
    assert len(message.splitlines()) < 50


def test_executable_bit_of_the_users_survives(project: Project, checkout: Checkout) -> None:
    (checkout.root / ACT_PATH).chmod(0o755)
    patching.install(project.root, checkout)
    assert (checkout.root / ACT_PATH).stat().st_mode & 0o777 == 0o755
    undo.uninstall(project.root, checkout)
    assert (checkout.root / ACT_PATH).stat().st_mode & 0o777 == 0o755
