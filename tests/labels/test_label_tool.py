# SPDX-License-Identifier: MIT
"""`lerobot-label-rewards`."""

import errno
import json

import pytest

import rewact
from rewact.cli import label_rewards as label_tool
from rewact.cli.common import parse_options, report_errors
from rewact.cli.label_rewards import LabelledDatasetConfig, LabelRewardsConfig, label_rewards
from rewact.labels import LeRobotDatasetWithReward
from rewact.labels.keypoints import KEYPOINTS_FILE
from rewact.labels.opening import opening

LABELS = {
    "repo_id": "local/tiny",
    "fps": 10,
    "total_episodes": 6,
    "total_frames": 54,
    "episodes": {
        "0": {"keypoints": [{"timestamp": 0.3, "reward": 0.5}, {"frame_index": 0, "reward": 0.0}]},
        "3": {
            "keypoints": [{"frame_index": 19, "reward": 1.0}],
            "outcome": "success",
            "control_modes": [{"start_index": 0, "end_index": 4, "mode": "policy"}],
        },
        "4": {"outcome": "failure"},
    },
}


@pytest.fixture
def run(root, tmp_path):
    """Run the tool on the dataset, with a JSON file of these labels if any."""

    def run(labels=None, encoding="utf-8", **options):
        if labels is not None:
            path = tmp_path / "labels.json"
            text = labels if isinstance(labels, str) else json.dumps(labels)
            path.write_text(text, encoding=encoding)
            options["labels"] = str(path)
        return label_rewards(LabelRewardsConfig(LabelledDatasetConfig("local/tiny", str(root)), **options))

    return run


def test_labels_are_applied_and_trained_on(run, load, root):
    run(LABELS)
    dataset = LeRobotDatasetWithReward(load())
    assert dataset.get_episode_keypoints(0) == {0: 0.0, 3: 0.5}
    assert dataset[3]["reward"] == 0.5
    assert dataset.labels.outcomes.tolist() == [-1, -1, -1, 1, 0, -1]
    modes = json.loads((root / "rewact_extensions/control_modes.json").read_text())
    assert modes["3"]["segments"] == [{"start_index": 0, "end_index": 4, "mode": "policy"}]


