# SPDX-License-Identifier: MIT
"""What all command-line tools share: how options are read, help is printed and mistakes are told."""

import logging
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock
from urllib.error import URLError

import draccus
import pytest
import torchvision
from draccus.wrappers.docstring import get_attribute_docstring

from lerobot.configs import parser
from rewact.act.configuration_actvantage import ACTvantageConfig
from rewact.act.configuration_rewact import RewACTConfig
from rewact.cli.common import describe, list_options, load_policy_config, parse_options, run_tool
from rewact.cli.eval_rewards import EvalRewardsConfig
from rewact.judge.report import print_table
from rewact.labels.columns import read_parquet
from rewact.labels.files import read_json
from rewact.options.completion import CompletionDetectorConfig
from rewact.options.errors import one_line, say_errors_in_one_line, shorten_torchcodec_warning
from rewact.options.head import GONE_OPTIONS, RewardHeadConfig
from rewact.options.labels import OPTIONS_OF_SOURCES, RewardLabelsConfig
from rewact.options.tools import PolicyOptions

TOOLS = {
    "eval_rewards": "EvalRewardsConfig",
    "visualize_rewards": "VisualizeRewardsConfig",
    "label_rewards": "LabelRewardsConfig",
    "label_page": "LabelPageConfig",
    "compute_advantages": "ComputeAdvantagesConfig",
    "train_values": "TrainValuesConfig",
    "export": "ExportConfig",
}
DATA = "--dataset.repo_id=me/pick"
NOT_INSTALLED = ModuleNotFoundError("No module named 'torchcodec'", name="torchcodec")


@pytest.mark.parametrize("tool", TOOLS)
def test_help_describes_each_option(tool):
    module = import_module(f"rewact.cli.{tool}")
    options = getattr(module, TOOLS[tool])
    lines = describe(options, module.__doc__).splitlines()
    for name, (option, _) in list_options(options).items():
        if option.metadata.get("only_training"):  # which every tool refuses
            assert f"  --{name}" not in lines
            continue
        heading = next(i for i, line in enumerate(lines) if line.split(" (")[0] == f"  --{name}")
        assert len(lines[heading + 1].strip()) > 8, name
    text = "\n".join(lines)
    assert "```" not in text and "import " not in text and "field(" not in text
    assert all(not line.endswith("\\") or line.startswith("    ") for line in lines)
    # The examples go over several lines where they are long.
    assert max(len(line) for line in lines) <= 120


