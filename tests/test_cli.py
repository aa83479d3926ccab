"""The shell as a person meets it: what is printed where, exit codes, and nothing written on a mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from typer.testing import CliRunner

from hpo import __version__
from hpo.cli import app, main
from hpo.search.estimate import Estimate
from hpo.terminal.estimate_report import EstimateProgress

HPO = [sys.executable, "-m", "hpo"]


def shell(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HPO, *words], capture_output=True, text=True, cwd=folder, timeout=300)


def test_version_and_help() -> None:
    assert CliRunner().invoke(app, ["--version"]).output == f"hpo {__version__}\n"
    verbs = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert {"init", "search", "run", "report", "dashboard", "export", "reproduce"} <= set(verbs)
    for verb in verbs:
        said = CliRunner().invoke(app, [verb, "--help"]).output
        assert f"Example: hpo {verb}" in said


def test_from_nothing_to_a_finished_search(tmp_path: Path) -> None:
    """init, search, show, as the README has it, in a folder that knows nothing of this repository."""
    assert "next: hpo run" in shell("init", ".", folder=tmp_path).stdout
    fast = ["--set", "data.rows={train=96, validation=32, test=32}", "--set", "data.validation=32"]
    done = shell("search", "studies/first.toml", "--trials", "2", *fast, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best trial #" in done.stdout and "next: hpo retrain studies/first.toml --set" in done.stdout
    assert done.stderr.count("complete") + done.stderr.count("pruned") == 2
    assert "Warning" not in done.stderr and "%|" not in done.stderr and "\x1b" not in done.stderr
    again = shell("search", "studies/first.toml", "--trials", "2", *fast, folder=tmp_path)
    assert again.returncode == 0 and "continuing: 2 of 2 trials finished" in again.stderr

    table = shell("show", "studies/first.toml", folder=tmp_path).stdout
    assert "2 of 2 trials finished" in table and max(map(len, table.splitlines())) <= 120
    listed = shell("show", folder=tmp_path).stdout
    assert "first" in listed and "accuracy" in listed
    found = json.loads(shell("show", "studies/first.toml", "--json", folder=tmp_path).stdout)
    assert (
        found["finished"] == 2
        and found["best"]["value"]
        == optuna.load_study(study_name="first", storage=f"sqlite:///{tmp_path}/studies/store.db").best_value
    )


def test_the_whole_path_on_a_csv_of_four_classes_with_a_loss_as_objective(tmp_path: Path) -> None:
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
    done = shell("run", "four.toml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr and "%|" not in done.stderr
    table = done.stdout.split("four: log_loss on ")[1]
    assert (
        all(f"\n{name} " in table for name in ("winner", "majority", "nb-svm", "pretrained")) and "points" not in table
    )
    assert max(map(len, table.partition("the search promised")[0].splitlines()[1:])) <= 80
    assert done.stdout.endswith("report: four/report.html\n")
    assert {"report.html", "report.md", "best_config.toml"} <= {each.name for each in (tmp_path / "four").iterdir()}
    again = shell("run", "four.toml", folder=tmp_path)
    assert again.stderr.count("(made before)") == 5 and again.returncode == 0
    found = json.loads(shell("compare", "four.toml", "--json", folder=tmp_path).stdout)
    assert f"verdict: {found['verdict']}" in again.stdout.replace("\n", " ")
    live = subprocess.run(  # a real pseudo-terminal
        ["script", "-qec", " ".join([*HPO, "compare", "four.toml"]), "/dev/null"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert live.returncode == 0 and "verdict: " in live.stdout, live.stdout
    winner, majority = found["systems"][:2]
    assert [len(row) for row in winner["confusion"]] == [4] * 4 and len(found["differences"]) == 3
    against = found["differences"][0]
    gap = majority["test"]["log_loss"]["mean"] - winner["test"]["log_loss"]["mean"]
    assert against["difference"] == pytest.approx(gap), "a lower loss is a gain"
    assert shell("predict", "four.toml", "the sea of day 7", folder=tmp_path).stdout.split()[0] in words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["search", "none.toml"], "none.toml: no such file; `hpo init DIR` writes a starter study"),
        (["search", "small.toml", "--set", "data.train=none.csv", "--set", "data.source=builtin:reviewz"], "builtin:"),
        (["search", "small.toml", "--storage", "nonsense"], "storage 'nonsense' is no URL"),
        (["search", "small.toml", "--timeout", "soon"], 'search.timeout is "soon"'),
        (["search", "small.toml", "--engine", "cloud"], "search.engine is 'cloud'"),
        (["search", "small.toml", "--set", "model.checkpoint=./none"], "no folder"),
        (["search", "small.toml", "--force-new", "a/b"], 'name is "a/b"'),
        (["show", "small.toml"], "no store at"),
        (["retrain", "small.toml"], "no study 'small' in the store"),
        (["baseline", "small.toml", "nbsvm"], "baseline 'nbsvm' is unknown; did you mean nb-svm?"),
        (["baseline", "small.toml", "recipe"], "the search space names no known_good start"),
        (["compare", "small.toml"], "no store at"),
        (["report", "small.toml"], "no store at"),
        (["export", "small.toml"], "no store at"),
        (["export", "small.toml", "--format", "pickle"], "--format 'pickle' is unknown; "),
        (["dashboard", "small.toml"], "no store at"),
        (["dashboard", "small.toml", "--host", "0.0.0.0"], "--read-only"),
        (["reproduce", "small.zip"], "small.zip"),
        (["run", "small.toml", "--set", "final.baselines=['all']"], "final.baselines has 'all'"),
        (["run", "small.toml", "--set", "final.seeds=[1,1]"], "final seeds names a seed twice"),
        (["retrain", "small.toml", "--set", "final={top_k=2, train_on='train+validation'}"], "top_k above 1"),
        (["show"], "no store at"),
        (["init", "small.toml"], "is a file"),
    ],
)
def test_a_mistake_is_one_line_exit_code_2_and_nothing_on_disk(
    words: list[str], says: str, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(sys, "argv", ["hpo", *words])
    before = sorted(small.parent.rglob("*"))
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.startswith("hpo: ") and says in said and said.count("\n") == 1
    assert sorted(small.parent.rglob("*")) == before


def test_no_complete_trial_is_exit_code_1_with_the_reasons(small: Path) -> None:
    words = ["--set", "space.parameters.learning_rate={choices=[1e30]}", "--set", "training.max_grad_norm=0.0"]
    done = shell("search", str(small), *words, "--trials", "2")
    assert done.returncode == 1
    assert "2 diverged" in done.stdout and "no trial is complete" in done.stdout
    assert done.stdout.count("not finite at step") == 2


def test_a_changed_file_is_refused_and_force_new_starts_another(small: Path) -> None:
    assert shell("search", str(small), "--trials", "1").returncode == 0
    small.write_text(small.read_text().replace("num_train_epochs = 1", "num_train_epochs = 2"))
    refused = shell("search", str(small), "--trials", "1")
    assert refused.returncode == 2 and "training.num_train_epochs: 1 -> 2" in refused.stderr
    assert shell("search", str(small), "--trials", "1", "--force-new", "other").returncode == 0
    taken = shell("search", str(small), "--trials", "1", "--force-new", "other")
    assert taken.returncode == 2 and "there is such a study already" in taken.stderr


def test_a_dry_run_estimates_the_search_and_writes_nothing(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_dry(*arguments: str) -> Any:
        done = CliRunner().invoke(app, ["search", str(small), "--set", "search.pruner='asha'", *arguments])
        assert list(small.parent.iterdir()) == [small]
        return done

    done = run_dry("--dry-run", "--json", "--timeout", "1d")
    estimate = Estimate.model_validate_json(done.stdout)
    assert done.exit_code == 0
    assert (estimate.trials_wanted, estimate.trials_left, estimate.trials_in_timeout) == (3, 3, 3)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EstimateProgress, "step", interrupted)
    done = run_dry("--dry-run")
    assert done.exit_code == 130 and "interrupted; nothing was written" in done.stderr
    assert run_dry("--json").exit_code == 2


def test_on_a_terminal_the_live_line_shows_and_finished_trials_stay(small: Path) -> None:
    """A real pseudo-terminal; what it shows is read back."""
    command = " ".join([*HPO, "search", str(small), "--trials", "2"])
    done = subprocess.run(
        ["script", "-qec", f"env COLUMNS=100 TERM=xterm {command}", "/dev/null"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0
    assert "trial 1 of 2" in done.stdout and "loss" in done.stdout
    assert "#0" in done.stdout and "#1" in done.stdout and "best trial #" in done.stdout
