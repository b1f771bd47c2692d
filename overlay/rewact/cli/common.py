# SPDX-License-Identifier: MIT
"""How every tool reads options, prints help, and reports errors. Imports neither torch nor LeRobot."""

import difflib
import inspect
import json
import logging
import os
import re
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import draccus
import yaml
from draccus.utils import deflatten
from draccus.wrappers.docstring import get_attribute_docstring

from rewact.options.errors import is_of_network, one_line, say_unread, shorten_torchcodec_warning
from rewact.options.head import say_gone
from rewact.options.tools import PolicyOptions, require_writable

if TYPE_CHECKING:
    from lerobot.configs.policies import PreTrainedConfig

T = TypeVar("T")
WIDTH = 110
PLUGINS = "discover_packages_path"
CACHES = ("cache_dir", "values_dir")
# Options that say what the network of a policy is, with those of parts of it that may be left out.
PARTS = ("use_vae", "use_reward_head", "reward_forecast")
NETWORK = (
    *PARTS,
    *("vision_backbone", "replace_final_stride_with_dilation", "pre_norm", "feedforward_activation"),
    *("dim_model", "n_heads", "dim_feedforward", "n_encoder_layers", "n_decoder_layers", "chunk_size"),
    *("latent_dim", "n_vae_encoder_layers", "reward_head_type", "num_value_bins"),
)


def run_tool(options: type[T], work: Callable[[T], Any], description: str) -> None:
    """The whole of a command-line tool: options, help, errors.

    Args:
        options: Dataclass of its options.
        work: What it does. Imports torch and LeRobot itself, after the options were found to be right.
        description: What the help says before it lists the options.
    """
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(describe(options, description))
        return
    with report_errors():
        config = parse_options(options, arguments)
        require_outputs(options, vars(config))
        start_logging()
        work(config)
        leave_processes()


def require_outputs(options: type, values: Mapping[str, Any], prefix: str = "--") -> None:
    """Check that a tool can write what its options name.

    Options of the type `Path` name what is written: a file where they end in `_path`, else a folder. Caches,
    which may be whole already, are checked where something is missing.

    Raises:
        ValueError: As `require_writable` does.
    """
    for name, hint in get_type_hints(options).items():
        if Path in (hint, *get_args(hint)) and values.get(name) and name not in CACHES:
            require_writable(f"{prefix}{name}", Path(values[name]), is_file=name.endswith("_path"))


def start_logging() -> None:
    """Log as LeRobot does, and as accelerate's processes should."""
    from lerobot.utils.import_utils import register_third_party_plugins
    from lerobot.utils.utils import init_logging

    init_logging()
    shorten_torchcodec_warning()
    register_third_party_plugins()


def leave_processes() -> None:
    """End what the processes of `accelerate launch` have open."""
    if "accelerate" in sys.modules:
        from accelerate import PartialState

        PartialState().destroy_process_group()


