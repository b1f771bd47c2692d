"""Every command of the README runs, in the README's order, on the demo's dataset and a clone of our own.

The commands run as written. What the test adds is what makes them small (a few steps, a small network) and
what keeps them off the network and off the environment that the tests run in.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lerobot import __file__ as lerobot_file
from tests.versions import HELD_OUT

from .conftest import SMALL_POLICY

PROJECT = Path(__file__).resolve().parents[2]
TEXT = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

SMALL_TRAINING = [*SMALL_POLICY, "--steps=2", "--batch_size=4", "--num_workers=0", "--wandb.enable=false"]
ADDED = {
    "lerobot-train": SMALL_TRAINING,
    "lerobot-recap": [
        "--device=cpu",
        "--steps=2",
        *("--value.folds=2", "--value.members=1", "--value.steps=2", "--value.num_workers=0"),
        *(f"--policy.{flag.removeprefix('--')}" for flag in SMALL_TRAINING),
    ],
    "lerobot-eval-rewards": ["--policy.device=cpu"],
    "lerobot-visualize-rewards": ["--policy.device=cpu"],
    "install.py dev": ["--no-install"],
    "install.py demo": ["--episodes=5", "--steps=3", "--output-dir=~/outputs/demo"],
}
# Each is there in some releases only.
OF_OTHER_RELEASES = {"lerobot-rollout", "lerobot-record"}
# This very test is what `install.py test` runs.
SELF = "install.py test"


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines() if line.strip()]


CHECKOUT = Path(lerobot_file).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home directory with the clone that the README speaks of."""
    home = tmp_path_factory.mktemp("home")
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, home / "lerobot"], check=True)
    return home


def test_the_readme_has_its_commands():
    bash = [command for language, block in BLOCKS if language == "bash" for command in commands(block)]
    names = {" ".join(command[:3]) for command in bash if command[0] == "python"}
    assert {"python install.py demo", "python install.py test"} <= names
    assert {command[2] for command in bash if command[0] == "python"} >= {"dev", "status", "uninstall"}
    assert {command[0] for command in bash} >= {"lerobot-train", "lerobot-eval-rewards", "lerobot-recap"}
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 150
    assert all((PROJECT / link).exists() for link in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))


def test_links_between_the_pages_lead_somewhere():
    for page in (PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_commands_in_the_text_exist():
    """`lerobot-...` and `install.py ...` between backquotes name real scripts and real subcommands."""
    text = TEXT + "".join(page.read_text() for page in (PROJECT / "docs").glob("*.md"))
    scripts = {name for name in re.findall(r"`(lerobot-[a-z-]+)", text)} - OF_OTHER_RELEASES
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
    ran, environment_there = 0, (PROJECT / ".venv").exists()
    for language, block in BLOCKS:
        script = [["python", "-c", block]] if language == "python" else commands(block)
        for command in script:
            name = " ".join(command[1:3]) if command[0] == "python" else command[0]
            if name == SELF:
                continue
            command = [argument.replace("~", str(home)) for argument in [*command, *ADDED.get(name, [])]]
            if not HELD_OUT and name == "lerobot-train":
                command = [argument for argument in command if "eval_split" not in argument]
            if name.startswith("install.py"):
                command[1] = str(PROJECT / "install.py")
            # The demo sets up the clone it stands in: the one under test, where nothing is left to set up.
            where = CHECKOUT if name == "install.py demo" else home
            result = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False)
            assert result.returncode == 0, f"{shlex.join(command)}\n{(result.stdout + result.stderr)[-4000:]}"
            ran += 1
    assert ran >= 10
    assert (PROJECT / ".venv").exists() == environment_there, "the demo made an environment of its own"
    assert (home / "outputs" / "demo" / "demo.mp4").is_file()
    assert (home / "outputs" / "arm_judged" / "eval_rewards.json").is_file()
    assert (home / "outputs" / "arm_drawn" / "overview.png").is_file()
    assert (home / "outputs" / "arm_recap" / "recap.html").is_file()
    unpatched = subprocess.run(
        ["git", "-C", home / "lerobot", "status", "--porcelain"], capture_output=True, check=True
    )
    assert unpatched.stdout == b""