FORMS = {
    "by episode": {"2": {"keypoints": {"3": 0.5}, "outcome": "failed"}},
    "words": {"2": "Failed"},
    "frames": {"2": {"3": 0.5}},
    "keypoints": {"2": [{"frame_index": 3, "reward": 0.5}]},
    "segments": {"2": [{"start_index": 0, "end_index": 4, "mode": "policy"}]},
    "outcomes": [{"episode_index": 2, "outcome": "fail"}],
    "0.1": {"2": {"fps": 10, "keypoints": [{"frame_index": 3, "timestamp": 0.3, "reward": 0.5}]}},
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("form", FORMS)
def test_other_forms(run, form, encoding):
    after = run(FORMS[form], encoding)
    assert after.episodes() == [2]
    assert after.keypoints.get(2, {3: 0.5}) == {3: 0.5} and after.outcomes.get(2, "failure") == "failure"
    assert after.control_modes.get(2, [(0, 4, "policy")]) == [(0, 4, "policy")]


def test_a_file_may_name_the_dataset(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(LABELS), encoding="utf-8-sig")  # as Windows writes it
    assert parse_options(LabelRewardsConfig, [f"--labels={path}"]).dataset.repo_id == "local/tiny"
    given = parse_options(LabelRewardsConfig, [f"--labels={path}", "--dataset.repo_id=me/other"])
    assert given.dataset.repo_id == "me/other"  # which the file is then refused for
    with pytest.raises(ValueError, match=r"--labels=.*nowhere.json does not exist"):
        parse_options(LabelRewardsConfig, [f"--labels={tmp_path / 'nowhere.json'}"])
    path.write_text('{"2": "failed"}')
    for arguments in ([], [f"--labels={path}"]):
        with pytest.raises(ValueError, match=r"--dataset.repo_id is needed: .*the file of --labels names"):
            parse_options(LabelRewardsConfig, arguments)


def test_a_dataset_that_is_not_there_is_told_with_its_folder(tmp_path):
    cfg = LabelRewardsConfig(LabelledDatasetConfig("me/none", str(tmp_path / "none")))
    with pytest.raises(ValueError, match=r"the dataset me/none is not in .*/none, and the Hub does not give"):
        label_rewards(cfg)


def test_what_this_machine_refuses_is_not_blamed_on_dataset_and_hub(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device", "frames.arrow")
    with pytest.raises(OSError) as raised, opening(LabelledDatasetConfig("me/none", str(tmp_path))):
        raise full
    assert raised.value is full


def _rewrite_info(root, **changes):
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGED = {
    "meta/stats.json cannot be read": lambda root: (root / "meta/stats.json").write_text("{"),
    "meta/info.json cannot be read": lambda root: (root / "meta/info.json").write_text("{"),
    "meta/episodes/chunk-000/file-000.parquet cannot": lambda root: (
        root / "meta/episodes/chunk-000/file-000.parquet"
    ).write_bytes(b"PAR1"),
    r"lacks meta/tasks.parquet, and the Hub does not": lambda root: (root / "meta/tasks.parquet").unlink(),
    "has the format v2.1, and this LeRobot reads v3.0": lambda root: _rewrite_info(
        root, codebase_version="v2.1"
    ),
}


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_dataset_that_cannot_be_opened_is_told_with_what_is_wrong(run, root, fault):
    """LeRobot's error named neither dataset nor file; that of an old format ended in a traceback."""
    DAMAGED[fault](root)
    with pytest.raises(ValueError, match=rf"^the dataset local/tiny in {root} (is damaged: )?{fault}"):
        run()


def test_no_connection_to_the_hub_is_told_in_a_line(tmp_path, monkeypatch):
    """Its client's errors of httpx are neither OSErrors nor RuntimeErrors: they ended in a traceback."""
    httpx = pytest.importorskip("httpx")

    def fail(*args, **kwargs):
        raise httpx.ConnectError("Name or service not known")

    monkeypatch.setattr("lerobot.datasets.lerobot_dataset.LeRobotDatasetMetadata", fail)
    cfg = LabelRewardsConfig(LabelledDatasetConfig("me/none", str(tmp_path / "none")))
    with pytest.raises(
        ValueError, match=r"me/none is not in .*/none, .* \(Name or service not known\); --dat"
    ):
        label_rewards(cfg)
    with pytest.raises(SystemExit, match="^error: Name or service not known$"), report_errors():
        fail()


def test_a_stored_contradiction_is_told_and_can_be_corrected(run, root, capsys):
    """The listing failed, and so did edits of all other episodes."""
    run({"0": {"6": 1.0}})
    stored = root / KEYPOINTS_FILE
    contradiction = stored.read_text()
    run({"0": "failed"}, clear=[0])
    stored.write_text(contradiction)
    run()
    told = capsys.readouterr().out
    assert "Training refuses these labels. local/tiny, episode 0: it failed, but its keypoints" in told
    run({"2": "success"})
    run({"0": "success"})
    capsys.readouterr()
    run()
    assert "refuses" not in capsys.readouterr().out


def test_the_files_of_a_dataset_are_read(run, root, tmp_path):
    """The tool refused the very files that it writes."""
    before = run(LABELS)
    kept = {path.name: path.read_text() for path in (root / "rewact_extensions").iterdir()}
    run(clear_all=True)
    for content in kept.values():
        after = run(content)
    assert len(kept) == 3 and after == before


def test_a_dry_run_shows_and_writes_nothing(run, root, capsys):
    run(LABELS, dry_run=True)
    assert not (root / "rewact_extensions").exists()
    assert "3 changed" in capsys.readouterr().out


def test_what_changed_alone_is_shown(run, capsys):
    run(LABELS)
    capsys.readouterr()
    run({"5": {"keypoints": {"1": 0.123456, "2": 2.5e-9}}})
    printed = capsys.readouterr().out
    assert "1 changed" in printed and "failure" not in printed
    assert "1: 0.123, 2: 2.5e-09" in printed


def test_listing_changes_nothing(run, root, capsys):
    run()
    assert "local/tiny, 6 episodes: 0 with keypoints, 0 with an outcome, 6 without" in capsys.readouterr().out
    run(LABELS)
    before = {path: path.stat().st_mtime_ns for path in (root / "rewact_extensions").iterdir()}
    capsys.readouterr()
    run()
    printed = capsys.readouterr().out
    assert "0: 0, 3: 0.5" in printed and "failure" in printed and "changed" not in printed
    assert {path: path.stat().st_mtime_ns for path in (root / "rewact_extensions").iterdir()} == before


def test_applying_replaces_what_the_episode_had(run):
    run(LABELS)
    after = run({"episodes": {"0": {"keypoints": [{"frame_index": 6, "reward": 1.0}]}}})
    assert after.keypoints == {0: {6: 1.0}, 3: {19: 1.0}}
    assert after.outcomes == {3: "success", 4: "failure"}


def test_what_another_process_writes_meanwhile_stays(run, monkeypatch):
    shown = label_tool.print_labels

    def interrupted(*args):
        monkeypatch.setattr(label_tool, "print_labels", shown)
        run({"episodes": {"5": {"outcome": "success"}}})
        shown(*args)

    monkeypatch.setattr(label_tool, "print_labels", interrupted)
    assert run({"episodes": {"2": {"outcome": "failure"}}}).outcomes == {2: "failure", 5: "success"}


def test_clearing(run, root):
    run(LABELS)
    after = run(clear=[3])
    assert after.keypoints == {0: {0: 0.0, 3: 0.5}} and after.outcomes == {4: "failure"}
    assert not (root / "rewact_extensions/control_modes.json").exists()
    assert run(clear_all=True).episodes() == []
    assert list((root / "rewact_extensions").iterdir()) == []


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        ("{", "labels.json is not valid JSON"),
        ("[" * 100_000, "labels.json is not valid JSON"),
        ("9" * 5000, "labels.json is not valid JSON"),
        ('{"0": {"3": ' + "9" * 400 + "}}", r"reward of a keypoint must be in \[0, 1\]"),
        ([], "labels.json has no labels"),
        (["0"], "expected an object with 'episode_index', got '0'"),
        ({"zero": "failed"}, "expected an object with 'episodes'"),
        ({"episodes": {}}, "labels.json has no labels"),
        ({"episodes": {}, "labels": {}}, "unknown key 'labels'"),
        ({**LABELS, "repo_id": "me/other"}, "another dataset: its repo_id is 'me/other', that of local/tiny"),
        ({**LABELS, "fps": 30}, "another dataset: its fps is 30, that of local/tiny 10"),
        ({**LABELS, "total_episodes": 7}, "another dataset: its total_episodes is 7"),
        ({**LABELS, "total_frames": 1}, "another dataset: its total_frames is 1"),
        ({"episodes": {"9": {"outcome": "success"}}}, "episode 9: local/tiny has no episode 9"),
        ({"episodes": {"-1": {"outcome": "success"}}}, "'-1' is not an episode number"),
        ({"episodes": {"0": {}}}, "episode 0: expected an object with control_modes, keypoints, outcome"),
        ({"episodes": {"0": {"reward": 1}}}, "episode 0: expected an object with"),
        ({"episodes": {"0": {"outcome": "won"}}}, "episode 0: the outcome must be one of"),
        ({"episodes": {"0": "failed", "00": "failed"}}, "'00' is not an episode number"),
        (
            {"episodes": {"0": {"keypoints": {"6": 1}, "outcome": "failed"}}},
            "episode 0: it failed, but its keypoints reach 1 at frame 6",
        ),
        (
            {"episodes": {"0": {"keypoints": [{"frame_index": 2, "timestamp": 0.5, "reward": 1}]}}},
            "episode 0: frame_index 2 and timestamp 0.5 are different frames",
        ),
        (
            {"episodes": {"0": {"keypoints": [{"frame_index": 7, "reward": 1}]}}},
            "episode 0: frame_index 7 lies outside",
        ),
        (
            {"episodes": {"0": {"control_modes": [{"start_index": 0, "end_index": 7, "mode": "human"}]}}},
            "episode 0: frames 0 to 7",
        ),
    ],
)
def test_a_wrong_file_changes_nothing(run, root, labels, named):
    good = {"episodes": {"2": {"outcome": "success"}}}
    run(good)
    with pytest.raises(ValueError, match=named):
        run(labels)
    assert [path.name for path in (root / "rewact_extensions").iterdir()] == ["outcomes.json"]


