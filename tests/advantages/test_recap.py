# SPDX-License-Identifier: MIT
"""The loop command: which commands it runs, what it skips, continues and refuses."""

import json
import logging
import sys

import pytest

from rewact.cli import recap
from rewact.cli.recap import STAGES, Loop, compare, run_loop
from rewact.cli.recap_options import COMPUTE, CONDITIONS, EVAL, TRAIN
from rewact.cli.recap_options import TRAIN_VALUES as VALUES
from rewact.draw.recap_page import write_page

BASE = ["--dataset.repo_id=local/tiny", "--dataset.root=data", "--env.type=pusht", "--seed=3", "--device=cpu"]


@pytest.fixture
def commands(monkeypatch):
    """Commands that were run, which leave what the real ones leave."""
    commands = []

    def fake_run(command, log):
        module, flags = command[2], dict(flag[2:].split("=", 1) for flag in command[3:])
        commands.append((module, flags))
        if commands.fail_at == len(commands):
            log.write_text("a traceback\nerror: disk full\n")
            return 1
        from pathlib import Path

        output = Path(flags.get("output_path", flags.get("output_dir", "")))
        if module == COMPUTE:
            output.parent.mkdir(parents=True)
            output.touch()
        elif module == EVAL:
            output.mkdir(parents=True)
            success = {"positive": 80.0, "negative": 10.0, "unconditional": 50.0}[
                flags["policy.inference_advantage"]
            ]
            (output / "eval_info.json").write_text(
                json.dumps(
                    {
                        "per_task": [{"metrics": {"successes": [i < success / 10 for i in range(10)]}}],
                        "overall": {"pc_success": success, "videos": []},
                    }
                )
            )
        elif module == VALUES:
            (output / "pretrained_model").mkdir(parents=True, exist_ok=True)
            for name in ("values.json", "values.png", "pretrained_model/config.json"):
                (output / name).write_text("{}")
        else:
            if "resume" in flags:
                output = Path(flags["config_path"]).parents[3]
            checkpoint = output / "checkpoints" / "last" / "pretrained_model"
            checkpoint.mkdir(parents=True, exist_ok=True)
            (checkpoint / "train_config.json").write_text("{}")
        return 0

    class Commands(list):
        fail_at = None

    commands = Commands()
    monkeypatch.setattr(recap, "execute", fake_run)
    return commands


def loop(tmp_path, *flags):
    return Loop.parse([f"--output_dir={tmp_path / 'run'}", *BASE, *flags])


def results(tmp_path):
    return json.loads((tmp_path / "run" / "results.json").read_text())


def test_the_whole_loop(commands, tmp_path):
    run_loop(loop(tmp_path, "--value.steps=5", "--policy.chunk_size=8", "--advantages.positive_fraction=0.2"))
    assert [module for module, _ in commands] == [VALUES, COMPUTE, TRAIN, EVAL, EVAL, EVAL]
    value, advantages, policy = (flags for _, flags in commands[:3])
    assert value["values.steps"] == "5" and value["seed"] == "3" and value["device"] == "cpu"
    assert value["output_dir"] == str(tmp_path / "run/value")
    assert "chunk_size" not in str(value) and policy["policy.chunk_size"] == "8"
    assert advantages["policy.path"] == str(tmp_path / "run/value/pretrained_model")
    assert advantages["positive_fraction"] == "0.2" and "seed" not in advantages
    assert policy["policy.advantage_dropout"] == "0.1"
    assert policy["policy.type"] == "actvantage"
    assert policy["dataset.reward.advantages_path"] == advantages["output_path"]
    assert [flags["policy.inference_advantage"] for _, flags in commands[3:]] == [
        "positive",
        "negative",
        "unconditional",
    ]
    comparison = results(tmp_path)["comparison"]
    assert [comparison[kind]["pc_success"] for kind in ("positive", "negative")] == [80.0, 10.0]
    assert comparison["positive"]["n_episodes"] == 10
    assert comparison["positive"]["intervals"]["pc_success"] == pytest.approx([49.0, 94.3], abs=0.1)


