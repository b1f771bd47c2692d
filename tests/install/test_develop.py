# SPDX-License-Identifier: MIT
"""`dev` and `prod` around the patching: what is installed when, and what a second run does."""

import json
import shutil
from pathlib import Path

import pytest

import install
import installer
from installer import commands, console, develop, environment, locate, patching, status, undo, wheel
from installer.environment import Environment, Installed
from installer.pythons import Python
from installer.releases import Release
from tests.install.upstreams import (
    ACT,
    PYPROJECT,
    UPSTREAM,
    Project,
    git,
    make_repository,
    refused,
    snapshot,
    write,
)
from verify.checkout import Checkout
from verify.drift import LABEL
from verify.errors import ExitCode, RewactError

RELEASE = Release("9.9.1", "0" * 64, (3, 10), ("training",))


class FakeEnvironment:
    """An environment that remembers what was installed into it."""

    def __init__(self, prefix: Path) -> None:
        self.environment = Environment(prefix, Python(prefix / "bin/python", (3, 12, 0), True), True)
        self.installed = Installed(None, None, ("lerobot",))
        self.calls: list[list[str]] = []

    def install(self, _: Environment, arguments: list[str]) -> None:
        self.calls.append(arguments)
        if "--editable" in arguments:
            tree = arguments[arguments.index("--editable") + 1].partition("[")[0]
            self.installed = Installed("9.9.1", Path(tree), ())
        else:
            self.installed = Installed(RELEASE.patched_version, None, ())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEnvironment:
    made = FakeEnvironment(tmp_path / "environment")
    made.environment.prefix.mkdir()
    for module in (develop, wheel):
        monkeypatch.setattr(module, "find_release", lambda version: RELEASE)
    monkeypatch.setattr(environment, "choose", lambda *_, **__: made.environment)
    monkeypatch.setattr(environment, "ask", lambda *_: made.installed)
    monkeypatch.setattr(environment, "pip_install", made.install)
    monkeypatch.setattr(environment, "_warn_without_ffmpeg", lambda _: None)
    return made


def test_dev_installs_editable_once(project: Project, checkout: Checkout, fake: FakeEnvironment) -> None:
    first = develop.dev(project.root, checkout.root, None, install=True)
    assert first.changed and f"{checkout.root}[training]" in fake.calls[0]
    second = develop.dev(project.root, checkout.root, None, install=True)
    assert not second.changed and len(fake.calls) == 1


def test_dev_installs_again_when_entry_points_changed(
    project: Project, checkout: Checkout, fake: FakeEnvironment
) -> None:
    develop.dev(project.root, checkout.root, None, install=True)
    path = "pyproject.toml"
    project.add_patch("0004-d.patch", {path: PYPROJECT}, {path: PYPROJECT + b"[project.scripts]\n"})
    assert develop.dev(project.root, checkout.root, None, install=True).changed
    assert len(fake.calls) == 2


def test_dev_installs_again_when_another_checkout_was_installed(
    project: Project, checkout: Checkout, fake: FakeEnvironment, tmp_path: Path
) -> None:
    develop.dev(project.root, checkout.root, None, install=True)
    fake.installed = Installed("9.9.1", tmp_path / "other", ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "pip_install", fake.install)
        assert develop.dev(project.root, checkout.root, None, install=True).changed


def test_dev_checks_what_the_installation_left(
    project: Project, checkout: Checkout, fake: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "pip_install", lambda *_: None)
    message = refused(
        ExitCode.CHECK_FAILED, lambda: develop.dev(project.root, checkout.root, None, install=True)
    )
    assert "lerobot" in message and not environment.note_path(fake.environment.prefix).exists()


