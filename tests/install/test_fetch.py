# SPDX-License-Identifier: MIT
"""Fetching a release: what is verified, what is refused, what works offline. No package index is asked."""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from installer import fetch, patching
from installer.releases import RELEASES, Release, find_release
from tests.install.upstreams import PROJECT, TRAIN_PATCHED, UPSTREAM, Project, git, refused, snapshot
from verify.checkout import Checkout
from verify.errors import ExitCode
from verify.series import load_patch_sets

VERSION = "9.9.1"
TOP = f"lerobot-{VERSION}"


def make_archive(path: Path, files: dict[str, bytes], *members: tarfile.TarInfo) -> Release:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{TOP}/{name}")
            member.size, member.mtime = len(data), 1_700_000_000
            archive.addfile(member, io.BytesIO(data))
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return Release(VERSION, hashlib.sha256(path.read_bytes()).hexdigest(), (3, 10), ())


PKG_INFO = f"Metadata-Version: 2.1\nName: lerobot\nVersion: {VERSION}\n".encode()
ARCHIVE = {**UPSTREAM, "PKG-INFO": PKG_INFO, "src/lerobot.egg-info/PKG-INFO": PKG_INFO}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fetch.cache_directory()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """pip sees this directory instead of any package index."""
    directory = tmp_path / "index"
    directory.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(directory), "NO_BUILD_ISOLATION": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return directory


@pytest.fixture
def fake_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Stands in for pip: runs a Python snippet with the command's words in `words`."""

    def set_snippet(snippet: str) -> None:
        program = tmp_path / "pip.py"
        program.write_text(f"import sys\nwords = sys.argv[1:]\n{snippet}\n")
        monkeypatch.setattr(fetch, "find_pip", lambda: [sys.executable, "-S", str(program)])

    return set_snippet


def test_fetched_archive_is_verified_kept_and_used_again(index: Path, cache: Path, fake_pip) -> None:
    release = make_archive(index / f"{TOP}.tar.gz", ARCHIVE)
    fake_pip(
        "import shutil\n"
        "assert words[0] == 'download' and '--require-hashes' in words and '--no-deps' in words\n"
        f"assert '{release.sha256}' in open(words[words.index('--requirement') + 1]).read()\n"
        f"shutil.copy(r'{index / TOP}.tar.gz', words[words.index('--dest') + 1])"
    )
    first = fetch.archive(release)
    assert first.parent == cache and hashlib.sha256(first.read_bytes()).hexdigest() == release.sha256
    fake_pip("sys.exit('offline')")
    assert fetch.archive(release) == first


def test_real_pip_refuses_an_archive_with_another_hash_before_it_runs(
    index: Path, cache: Path, tmp_path: Path
) -> None:
    """The archive's setup.py would leave a file behind."""
    setup = f"open({str(tmp_path / 'ran')!r}, 'w')\n".encode()
    make_archive(index / f"{TOP}.tar.gz", {**ARCHIVE, "setup.py": setup})
    other = Release(VERSION, "0" * 64, (3, 10), ())
    message = refused(ExitCode.INDEX, fetch.archive, other)
    assert "sha256" in message and "not opened" in message
    assert not (tmp_path / "ran").exists() and not cache.exists()


def test_no_network_and_nothing_kept(index: Path, cache: Path) -> None:
    message = refused(ExitCode.INDEX, fetch.archive, Release(VERSION, "0" * 64, (3, 10), ()))
    assert "could not be fetched" in message and str(cache / f"{TOP}.tar.gz") in message


def test_damaged_archive_in_the_cache_is_not_used(cache: Path, fake_pip, tmp_path: Path) -> None:
    release = make_archive(tmp_path / "a.tar.gz", ARCHIVE)
    cache.mkdir(parents=True)
    (cache / f"{TOP}.tar.gz").write_bytes((tmp_path / "a.tar.gz").read_bytes()[:-1])
    fake_pip("sys.exit('ERROR: offline')")
    assert "offline" in refused(ExitCode.INDEX, fetch.archive, release)


def test_client_that_delivers_something_else(fake_pip, cache: Path) -> None:
    fake_pip(f"open(words[words.index('--dest') + 1] + '/{TOP}.tar.gz', 'wb').write(b'something else')")
    refused(ExitCode.INDEX, fetch.archive, Release(VERSION, "0" * 64, (3, 10), ()))
    assert not cache.exists()