def test_intervals_are_announced_where_there_are_some(tmp_path, capsys):
    for outcomes, announced in ([True, False], True), ([], False):
        metrics = {"successes": outcomes, "sum_rewards": [1.0]}
        info = {"per_task": [{"metrics": metrics}], "overall": {"pc_success": 50.0, "avg_sum_reward": 1.0}}
        report, page = tmp_path / "eval_info.json", tmp_path / "recap.html"
        report.write_text(json.dumps(info))
        comparison = compare(dict.fromkeys(CONDITIONS, report), tmp_path / "results.json")
        write_page(page, "run", comparison)
        printed = "".join(capsys.readouterr().out.split())
        assert ("95%intervals" in printed) is announced and "results.json)" in printed
        assert ("success (95 %)" in page.read_text()) is announced


def test_it_ends_with_a_page_of_plots(commands, tmp_path):
    run_loop(loop(tmp_path))
    page = (tmp_path / "run" / "recap.html").read_text()
    assert "<img src='value/values.png'" in page and "<td>80 % (49 to 94)</td>" in page


def test_the_value_function_can_be_a_policy(commands, tmp_path):
    run_loop(loop(tmp_path, "--value.type=rewact", "--value.steps=5", "--policy.n_action_steps=5"))
    assert [module for module, _ in commands] == [TRAIN, COMPUTE, TRAIN, EVAL, EVAL, EVAL]
    value, advantages, policy = (flags for _, flags in commands[:3])
    assert value["policy.type"] == "rewact" and value["steps"] == "5" and value["policy.device"] == "cpu"
    assert value["dataset.reward.sources"] == '["returns"]'
    assert advantages["policy.path"] == str(tmp_path / "run/value/checkpoints/last/pretrained_model")
    assert advantages["n_steps"] == "5" and "positive_fraction" not in advantages
    assert "policy.advantage_dropout" not in policy


def test_what_is_done_is_not_done_again(commands, tmp_path, capsys):
    run_loop(loop(tmp_path))
    capsys.readouterr()
    run_loop(loop(tmp_path, "--policy.log_freq=7", "--advantages.batch_size=3"))  # these change no result
    assert len(commands) == 6
    printed = capsys.readouterr().out  # the table all the same
    assert "80 (49 to 94.3)" in printed and "cannot be told apart" not in printed


def test_conditions_that_cannot_be_told_apart_are_said_to(commands, tmp_path, capsys):
    run_loop(loop(tmp_path))
    for kind in ("positive", "negative"):
        info = {"per_task": [{"metrics": {"successes": [True, False]}}], "overall": {"pc_success": 50.0}}
        (tmp_path / "run" / "eval" / kind / "eval_info.json").write_text(json.dumps(info))
    run_loop(loop(tmp_path))
    assert "positive and negative cannot be told apart on 2 episodes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "module", "expected"),
    [
        ("--eval.n_episodes=7", EVAL, {"eval.n_episodes": "7"}),
        ("--eval.eval.n_episodes=7", EVAL, {"eval.n_episodes": "7"}),
        ("--policy.policy.chunk_size=8", TRAIN, {"policy.chunk_size": "8"}),
        ("--batch_size=4", TRAIN, {"batch_size": "4"}),
        ("--pretrained_backbone_weights=null", TRAIN, {"policy.pretrained_backbone_weights": "null"}),
        ("--policy.path=mine", TRAIN, {"policy.path": "mine"}),
        ("--wandb.enable=false", TRAIN, {"wandb.enable": "false"}),
    ],
)
def test_an_option_is_typed_once(commands, tmp_path, flag, module, expected):
    run_loop(loop(tmp_path, "--value.type=rewact", flag))
    of_module = [flags for name, flags in commands if name == module]
    assert all(expected.items() <= flags.items() for flags in of_module[-1:])
    if not flag.startswith(("--eval.", "--policy.")):
        assert all(expected.items() <= flags.items() for flags in of_module) and len(of_module) == 2