@pytest.mark.parametrize("tool", ["eval_rewards", "label_rewards"])
@pytest.mark.parametrize("arguments", [["--help"], []])
def test_neither_help_nor_a_missing_option_waits_for_torch(tool, arguments):
    script = (
        "import sys; from rewact.cli.{} import main; sys.argv[1:] = {!r}\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'lerobot.configs', 'scipy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script.format(tool, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.rstrip().endswith("[]"), result.stderr
    if not arguments:
        assert result.returncode == 1
        assert result.stderr.startswith("error: --dataset.repo_id is needed: Name of the dataset, as user/")
        assert result.stderr.count("\n") == 1


def test_a_tool_that_is_ended_cleans_up():
    """SIGTERM left films that were half written, and the stages of lerobot-recap went on without it."""
    script = (
        "import signal\nfrom rewact.cli.common import report_errors\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell ignores it in its background
        "for number in (signal.SIGINT, signal.SIGTERM):\n"
        "    try:\n"
        "        with report_errors():\n"
        "            try: signal.raise_signal(number)\n"
        "            finally: print('cleaned up')\n"
        "    except SystemExit as end: print(end.code)\n"
        "print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n") == ["cleaned up", "130", "cleaned up", "143", "True", ""]
    assert result.stderr.count("Interrupted. Run the same command again") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset.repoid=x"], "no option --dataset.repoid; is --dataset.repo_id meant?"),
        (["--xyz=1", DATA], "no option --xyz; --help lists all options"),
        (["nonsense"], "'nonsense' is not an option: options are given as --name=value"),
        ([DATA, "--batch_size"], "--batch_size needs a value: --batch_size=..."),
        (["--dataset.repo_id="], "--dataset.repo_id needs a value: --dataset.repo_id=..."),
        ([DATA, "--progress=[x]", "--batch_size=null"], "--batch_size needs a value: --batch_size=..."),
        ([DATA, "--batch_size=many", "--progress=[x]"], "--batch_size: Couldn't parse 'many' into an int"),
        ([DATA], "nothing to judge: give --policy.path, --progress, or both"),
        ([DATA, "--policy.type=act"], "--policy.type: give a trained policy's checkpoint with --policy.path"),
        ([DATA, "--policy.path=x", "--policy.value_max=1"], "--policy.value_max is gone: it is always 1."),
        ([DATA, "--policy.device=cpu"], "give its checkpoint with --policy.path"),
        ([DATA, "--policy.path=a/b/c"], "a/b/c is not a checkpoint: it has no config.json"),
        (
            [DATA, "--progress=[x]", "--dataset.reward.start_pct=2"],
            "reward.start_pct must be in [0, 1], got 2",
        ),
        (
            [DATA, "--progress=[x]", "--dataset.reward.progress_path=/nowhere"],
            "--dataset.reward.progress_path is for the source 'parquet', which is not among "
            '--dataset.reward.sources=\'["keypoints", "linear"]\': add it there, or leave the option out',
        ),
        (
            [DATA, "--progress=[x]", "--dataset.reward.control_modes_path=x"],
            "control_modes_path is for the source 'returns', mask_actions_under_policy and mask_",
        ),
        (
            [DATA, "--progress=[x]", "--dataset.reward.advantages_path=x"],
            "advantages_path is for the training of actvantage: leave the option out",
        ),
        ([DATA, "--progress=[x]", "--dataset.episodes=[-1]"], "different ids of at least 0, got [-1]"),
        (
            [DATA, "--progress=[x]", "--dataset.video_backend=ffmpeg"],
            "--dataset.video_backend must be one of torchcodec, pyav, video_reader, got 'ffmpeg'",
        ),
        ([DATA, "--progress=[x]", "--dataset.eval_split=1"], "eval_split must be in [0, 1), got 1"),
        (["--config_path=/nowhere.yaml"], "--config_path=/nowhere.yaml does not exist"),
        (["--config_path=/"], "--config_path=/ cannot be read: Is a directory"),
        ([DATA, "--progress=a.parquet"], "--progress takes a list, as '[..., ...]', got 'a.parquet'"),
        ([DATA, "--rename_map=x"], "--rename_map takes names with values, as '{...: ...}', got 'x'"),
        ([DATA, "--policy.path="], "a trained policy is needed: give its checkpoint with --policy.path"),
        ([DATA, "--progress=[x]", "--detector.threshold=nan"], "threshold must be in (0, 1], got nan"),
        ([DATA, "--policy.path=x", "--policy.use_amp=x"], "--policy.use_amp: "),
        ([DATA, "--progress=[x]", "--num_workers=-1"], "--num_workers must be at least 0, got -1"),
        ([DATA, "--progress=[x]", "--tolerance_s=nan"], "--tolerance_s must be at least 0.0, got nan"),
    ],
)
def test_mistakes_are_one_line(monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    with pytest.raises(SystemExit) as exit:
        run_tool(EvalRewardsConfig, lambda _: pytest.fail("the tool was started"), "")
    assert str(exit.value).startswith("error: ") and message in str(exit.value)
    assert "\n" not in str(exit.value)


@pytest.mark.parametrize(
    ("tool", "arguments", "read"),
    [
        ("eval_rewards", ["--progress=[x]"], ()),
        ("visualize_rewards", [], ()),
        (
            "compute_advantages",
            ["--from_returns=true"],
            ("c_fail", "failure_return", "keypoints_path"),
        ),  # and control_modes_path
        ("train_values", ["--output_dir=x"], ()),
        ("label_page", [], ("interpolation",)),
    ],
)
def test_options_of_sources_that_are_not_chosen_are_refused(tool, arguments, read):
    options = getattr(import_module(f"rewact.cli.{tool}"), TOOLS[tool])
    values = {
        **{"interpolation": "linear", "keypoints_path": "x", "progress_path": "x", "column": "x"},
        **{"progress_column": "progress_dense", "c_fail": "3", "failure_return": "worst"},
        **{"start_pct": "0.2", "end_pct": "0.8", "failure_ceiling": "0.1"},
    }
    assert values.keys() == {name for names in OPTIONS_OF_SOURCES.values() for name in names}
    for source, names in OPTIONS_OF_SOURCES.items():
        for name in names:
            given = [DATA, *arguments, f"--dataset.reward.{name}={values[name]}"]
            if (tool, name) != ("label_page", "keypoints_path"):  # which it never takes
                parse_options(options, [*given, f'--dataset.reward.sources=["{source}"]'])
            if name not in read and (tool, name) != ("label_page", "keypoints_path"):
                with pytest.raises(ValueError, match=f"reward.{name} is for the source '{source}', which is"):
                    parse_options(options, [*given, '--dataset.reward.sources=["values"]'])
            elif name in read:
                parse_options(options, [*given, '--dataset.reward.sources=["values"]'])


@pytest.mark.parametrize(
    ("tool", "arguments", "option"),
    [
        ("eval_rewards", [DATA, "--progress=[x]"], "output_dir"),
        ("visualize_rewards", [DATA], "output_dir"),
        ("compute_advantages", [DATA, "--from_returns=true"], "plots_dir"),
        ("compute_advantages", [DATA, "--from_returns=true"], "folds_dir"),
        ("compute_advantages", [DATA, "--from_returns=true"], "output_path"),
        ("train_values", [DATA], "output_dir"),
        ("export", ["--policy.path=x"], "output_dir"),
    ],
)
def test_where_a_tool_will_write_is_checked_before_it_works(monkeypatch, tmp_path, tool, arguments, option):
    options, worked = getattr(import_module(f"rewact.cli.{tool}"), TOOLS[tool]), []
    file = tmp_path / "file"
    file.touch()

    def run(path):
        monkeypatch.setattr(sys, "argv", ["tool", *arguments, f"--{option}={path}"])
        run_tool(options, worked.append, "")

    is_file = option.endswith("_path")
    for path, problem in {
        file / "deeper": f"{file} is not a folder",
        "/proc/rewact/x": "nothing can be made in /proc (",
        tmp_path / ("x" * 300) / "x": "nothing can be made in ",
        (tmp_path if is_file else file): "it is a folder" if is_file else f"{file} is not a folder",
    }.items():
        with pytest.raises(SystemExit) as exit:
            run(path)
        said = exit.value.code
        assert said.startswith(f"error: --{option}={path} cannot be written: ") and problem in said
        assert "; name another " in said and not worked
    run(tmp_path / "new" / "deeper")
    assert worked and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dataset: 3", "there is no option --dataset; is --dataset.root meant?"),
        (
            b"dataset: {repo_id: me/pick, repoid: x}",
            "no option --dataset.repoid; is --dataset.repo_id meant?",
        ),
        (b"policy: 3", "--policy: give a trained policy's checkpoint with --policy.path"),
        (b"\xff\xfe", "options.yaml cannot be read: 'utf-8' codec can't decode"),
        (b"{", "options.yaml cannot be read: "),
    ],
)
def test_mistakes_in_a_file_of_options_are_told_as_those_of_the_command_line(tmp_path, content, message):
    path = tmp_path / "options.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        parse_options(EvalRewardsConfig, [f"--config_path={path}"])
    assert message in str(error.value)