def test_a_broken_stored_file_is_not_overwritten(run, root):
    path = root / KEYPOINTS_FILE
    path.parent.mkdir()
    path.write_text('{"0": ')
    with pytest.raises(ValueError, match="reward_keypoints.json is not valid JSON"):
        run(LABELS)
    assert path.read_text() == '{"0": '


def test_outcomes_as_flags(run, capsys):
    assert run(succeeded=[0, 3], failed=[1]).outcomes == {0: "success", 1: "failure", 3: "success"}
    with pytest.raises(ValueError, match="episode 1 is named in --succeeded and in --failed"):
        run(succeeded=[1], failed=[1])
    with pytest.raises(ValueError, match="local/tiny has no episode 9"):
        run(failed=[9])
    assert "6 episodes: 0 with keypoints, 3 with an outcome, 3 without labels" in capsys.readouterr().out


def test_set_outcomes(load):
    """One import, on the plain dataset and on one with labels, which sees it at once."""
    rewact.set_outcomes(load(), succeeded=[0], failed=[2, 5])
    dataset = LeRobotDatasetWithReward(load())
    assert dataset.labels.outcomes.tolist() == [1, -1, 0, -1, -1, 0] and dataset[19]["reward"] == 0.5
    rewact.set_outcomes(dataset, succeeded=[2])
    assert dataset.labels.outcomes.tolist() == [1, -1, 1, -1, -1, 0] and dataset[19]["reward"] == 1
    for options, named in (
        ({"failed": [9]}, "no episode 9"),
        ({"failed": [0], "succeeded": [0]}, "episode 0 is said to have succeeded and to have failed"),
    ):
        with pytest.raises(ValueError, match=named):
            rewact.set_outcomes(dataset, **options)


