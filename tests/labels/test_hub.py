# SPDX-License-Identifier: MIT
"""Label files and the Hub, which is a folder or an object here: what goes to and fro is counted."""

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from rewact.cli.label_rewards import LabelledDatasetConfig, LabelRewardsConfig, label_rewards
from rewact.labels import build_reward_labels, hub
from rewact.labels.control import CONTROL_MODES_FILE
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import write_json
from rewact.labels.keypoints import KEYPOINTS_FILE
from rewact.labels.outcomes import OUTCOMES_FILE
from rewact.labels.progress import save_progress
from rewact.options.labels import RewardLabelsConfig

from .conftest import FPS, create_dataset

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def keypoints(reward):
    """A file of one keypoint, at the beginning of episode 0."""
    return {"0": {"fps": FPS, "keypoints": [{"frame_index": 0, "timestamp": 0.0, "reward": reward}]}}


@pytest.fixture
def repository(tmp_path) -> Path:
    """What the Hub has: a dataset with labels."""
    root = create_dataset(tmp_path / "repository")
    write_json(root / KEYPOINTS_FILE, keypoints(0.25))
    return root


@pytest.fixture
def downloads(monkeypatch, repository) -> list[dict]:
    calls = []

    def snapshot_download(repo_id, repo_type, revision, allow_patterns, cache_dir=None, local_dir=None):
        calls.append({"repo_id": repo_id, "repo_type": repo_type, "revision": revision})
        target = local_dir or cache_dir / "datasets--local--tiny" / "snapshots" / revision
        for path in repository.rglob("*"):
            name = path.relative_to(repository).as_posix()
            if path.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
        return str(target)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return calls


def download(repository: Path, target: Path) -> LeRobotDatasetMetadata:
    """Some episodes of the dataset, as LeRobot downloads them: without labels."""
    shutil.copytree(repository, target, ignore=shutil.ignore_patterns("rewact_extensions"))
    return LeRobotDatasetMetadata("local/tiny", root=target)


def first_reward(meta) -> float:
    return build_reward_labels(meta, RewardLabelsConfig()).rewards[0].item()


def test_a_dataset_in_the_hub_s_cache_gets_its_labels(tmp_path, repository, downloads):
    meta = download(repository, tmp_path / "hub" / "datasets--local--tiny" / "snapshots" / COMMIT)
    assert first_reward(meta) == 0.25
    # The same commit, whatever the branch has become since.
    assert downloads == [{"repo_id": "local/tiny", "repo_type": "dataset", "revision": COMMIT}]
    first_reward(meta)
    assert len(downloads) == 1


def test_a_dataset_downloaded_into_a_folder_gets_its_labels(tmp_path, repository, downloads):
    meta = download(repository, tmp_path / "mine")
    (tmp_path / "mine" / ".cache" / "huggingface").mkdir(parents=True)
    assert first_reward(meta) == 0.25
    assert [call["revision"] for call in downloads] == [meta.revision]


def test_a_dataset_of_one_s_own_is_not_looked_for_on_the_hub(tmp_path, repository, downloads):
    assert first_reward(download(repository, tmp_path / "mine")) == 0.0  # the straight line
    assert downloads == []


def test_labels_that_are_there_stay(tmp_path, repository, downloads):
    meta = download(repository, tmp_path / "mine")
    (tmp_path / "mine" / ".cache" / "huggingface").mkdir(parents=True)
    write_json(tmp_path / "mine" / KEYPOINTS_FILE, keypoints(0.75))
    assert first_reward(meta) == 0.75
    assert downloads == []