def test_a_file_may_hold_other_options_of_the_policy(checkpoint, tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(
        f"dataset: {{repo_id: me/pick}}\n"
        f"policy: {{path: {checkpoint}, n_action_steps: 2, completion_detector: {{dwell: 1}}}}\n"
    )
    policy = parse_options(EvalRewardsConfig, [f"--config_path={path}", "--policy.n_action_steps=3"]).policy
    assert policy.flags() == ["--n_action_steps=3", "--completion_detector.dwell=1"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("chunk_size=many", "--policy.chunk_size: Couldn't parse 'many' into an int"),
        ("n_action_steps=1000", "n_action_steps"),
        ("completion_detector.threshold=nan", "threshold must be in (0, 1], got nan"),
        ("device=nowhere", "--policy.device=nowhere: Unknown device nowhere."),
        ("chunk_size=5", "--policy.chunk_size=5: "),
        ("n_heads=4", "was trained with 2, which its weights are for; leave the option out"),
        ("n_encoder_layers=2", "--policy.n_encoder_layers=2: "),
        ("reward_head_type=sigmoid", "was trained with distributional, which"),
    ],
)
def test_values_that_a_policy_cannot_have_are_one_line(checkpoint, flag, message):
    options = parse_options(EvalRewardsConfig, [DATA, f"--policy.path={checkpoint}", f"--policy.{flag}"])
    with pytest.raises(ValueError) as error:
        load_policy_config(options.policy)
    assert message in one_line(error.value) and "Couldn't instantiate" not in str(error.value)


