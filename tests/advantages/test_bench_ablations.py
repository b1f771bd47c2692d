# SPDX-License-Identifier: MIT
"""What the benchmark's ablations call positive; the simulation itself needs Meta-World."""

from types import SimpleNamespace

import numpy as np
import pytest

from rewact.advantages.file import AdvantageTable, read_advantage_file, write_advantage_file
from verify.bench.recipes import ABLATIONS, ADVANTAGES, Recipe, write_relabelled
from verify.bench.settings import SETTINGS

KINDS = {"clean": (2, True), "slow": (4, True), "miss": (6, False)}
EPISODES = [
    SimpleNamespace(kind=kind, actions=np.zeros((length, 4)), success=success)
    for kind, (length, success) in KINDS.items()
]
LENGTHS = [length for length, _ in KINDS.values()]


@pytest.fixture
def table():
    n_frames = sum(LENGTHS)
    columns = {
        "index": np.arange(n_frames),
        "episode_index": np.repeat(range(3), LENGTHS),
        "frame_index": np.concatenate([np.arange(length) for length in LENGTHS]),
        "value": np.array([0, 1, 0, 0.3, 0.6, 1, 0, 0.1, 0.5, 0.2, 0.1, 0], np.float32),
        # The failure's best frame is below all of the successes'.
        "advantage": np.array([0.9, 0.8, 0.4, 0.3, 0.5, 0.6, 0.1, 0.2, -0.1, -0.2, -0.3, 0], np.float32),
        "positive": np.ones(n_frames, dtype=bool),
    }
    return AdvantageTable(columns, {"dataset": "", "format": 1})


def positives(name, table, fraction=0.5):
    return np.flatnonzero(ABLATIONS[name].relabel(table, EPISODES, fraction)).tolist()


def test_each_source_has_a_threshold_of_its_own(table):
    assert positives("source", table) == [0, 4, 5, 6, 7, 11]


def test_a_failure_is_not_positive_from_its_best_frame_on(table):
    assert positives("prior", table) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_the_control_knows_the_length_alone(table):
    assert positives("length", table) == [0, 1, 2, 3, 4, 5]
    assert positives("length", table, fraction=0.4) == [0, 1]


def test_n_is_a_quarter_of_a_success():
    settings = SETTINGS["features"]["a"]
    assert ABLATIONS["pace"].changed(settings, EPISODES).n_steps == 1  # of the mean of 2 and 4 frames
    assert ABLATIONS["least"].changed(settings, EPISODES).aggregate == "min"
    assert ABLATIONS["half"].changed(settings, EPISODES) is None


def test_only_what_changes_the_advantages_has_a_file_of_its_own():
    own = {name for name, ablation in ABLATIONS.items() if ablation.advantages_file(name) != ADVANTAGES}
    assert own == {"least", "source", "prior", "pace", "length"}


def test_a_relabelled_file_differs_in_what_is_positive(table, tmp_path):
    source, target = tmp_path / ADVANTAGES, tmp_path / "advantages_length.parquet"
    write_advantage_file(source, table)
    write_relabelled(source, target, ABLATIONS["length"].relabel, EPISODES, 0.5)
    before, after = read_advantage_file(source).columns, read_advantage_file(target).columns
    assert before.pop("positive").all() and after.pop("positive").sum() == 6
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_it_starts_from_must_be_there(tmp_path):
    ablation = ABLATIONS["from_filtered"]
    with pytest.raises(SystemExit, match=f"{tmp_path}/filtered is missing: name filtered before from_filt"):
        ablation.require_start(tmp_path, "from_filtered")
    (tmp_path / "filtered").mkdir()
    assert ablation.require_start(tmp_path, "from_filtered") == tmp_path / "filtered"
    assert Recipe("").require_start(tmp_path, "any") is None