def test_failed_installation_leaves_a_patched_checkout_to_go_on_from(
    project: Project, checkout: Checkout, fake: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RewactError(ExitCode.INDEX, "no network")

    with monkeypatch.context() as patch:
        patch.setattr(environment, "pip_install", fail)
        refused(ExitCode.INDEX, lambda: develop.dev(project.root, checkout.root, None, install=True))
    assert develop.dev(project.root, checkout.root, None, install=True).changed


def test_uninstall_leaves_the_environment_alone(
    project: Project, checkout: Checkout, fake: FakeEnvironment
) -> None:
    develop.dev(project.root, checkout.root, None, install=True)
    before = snapshot(fake.environment.prefix)
    undo.uninstall(project.root, checkout)
    assert snapshot(fake.environment.prefix) == before


def test_release_that_cannot_be_installed_is_refused_before_it_is_patched(
    project: Project, checkout: Checkout
) -> None:
    """Its patches were exported, and nobody has said yet what it needs."""
    before = snapshot(checkout.root)
    message = refused(
        ExitCode.UNSUPPORTED_VERSION, lambda: develop.dev(project.root, checkout.root, None, install=True)
    )
    assert "9.9.1" in message and snapshot(checkout.root) == before and checkout.state() is None
    assert develop.dev(project.root, checkout.root, None, install=False).changed


@pytest.mark.parametrize(
    ("version", "code"), [("9.9", ExitCode.UNSUPPORTED_VERSION), ("0.6.1", ExitCode.USAGE)]
)
@pytest.mark.parametrize("command", ["dev", "prod"])
def test_checkout_of_another_release_than_asked_for_is_refused(
    run_install, project: Project, upstream: Path, version: str, code: ExitCode, command: str
) -> None:
    before = snapshot(upstream)
    options = ["--no-install"] if command == "dev" else []
    result = run_install(project, command, *options, str(upstream), "--lerobot", version)
    assert result.returncode == code and version in result.stderr
    assert snapshot(upstream) == before and not (upstream / ".git/rewact").exists()


@pytest.fixture
def fake_build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict]:
    """Keeps what a build would be made of, and leaves a file that is called like a wheel."""
    builds: list[dict] = []

    def build(_: Environment, source: Path, output: Path) -> None:
        builds.append({path: data for path, (_, data) in snapshot(source).items() if data})
        write(output, {"lerobot-9.9.1+rewact.1-py3-none-any.whl": b"wheel"})

    monkeypatch.setattr(environment, "build_wheel", build)
    monkeypatch.setattr(wheel, "check", lambda *_: None)
    return builds


def run_prod(project: Project, checkout: Checkout) -> bool:
    return wheel.install(project.root, checkout, patching.read_plan(project.root, checkout)[0], None)[1]


@pytest.mark.parametrize("patched", [False, True])
def test_prod_builds_the_patched_tree_and_leaves_the_checkout(
    project: Project, checkout: Checkout, fake: FakeEnvironment, fake_build: list[dict], patched: bool
) -> None:
    if patched:
        patching.install(project.root, checkout)
    write(checkout.root, {"src/lerobot/__pycache__/x.pyc": b"x", "src/lerobot.egg-info/PKG-INFO": b"x"})
    before = snapshot(checkout.root)
    assert run_prod(project, checkout)
    (tree,) = fake_build
    assert b'version = "9.9.1+rewact.1"' in tree["pyproject.toml"]
    assert b"print(None)" in tree["src/lerobot/act.py"] and "src/rewact/deep/__init__.py" in tree
    assert not any("pycache" in path or "egg-info" in path or path.startswith("data") for path in tree)
    assert snapshot(checkout.root) == before
    assert (project.root / "dist/lerobot-9.9.1+rewact.1-py3-none-any.whl").read_bytes() == b"wheel"


def test_prod_a_second_time_does_nothing(
    project: Project, checkout: Checkout, fake: FakeEnvironment, fake_build: list[dict]
) -> None:
    assert run_prod(project, checkout) and not run_prod(project, checkout)
    assert len(fake.calls) == len(fake_build) == 1
    write(checkout.root, {"src/lerobot/other.py": b"changed = 1\n"})
    assert run_prod(project, checkout)


