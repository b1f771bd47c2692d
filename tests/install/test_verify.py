# SPDX-License-Identifier: MIT
"""`python -m verify`: what it reports, and that it writes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from installer import patching
from tests.install.upstreams import PROJECT, Project, git_snapshot, refused, snapshot, write
from verify import __main__ as verify_command
from verify import interpreter, parity
from verify import tools as kept_tools
from verify.checkout import Checkout
from verify.errors import ExitCode
from verify.parity import prove_parity, smoke
from verify.report import collect, show


def test_sound_patch_sets_without_a_checkout(project: Project) -> None:
    report = collect(project.root, None)
    assert report["sound"] and report["checkout"] is None
    assert show(report).splitlines()[-1] == "SOUND: 1 patch sets are sound"


def test_pristine_and_patched_checkout(project: Project, checkout: Checkout) -> None:
    report = collect(project.root, checkout.root)
    assert report["sound"] and not report["checkout"]["installed"]
    assert set(report["checkout"]["files"].values()) == {"pristine"}
    patching.install(project.root, checkout)
    report = collect(project.root, checkout.root)
    assert report["sound"] and report["checkout"]["installed"]
    assert set(report["checkout"]["files"].values()) == {"applied"}


def test_edited_checkout_is_not_sound(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    write(checkout.root, {"src/lerobot/act.py": b"mine\n"})
    before = snapshot(checkout.root), git_snapshot(checkout.root)
    report = collect(project.root, checkout.root)
    assert not report["sound"] and "src/lerobot/act.py" in show(report)
    assert report["verdict"].startswith("NOT SOUND")
    assert (snapshot(checkout.root), git_snapshot(checkout.root)) == before


def test_half_restored_checkout_is_not_sound(project: Project, checkout: Checkout) -> None:
    patching.install(project.root, checkout)
    (checkout.root / "src/lerobot/head.py").unlink()
    report = collect(project.root, checkout.root)
    assert not report["sound"] and report["checkout"]["files"]["src/lerobot/head.py"] == "missing"


def test_damaged_patch_set_is_not_sound(project: Project, checkout: Checkout) -> None:
    project.patch_path().write_bytes(b"")
    report = collect(project.root, checkout.root)
    assert not report["sound"] and "0001-a.patch" in show(report)


def test_wrong_checkout_is_refused(project: Project, tmp_path: Path) -> None:
    refused(ExitCode.NOT_LEROBOT, collect, project.root, tmp_path)


def run_main(monkeypatch: pytest.MonkeyPatch, command, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["verify", *words])
    return command.main()


def test_quick_report_needs_no_lerobot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert run_main(monkeypatch, verify_command, "--quick") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("SOUND")
    assert run_main(monkeypatch, verify_command, str(tmp_path)) == ExitCode.NOT_LEROBOT


def test_the_proof_says_so_where_no_python_runs_lerobot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, project: Project, checkout: Checkout
) -> None:
    monkeypatch.setattr(parity, "best", lambda _: None)
    assert run_main(monkeypatch, parity, str(checkout.root)) == ExitCode.USAGE
    assert capsys.readouterr().err == interpreter.NO_LEROBOT + "\n"


def serve(monkeypatch: pytest.MonkeyPatch, module: str, *, has: str | None, best: Path | None) -> None:
    """As Python does it before it imports what `-m` names."""
    monkeypatch.setattr(interpreter, "source_here", lambda: has)
    monkeypatch.setattr(interpreter, "best", lambda _: best)
    interpreter.serve(["python", "-m", module, "--json"])


def ended(capsys: pytest.CaptureFixture, *arguments, **options) -> str:
    """The one sentence with which a module ends that cannot run."""
    with pytest.raises(SystemExit) as end:
        serve(*arguments, **options)
    said = capsys.readouterr().err
    assert end.value.code == 2 and len(said.splitlines()) == 1
    return said


@pytest.mark.parametrize("module", ["verify", "verify.drift"])
def test_bare_python_gets_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, module: str
) -> None:
    monkeypatch.setattr(kept_tools, "use_kept", lambda: False)
    said = ended(capsys, monkeypatch, module, has=None, best=None)
    assert "unidiff" in said and "install.py dev" in said
    monkeypatch.setattr(kept_tools, "use_kept", lambda: True)
    serve(monkeypatch, module, has=None, best=None)


def test_what_runs_lerobot_is_handed_on_to_a_python_that_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert "install.py dev" in ended(capsys, monkeypatch, "verify.demo", has=None, best=None)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words; exit 14\n')
    python.chmod(0o755)
    with pytest.raises(SystemExit) as end:
        serve(monkeypatch, "verify.demo", has=None, best=python)
    assert end.value.code == 14 and (tmp_path / "words").read_text() == "-m verify.demo --json\n"
    serve(monkeypatch, "verify.demo", has="", best=python)
    serve(monkeypatch, "verify.parity_trace", has=None, best=python)  # told which Python it runs on


def test_drift_runs_on_the_cached_tools_of_install_py(cached_tools: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-S", "-m", "verify.drift", "--help"], cwd=PROJECT, capture_output=True, text=True
    )
    assert ran.returncode == 0 and "--history" in ran.stdout and not ran.stderr


def test_tree_that_does_not_run_without_the_patches_is_told_in_a_sentence(
    project: Project, checkout: Checkout, tmp_path: Path
) -> None:
    patching.install(project.root, checkout)
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf 'Traceback\\n  File x\\nImportError: no torch\\n' >&2; exit 1\n")
    python.chmod(0o755)
    message = refused(ExitCode.CHECK_FAILED, prove_parity, checkout, str(python))
    assert message == f"{checkout.root} without the patches does not run: ImportError: no torch"


def test_smoke_of_an_unpatched_tree_says_so(checkout: Checkout) -> None:
    assert "is not patched" in refused(ExitCode.USAGE, smoke, checkout, sys.executable)


def test_a_package_that_only_the_benchmark_needs_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(interpreter._EXTRA, "verify.bench", {"no_such_world": "no-such-world==3"})
    said = ended(capsys, monkeypatch, "verify.bench", has="", best=None)
    assert "verify.bench needs no_such_world" in said and "-m pip install no-such-world==3" in said