def test_labelling_adds_to_the_labels_of_the_hub(tmp_path, repository, downloads):
    root = tmp_path / "mine"
    meta = download(repository, root)
    (root / ".cache" / "huggingface").mkdir(parents=True)
    labels = tmp_path / "labels.json"
    new = {"2": {"keypoints": [{"frame_index": 0, "reward": 0.5}]}}
    write_json(labels, {"repo_id": "local/tiny", "episodes": new})
    cfg = LabelRewardsConfig(LabelledDatasetConfig("local/tiny", str(root)), labels=str(labels))
    assert sorted(label_rewards(cfg).episodes()) == [0, 2]
    assert first_reward(meta) == 0.25


def test_progress_files_come_along(tmp_path, repository, downloads):
    """LeRobot's reward models upload theirs to the root of the repository."""
    shutil.rmtree(repository / "rewact_extensions")
    table = EpisodeTable.from_metadata(LeRobotDatasetMetadata("local/tiny", root=repository))
    save_progress(repository / "sarm_progress.parquet", table, np.full(table.n_frames, 0.75, np.float32))
    root = tmp_path / "hub" / "datasets--local--tiny" / "snapshots" / COMMIT
    shutil.copytree(repository, root, ignore=shutil.ignore_patterns("*_progress.parquet"))
    meta = LeRobotDatasetMetadata("local/tiny", root=root)
    labels = build_reward_labels(meta, RewardLabelsConfig(sources=["parquet", "linear"]))
    assert set(labels.sources) == {"parquet"}


def test_what_was_made_here_does_not_keep_labels_away(tmp_path, repository, downloads):
    write_json(repository / "rewact_extensions/advantages.parquet", "of the Hub")
    (repository / "a_progress.parquet").write_text("of the Hub")
    meta = download(repository, tmp_path / "mine")
    (tmp_path / "mine" / ".cache" / "huggingface").mkdir(parents=True)
    for name in ("rewact_extensions/advantages.parquet", "a_progress.parquet"):
        write_json(tmp_path / "mine" / name, "made here")
    assert first_reward(meta) == 0.25
    for name in ("rewact_extensions/advantages.parquet", "a_progress.parquet"):
        assert "made here" in (tmp_path / "mine" / name).read_text()


@pytest.mark.parametrize("error", [OSError("Revision Not Found\n\nmore"), ConnectionError("offline")])
def test_a_folder_is_used_as_it_is_where_the_hub_does_not_answer(
    tmp_path, repository, monkeypatch, caplog, error
):
    """As `hf download --local-dir` leaves it; the repository may have no tag, the machine no network."""

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    meta = download(repository, tmp_path / "mine")
    (tmp_path / "mine" / ".cache" / "huggingface").mkdir(parents=True)
    assert first_reward(meta) == 0.0  # the straight line
    message = f"Could not look for label files of local/tiny at revision {meta.revision} on the Hub"
    assert message in caplog.text and "more" not in caplog.text


def test_cleared_labels_do_not_come_back(tmp_path, repository, downloads):
    root = tmp_path / "mine"
    meta = download(repository, root)
    (root / ".cache" / "huggingface").mkdir(parents=True)
    assert first_reward(meta) == 0.25
    label_rewards(LabelRewardsConfig(LabelledDatasetConfig("local/tiny", str(root)), clear_all=True))
    write_json(root / "rewact_extensions/advantages.parquet", "made here")
    assert first_reward(meta) == 0.0
    assert len(downloads) == 1


def test_labels_in_the_hub_s_cache_are_said_to_be_lost_with_it(tmp_path, repository, downloads, caplog):
    root = tmp_path / "hub" / "datasets--local--tiny" / "snapshots" / COMMIT
    download(repository, root)
    write_json(tmp_path / "labels.json", {"episodes": {"2": {"outcome": "success"}}})
    dataset = LabelledDatasetConfig("local/tiny", str(root))
    label_rewards(LabelRewardsConfig(dataset, labels=str(tmp_path / "labels.json")))
    assert f"{root} is the Hub's cache of one commit" in caplog.text and "--dataset.root" in caplog.text
    caplog.clear()
    label_rewards(LabelRewardsConfig(dataset))
    assert "cache of one commit" not in caplog.text