def test_prod_builds_no_wheel_of_a_tree_near_a_release(
    project: Project, tmp_path: Path, fake: FakeEnvironment, fake_build: list[dict]
) -> None:
    files = {**UPSTREAM, "src/lerobot/act.py": b"print(new)\n" + ACT}
    files["src/lerobot/train.py"] += b"more = 1\n"
    checkout = Checkout(make_repository(tmp_path / "newer", UPSTREAM))
    write(checkout.root, files)
    patching.install(project.root, checkout)
    message = refused(ExitCode.UNSUPPORTED_VERSION, run_prod, project, checkout)
    assert LABEL in message and fake_build == []


@pytest.mark.parametrize("text", [b"", b'version = "1"\nversion = "2"\n'])
def test_prod_needs_one_version_line(text: bytes) -> None:
    refused(ExitCode.CHECK_FAILED, wheel.with_version, text, "1")


def fake_python(path: Path, script: str) -> Environment:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Environment(path.parents[1], Python(path, (3, 12, 0), True), True)


@pytest.mark.parametrize(
    ("version", "place", "sound"),
    [
        ("9.9.1+rewact.1", "elsewhere", True),
        ("9.9.1", "elsewhere", False),
        ("9.9.1+rewact.1", "checkout", False),
    ],
)
def test_prod_checks_version_and_place_of_what_is_imported(
    checkout: Checkout, tmp_path: Path, version: str, place: str, sound: bool
) -> None:
    root = checkout.root if place == "checkout" else tmp_path / "site"
    answer = json.dumps([version, f"{root}/lerobot/__init__.py", f"{root}/rewact/__init__.py"])
    env = fake_python(tmp_path / "env/bin/python", f"echo hello; echo '{answer}'")
    if sound:
        wheel.check(env, checkout, RELEASE)
    else:
        refused(ExitCode.CHECK_FAILED, wheel.check, env, checkout, RELEASE)


def test_prod_says_why_it_does_not_import(checkout: Checkout, tmp_path: Path) -> None:
    env = fake_python(tmp_path / "env/bin/python", "echo 'ModuleNotFoundError: no rewact' >&2; exit 1")
    assert "no rewact" in refused(ExitCode.CHECK_FAILED, wheel.check, env, checkout, RELEASE)


def test_tests_and_demo_pass_on_arguments_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: Checkout
) -> None:
    from argparse import Namespace

    env = fake_python(tmp_path / "env/bin/python", f'echo "$@" > {tmp_path}/words; exit 7')
    monkeypatch.setattr(commands.develop, "dev_own", lambda _: develop.Setup(checkout, env, False))
    monkeypatch.setattr(install.tools, "require", lambda: None)
    assert install.main(["demo", "--fast"]) == 7
    output = f"--output-dir={installer.PROJECT}/outputs/demo"
    assert (tmp_path / "words").read_text().split() == ["-m", "verify.demo", output, "--fast"]
    monkeypatch.chdir(tmp_path)  # the user's directory, which is not where the demo runs
    for words in (["--output-dir", "out"], ["--output-dir=out"]):
        install.main(["demo", *words])
        assert f"--output-dir={tmp_path}/out" in (tmp_path / "words").read_text().split()
    assert commands.test(Namespace(lerobot=None, all=False, rest=["-x", "tests/install"])) == 7
    words = (tmp_path / "words").read_text().split()
    assert words == ["-m", "pytest", "-x", "tests/install"]
    commands.test(Namespace(lerobot=None, all=False, rest=[]))
    words = (tmp_path / "words").read_text().split()
    assert words == ["-m", "pytest"]


def test_pytest_finds_every_room_the_fast_one_first(pytestconfig: pytest.Config) -> None:
    rooms = {f"tests/{path.parent.name}" for path in (installer.PROJECT / "tests").glob("*/test_*.py")}
    found = pytestconfig.getini("testpaths")
    assert set(found) == rooms and (found[0], found[-1]) == ("tests/install", "tests/e2e")