def test_a_checkpoint_that_is_nowhere_is_named(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="--policy.path=me/nowhere is not a checkpoint"):
        load_policy_config(PolicyOptions("me/nowhere"))


def test_a_package_that_is_not_installed_is_one_line(monkeypatch):
    def work(_):
        raise ImportError("'rerun-sdk' is required but not installed. Install it with: pip install ...")

    monkeypatch.setattr(sys, "argv", ["tool", DATA, "--progress=[x]"])
    with pytest.raises(SystemExit) as exit:
        run_tool(EvalRewardsConfig, work, "")
    assert str(exit.value).startswith("error: 'rerun-sdk' is required")


def test_names_in_tables_are_no_markup(capsys):
    print_table("[/a] :cat:", ["", "[red]"], [["pick [/] :cat:", "[b]1"]])
    printed = capsys.readouterr().out
    for name in ("[/a] :cat:", "[red]", "pick [/] :cat:", "[b]1"):
        assert name in printed


def test_all_ways_to_give_an_option(tmp_path):
    config = tmp_path / "options.yaml"
    config.write_text("dataset: {repo_id: me/pick, episodes: [1, 2]}\nprogress: [a.parquet]\nbatch_size: 4\n")
    given = parse_options(
        EvalRewardsConfig, [f"--config_path={config}", "--batch_size", "8", "--dataset.reward.start_pct=0.2"]
    )
    assert (given.dataset.repo_id, given.dataset.episodes, given.progress) == (
        "me/pick",
        [1, 2],
        ["a.parquet"],
    )
    assert given.batch_size == 8 and given.dataset.reward.start_pct == 0.2


def test_other_options_of_a_policy_are_taken(checkpoint):
    path = f"--policy.path={checkpoint}"
    policy = parse_options(EvalRewardsConfig, [DATA, path, "--policy.use_amp=true", "--policy.n=3"]).policy
    assert policy.flags() == ["--n=3", "--use_amp=true"]


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (Path("/nowhere").read_text, "/nowhere does not exist"),
        (Path("/").read_text, "/: Is a directory"),
        (lambda: read_json(Path("/nowhere")), "/nowhere does not exist"),
        (lambda: read_json(Path("/")), "/ cannot be read: Is a directory"),
        (lambda: read_parquet(Path("/nowhere"), []), "/nowhere does not exist"),
        (lambda: read_parquet(Path(__file__), []), f"{__file__} cannot be read as parquet: Parquet magic"),
    ],
)
def test_an_error_in_a_tool_is_its_last_line(monkeypatch, work, message):
    @dataclass
    class Options:
        names: list[str] = field(default_factory=list)

    monkeypatch.setattr(sys, "argv", ["tool"])
    with pytest.raises(SystemExit) as exit:
        run_tool(Options, lambda _: work(), "")
    assert exit.value.code.startswith(f"error: {message}")
    assert not {"[", "\n"} & {*exit.value.code}  # no number of the system's error


# LeRobot's own scripts


@pytest.mark.parametrize(
    "options",
    [RewardHeadConfig, RewACTConfig, ACTvantageConfig, RewardLabelsConfig, CompletionDetectorConfig],
)
def test_their_help_describes_our_options(options):
    """draccus takes the comment above a field; a docstring's list of arguments it prints nowhere."""
    for name in options.__annotations__:
        if name not in GONE_OPTIONS:
            assert get_attribute_docstring(options, name).comment_above, name