# Uploading


class Api:
    """A repository with a history of one branch, and what was asked of it."""

    def __init__(self, files):
        self.files, self.commits, self.tags = set(files), [], {"v3.0": "old"}

    def get_paths_info(self, repo_id, paths, revision, repo_type):
        assert (repo_id, repo_type) == ("local/tiny", "dataset")
        return [SimpleNamespace(path=path) for path in paths if path in self.files]

    def create_commit(self, repo_id, operations, commit_message, repo_type, revision):
        assert (repo_id, repo_type) == ("local/tiny", "dataset")
        additions = [operation for operation in operations if isinstance(operation, CommitOperationAdd)]
        added = {operation.path_in_repo: Path(operation.path_or_fileobj) for operation in additions}
        deleted = {op.path_in_repo for op in operations if isinstance(op, CommitOperationDelete)}
        assert len(added) + len(deleted) == len(operations) and deleted <= self.files
        self.files = self.files - deleted | set(added)
        self.commits.append((revision, added, deleted))
        return SimpleNamespace(oid=f"commit {len(self.commits)}")

    def delete_tag(self, repo_id, tag, repo_type):
        del self.tags[tag]

    def create_tag(self, repo_id, tag, revision, repo_type):
        assert tag not in self.tags
        self.tags[tag] = revision


@pytest.fixture
def push(root, tmp_path, monkeypatch):
    """Upload the labels of the dataset at `root` to a repository, after whatever else the options say."""

    def push(api, episodes=None, revision=None, **options):
        monkeypatch.setattr(hub, "HfApi", lambda: api)
        if episodes is not None:
            options["labels"] = str(tmp_path / "labels.json")
            write_json(tmp_path / "labels.json", {"episodes": episodes})
        dataset = LabelledDatasetConfig("local/tiny", str(root), revision)
        label_rewards(LabelRewardsConfig(dataset, push_to_hub=True, **options))

    return push


def test_only_label_files_are_uploaded_and_the_tag_follows(push, root):
    api = Api([])
    with pytest.raises(ValueError, match=f"local/tiny has no label files to upload: {root} has none"):
        push(api)
    assert api.commits == [] and api.tags == {"v3.0": "old"}
    push(api, {"2": {"outcome": "success"}})
    assert api.commits == [(None, {OUTCOMES_FILE: root / OUTCOMES_FILE}, set())]
    assert api.tags == {"v3.0": "commit 1"}  # where LeRobot loads the dataset from


def test_a_branch_that_was_named_is_the_only_thing_that_moves(push, root):
    api = Api([])
    push(api, {"2": {"outcome": "success"}}, revision="mine")
    assert api.commits == [("mine", {OUTCOMES_FILE: root / OUTCOMES_FILE}, set())]
    assert api.tags == {"v3.0": "old"}


def test_what_is_cleared_goes_from_the_hub_too(push, root):
    api = Api([])
    push(api, {"0": {"keypoints": [{"frame_index": 0, "reward": 1.0}]}, "2": {"outcome": "success"}})
    push(api, clear=[2])
    assert api.commits[-1] == (None, {KEYPOINTS_FILE: root / KEYPOINTS_FILE}, {OUTCOMES_FILE})
    push(api, clear_all=True)
    assert api.commits[-1] == (None, {}, {KEYPOINTS_FILE})
    assert api.files == set() and api.tags == {"v3.0": "commit 3"}


def test_labels_that_only_the_hub_has_stay_unless_all_are_cleared(push, caplog):
    api = Api([CONTROL_MODES_FILE, "meta/info.json"])
    push(api, {"2": {"outcome": "success"}})
    assert CONTROL_MODES_FILE in api.files
    assert f"{CONTROL_MODES_FILE} stays in local/tiny on the Hub" in caplog.text
    push(api, clear_all=True)
    assert api.files == {"meta/info.json"}