def test_clearing_all_clears_advantages(run, root):
    run(LABELS)
    path = root / "rewact_extensions/advantages.parquet"
    path.write_bytes(b"")
    run(clear=[0])
    assert path.exists()
    run(clear_all=True)
    assert not path.exists()


def test_clearing_an_episode_that_is_not_there(run):
    with pytest.raises(ValueError, match="local/tiny has no episode 9"):
        run(clear=[9])
    with pytest.raises(ValueError, match="either --clear or --clear_all"):
        run(clear=[0], clear_all=True)


def test_errors_are_one_sentence_and_an_exit_status(monkeypatch, root, capsys):
    monkeypatch.setattr(
        "sys.argv", ["x", "--dataset.repo_id=local/tiny", f"--dataset.root={root}", "--clear=[9]"]
    )
    with pytest.raises(SystemExit) as stop:
        label_tool.main()
    assert stop.value.code == "error: local/tiny has no episode 9; its 6 episodes are 0 to 5"


def test_a_folder_that_cannot_be_written_is_named_and_left_as_it_was(monkeypatch, root, tmp_path):
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps(LABELS))
    before = sorted(root.rglob("*"))

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    flags = ["--dataset.repo_id=local/tiny", f"--dataset.root={root}", f"--labels={labels}"]
    monkeypatch.setattr("sys.argv", ["x", *flags])
    with pytest.raises(SystemExit) as stop:
        label_tool.main()
    assert stop.value.code.startswith("error: ") and "Permission denied" in stop.value.code
    assert str(root / "rewact_extensions") in stop.value.code and "\n" not in stop.value.code
    assert [path for path in sorted(root.rglob("*")) if path.is_file()] == [p for p in before if p.is_file()]
