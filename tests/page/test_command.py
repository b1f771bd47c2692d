# SPDX-License-Identifier: MIT
"""`lerobot-label-page` and its model."""

import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.cli import label_page as tool
from rewact.cli.common import load_policy_config
from rewact.cli.label_page import LabelPageConfig, label_page, listen
from rewact.labels.progress import EPISODES_KEY, PROGRESS_LAYOUT
from rewact.options.labels import RewardLabelsConfig
from rewact.options.tools import DataOptions, PolicyOptions
from rewact.values.prediction import Prediction
from rewact.values.predictor import RewardPredictor
from rewact.values.runner import episode_loader, predict_episodes
from rewact.values.store import open_store
from tests.labels.conftest import save_checkpoint
from tests.page.conftest import LENGTHS, REPO_ID, browse
from tests.page.test_labels import FULL, NOTHING, save


@pytest.fixture
def config(root, tmp_path):
    def config(**settings) -> LabelPageConfig:
        settings = {"port": 0, "cache_dir": tmp_path / "cache"} | settings
        dataset = DataOptions(REPO_ID, root=str(root), video_backend="pyav")
        return LabelPageConfig(dataset, **settings)

    return config


@pytest.fixture
def during(monkeypatch):
    """Do something in place of serving, with the application; then Ctrl+C."""

    def during(action):
        def run(server, sockets):
            action(server.config.app)
            assert sockets[0].getsockname()[1]
            raise KeyboardInterrupt  # as uvicorn does, once it has ended

        monkeypatch.setattr("uvicorn.Server.run", run)

    return during


@pytest.fixture
def pushed(monkeypatch):
    pushed = []
    monkeypatch.setattr("rewact.labels.hub.push_label_files", lambda meta, *what: pushed.append(what))
    return pushed


def test_labels_are_uploaded_when_the_page_is_ended(config, during, pushed, root):
    during(lambda app: None)
    label_page(config())
    assert pushed == []
    (root / "rewact_extensions").mkdir()
    (root / "rewact_extensions/outcomes.json").write_text('[{"episode_index": 0, "outcome": "success"}]')
    during(lambda app: (root / "rewact_extensions/outcomes.json").unlink())
    label_page(config(push_to_hub=True))
    assert pushed == [(["rewact_extensions/outcomes.json"], None)]


def test_only_other_addresses_need_a_token(config, during, caplog):
    caplog.set_level("INFO")
    answers = []

    def ask(app):
        client = browse_app(app)
        answers.append([client.get("/api/dataset").status_code, client.get("/").status_code])

    during(ask)
    label_page(config())
    label_page(config(host="0.0.0.0"))
    assert answers == [[200, 200], [403, 403]]
    addresses = [record.message for record in caplog.records if "Ctrl+C" in record.message]
    assert "127.0.0.1" in addresses[0] and "token=" not in addresses[0] and "token=" in addresses[1]


def browse_app(app):
    class Page:
        @staticmethod
        def app(host, token):
            return app

    return browse(Page)


