"""With the head off, the LeRobot under test is upstream's bit for bit; and the proof can fail."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lerobot import __file__ as lerobot_file
from tests.startup import sitecustomize
from verify import interpreter
from verify.checkout import Checkout
from verify.errors import RewactError
from verify.parity import compare, prove_parity, rebuild_pristine

CHECKOUT = Path(lerobot_file).parents[2]


@pytest.fixture(autouse=True)
def _start_as_all_tests_do(monkeypatch):
    """The proof sets PYTHONPATH to its trees, and so leaves out what reads configurations quickly."""
    startup = Path(sitecustomize.__file__).parent
    monkeypatch.setattr("verify.parity.environment", lambda *path: interpreter.environment(*path, startup))


def test_patched_equals_upstream_bit_for_bit():
    report = prove_parity(Checkout(CHECKOUT))
    assert report.differences == [], report.verdict
    policies = {"cameras", "environment-state", "no-vae", "ensembling", "pre-norm"}
    assert set(report.compared) == policies | {"own-columns", "configurations"}
    # Names and bits of the weights before and after, 20 losses, 25 actions and a chunk, twice.
    assert all(report.compared[case] > 150 for case in policies)
    assert report.compared["own-columns"] > 50 and report.compared["configurations"] >= 10


def test_the_pristine_tree_is_what_the_repository_has(tmp_path):
    """Not a copy of the patched one: file by file it is the release."""
    checkout = Checkout(CHECKOUT)
    rebuild_pristine(checkout, tmp_path)
    state = checkout.state()
    in_head = checkout.head_blobs([path for path, record in state.files.items() if record.kind == "patch"])
    for path, record in state.files.items():
        if record.pristine is None:
            assert not (tmp_path / path).exists()
        elif path in in_head and path.startswith("src/"):
            assert record.pristine.blob == in_head[path]
    assert not (tmp_path / "src" / "rewact").exists()


def test_a_different_loss_breaks_the_proof(tmp_path, monkeypatch):
    """A patched tree whose plain ACT differs in the last bits is found out."""
    copy = tmp_path / "src"
    shutil.copytree(CHECKOUT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    modeling = copy / "lerobot" / "policies" / "act" / "modeling_act.py"
    text = modeling.read_text()
    assert text.count("* self.config.kl_weight") == 1
    modeling.write_text(text.replace("* self.config.kl_weight", "* (self.config.kl_weight * (1 + 1e-6))"))
    checkout = Checkout(CHECKOUT)
    # The proof rebuilds the pristine side from the checkout's records and runs the sources found under
    # `root`.
    monkeypatch.setattr(
        "verify.parity.rebuild_pristine", lambda _, directory: rebuild_pristine(checkout, directory)
    )
    checkout_of_copy = Checkout(CHECKOUT)
    checkout_of_copy.root = tmp_path
    report = prove_parity(checkout_of_copy, cases=["environment-state"])
    assert any("losses" in difference for difference in report.differences)
    assert "BROKEN" in report.verdict


def test_missing_and_additional_facts_are_differences():
    report = compare({"a": {"x": "1", "y": ["2"]}}, {"a": {"x": "1", "y": ["2", "3"]}, "b": {"z": "4"}})
    assert len(report.differences) == 2
    assert compare({"a": {"x": "1"}}, {"a": {"x": "1"}}).differences == []


def test_an_unpatched_checkout_cannot_be_proven(tmp_path):
    subprocess.run(["git", "clone", "--quiet", "--shared", CHECKOUT, tmp_path / "clone"], check=True)
    with pytest.raises(RewactError, match="is not patched"):
        prove_parity(Checkout(tmp_path / "clone"))