@contextmanager
def report_errors() -> Iterator[None]:
    """Turn the errors that a user can mend into one last line and exit status 1.

    An interrupt becomes status 130, SIGTERM 143: what runs is ended, and nothing is left half written.
    """
    before = _interrupt_on_sigterm()
    try:
        yield
    except Exception as error:
        mendable = isinstance(error, (ValueError, OSError, RuntimeError, ImportError))
        if not mendable and not is_of_network(error):
            raise
        logging.debug("traceback", exc_info=error)
        sys.exit(f"error: {one_line(error)}")
    except KeyboardInterrupt as stop:
        print("\nInterrupted. Run the same command again to go on from here.", file=sys.stderr)
        sys.exit(128 + next(iter(stop.args), signal.SIGINT))
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupt_on_sigterm() -> Any:
    """Treat SIGTERM as an interrupt; returns what it did before, None where it is left alone.

    Processes of `accelerate launch` end at once: they may wait for each other, which nothing interrupts.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if "LOCAL_RANK" in os.environ or not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return None
    process = os.getpid()

    def interrupt(number: int, frame: Any) -> None:
        if os.getpid() != process:  # a copy of this process, which its parent ends
            os._exit(128 + number)
        raise KeyboardInterrupt(number)

    return signal.signal(signal.SIGTERM, interrupt)


def parse_options(options: type[T], arguments: Sequence[str]) -> T:
    """Read a command line.

    Args:
        options: Dataclass of the options. Fields that are dataclasses have options with a dot.
        arguments: ``--name=value`` or ``--name value``; ``--config_path`` names a YAML or JSON file of
            options, over which the others go. A class may have a function `fill_in`, which is given the
            options by name before it is checked that none is missing.

    Raises:
        ValueError: naming the option, if one is unknown, missing, or has a value that cannot be.
    """
    known = list_options(options)
    optional = {name for name, hint in get_type_hints(options).items() if type(None) in get_args(hint)}
    flags = read_flags(arguments)
    config_path = flags.pop("config_path", None)
    given: dict[str, Any] = {} if config_path is None else dict(_read_config(Path(config_path), known))
    given |= {name: _read_value(value) if name in known else value for name, value in flags.items()}
    content: dict[str, Any] = {}
    for name, value in given.items():
        group, _, option = name.partition(".")
        if group == "policy" and "policy.path" in known and name not in known:
            if option.partition(".")[0] in ("", "type"):
                raise ValueError(f"--{name}: give a trained policy's checkpoint with --policy.path")
            if refusal := say_gone(option.partition(".")[0]):
                raise ValueError(refusal)
            content.setdefault("policy.overrides", {})[option] = _write_value(value)
        elif name in known:
            _check_kind(name, known[name][0].type, value)
            content[name] = value
        else:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; is --{close[0]} meant?" if close else "; --help lists all options"
            raise ValueError(f"there is no option --{name}{hint}")
    getattr(options, "fill_in", lambda content: None)(content)
    groups = {name.partition(".")[0] for name in content}
    if "policy" in groups and not content.get("policy.path") and "policy.path" in known:
        raise ValueError("a trained policy is needed: give its checkpoint with --policy.path")
    for name, (field, meaning) in known.items():
        group = name.rpartition(".")[0]
        is_needed = field.default is MISSING and field.default_factory is MISSING
        if is_needed and name not in content and (group in groups or group not in optional):
            raise ValueError(f"--{name} is needed: {meaning}")
        if name in content and content[name] is None and type(None) not in get_args(field.type):
            raise ValueError(f"--{name} needs a value: --{name}=...")
    content = deflatten(content)
    for name in optional & content.keys():  # within an optional field, errors of its options would be hidden
        if group := _group(get_type_hints(options)[name]):
            with _undecoded_in_one_line(name):
                draccus.decode(group, content[name])
    with _undecoded_in_one_line():
        return draccus.decode(options, content)


def read_flags(arguments: Sequence[str]) -> dict[str, str]:
    """The values of ``--name=value`` and ``--name value``, by name.

    Raises:
        ValueError: if something else stands there.
    """
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or name == "--":
            raise ValueError(f"{argument!r} is not an option: options are given as --name=value")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"{name} needs a value: {name}=...")
            value = rest.pop(0)
        flags[name[2:]] = value
    return flags


def load_policy_config(policy: PolicyOptions) -> "PreTrainedConfig":
    """Configuration of a checkpoint, with its ``pretrained_path`` set.

    Raises:
        ValueError: naming the checkpoint, if it has no such option, or has weights for another value of it.
    """
    from lerobot.configs import parser
    from lerobot.configs.policies import PreTrainedConfig, is_torch_device_available

    if policy.device is not None:
        try:
            is_torch_device_available(policy.device)
        except ValueError as error:
            raise ValueError(f"--policy.device={policy.device}: {one_line(error)}") from error
    flags = policy.flags()
    for flag in [flag for flag in flags if flag.startswith(f"--{PLUGINS}=")]:
        parser.load_plugin(flag.partition("=")[2])
        flags.remove(flag)
    try:
        with _undecoded_in_one_line("policy"):
            config = PreTrainedConfig.from_pretrained(policy.path, cli_overrides=flags)
    except SystemExit:  # by argparse, which has said what it does not know
        raise ValueError(f"{policy.path} has no such option among {' '.join(flags)}") from None
    except OSError as error:
        raise ValueError(f"--policy.path={policy.path} is not a checkpoint: {one_line(error)}") from error
    if given := [name for name in policy.overrides if name in NETWORK]:
        trained = PreTrainedConfig.from_pretrained(policy.path)
        for name in given:
            now, then = getattr(config, name), getattr(trained, name)
            if now != then and (now or name not in PARTS):
                raise ValueError(
                    f"--policy.{name}={now}: {policy.path} was trained with {then}, which its weights are "
                    "for; leave the option out"
                )
    config.pretrained_path = Path(policy.path)
    return config


@contextmanager
def _undecoded_in_one_line(*group: str) -> Iterator[None]:
    """Say which option draccus could not read, or why a class of options could not be made."""
    try:
        yield
    except draccus.utils.DecodingError as error:
        name = ".".join((*group, *error.key_path))
        message = " ".join(error.message.split())
        raise ValueError(f"--{name}: {message}" if name else message) from error
    except draccus.utils.ParsingError as error:  # says only which class could not be made
        raise ValueError(one_line(error.__cause__ or error)) from error


# Help


def describe(options: type, description: str) -> str:
    """The help of a tool: what it does, then each option with its meaning and default."""
    lines = [indent_examples(description), "", "Options:"]
    known = list_options(options)
    for name, (field, meaning) in known.items():
        if field.metadata.get("only_training"):  # a tool refuses it, in a sentence of its own
            continue
        default = _default(field)
        lines.append(f"  --{name}" + (f" (default: {default})" if default else ""))
        lines += textwrap.wrap(meaning, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    if "policy.path" in known:
        lines += ["  --policy.<option>", "      Any other option of the policy's configuration."]
    lines += [
        "  --config_path",
        "      A YAML or JSON file with options; those on the command line go first.",
    ]
    return "\n".join(lines)


def indent_examples(text: str) -> str:
    """A docstring as text for a terminal: examples are indented instead of fenced."""
    return re.sub(
        r"```(?:\w+)?\n(.*?)```",
        lambda example: textwrap.indent(example[1].strip("\n"), "    "),
        text.strip(),
        flags=re.DOTALL,
    )


def list_options(options: type, prefix: str = "") -> dict[str, tuple[Field, str]]:
    """All options of a dataclass by their full names, in order, with what their comments say."""
    found = {}
    hints = get_type_hints(options)
    for field in fields(options):
        if field.metadata.get("hidden"):
            continue
        if group := _group(hints[field.name]):
            found |= list_options(group, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = field, _comment(options, field.name)
    return found


def _group(hint: Any) -> type | None:
    """The dataclass of a field that stands for a group of options."""
    return next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)


@cache
def _comment(options: type, name: str) -> str:
    """The comment above a field of a dataclass, where it was defined first, as one line."""
    first = next(base for base in reversed(options.__mro__) if name in inspect.get_annotations(base))
    return " ".join(get_attribute_docstring(first, name).comment_above.split())


def _default(field: Field) -> str:
    if field.default is not MISSING:
        return "" if field.default is None else _write_value(field.default)
    return "" if field.default_factory is MISSING else _write_value(field.default_factory())


def _write_value(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value, default=str)


# Values


def _read_value(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _read_config(path: Path, known: Container[str]) -> Iterator[tuple[str, Any]]:
    """The options in a file, by their full names."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(say_unread(f"--config_path={path}", error)) from error
    if not isinstance(content, dict):
        raise ValueError(f"--config_path={path} does not hold options by name")
    return _flatten(content, known)


def _flatten(content: dict[str, Any], known: Container[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in known:
            yield from _flatten(value, known, f"{name}.")
        else:
            yield name, value


def _check_kind(name: str, hint: Any, value: Any) -> None:
    for kind, form in {list: "a list, as '[..., ...]'", dict: "names with values, as '{...: ...}'"}.items():
        if kind in map(get_origin, (hint, *get_args(hint))) and not isinstance(value, (kind, type(None))):
            raise ValueError(f"--{name} takes {form}, got {value!r}")
