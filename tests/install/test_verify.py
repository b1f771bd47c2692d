# SPDX-License-Identifier: MIT
"""`python -m verify`: what it reports, and that it writes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from installer import patching
from tests.install.upstreams import PROJECT, Project, git_snapshot, refused, snapshot, write
from verify import __main__ as verify_command
from verify import interpreter
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


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str, best: tuple[Path, int]) -> int:
    monkeypatch.setattr(sys, "argv", ["verify", *words])
    monkeypatch.setattr(verify_command.interpreter, "best", lambda _: best)
    return verify_command.main()


def test_bare_python_gets_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(verify_command.tools, "use_kept", lambda: False)
    assert run_main(monkeypatch, best=(Path(sys.executable), 0)) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "unidiff" in said and "install.py dev" in said


def test_the_report_is_handed_on_to_a_python_that_can_make_it_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words; exit 14\n')
    python.chmod(0o755)
    assert run_main(monkeypatch, "--json", best=(python, 3)) == 14
    assert (tmp_path / "words").read_text() == "-m verify --json\n"
    monkeypatch.setenv(verify_command.interpreter.HANDED_ON, "1")
    assert run_main(monkeypatch, "--json", best=(python, 3)) == 0
    assert (tmp_path / "words").read_text() == "-m verify --json\n"


def test_quick_report_needs_no_lerobot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert run_main(monkeypatch, "--quick", best=(Path(sys.executable), 1)) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("SOUND")
    assert run_main(monkeypatch, str(tmp_path), best=(Path(sys.executable), 1)) == ExitCode.NOT_LEROBOT


def serve(monkeypatch: pytest.MonkeyPatch, module: str, *, has: dict, best: tuple[Path, int]) -> None:
    """As Python does it before it imports what `-m` names."""
    monkeypatch.setattr(interpreter, "abilities", lambda: has)
    monkeypatch.setattr(interpreter, "best", lambda _: best)
    interpreter.serve(["python", "-m", module, "--json"])


BARE = {"lint": False, "proofs": False, "source": None}


@pytest.mark.parametrize("module", ["verify.drift", "verify.parity", "verify.demo"])
def test_bare_python_hands_every_module_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, module: str
) -> None:
    monkeypatch.setattr(verify_command.tools, "use_kept", lambda: False)
    with pytest.raises(SystemExit) as end:
        serve(monkeypatch, module, has=BARE, best=(Path(sys.executable), 0))
    assert end.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words; exit 14\n')
    python.chmod(0o755)
    with pytest.raises(SystemExit) as end:
        serve(monkeypatch, module, has=BARE, best=(python, 3))
    assert end.value.code == 14 and (tmp_path / "words").read_text() == f"-m {module} --json\n"
    serve(monkeypatch, module, has=BARE | {"lint": True, "proofs": True}, best=(python, 3))
    serve(monkeypatch, "verify.parity_trace", has=BARE, best=(python, 3))  # told which Python it runs on
    monkeypatch.setattr(verify_command.tools, "use_kept", lambda: True)
    if module == "verify.drift":
        serve(monkeypatch, module, has=BARE, best=(python, 3))


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
    with pytest.raises(SystemExit) as end:
        serve(monkeypatch, "verify.bench", has=BARE | {"lint": True, "proofs": True}, best=(Path(), 0))
    said = capsys.readouterr().err
    assert end.value.code == 2 and len(said.splitlines()) == 1
    assert "verify.bench needs no_such_world" in said and "-m pip install no-such-world==3" in said
