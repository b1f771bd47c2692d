# SPDX-License-Identifier: MIT
"""What the command-line tools share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lerobot.configs import parser
from lerobot.configs.policies import PreTrainedConfig


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn the errors that a user can mend into one sentence and exit status 1, and an interrupt into 130."""
    try:
        yield
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to go on from here.", file=sys.stderr)
        sys.exit(130)


def resolve_policy(config: PreTrainedConfig | None) -> PreTrainedConfig | None:
    """The policy of a tool's configuration: read from ``--policy.path`` where that is given.

    Raises:
        ValueError: if there is no checkpoint at that path.
    """
    path = parser.get_path_arg("policy")
    if not path:
        return config
    return load_policy_config(path, parser.get_cli_overrides("policy"))


def load_policy_config(path: str | Path, overrides: list[str] | None = None) -> PreTrainedConfig:
    """Configuration of a checkpoint, a folder or a repo id of the Hub, with its ``pretrained_path`` set.

    Raises:
        ValueError: if it is a folder without a configuration.
    """
    folder = Path(path)
    if (folder.exists() or len(folder.parts) > 2) and not (folder / "config.json").is_file():
        raise ValueError(f"{path} is not a checkpoint: it has no config.json")
    config = PreTrainedConfig.from_pretrained(path, cli_overrides=overrides or [])
    config.pretrained_path = folder
    return config