def test_a_taken_port_is_one_sentence(root, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = [f"--dataset.repo_id={REPO_ID}", f"--dataset.root={root}", f"--port={port}"]
        monkeypatch.setattr("sys.argv", ["lerobot-label-page", *flags])
        with pytest.raises(SystemExit) as stop:
            tool.main()
    assert stop.value.code.startswith(f"error: cannot listen on 127.0.0.1, port {port} (")
    assert stop.value.code.endswith("choose another with --port")


def test_wrong_settings_are_said(config, tmp_path):
    with pytest.raises(ValueError, match="--port must be a number"):
        config(port=70_000)
    with pytest.raises(ValueError, match="--dataset.reward.keypoints_path: the page labels the files in"):
        LabelPageConfig(DataOptions(REPO_ID, reward=RewardLabelsConfig(keypoints_path="k.json")))
    with pytest.raises(ValueError, match=f"--cache_dir={__file__} cannot be written: .* is not a folder"):
        label_page(config(cache_dir=Path(__file__)))
    with pytest.raises(ValueError, match="--rename_map renames what a policy reads: give --policy.path"):
        label_page(config(rename_map={"a": "b"}))
    with pytest.raises(ValueError, match="there is no file of predictions"):
        label_page(config(predictions=tmp_path / "nothing.parquet"))
    with pytest.raises(OSError, match="cannot listen on 203.0.113.1"):
        listen("203.0.113.1", 0)


def test_a_wrong_file_of_predictions_is_said_in_the_terminal(config, during, root, tmp_path, caplog):
    """One that was named ends the command; one that was found is named on the page, too."""
    path = tmp_path / "sarm_progress.parquet"
    nothing = pa.table({name: pa.array([], pa.int64()) for name in PROGRESS_LAYOUT})
    first = pa.table({name: pa.array([0], pa.int64()) for name in PROGRESS_LAYOUT})
    for content, said in (
        (None, "cannot be read as parquet"),
        (pa.table({"reward": [1.0]}), "has no column progress_sparse or progress_dense"),
        (nothing, "has a curve of none of the 3 episodes on the page"),
        (first, f"episode 0: 1 of its {LENGTHS[0]} frames have labels"),
        (first.replace_schema_metadata({EPISODES_KEY: '{"0": {"length": 7}}'}), "has another episode of"),
        (nothing.replace_schema_metadata({EPISODES_KEY: "[1, 2"}), "in its metadata is broken"),
    ):
        path.write_text("no parquet") if content is None else pq.write_table(content, path)
        with pytest.raises(ValueError, match=f"{path}.*{said}"):
            label_page(config(predictions=path))
    path.rename(root / path.name)
    answers = []
    during(lambda app: answers.append(browse_app(app).get("/api/episodes").json()))
    label_page(config())
    (problem,) = answers[0]["problems"]
    assert "in its metadata is broken" in problem and problem in caplog.text
    assert len(answers[0]["rows"]) == len(LENGTHS)


def test_a_policy_reads_the_episodes_in_the_background(root, page, tmp_path, capsys):
    meta = LeRobotDatasetMetadata(REPO_ID, root=root)
    path = save_checkpoint(tmp_path / "policy", meta, seed=0)
    policy = PolicyOptions(str(path))
    made = page(policy=policy)
    made.predictions.join()
    assert "Predicting" not in capsys.readouterr().err  # a bar for each episode buried the page's address
    client = browse(made)
    detail = client.get("/api/episodes/1").json()
    load = episode_loader(DataOptions(REPO_ID, root=str(root), video_backend="pyav"), 1e-4)
    predictor = RewardPredictor(load_policy_config(policy), meta)
    store = open_store(predictor, meta, tmp_path / "alone")
    alone = predict_episodes(load, predictor, store, [1], batch_size=32)[1]
    assert detail["prediction"] == pytest.approx(alone.reward.tolist(), abs=1e-5)
    assert detail["lower"] == pytest.approx(alone.lower.tolist(), abs=1e-5)
    assert client.get("/api/dataset").json()["model"] == "rewact"
    # The page hears of each prediction as it comes.
    answer = save(client, 1, FULL | {"keypoints": FULL["keypoints"][:2]}).json()
    distance = np.abs(alone.reward - np.array(answer["curve"])).mean()
    assert answer["row"]["disagreement"] == pytest.approx(distance, abs=1e-3)
    assert made.book.changed_since(0) == [0, 1, 2]


def test_a_model_that_fails_is_a_sentence_and_the_page_goes_on(page, monkeypatch, root, tmp_path):
    meta = LeRobotDatasetMetadata(REPO_ID, root=root)
    path = save_checkpoint(tmp_path / "policy", meta, seed=0)

    def predict(load, predictor, store, episodes, batch_size, **options):
        if episodes == [1]:
            raise ValueError("its training has diverged")
        return {episodes[0]: Prediction(np.full(LENGTHS[episodes[0]], 0.5, dtype=np.float32))}

    monkeypatch.setattr("rewact.page.predictions.predict_episodes", predict)
    made = page(policy=PolicyOptions(str(path)))
    made.predictions.join()
    client = browse(made)
    (problem,) = client.get("/api/episodes").json()["problems"]
    assert problem == "rewact could not read episode 1: its training has diverged"
    assert client.get("/api/episodes/1").json()["prediction"] is None
    assert client.get("/api/episodes/2").json()["prediction"] == [0.5] * LENGTHS[2]
    assert save(client, 1, {**NOTHING, "outcome": "success"}).status_code == 200
