"""The demo from one end to the other, with as little data and training as it can do with."""

import json
import re
import shutil

import av
import pytest
from PIL import Image

from verify.demo import __main__ as command
from verify.demo import pipeline, training

TINY = pipeline.Preset("tiny", train_episodes=5, unseen_episodes=5, steps=3)


@pytest.fixture(autouse=True)
def tiny_instead_of_fast(monkeypatch):
    monkeypatch.setattr(command, "FAST", TINY)


def run(folder, capsys, *arguments):
    code = command.main(["--fast", "--output-dir", str(folder), *arguments])
    return code, capsys.readouterr()


@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    """The files agree with what was printed; done work is kept, and interrupted work goes on."""
    folder = tmp_path / "demo"
    code, printed = run(folder, capsys)
    assert code == 0, printed.err

    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["run"] == {
        "name": "tiny",
        "train_episodes": 5,
        "unseen_episodes": 5,
        "steps": 3,
        "seed": 0,
    }
    assert [row["episode"] for row in metrics["episodes"]] == [5, 6, 7, 8, 9]
    rows = re.findall(r"^ +(\d+) (\w+) +(\d+) +([+-][\d.]+) +([\d.]+) +", printed.out, flags=re.MULTILINE)
    assert rows == [
        (str(r["episode"]), r["outcome"], str(r["frames"]), f"{r['spearman']:+.3f}", f"{r['mae']:.3f}")
        for r in metrics["episodes"]
    ]
    total = metrics["overall"]["all"]
    assert f"Spearman {total['spearman']:.3f}, mean absolute error {total['mae']:.3f}" in printed.out
    for name in ("demo.png", "demo.mp4", "metrics.json"):
        assert str(folder / name) in printed.out
    assert Image.open(folder / "demo.png").format == "PNG"
    with av.open(str(folder / "demo.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 80
    assert "--dataset.episodes=[0,1,2,3,4]" in printed.out and "reward_loss:" in printed.out

    # A second run does nothing over and says so.
    files = [path for path in folder.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    code, printed = run(folder, capsys)
    assert code == 0 and "Recorded already" in printed.out and "Trained already" in printed.out
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert f"Spearman {total['spearman']:.3f}" in printed.out

    # Training that was cut off between two checkpoints goes on from the one before.
    run_dir = folder / "work" / "tiny-seed-0" / "training"
    last = training.last_checkpoint(run_dir)
    cut_off = last.resolve()
    last.unlink()
    last.symlink_to(sorted(p.name for p in cut_off.parent.iterdir() if p.name.isdigit())[-2])
    shutil.rmtree(cut_off)
    assert training.trained_steps(run_dir) == 2
    code, printed = run(folder, capsys)
    assert code == 0 and "from step 2 on" in printed.out and "--resume=true" in printed.out
    assert training.trained_steps(run_dir) == 3
    assert json.loads((folder / "metrics.json").read_text())["run"] == metrics["run"]


def test_failed_training_is_one_sentence_with_the_log(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "POLICY_FLAGS", ("--policy.type=nonsense",))
    monkeypatch.setattr(command, "FAST", pipeline.Preset("tiny", 1, 1, 1))
    code, printed = run(tmp_path, capsys, "--seed", "3")
    log = tmp_path / "work" / "tiny-seed-3" / "training.log"
    assert code == 1
    assert str(log) in printed.err.splitlines()[-1]
    assert "nonsense" in log.read_text()
    assert not (tmp_path / "metrics.json").exists()


def test_an_interruption_is_one_sentence(tmp_path, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_demo", interrupted)
    code, printed = run(tmp_path, capsys)
    assert code == 130 and "goes on from here" in printed.err


def test_a_size_of_its_own_is_kept_under_a_name_of_its_own():
    assert pipeline.FAST.sized(None, None) == pipeline.FAST
    sized = pipeline.FULL.sized(5, 3)
    assert (sized.name, sized.train_episodes, sized.steps) == ("full-5-episodes-3-steps", 5, 3)
