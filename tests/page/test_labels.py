# SPDX-License-Identifier: MIT
"""Reading and changing labels by the page's server."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.labels import LeRobotDatasetWithReward
from rewact.labels.episodes import EpisodeTable
from rewact.labels.keypoints import KEYPOINTS_FILE
from rewact.labels.progress import save_progress
from rewact.options.labels import RewardLabelsConfig
from rewact.page.order import length_oddness
from tests.page.conftest import LENGTHS, REPO_ID, browse

NOTHING = {"keypoints": [], "outcome": None, "control_modes": []}
RISE = [
    {"frame_index": 2, "reward": 0.0},
    {"frame_index": 9, "reward": 0.4},
    {"frame_index": 20, "reward": 0.8},
]
DROP = [{"frame_index": 0, "reward": 0.9}, {"frame_index": 12, "reward": 0.1}]
FULL = {
    "keypoints": RISE,
    "outcome": "failure",
    "control_modes": [{"start_index": 3, "end_index": 7, "mode": "human"}],
}


def save(client, episode, labels, base=NOTHING):
    return client.put(f"/api/episodes/{episode}/labels", json={"base": base, "labels": labels})


def stored(root, name):
    return json.loads((root / "rewact_extensions" / name).read_text())


def test_an_edit_is_stored_as_the_trainer_reads_it(client, root):
    answer = save(client, 0, FULL).json()
    assert answer["labels"] == FULL and answer["row"]["labelled"] and answer["row"]["outcome"] == "failure"
    dataset = LeRobotDatasetWithReward(LeRobotDataset(REPO_ID, root=root, download_videos=False))
    trained = dataset.labels.rewards[: LENGTHS[0]].tolist()
    assert answer["curve"] == trained
    assert dataset.get_episode_keypoints(0) == {2: 0.0, 9: 0.4, 20: 0.8}
    assert dataset.labels.outcomes.tolist() == [0, -1, -1]
    assert stored(root, "control_modes.json")["0"]["segments"] == FULL["control_modes"]


def test_the_preview_is_what_is_stored_later(client):
    for keypoints in (RISE, DROP, []):
        preview = client.post("/api/episodes/0/curve", json={"keypoints": keypoints}).json()
        before = client.get("/api/episodes/0").json()["labels"]
        after = save(client, 0, {**NOTHING, "keypoints": keypoints}, before).json()
        assert after["curve"] == preview["curve"] and after["drops"] == preview["drops"]
        assert preview["drops"] == ([12] if keypoints is DROP else [])


def test_taking_labels_back_leaves_no_file(client, root):
    save(client, 0, FULL)
    assert save(client, 0, NOTHING, base=FULL).json()["row"]["source"] == "linear"
    assert list((root / "rewact_extensions").iterdir()) == []


def test_a_conflicting_edit_is_refused_and_shows_what_is_there(client):
    save(client, 0, FULL)
    answer = save(client, 0, {**NOTHING, "outcome": "success"})
    assert answer.status_code == 409
    assert answer.json()["error"] == "episode 0 was changed by somebody else meanwhile"
    assert answer.json()["labels"] == FULL
    assert client.get("/api/episodes/0").json()["labels"] == FULL


def test_an_edit_whose_answer_was_lost_may_be_sent_again(client):
    answer = save(client, 0, FULL)
    assert answer.status_code == 200, answer.json()
    answer = save(client, 0, FULL)
    assert answer.status_code == 200, answer.json()


def test_edits_of_different_episodes_at_once_are_all_kept(client):
    with ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda episode: save(client, episode, {**NOTHING, "outcome": "success"}), range(3))
        )
    assert [answer.status_code for answer in answers] == [200] * 3
    rows = client.get("/api/episodes").json()["rows"]
    assert [row["outcome"] for row in rows] == ["success"] * 3


def test_changes_of_other_programs_are_seen(client, page, root):
    known = client.get("/api/episodes").json()
    query = f"/api/changes?run={known['run']}&since={known['version']}"
    assert client.get(query).json()["rows"] == []
    save(browse(page()), 1, FULL | {"keypoints": RISE[:1]})
    changed = client.get(query).json()
    assert [row["episode"] for row in changed["rows"]] == [1]
    assert client.get("/api/episodes/1").json()["labels"]["outcome"] == "failure"
    # A server that was started since says so, and sends all.
    assert len(client.get("/api/changes?run=other&since=99").json()["rows"]) == 3


WRONG = [
    ({**NOTHING, "keypoints": [{"frame_index": 24, "reward": 1}]}, "frame_index 24 lies outside"),
    ({**NOTHING, "keypoints": [{"frame_index": 0, "reward": 2}]}, r"must be in [0, 1], got 2"),
    ({**NOTHING, "keypoints": [{"frame_index": 0, "reward": 10**400}]}, "must be in [0, 1]"),
    ({**NOTHING, "keypoints": [{"timestamp": 10**400, "reward": 1}]}, "timestamp must be a number"),
    ({**NOTHING, "keypoints": [{"frame_index": 0, "reward": 1}] * 2}, "two keypoints at frame 0"),
    ({**NOTHING, "outcome": "won"}, "the outcome must be one of"),
    ({**NOTHING, "outcome": {}}, "the outcome must be one of"),
    ({**NOTHING, "control_modes": [{"start_index": 5, "end_index": 30, "mode": "human"}]}, "5 to 30"),
    ({"keypoints": []}, "expected an object with control_modes, keypoints, outcome"),
    ([], "expected an object"),
]


def test_a_wrong_edit_is_one_sentence_and_changes_nothing(client):
    for labels, named in WRONG:
        answer = save(client, 0, labels)
        assert answer.status_code == 400 and named in answer.json()["error"]
        assert "\n" not in answer.json()["error"]
    assert client.get("/api/episodes/0").json()["labels"] == NOTHING


def test_a_broken_file_is_named_left_alone_and_the_rest_works(client, root):
    path = root / KEYPOINTS_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"0": ')
    problems = client.get("/api/episodes").json()["problems"]
    assert len(problems) == 1 and f"{path} is not valid JSON" in problems[0]
    assert save(client, 0, {**NOTHING, "outcome": "success"}).json()["row"]["outcome"] == "success"
    refused = save(client, 1, {**NOTHING, "keypoints": DROP})
    assert refused.status_code == 400 and str(path) in refused.json()["error"]
    assert path.read_text() == '{"0": '
    path.unlink()
    assert client.get("/api/episodes").json()["problems"] == []


def test_an_outcome_that_another_file_contradicts_is_refused(client, root):
    path = root / "candywrapper_plugins/episode_outcome/outcomes.json"
    path.parent.mkdir(parents=True)
    path.write_text('[{"episode_index": 0, "outcome": "success"}]')
    refused = save(client, 0, {**NOTHING, "outcome": "failure"})
    assert f"{path} says success of episode 0" in refused.json()["error"]
    assert client.get("/api/episodes").json()["problems"] == []


def test_a_contradiction_in_one_episode_leaves_the_others_editable(client, root):
    """A file made by hand: the failure of episode 1 reaches 1."""
    assert save(client, 1, {**NOTHING, "keypoints": DROP}).status_code == 200
    path = root / KEYPOINTS_FILE
    content = json.loads(path.read_text())
    content["1"]["keypoints"][0]["reward"] = 1.0
    path.write_text(json.dumps(content))
    (root / "rewact_extensions" / "outcomes.json").write_text('[{"episode_index": 1, "outcome": "failure"}]')
    answer = save(client, 0, FULL)
    assert answer.status_code == 200, answer.json()
    stored_one = client.get("/api/episodes/1").json()["labels"]
    refused = save(client, 1, {**stored_one, "keypoints": stored_one["keypoints"][:1]}, stored_one)
    assert refused.status_code == 400 and "episode 1" in refused.json()["error"]


def test_a_folder_that_cannot_be_written_is_named(client, root, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    answer = save(client, 0, FULL)
    assert answer.status_code == 500 and "reward_keypoints.json cannot be written" in answer.json()["error"]
    assert client.get("/api/episodes/0").json()["labels"] == NOTHING


def test_a_dataset_that_was_moved_away_keeps_its_labels_and_gets_no_folder(client, root):
    save(client, 0, FULL)
    moved = root.rename(root.with_name("moved"))
    (problem,) = client.get("/api/episodes").json()["problems"]
    assert problem.startswith(f"{REPO_ID} is no longer in {root}: put it back")
    assert client.get("/api/episodes/0").json()["labels"] == FULL
    refused = save(client, 0, NOTHING, base=FULL)
    assert refused.status_code == 500 and refused.json()["error"] == problem
    assert not root.exists()
    moved.rename(root)
    assert client.get("/api/episodes").json()["problems"] == []
    assert save(client, 0, NOTHING, base=FULL).status_code == 200


def write_predictions(page, root, curves):
    table = page().book.table
    save_progress(root / "sarm_progress.parquet", table, np.concatenate(curves).astype(np.float32))


def test_the_order_saves_work(page, root):
    lines = [np.linspace(0, 1, length) for length in LENGTHS]
    write_predictions(page, root, [lines[0], lines[1] ** 2, lines[2] ** 8])
    client = browse(page())
    for episode in (1, 2):
        keypoints = [{"frame_index": 0, "reward": 0}, {"frame_index": LENGTHS[episode] - 1, "reward": 1}]
        save(client, episode, {**NOTHING, "keypoints": keypoints})
    rows = client.get("/api/episodes").json()["rows"]
    assert [row["episode"] for row in rows] == [0, 2, 1]
    assert rows[1]["disagreement"] > rows[2]["disagreement"] > 0.1


def test_a_length_is_odd_beside_those_of_its_task():
    lengths = np.array([100, 104, 98, 400, 101, 99, 400, 400, 410])
    tasks = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    ends = np.cumsum(lengths)
    table = EpisodeTable("me/x", Path(), 10.0, (), np.arange(9), ends - lengths, ends, tasks)
    assert np.flatnonzero(length_oddness(table) > 3).tolist() == [3]


def test_the_model_is_taken_as_keypoints(page, root):
    curves = [np.r_[np.linspace(0, 0.9, length - 5), np.full(5, 0.2)] for length in LENGTHS]
    write_predictions(page, root, curves)
    client = browse(page())
    assert client.get("/api/dataset").json()["model"] == "sarm_progress"
    fitted = client.post("/api/episodes/0/fit", json={"tolerance": 0.05}).json()["keypoints"]
    assert [point["frame_index"] for point in fitted] == [0, 18, 19]
    curve = client.post("/api/episodes/0/curve", json={"keypoints": fitted}).json()["curve"]
    assert np.abs(np.array(curve) - curves[0]).max() <= 0.05
    assert "tolerance" in client.post("/api/episodes/0/fit", json={"tolerance": 0}).json()["error"]
    assert "on this page" in client.post("/api/episodes/7/fit", json={"tolerance": 0.1}).json()["error"]


def test_without_a_model_there_is_nothing_to_take(client):
    answer = client.post("/api/episodes/0/fit", json={"tolerance": 0.1})
    assert answer.json()["error"] == "episode 0 has no prediction, or not yet"


def test_settings_of_training_are_those_of_the_page(page, root):
    write_predictions(page, root, [np.full(length, 0.3) for length in LENGTHS])
    client = browse(page(sources=("parquet", "linear")))
    detail = client.get("/api/episodes/1").json()
    assert detail["row"]["source"] == "parquet" and detail["prediction"] is None
    assert detail["curve"] == np.full(20, 0.3, dtype=np.float32).tolist()
    preview = client.post("/api/episodes/1/curve", json={"keypoints": DROP}).json()
    assert preview["curve"] == detail["curve"]
    config = RewardLabelsConfig(sources=["parquet", "linear"])
    dataset = LeRobotDataset(REPO_ID, root=root, download_videos=False)
    assert LeRobotDatasetWithReward(dataset, config=config).labels.rewards[24:44].tolist() == detail["curve"]
    assert "keypoints are not among" in client.get("/api/episodes").json()["problems"][0]


def test_the_summary_is_a_picture(client):
    answer = client.get("/api/summary.png")
    assert answer.headers["content-type"] == "image/png" and answer.content.startswith(b"\x89PNG")