@pytest.mark.parametrize(("failing", "code"), [(None, 0), ("0.5.1", 3)])
def test_matrix_tests_every_release_in_its_own_place_and_passes_the_failure_on(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    checkout: Checkout,
    capsys: pytest.CaptureFixture,
    failing: str | None,
    code: int,
) -> None:
    from argparse import Namespace

    def dev_apart(_: Path, release: Release) -> develop.Setup:
        status = 3 if release.version == failing else 0
        env = fake_python(tmp_path / release.version / "bin/python", f"exit {status}")
        return develop.Setup(checkout, env, False)

    monkeypatch.setattr(commands.develop, "dev_apart", dev_apart)
    assert commands.test(Namespace(lerobot=None, all=True, rest=[])) == code
    said = capsys.readouterr().out.splitlines()[-3:]
    for version, line in zip(("0.6.1", "0.5.1", "0.4.4"), said, strict=True):
        end = f"FAILED (exit code {code})" if version == failing else "passed"
        assert line.startswith(f"LeRobot {version}: {end} after ") and line.endswith(" min")


def test_matrix_goes_on_where_a_release_cannot_be_set_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: Checkout, capsys: pytest.CaptureFixture
) -> None:
    from argparse import Namespace

    env = fake_python(tmp_path / "env/bin/python", "exit 0")

    def dev_apart(_: Path, release: Release) -> develop.Setup:
        if release.version == "0.6.1":
            raise RewactError(ExitCode.INDEX, "no network")
        return develop.Setup(checkout, env, False)

    monkeypatch.setattr(commands.develop, "dev_apart", dev_apart)
    assert commands.test(Namespace(lerobot=None, all=True, rest=[])) == ExitCode.INDEX
    captured = capsys.readouterr()
    assert "no network" in captured.err
    assert "LeRobot 0.6.1: FAILED (exit code 10)" in captured.out and "0.4.4: passed" in captured.out


def test_matrix_says_of_each_set_up_when_it_is_its_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: Checkout, capfd: pytest.CaptureFixture
) -> None:
    """The next release is set up while one is tested: here the first one's tests wait for the last set-up."""
    from argparse import Namespace

    wait = f"until [ -e {tmp_path}/0.4.4/bin/python ]; do :; done; echo tests ran"
    env = fake_python(tmp_path / "env/bin/python", wait)

    def dev_apart(_: Path, release: Release) -> develop.Setup:
        console.step(f"making {release.version}")
        if release.version == "0.5.1":
            console.fault("pip's own words")
            raise RewactError(ExitCode.INDEX, "no network")
        if release.version == "0.4.4":
            fake_python(tmp_path / "0.4.4/bin/python", "exit 0")
        return develop.Setup(checkout, env, False)

    monkeypatch.setattr(commands.develop, "dev_apart", dev_apart)
    assert commands.test(Namespace(lerobot=None, all=True, rest=[])) == ExitCode.INDEX
    captured = capfd.readouterr()
    lines = [
        line for line in captured.out.splitlines() if line.startswith(("- testing", "- making", "tests"))
    ]
    assert lines == [
        *("- testing LeRobot 0.6.1", "- making 0.6.1", "tests ran"),
        *("- testing LeRobot 0.5.1", "- making 0.5.1"),
        *("- testing LeRobot 0.4.4", "- making 0.4.4", "tests ran"),
    ]
    assert captured.err.splitlines() == ["install.py: pip's own words", "install.py: no network"]


