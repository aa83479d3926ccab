"""The command line: output, exit codes, errors of one line, and nothing written for wrong input."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner

from hpo import __version__
from hpo.api_results import BaselinesResult, ExportResult, RetrainResult, RunResult
from hpo.cli import app, main
from hpo.search.estimate import Estimate
from hpo.study.spec import load_study
from hpo.terminal.estimate_report import EstimateProgress, print_estimate
from hpo.terminal.progress import SearchProgress
from tests.support import synthetic
from tests.support.command_line import Ended, run_hpo

__all__ = ["run_hpo"]
HPO = [sys.executable, "-m", "hpo"]


def run_shell(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HPO, *arguments], capture_output=True, text=True, cwd=folder, timeout=300)


def test_version_and_help_are_printed() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"hpo {__version__}\n"
    verbs = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert {"init", "search", "run", "report", "dashboard", "export", "reproduce"} <= set(verbs)
    for verb in verbs:
        text = CliRunner().invoke(app, [verb, "--help"]).output
        assert f"Example: hpo {verb}" in text and "--verbose" in text
        assert ("--json" in text) == (verb not in {"init", "report", "dashboard"})
        assert ("--engine" in text) == (verb in {"search", "run"})


@pytest.mark.long
def test_init_search_and_show_work_in_an_empty_folder(tmp_path: Path) -> None:
    """The first commands of the README, outside this repository."""
    assert "next: hpo run" in run_shell("init", ".", folder=tmp_path).stdout
    fast = ["--set", "data.rows={train=96, validation=32, test=32}", "--set", "data.validation=32"]
    result = run_shell("search", "studies/first.toml", "--trials", "2", *fast, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "best trial #" in result.stdout and "next: hpo retrain studies/first.toml --set" in result.stdout
    assert result.stderr.count("complete") + result.stderr.count("pruned") == 2
    assert "Warning" not in result.stderr and "%|" not in result.stderr and "\x1b" not in result.stderr
    again = run_shell("search", "studies/first.toml", "--trials", "2", *fast, folder=tmp_path)
    assert again.returncode == 0 and "continuing: 2 of 2 trials finished" in again.stderr

    table = run_shell("show", "studies/first.toml", folder=tmp_path).stdout
    assert "2 of 2 trials finished" in table and max(map(len, table.splitlines())) <= 120
    listed = run_shell("show", folder=tmp_path).stdout
    assert "first" in listed and "accuracy" in listed
    status = json.loads(run_shell("show", "studies/first.toml", "--json", folder=tmp_path).stdout)
    assert (
        status["finished"] == 2
        and status["best"]["value"]
        == optuna.load_study(study_name="first", storage=f"sqlite:///{tmp_path}/studies/store.db").best_value
    )


@pytest.mark.long
def test_run_compares_four_classes_of_a_csv_with_a_loss_as_objective(tmp_path: Path) -> None:
    words = {
        "boats": "sail sea harbour",
        "food": "bread soup salt",
        "music": "drum song choir",
        "sport": "ball goal run",
    }
    rows = [f"the {word} of day {day},{label}" for day in range(30) for label in words for word in words[label].split()]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows))
    (tmp_path / "four.toml").write_text(
        'name = "four"\nobjective = "log_loss"\n[data]\ntrain = "rows.csv"\nvalidation = 0.2\ntest = 0.2\n'
        '[model]\ncheckpoint = "builtin:tiny"\nmax_length = 16\n[space.parameters]\n'
        'learning_rate = { low = 1e-4, high = 1e-2, log = true }\n[search]\ntrials = 2\npruner = "none"\n'
        '[training]\nnum_train_epochs = 1\n[final]\nseeds = 2\nbaselines = ["majority", "nb-svm", "pretrained"]\n'
    )
    result = run_shell("run", "four.toml", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr and "%|" not in result.stderr
    table = result.stdout.split("four: log_loss on ")[1]
    assert (
        all(f"\n{name} " in table for name in ("winner", "majority", "nb-svm", "pretrained")) and "points" not in table
    )
    assert max(map(len, table.partition("best validation score of the search")[0].splitlines()[1:])) <= 80
    assert result.stdout.endswith("report: four/report.html\n")
    assert {"report.html", "report.md", "best_config.toml"} <= {path.name for path in (tmp_path / "four").iterdir()}
    again = run_shell("run", "four.toml", folder=tmp_path)
    assert again.stderr.count("(stored before)") == 6 and again.returncode == 0
    comparison = json.loads(run_shell("compare", "four.toml", "--json", folder=tmp_path).stdout)
    assert f"verdict: {comparison['verdict']}" in again.stdout.replace("\n", " ")
    printed = RunResult.model_validate_json(
        run_shell("run", "four.toml", "--engine", "inline", "--json", folder=tmp_path).stdout
    )
    assert printed.comparison and printed.comparison.verdict == comparison["verdict"] and printed.finished == 2
    retrained = run_shell("retrain", "four.toml", "--json", folder=tmp_path).stdout
    assert RetrainResult.model_validate_json(retrained) == printed.winner and printed.report == Path("four/report.html")
    live = subprocess.run(  # a real pseudo-terminal
        ["script", "-qec", " ".join([*HPO, "compare", "four.toml"]), "/dev/null"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert live.returncode == 0 and "verdict: " in live.stdout, live.stdout
    winner, majority = comparison["systems"][:2]
    assert [len(row) for row in winner["confusion"]] == [4] * 4 and len(comparison["differences"]) == 3
    difference = comparison["differences"][0]
    gap = majority["test"]["log_loss"]["mean"] - winner["test"]["log_loss"]["mean"]
    assert difference["difference"] == pytest.approx(gap), "a lower loss is a gain"
    assert run_shell("predict", "four.toml", "the sea of day 7", folder=tmp_path).stdout.split()[0] in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "none.toml"], "none.toml: no such file; `hpo init DIR` writes a starter study"),
        (["search", "small.toml", "--set", "data.train=none.csv", "--set", "data.source=builtin:reviewz"], "builtin:"),
        (["search", "small.toml", "--storage", "nonsense"], "storage 'nonsense' is not a URL"),
        (["search", "small.toml", "--timeout", "soon"], 'search.timeout is "soon"'),
        (["search", "small.toml", "--engine", "cloud"], 'search.engine is "cloud"'),
        (["search", "small.toml", "--set", "model.checkpoint=./none"], "no folder"),
        (["search", "small.toml", "--force-new", "a/b"], 'name is "a/b"'),
        (["show", "small.toml"], "no store at"),
        (["retrain", "small.toml"], "no study 'small' in the store"),
        (["baseline", "small.toml", "nbsvm"], "baseline 'nbsvm' is unknown; did you mean nb-svm?"),
        (
            ["baseline", "small.toml", "recipe"],
            "baseline recipe needs a known_good start, of which the search space has none",
        ),
        (["compare", "small.toml"], "no store at"),
        (["report", "small.toml"], "no store at"),
        (["export", "small.toml"], "no store at"),
        (["export", "small.toml", "--format", "pickle"], "--format is 'pickle'; known: "),
        (["dashboard", "small.toml"], "no store at"),
        (["dashboard", "small.toml", "--host", "0.0.0.0"], "--read-only"),
        (["reproduce", "small.zip"], "small.zip"),
        (["run", "small.toml", "--set", "final.baselines=['all']"], 'final.baselines has "all"'),
        (["run", "small.toml", "--set", "final.seeds=[1,1]"], "final seeds contains a seed twice"),
        (["retrain", "small.toml", "--set", "final={top_k=2, train_on='train+validation'}"], "top_k above 1"),
        (["show"], "no store at"),
        (["init", "small.toml"], "is a file"),
    ],
)
def test_wrong_input_prints_one_line_exits_with_2_and_writes_nothing(
    arguments: list[str], message: str, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
    before = sorted(small.parent.rglob("*"))
    with pytest.raises(SystemExit) as exit_:
        main()
    printed = capsys.readouterr().err
    assert exit_.value.code == 2 and printed.startswith("hpo: ") and message in printed and printed.count("\n") == 1
    assert sorted(small.parent.rglob("*")) == before


def test_without_a_complete_trial_reasons_are_printed_and_the_exit_code_is_1(
    small: Path, run_hpo: Callable[..., Ended]
) -> None:
    overrides = ["--set", "space.parameters.learning_rate={choices=[1e30]}", "--set", "training.max_grad_norm=0.0"]
    result = run_hpo("search", str(small), *overrides, "--trials", "2")
    assert result.code == 1
    assert "2 diverged" in result.output and "no trial is complete" in result.output
    assert result.output.count("not finite at step") == 2


def test_a_changed_file_is_refused_and_force_new_starts_another_study(
    small: Path, run_hpo: Callable[..., Ended]
) -> None:
    assert run_hpo("search", str(small), "--trials", "1").code == 0
    small.write_text(small.read_text().replace("num_train_epochs = 1", "num_train_epochs = 2"))
    refused = run_hpo("search", str(small), "--trials", "1")
    assert refused.code == 2 and "training.num_train_epochs: 1 -> 2" in refused.errors
    assert run_hpo("search", str(small), "--trials", "1", "--force-new", "other").code == 0
    taken = run_hpo("search", str(small), "--trials", "1", "--force-new", "other")
    assert taken.code == 2 and "this study exists already" in taken.errors


def test_a_dry_run_prints_an_estimate_and_writes_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_dry(*options: str) -> Any:
        result = CliRunner().invoke(app, ["search", str(small), "--set", "search.pruner='asha'", *options])
        assert list(small.parent.iterdir()) == [small]
        return result

    result = run_dry("--dry-run", "--json", "--timeout", "1d")
    estimate = Estimate.model_validate_json(result.stdout)
    assert result.exit_code == 0 and (estimate.trials_wanted, estimate.trials_left) == (3, 3)
    print_estimate(estimate, load_study(small))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small: 3 of 3 trials left to run"
    assert [line.partition(":")[0] for line in lines[1:5]] == ["full trial", "whole search", "memory", "disk"]
    assert "without pruning" in lines[2] and "3 full trials fit into the timeout" in lines[2]

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EstimateProgress, "step", interrupt)
    result = run_dry("--dry-run")
    assert result.exit_code == 130 and "interrupted; nothing was written" in result.stderr
    assert run_dry("--json").exit_code == 2


@pytest.mark.parametrize("option", [["--force-new", "2026-11-27"], ["--force-new=2026-11-27"]])
def test_the_command_after_an_interrupt_continues_the_new_study(
    small: Path, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    """TOML reads the name as a date, so the printed command has to quote it."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    arguments = ["search", str(small), *option, "--trials", "1"]
    monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
    with monkeypatch.context() as patch:
        patch.setattr(SearchProgress, "opens", interrupt)
        interrupted = CliRunner().invoke(app, arguments)
    assert interrupted.exit_code == 130
    command = shlex.split(interrupted.stderr.partition("Continue with: ")[2])
    assert command[:3] == ["hpo", "search", str(small)] and "--force-new" not in " ".join(command)
    continued = CliRunner().invoke(app, command[1:])
    assert continued.exit_code == 0, continued.stderr
    name = optuna.get_all_study_names(f"sqlite:///{small.parent}/store.db")
    assert name == ["2026-11-27"]
    shown = shlex.split(continued.stdout.partition("next: ")[2])
    assert load_study(small, tuple(shown[4::2])).name == "2026-11-27"


