# SPDX-License-Identifier: MIT
"""The benchmark's processes: every call is made once, and none begins after a failure."""

import pytest
import torch

from verify.bench.parallel import run_all


def note_down(directory, name):
    if name == "bad":
        raise SystemExit("bad was asked for")
    with (directory / name).open("x") as file:  # fails if it was called before
        file.write(str(torch.get_num_threads()))


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_call_is_made_once_on_one_thread(jobs, tmp_path):
    calls = [(tmp_path, name) for name in ("a", "b", "c", "d")]
    returned = list(run_all(note_down, calls, jobs))
    assert sorted(returned) == calls
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys("abcd", "1")


def test_what_has_not_begun_is_left_after_a_failure(tmp_path):
    calls = [(tmp_path, name) for name in ("first", "bad", *map(str, range(1000)))]
    returned = []
    with pytest.raises(SystemExit, match="bad was asked for"):
        for call in run_all(note_down, calls, jobs=1):
            returned.append(call)
    assert returned == calls[:1]
    # Those that a process had taken or was handed by then are made.
    assert len(list(tmp_path.iterdir())) < 500