def test_matrix_tests_once_what_has_nothing_to_do_with_the_release(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: Checkout
) -> None:
    from argparse import Namespace

    environments = {
        version: fake_python(tmp_path / version / "bin/python", f'echo "$@" > {tmp_path}/words-{version}')
        for version in ("0.6.1", "0.5.1", "0.4.4")
    }

    def dev_apart(_: Path, release: Release) -> develop.Setup:
        return develop.Setup(checkout, environments[release.version], False)

    def words(version: str) -> list[str]:
        return (tmp_path / f"words-{version}").read_text().split()

    monkeypatch.setattr(commands.develop, "dev_apart", dev_apart)
    commands.test(Namespace(lerobot=None, all=True, rest=["-q"]))
    assert words("0.6.1") == ["-m", "pytest", "-q"]
    for version in ("0.5.1", "0.4.4"):
        assert "tests/install" not in words(version)
        assert "tests/install/test_real_patches.py" in words(version)
        assert {"tests/model", "tests/labels", "tests/advantages", "tests/e2e", "-q"} <= set(words(version))
        assert "--ignore=tests/e2e/test_demo_run.py" in words(version)
        assert [word for word in words(version) if word.startswith("tests/")][-1] == "tests/e2e"
    for path in (*commands._ONCE, *commands._EVERYWHERE):
        assert (installer.PROJECT / path).exists(), path
    commands.test(Namespace(lerobot=None, all=True, rest=["tests/model/test_inputs.py"]))
    assert words("0.4.4") == ["-m", "pytest", "tests/model/test_inputs.py"]


def test_dev_apart_uses_a_checkout_and_an_environment_of_its_own(
    project: Project, upstream: Path, fake: FakeEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = upstream.rename(project.root / "lerobot-9.9.1")
    asked: list[Path | None] = []

    def choose(_: Release, __: Path, prefix: Path | None = None, **___: object) -> Environment:
        asked.append(prefix)
        return fake.environment

    monkeypatch.setattr(environment, "choose", choose)
    assert develop.dev_apart(project.root, RELEASE).checkout.root == clone
    assert asked == [project.root / ".venv-9.9.1"]


def test_a_fitted_tree_says_which_python_it_needs(upstream: Path) -> None:
    assert develop.required_python(upstream) == (3, 10)
    write(upstream, {"pyproject.toml": b'[project]\nname = "lerobot"\n'})
    assert develop.required_python(upstream) == (0, 0)


@pytest.mark.parametrize("works", [True, False])
def test_what_was_fitted_is_tried_and_taken_out_where_it_does_not_work(
    project: Project,
    checkout: Checkout,
    fake: FakeEnvironment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    works: bool,
) -> None:
    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    def try_out(tried: Checkout, python: str) -> str:
        assert tried is checkout or tried.root == checkout.root
        if not works:
            raise RewactError(ExitCode.CHECK_FAILED, "it does not work.")
        return "it works"

    monkeypatch.setattr(develop, "smoke", killed)
    write(checkout.root, {"src/lerobot/act.py": b"print(new)\n" + ACT})
    before = snapshot(checkout.root)
    with pytest.raises(KeyboardInterrupt):
        develop.dev(project.root, checkout.root, None, install=True)
    assert snapshot(checkout.root) != before
    monkeypatch.setattr(develop, "smoke", try_out)
    if works:
        develop.dev(project.root, checkout.root, None, install=True)
        assert "it works" in capsys.readouterr().out
        assert not develop.dev(project.root, checkout.root, None, install=True).changed
        assert "it works" not in capsys.readouterr().out
    else:
        message = refused(
            ExitCode.CHECK_FAILED, lambda: develop.dev(project.root, checkout.root, None, install=True)
        )
        assert "taken out again" in message and snapshot(checkout.root) == before


def test_another_release_is_tested_apart_from_the_one_set_up_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: Checkout
) -> None:
    from argparse import Namespace

    asked = []

    def dev_apart(_: Path, release: Release) -> develop.Setup:
        asked.append(release.version)
        return develop.Setup(checkout, fake_python(tmp_path / "env/bin/python", "exit 0"), False)

    monkeypatch.setattr(commands.develop, "dev_apart", dev_apart)
    monkeypatch.setattr(
        commands.develop, "dev", lambda *_, **__: pytest.fail("the release set up here is replaced")
    )
    assert commands.test(Namespace(lerobot="0.5.1", all=False, rest=[])) == 0
    assert asked == ["0.5.1"]


