# SPDX-License-Identifier: MIT
"""What lerobot-compute-advantages draws, and says of values that tell nothing."""

from PIL import Image

from .conftest import (
    create_dataset,
)


def test_plots(run, root, checkpoint, tmp_path):
    assert run(f"--policy.path={checkpoint}", f"--plots_dir={tmp_path / 'plots'}") is None
    assert [path.name for path in (tmp_path / "plots").iterdir()] == ["overview.png"]
    run("--from_returns=true", f"--plots_dir={tmp_path / 'few'}", "--plot_episodes=[2]")
    names = {path.name for path in (tmp_path / "few").iterdir()}
    assert names == {"overview.png", "episode_000002.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "few").iterdir())


def test_a_page_shows_images_of_its_episode(run, tmp_path):
    root = create_dataset(tmp_path / "data", camera="image")
    flags = ("--from_returns=true", f"--plots_dir={tmp_path / 'plots'}", "--plot_episodes=[1]")
    assert run(*flags, dataset_root=root) is None
    with Image.open(tmp_path / "plots" / "episode_000001.png") as page:
        assert page.height > page.width / 2


def test_values_that_say_nothing_are_said_to(run, checkpoint, capfd):
    """An untrained value function: its values lie within 0.01 of each other."""
    run(f"--policy.path={checkpoint}")
    assert "the values hardly vary" in "".join(capfd.readouterr())