def test_baselines_and_exports_are_printed_as_json(tmp_path: Path) -> None:
    file = str(synthetic.make(tmp_path, 6, seeds=1).file)
    result = CliRunner().invoke(app, ["baseline", file, "--json"])
    baselines = BaselinesResult.model_validate_json(result.stdout).baselines
    assert {"majority", "recipe"} <= set(baselines) and "test" not in result.stdout
    assert all(run.validation and run.outcome == "complete" for runs in baselines.values() for run in runs)
    result = CliRunner().invoke(app, ["export", file, "--json", "--format", "trials-csv"])
    export = ExportResult.model_validate_json(result.stdout)
    assert (export.format, export.url) == ("trials-csv", None) and export.path.is_file()


def test_verbose_logs_what_is_opened(small: Path, run_hpo: Callable[..., Ended]) -> None:
    quiet = run_hpo("search", str(small), "--trials", "1")
    verbose = run_shell("search", str(small), "--trials", "1", "--verbose")
    assert "hpo.store.storage: opening storage sqlite:///" in verbose.stderr
    assert "hpo.store.storage: continuing study 'small'" in verbose.stderr and "hpo.store" not in quiet.errors


def test_a_terminal_shows_the_running_trial_and_keeps_ended_ones(small: Path) -> None:
    """Read back what a real pseudo-terminal shows."""
    command = " ".join([*HPO, "search", str(small), "--trials", "2"])
    result = subprocess.run(
        ["script", "-qec", f"env COLUMNS=100 TERM=xterm {command}", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0
    assert "trial 1 of 2" in result.stdout and "loss" in result.stdout
    assert "#0" in result.stdout and "#1" in result.stdout and "best trial #" in result.stdout