def test_a_mistake_in_our_options_ends_lerobots_scripts_in_one_line(monkeypatch, capsys):
    told = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: told.append(error))
    say_errors_in_one_line()
    say_errors_in_one_line()  # once is enough

    @dataclass
    class Config:
        reward: RewardLabelsConfig = field(default_factory=RewardLabelsConfig)

    with pytest.raises(draccus.utils.ParsingError) as wrong:
        draccus.decode(Config, {"reward": {"start_pct": 2}})
    sys.excepthook(wrong.type, wrong.value, wrong.tb)
    assert capsys.readouterr().err == "error: reward.start_pct must be in [0, 1], got 2.0\n" and not told
    with pytest.raises(draccus.utils.ParsingError) as wrong:
        draccus.decode(Config, {"reward": {"start_pct": "early"}})
    sys.excepthook(wrong.type, wrong.value, wrong.tb)
    told_now = capsys.readouterr().err
    assert told_now.startswith("error: --reward.start_pct: Couldn't parse 'early'") and not told

    @dataclass
    class Policy:
        num_value_bins: int = 3

    @dataclass
    class Optional:
        policy: Policy | None = None  # as LeRobot's: draccus wraps what it says once more

    with pytest.raises(draccus.utils.DecodingError) as wrong:
        draccus.decode(Optional, {"policy": {"num_value_bins": "many"}})
    sys.excepthook(wrong.type, wrong.value, wrong.tb)
    told_now = capsys.readouterr().err
    assert told_now == "error: --policy.num_value_bins: Couldn't parse 'many' into an int\n" and not told
    other = ValueError("of somebody else")
    sys.excepthook(ValueError, other, None)
    assert told == [other]


def test_what_lerobots_reader_tells_in_several_lines_ends_in_one_of_ours(monkeypatch, capsys):
    @dataclass
    class Policy:
        num_value_bins: int = 3

    @dataclass
    class Config:
        policy: Policy | None = None

    @parser.wrap()
    def script(cfg: Config):
        pytest.fail("the script was started")

    monkeypatch.setattr(sys, "excepthook", lambda *args: pytest.fail("told as a traceback"))
    monkeypatch.setattr(sys, "argv", ["script", "--policy.num_value_bins=many"])
    try:
        script()
    except SystemExit as end:  # since 0.6 the reader ends the process itself
        assert end.code
    except draccus.utils.DecodingError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "error: --policy.num_value_bins: Couldn't parse 'many' into an int"


def test_a_backbone_that_cannot_be_downloaded_is_told_with_the_option_that_helps(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    monkeypatch.setattr(sys, "excepthook", lambda *args: pytest.fail("told as a traceback"))
    say_errors_in_one_line()
    with pytest.raises(URLError) as wrong:
        torchvision.models.resnet18(weights="IMAGENET1K_V1")
    sys.excepthook(wrong.type, wrong.value, wrong.tb)
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and "(no network)" in told
    assert "--policy.pretrained_backbone_weights=null" in told and told == f"error: {one_line(wrong.value)}\n"
    assert one_line(URLError("of something else")) == "<urlopen error of something else>"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("raise ImportError('a\\nlong text')", "FFmpeg's libraries are missing (apt-get install ffmpeg)"),
        (None, "it is not installed (pip install torchcodec)"),
    ],
)
def test_a_torchcodec_that_cannot_be_loaded_is_one_line(monkeypatch, tmp_path, module, message):
    arguments = [DATA, "--progress=[x]", "--dataset.video_backend"]
    monkeypatch.delitem(sys.modules, "torchcodec", raising=False)
    if module is None:
        monkeypatch.setattr("rewact.options.tools.import_module", Mock(side_effect=NOT_INSTALLED))
    else:
        (tmp_path / "torchcodec.py").write_text(module)
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError) as error:
        parse_options(EvalRewardsConfig, [*arguments, "torchcodec"])
    said = f"--dataset.video_backend=torchcodec cannot be loaded, as {message}; pyav needs neither"
    assert str(error.value) == said
    parse_options(EvalRewardsConfig, [*arguments, "pyav"])


def test_the_warning_of_torchcodec_is_one_line_told_once(caplog, monkeypatch):
    shorten_torchcodec_warning()
    logger = logging.getLogger("lerobot.utils.import_utils")
    for known in logger.filters:
        known.told = False
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["lerobot-train", "--help"])  # which decodes nothing
        logger.warning("'torchcodec' is installed but cannot be loaded (see above).")
    for _ in range(2):
        logger.warning("a\nlong\ntraceback\n'torchcodec' is installed but cannot be loaded (see above).")
    logger.warning("something else")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2 and messages[1] == "something else"
    assert "apt-get install ffmpeg" in messages[0] and "\n" not in messages[0]
