# SPDX-License-Identifier: MIT
"""LeRobot's base install is enough for every policy that is not ours."""

import subprocess
import sys
from pathlib import Path

from lerobot import __file__ as lerobot_file
from verify.checkout import Checkout

CHECKOUT = Path(lerobot_file).parents[2]

# Each finder is asked on, except for these packages: neither imported nor found, as if not installed.
IMPORT_WITHOUT = """
import importlib, sys

HIDDEN = {"scipy", "sklearn", "matplotlib", "rich", "starlette", "uvicorn", "efficientnet_lite_pytorch"}


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(name for name in sys.modules if name.startswith("rewact.")))
"""


def test_every_patched_module_imports_without_what_we_need_beyond_lerobot():
    paths = Checkout(CHECKOUT).state().patched_files
    modules = [
        path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in sorted(paths)
        if path.startswith("src/lerobot/")
    ]
    assert "lerobot.scripts.lerobot_train" in modules
    # Packages that cannot be imported without extras of LeRobot's own.
    modules = [name for name in modules if not name.startswith(("lerobot.rl.", "lerobot.async_inference."))]
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, *modules], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    imported = ran.stdout.split()
    assert "rewact.hooks.train" in imported
    # Nor is anything of ours imported before it is used.
    configured = {"rewact.values", "rewact.values.configuration_values"}  # a type that LeRobot registers
    rooms = {name.split(".")[1] for name in imported if name not in configured}
    assert rooms <= {"keys", "options", "act", "hooks", "reward_model"}
