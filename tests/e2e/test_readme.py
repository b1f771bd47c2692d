"""Every command of the README runs, in the README's order, on a dataset and a clone of our own.

The commands run as written. What the test adds is what makes them small (a few steps, a small network) and
what keeps them off the network and off the environment that the tests run in.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lerobot import __file__ as lerobot_file

from .conftest import SMALL_POLICY

PROJECT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(
    r"^```(bash|python)\n(.*?)^```$", (PROJECT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)

SMALL_TRAINING = [*SMALL_POLICY, "--steps=2", "--batch_size=4", "--num_workers=0", "--wandb.enable=false"]
ADDED = {
    "lerobot-train": SMALL_TRAINING,
    "lerobot-compute-advantages": ["--policy.device=cpu"],
    "lerobot-recap": [
        "--env.episode_length=6",
        "--device=cpu",
        *(f"--{stage}.{flag.removeprefix('--')}" for stage in ("value", "policy") for flag in SMALL_TRAINING),
    ],
    "lerobot-eval": ["--env.episode_length=6", "--policy.device=cpu"],
    "lerobot-eval-rewards": ["--policy.device=cpu"],
    "lerobot-visualize-rewards": ["--policy.device=cpu"],
    "install.py dev": ["--no-install"],
    "install.py demo": ["--fast", "--output-dir=~/outputs/demo"],
}
# This very test is what `install.py test` runs.
SELF = "install.py test"


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines() if line.strip()]


CHECKOUT = Path(lerobot_file).parents[2]


@pytest.fixture(scope="module")
def home(dataset_root, tmp_path_factory):
    """A home directory with the clone and the dataset that the README speaks of."""
    home = tmp_path_factory.mktemp("home")
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, home / "lerobot"], check=True)
    shutil.copytree(dataset_root, home / "datasets" / "you" / "bottle")
    return home


def test_the_readme_has_its_commands():
    bash = [command for language, block in BLOCKS if language == "bash" for command in commands(block)]
    names = {" ".join(command[:3]) for command in bash if command[0] == "python"}
    assert {"python install.py demo", "python install.py test"} <= names
    assert {command[2] for command in bash if command[0] == "python"} >= {"dev", "status", "uninstall"}
    assert {command[0] for command in bash} >= {"lerobot-train", "lerobot-eval"}


def test_commands_in_the_text_exist():
    """`lerobot-...` and `install.py ...` between backquotes name real scripts and real subcommands."""
    text = (PROJECT / "README.md").read_text()
    scripts = {name for name in re.findall(r"`(lerobot-[a-z-]+)", text)}
    installed = {path.name for path in Path(sys.executable).parent.glob("lerobot-*")}
    assert scripts and scripts <= installed
    subcommands = set(re.findall(r"`(?:python )?install\.py ([a-z]+)", text))
    help_text = subprocess.run(
        [sys.executable, PROJECT / "install.py", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert subcommands and all(re.search(rf"^ +{name}\b", help_text, re.MULTILINE) for name in subcommands)


def test_every_command_runs(home):
    env = {
        **os.environ,
        "HOME": str(home),
        "HF_LEROBOT_HOME": str(home / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    ran = 0
    for language, block in BLOCKS:
        script = [["python", "-c", block]] if language == "python" else commands(block)
        for command in script:
            name = " ".join(command[1:3]) if command[0] == "python" else command[0]
            if name == SELF:
                continue
            command = [argument.replace("~", str(home)) for argument in [*command, *ADDED.get(name, [])]]
            if name.startswith("install.py"):
                command[1] = str(PROJECT / "install.py")
            # The demo sets up the clone it stands in: the one under test, where nothing is left to set up.
            where = CHECKOUT if name == "install.py demo" else home
            result = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False)
            assert result.returncode == 0, f"{shlex.join(command)}\n{(result.stdout + result.stderr)[-4000:]}"
            ran += 1
    assert ran >= 10
    assert (home / "outputs" / "demo" / "demo.mp4").is_file()
    assert (home / "outputs" / "bottle_eval" / "eval_info.json").is_file()
    assert (home / "outputs" / "bottle_recap" / "comparison.json").is_file()
    assert (home / "datasets" / "you" / "bottle" / "rewact_extensions" / "reward_keypoints.json").is_file()
    unpatched = subprocess.run(
        ["git", "-C", home / "lerobot", "status", "--porcelain"], capture_output=True, check=True
    )
    assert unpatched.stdout == b""