def test_a_run_of_the_release_before_goes_on(commands, tmp_path):
    """It kept a file for each stage."""
    run_loop(loop(tmp_path))
    for stage, note in results(tmp_path)["stages"].items():
        (tmp_path / "run" / f"{stage}.json").write_text(json.dumps(note))
    (tmp_path / "run" / "results.json").unlink()
    run_loop(loop(tmp_path))
    assert len(commands) == 6 and "comparison" in results(tmp_path)


def test_output_goes_to_a_file_but_for_the_steps(tmp_path, capsys):
    script = "import sys; print('noise'); print('INFO x.py:1 step:10 loss:0.5'); print('e', file=sys.stderr)"
    assert recap.execute([sys.executable, "-c", script + "; sys.exit(3)"], tmp_path / "log") == 3
    assert capsys.readouterr().out == "  step:10 loss:0.5\n"
    assert {"noise", "e"} <= set((tmp_path / "log").read_text().splitlines())


@pytest.mark.parametrize("fail_at", range(1, 7))
def test_a_stopped_loop_continues(commands, tmp_path, fail_at):
    commands.fail_at = fail_at
    with pytest.raises(RuntimeError, match="failed: disk full .*the same command goes on from here"):
        run_loop(loop(tmp_path))
    commands.fail_at = None
    run_loop(loop(tmp_path))
    assert len(commands) == 7 and commands[fail_at - 1] == commands[fail_at]
    assert "comparison" in results(tmp_path)


@pytest.mark.parametrize(
    ("fail_at", "option", "name"),
    [
        (1, "dataset.root", "dataset.root"),
        (1, "value.steps", "values.steps"),
        (3, "policy.kl_weight", "policy.kl_weight"),
        (4, "eval.n_episodes", "eval.n_episodes"),
    ],
)
def test_a_stage_that_failed_takes_corrected_options(commands, tmp_path, fail_at, option, name):
    commands.fail_at = fail_at
    with pytest.raises(RuntimeError):
        run_loop(loop(tmp_path, f"--{option}=wrong"))
    commands.fail_at = None
    run_loop(loop(tmp_path, f"--{option}=1"))
    assert commands[fail_at][1][name] == "1" and len(commands) == 7


def test_a_stage_that_was_interrupted_keeps_its_options(commands, tmp_path):
    """Its checkpoint is of these; so are the evaluations that are there."""
    stop_at_the_first(commands, tmp_path)
    (tmp_path / "run/value/checkpoints/000020/pretrained_model").mkdir(parents=True)
    with pytest.raises(ValueError, match="of a run with other options"):
        run_loop(loop(tmp_path, "--value.type=rewact", "--value.steps=9"))


def test_what_a_training_says_of_its_policy_names_the_option_of_this_command(commands, tmp_path, monkeypatch):
    def fail(command, log):
        log.write_text(f"error: {said}\n")
        return 1

    monkeypatch.setattr(recap, "execute", fail)
    for said in "no weights; --policy.pretrained_backbone_weights=null", "again: lerobot-x --policy.path=y":
        with pytest.raises(RuntimeError) as failed:
            run_loop(loop(tmp_path, "--value.type=rewact"))
        shown = said if "lerobot-x" in said else said.replace("policy.", "")
        assert f"lerobot-train failed: {shown} (" in str(failed.value)


def stop_at_the_first(commands, tmp_path):
    commands.fail_at = 1
    with pytest.raises(RuntimeError):
        run_loop(loop(tmp_path, "--value.type=rewact", "--stages=value"))


@pytest.mark.parametrize("name", ["last", "000040"])
def test_training_resumes_from_its_checkpoint(commands, tmp_path, name):
    """Also if it was stopped while `last` was being renewed."""
    stop_at_the_first(commands, tmp_path)
    for step in ("000020", name):
        checkpoint = tmp_path / f"run/value/checkpoints/{step}/pretrained_model"
        checkpoint.mkdir(parents=True)
        (checkpoint / "train_config.json").write_text("{}")
    run_loop(loop(tmp_path, "--value.type=rewact", "--stages=value"))
    resumed = {"config_path": str(checkpoint / "train_config.json"), "resume": "true"}
    assert commands[1:] == [(TRAIN, resumed)]