@pytest.mark.parametrize("patched", [False, True])
def test_tests_and_demo_take_a_copy_of_their_own_or_what_was_patched_for_them(
    project: Project, upstream: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, patched: bool
) -> None:
    """A clone called lerobot that lies beside the project may be the user's work of today."""
    clone = upstream.rename(tmp_path / "lerobot")
    if patched:
        patching.install(project.root, Checkout(clone))
    before = snapshot(clone)
    monkeypatch.chdir(tmp_path)
    taken: list[Path] = []
    monkeypatch.setattr(develop, "dev", lambda _, directory, *__, **___: taken.append(directory))
    monkeypatch.setattr(develop.fetch, "archive", lambda _: None)
    monkeypatch.setattr(develop.fetch, "unpack", lambda _, __, target: taken.append(target))
    monkeypatch.setattr(locate, "editable_install", lambda: None)
    develop.dev_own(project.root)
    assert taken == ([clone] if patched else [project.root / "lerobot"] * 2)
    assert snapshot(clone) == before


def test_second_run_on_a_fitted_tree_reads_no_patch(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write(checkout.root, {"src/lerobot/train.py": b"import os\n\n\ndef train():\n    return 1\n"})
    git(checkout.root, "commit", "--quiet", "--all", "--message", "a fork")
    assert patching.install(project.root, checkout).fitted
    monkeypatch.setattr(patching, "read_plan", lambda *_, **__: pytest.fail("it was planned again"))
    plan = patching.install(project.root, checkout)
    assert plan.fitted and not plan.changes and "fitted, not released" in capsys.readouterr().out


@pytest.mark.parametrize("offline", [False, True])
def test_reading_fetches_nothing(
    project: Project, checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline: bool
) -> None:
    """A shallow clone of a commit that is not a release, and a cache without its archive."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr(patching, "RELEASES", (RELEASE,))
    asked: list[str] = []
    monkeypatch.setattr(patching.fetch, "archive", lambda release: asked.append(release.tag))
    shutil.rmtree(checkout.git_dir)
    train, version = b"import os\n\n\ndef train():\n    return 1\n", PYPROJECT.replace(b"9.9.1", b"8.0")
    write(checkout.root, {"src/lerobot/train.py": train, "pyproject.toml": version})
    git(checkout.root, "init", "--quiet")
    git(checkout.root, "add", "--all", "--force")
    git(checkout.root, "commit", "--quiet", "--message", "shallow")
    shallow = Checkout(checkout.root)
    if offline:
        found, code = status.collect(project.root, shallow)
        assert found["summary"] == "not installed" and "`install.py dev` fetches them" in found["message"]
        assert code is ExitCode.OK and not asked
    else:
        refused(ExitCode.UNSUPPORTED_VERSION, patching.read_plan, project.root, shallow)
        assert set(asked) == {"v9.9.1"}


@pytest.mark.parametrize("code", [0, 1])
def test_what_is_installed_is_said_in_a_line_and_in_full_where_it_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture, code: int
) -> None:
    env = fake_python(tmp_path / "env/bin/python", "")
    said = "Resolved 131 packages\\n + torch==2.11.0\\n - numpy==1.0\\n + numpy==2.0\\n"
    tool = tmp_path / "uv"
    tool.write_text(f"#!/bin/sh\nprintf '{said}'\nexit {code}\n")
    tool.chmod(0o755)
    if code:
        refused(ExitCode.INDEX, environment._run_tool, [str(tool)], env)
        assert "torch==2.11.0" in capsys.readouterr().err
    else:
        environment._run_tool([str(tool)], env)
        assert capsys.readouterr().out.startswith("- 2 packages installed in ")