def test_unpacked_release_is_a_repository_that_begins_pristine(tmp_path: Path, project: Project) -> None:
    release = make_archive(tmp_path / "a.tar.gz", ARCHIVE)
    target = tmp_path / "lerobot"
    fetch.unpack(tmp_path / "a.tar.gz", release, target)
    assert git(target, "log", "--format=%s").decode().splitlines() == [f"LeRobot {VERSION} as released"]
    assert git(target, "status", "--porcelain") == b""
    assert b"egg-info" not in git(target, "ls-files") and (target / "src/lerobot.egg-info").is_dir()
    patching.install(project.root, Checkout(target))
    assert (target / "src/lerobot/train.py").read_bytes() == TRAIN_PATCHED


def test_first_commit_is_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_archive(tmp_path / "a.tar.gz", ARCHIVE)
    heads = set()
    for name in ("one", "two"):
        monkeypatch.setenv("GIT_AUTHOR_NAME", name)
        monkeypatch.setenv("TZ", {"one": "UTC", "two": "Asia/Tokyo"}[name])
        fetch.unpack(tmp_path / "a.tar.gz", release, tmp_path / name)
        heads.add(git(tmp_path / name, "rev-parse", "HEAD"))
    assert len(heads) == 1


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("outside.py"),
        tarfile.TarInfo(f"{TOP}/../outside.py"),
        tarfile.TarInfo(f"{TOP}/.git/config"),
        tarfile.TarInfo(f"{TOP}/src/.GIT/config"),
        tarfile.TarInfo("/tmp/outside.py"),
        link(f"{TOP}/link", tarfile.SYMTYPE, "/etc"),
        link(f"{TOP}/link", tarfile.LNKTYPE, "/etc/passwd"),
        link(f"{TOP}/pipe", tarfile.FIFOTYPE, ""),
        link(f"{TOP}/device", tarfile.CHRTYPE, ""),
    ],
    ids=lambda member: member.name.replace("/", "_"),
)
def test_hostile_archive_leaves_nothing(tmp_path: Path, member: tarfile.TarInfo) -> None:
    release = make_archive(tmp_path / "a.tar.gz", ARCHIVE, member)
    before = snapshot(tmp_path)
    with pytest.raises(Exception, match="archive|Unsafe path"):
        fetch.unpack(tmp_path / "a.tar.gz", release, tmp_path / "lerobot")
    assert snapshot(tmp_path) == before


def test_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_archive(tmp_path / "a.tar.gz", ARCHIVE)

    def denied(**_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fetch.tempfile, "mkdtemp", denied)
    assert "cannot be written" in refused(
        ExitCode.NO_PERMISSION, fetch.unpack, tmp_path / "a.tar.gz", release, tmp_path / "lerobot"
    )


def test_two_runs_that_fetch_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_archive(tmp_path / "a.tar.gz", ARCHIVE)
    target = tmp_path / "lerobot"
    commit = fetch._commit

    def slow_commit(*arguments) -> None:
        commit(*arguments)
        target.mkdir()
        (target / "theirs").write_bytes(b"theirs\n")

    monkeypatch.setattr(fetch, "_commit", slow_commit)
    message = refused(ExitCode.BUSY, fetch.unpack, tmp_path / "a.tar.gz", release, target)
    assert str(target) in message and os.listdir(target) == ["theirs"]
    assert not list(tmp_path.glob(".lerobot-*"))


def test_cache_that_cannot_be_made(index: Path, cache: Path, fake_pip) -> None:
    release = make_archive(index / f"{TOP}.tar.gz", ARCHIVE)
    fake_pip(f"import shutil; shutil.copy(r'{index / TOP}.tar.gz', words[words.index('--dest') + 1])")
    cache.parent.write_bytes(b"a file")
    assert "XDG_CACHE_HOME" in refused(ExitCode.DISK_FULL, fetch.archive, release)


def test_dev_does_not_unpack_over_what_is_there(run_install, project: Project, tmp_path: Path) -> None:
    (tmp_path / "lerobot").mkdir()
    (tmp_path / "lerobot/mine").write_bytes(b"mine\n")
    result = run_install(project, "dev", "--no-install", cwd=tmp_path)
    assert result.returncode == ExitCode.NOT_LEROBOT and "rename it" in result.stderr
    assert os.listdir(tmp_path / "lerobot") == ["mine"]


def test_every_patch_set_has_its_release() -> None:
    assert {release.tag for release in RELEASES} >= set(load_patch_sets(PROJECT / "patches"))
    assert all(len(release.sha256) == 64 for release in RELEASES)


@pytest.mark.parametrize("version", ["0.6.1", "v0.6.1"])
def test_versions_are_known_with_and_without_v(version: str) -> None:
    assert find_release(version).tag == "v0.6.1"


def test_pip_is_an_ordinary_program() -> None:
    assert subprocess.run([*fetch.find_pip(), "--version"], capture_output=True).returncode == 0