def test_a_folder_without_a_checkpoint_is_started_anew(commands, tmp_path):
    stop_at_the_first(commands, tmp_path)
    (tmp_path / "run" / "value").mkdir(parents=True)
    run_loop(loop(tmp_path, "--value.type=rewact", "--stages=value"))
    assert len(commands) == 2 and "resume" not in commands[1][1]


@pytest.mark.parametrize("stage", ["value", "advantages", "policy", "eval"])
def test_a_folder_of_somebody_else_stays(commands, tmp_path, stage):
    theirs = tmp_path / "run" / stage / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    with pytest.raises(ValueError, match=f"run/{stage} is there already, and this command has not made it"):
        run_loop(loop(tmp_path))
    assert theirs.read_text() == "theirs"
    assert not any(str(tmp_path / "run" / stage) in str(flags.get("output_dir")) for _, flags in commands)


def test_a_stage_whose_result_is_gone_runs_again(commands, tmp_path):
    run_loop(loop(tmp_path))
    (tmp_path / "run" / "eval" / "negative" / "eval_info.json").unlink()
    (tmp_path / "run" / "eval" / "negative").rmdir()
    run_loop(loop(tmp_path))
    assert [flags["policy.inference_advantage"] for _, flags in commands[6:]] == ["negative"]
    assert "comparison" in results(tmp_path)


def test_an_evaluation_can_be_added_later(commands, tmp_path):
    run_loop(Loop.parse([f"--output_dir={tmp_path / 'run'}", *(flag for flag in BASE if "env" not in flag)]))
    assert len(commands) == 3
    run_loop(loop(tmp_path))
    assert [module for module, _ in commands[3:]] == [EVAL] * 3
    assert results(tmp_path)["comparison"]["negative"]["pc_success"] == 10.0


