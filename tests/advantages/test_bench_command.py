# SPDX-License-Identifier: MIT
"""What the benchmark's commands refuse before they measure anything."""

import pytest

from verify.bench.command import Command, writable_folder


@pytest.fixture
def parser():
    parser = Command("bench.some", "What it does.")
    parser.add_json()
    parser.add_dataset()
    return parser


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--root", "nowhere", "nowhere is not a dataset: meta/info.json is missing"),
        ("--json", "taken/figures.json", "cannot write to taken"),
        ("--json", "folder", "cannot write to folder: it is a folder"),
    ],
)
def test_what_cannot_work_is_one_sentence(flag, value, said, parser, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(["--repo-id=a/b", flag, value])
    message = capsys.readouterr().err
    assert exit_.value.code == 2 and message.count("\n") == 1
    assert message.startswith(f"python -m verify.bench.some: argument {flag}: {said}")


def test_a_file_that_can_be_written_is_left_to_the_end(parser, tmp_path):
    (tmp_path / "data" / "meta").mkdir(parents=True)
    (tmp_path / "data" / "meta" / "info.json").write_text("{}")
    path = tmp_path / "new" / "figures.json"
    arguments = parser.parse_args(["--repo-id=a/b", f"--json={path}", f"--root={tmp_path / 'data'}"])
    assert arguments.json == path and arguments.root == tmp_path / "data"
    assert list(path.parent.iterdir()) == [] and writable_folder(str(path.parent)) == path.parent