def test_the_same_folder_written_otherwise_is_the_same_run(commands, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_loop(Loop.parse(["--output_dir=run", *BASE]))
    run_loop(loop(tmp_path))
    assert len(commands) == 6


def test_stages_run_in_their_order(commands, tmp_path):
    run_loop(loop(tmp_path, "--stages=policy,value,advantages"))
    assert [module for module, _ in commands] == [VALUES, COMPUTE, TRAIN]


def test_labels_of_the_value_function_can_be_chosen(commands, tmp_path):
    run_loop(loop(tmp_path, '--dataset.reward.sources=["linear"]', "--stages=value"))
    assert commands[0][1]["dataset.reward.sources"] == '["linear"]'
    assert commands[0][1]["dataset.reward.failure_ceiling"] == "0"


def test_a_stage_is_given_no_options_of_labels_that_it_would_refuse(commands, tmp_path):
    common = ["--dataset.reward.c_fail=3", "--dataset.reward.control_modes_path=x"]
    run_loop(
        loop(tmp_path, '--dataset.reward.sources=["keypoints"]', *common, "--stages=value,advantages,policy")
    )
    names = {"dataset.reward.c_fail", "dataset.reward.control_modes_path"}
    kept = [{*names, "dataset.reward.failure_ceiling"} & flags.keys() for _, flags in commands]
    assert kept == [set(), names, set()]


def test_the_advantages_look_as_far_as_the_values_say(commands, tmp_path):
    run_loop(loop(tmp_path, "--policy.n_action_steps=5"))
    assert "n_steps" not in commands[1][1]


def test_a_value_function_of_ones_own(commands, tmp_path):
    run_loop(loop(tmp_path, "--advantages.policy.path=mine"))
    assert [module for module, _ in commands] == [COMPUTE, TRAIN, EVAL, EVAL, EVAL]
    assert commands[0][1]["policy.path"] == "mine"


@pytest.mark.parametrize(
    ("stages", "changed"),
    [
        ("value", "--value.steps=9"),
        ("advantages", "--value.steps=9"),
        ("policy", "--advantages.n_steps=4"),
        ("eval", "--policy.advantage_dropout=0.2"),
        ("policy", "--dataset.root=elsewhere"),
        ("compare", "--value.dataset.reward.c_fail=3"),
        ("compare", "--env.type=aloha"),
        ("compare", "--eval.n_episodes=3"),
    ],
)
def test_results_of_another_run_are_refused(commands, tmp_path, stages, changed):
    run_loop(loop(tmp_path))
    with pytest.raises(ValueError, match="of a run with other options"):
        run_loop(loop(tmp_path, f"--stages={stages}", changed))
    assert len(commands) == 6


def test_a_stage_needs_those_before_it(commands, tmp_path):
    with pytest.raises(ValueError, match="'policy' needs the result of 'value'"):
        run_loop(loop(tmp_path, "--stages=policy"))
    assert not commands and not (tmp_path / "run").exists()
    run_loop(loop(tmp_path, "--stages=value,advantages"))
    run_loop(loop(tmp_path, "--stages=policy"))
    assert [module for module, _ in commands] == [VALUES, COMPUTE, TRAIN]


def test_without_a_value_function(commands, tmp_path):
    run_loop(loop(tmp_path, "--advantages.from_returns=true"))
    assert [module for module, _ in commands] == [COMPUTE, TRAIN, EVAL, EVAL, EVAL]
    assert "policy.path" not in commands[0][1] and "policy.device" not in commands[0][1]
    run_loop(Loop.parse([f"--output_dir={tmp_path / 'not'}", *BASE, "--advantages.from_returns=false"]))
    assert [module for module, _ in commands[5:7]] == [VALUES, COMPUTE] and "policy.path" in commands[6][1]


def test_without_an_environment(commands, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run_loop(Loop.parse([f"--output_dir={tmp_path / 'run'}", "--dataset.repo_id=a/b"]))
    assert [module for module, _ in commands] == [VALUES, COMPUTE, TRAIN]
    assert f"The policy is {tmp_path / 'run/policy/checkpoints/last/pretrained_model'}" in caplog.text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset.repo_id=a/b"], "--output_dir"),
        (["--output_dir=x"], "--dataset.repo_id"),
        (["--output_dir=x", "--dataset.repo_id=a/b", "--stages=training"], "no stage 'training'"),
        (["--output_dir=x", "--dataset.repo_id=a/b", "--seed=-1"], "--seed must be a whole number from 0 to"),
        (["--output_dir=x", "--dataset.repo_id=a/b", "--stepz=3"], "--<stage>.stepz"),
        (
            ["--output_dir=x", "--dataset.repo_id=a/b", "--advantages.output_path=a.parquet"],
            "--advantages.output_path: all stages write under --output_dir",
        ),
        (["--output_dir=x", "--dataset.repo_id=a/b", "--verbose"], "--verbose needs a value"),
        (["--output_dir"], "--output_dir needs a value"),
        (["--output_dir=x", "--dataset.repo_id=a/b", "--eval.episodes=3"], "has no option --episodes"),
        (["--output_dir=x", "--dataset.repo_id=a/b", "--value.step=3"], "has no option --step"),
    ],
)
def test_bad_command_lines(flags, message):
    with pytest.raises(ValueError, match=message):
        Loop.parse(flags)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--output_dir", "--output_dir=.*is not a folder"),
        ("--advantages.plots_dir", "--advantages.plots_dir="),
    ],
)
def test_where_it_will_write_is_checked_before_the_first_stage(commands, tmp_path, flag, message):
    with pytest.raises(ValueError, match=message):
        run_loop(Loop.parse([f"--output_dir={tmp_path / 'run'}", *BASE, f"{flag}={__file__}"]))
    assert not commands and not list(tmp_path.iterdir())


def test_help_names_every_stage(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lerobot-recap", "--help"])
    recap.main()
    output = capsys.readouterr().out
    assert all(f"`{stage}`" in output for stage in STAGES)
