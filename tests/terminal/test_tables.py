"""Printed studies, trials and baselines: readable at any width, complete in a pipe, and every cut is announced."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from hpo.evaluation.baselines import BASELINES
from hpo.evaluation.final_runs import find_run
from hpo.evaluation.winner import select_candidates
from hpo.results.study_status import list_rows, study_status
from hpo.store.run_record import RunRecord
from hpo.store.storage import find_study, list_studies, load_stored_study, open_storage, storage_url
from hpo.store.study_record import companion_name
from hpo.store.trial_state import outcome
from hpo.study.spec import StudySpec
from hpo.terminal.tables import print_baselines, print_studies, print_study
from tests.terminal.conftest import Made

Narrow = Callable[[int], None]


def load(spec: StudySpec) -> optuna.Study:
    return load_stored_study(spec, storage_url(spec))


def print_lines(spec: StudySpec, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_study(study_status(load(spec)))
    return capsys.readouterr().out.splitlines()


def trial_lines(lines: list[str]) -> list[str]:
    """Select the lines of the table of trials."""
    return [line for line in lines if re.match(r" *\d+ +[a-z]", line) and "trials finished" not in line]


def test_few_trials_are_all_printed_the_best_first(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    spec = made(40, final=False)
    lines = print_lines(spec, capsys)
    best = load(spec).best_trial
    assert len(trial_lines(lines)) == 40 and trial_lines(lines)[0].split()[:3] == [
        str(best.number),
        "complete",
        f"{best.value:.4f}",
    ]
    assert lines[0].startswith(f"synthetic: {spec.search.trials} of {spec.search.trials} trials finished (")
    assert f"best: #{best.number}, accuracy {best.value:.4f} (maximize)" in lines
    assert any(line.startswith("#7 error: RuntimeError: CUDA error") for line in lines)
    assert not any("more;" in line for line in lines)


def test_many_trials_are_summarized_per_outcome(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    spec = made(200, final=False)
    lines = print_lines(spec, capsys)
    trials = load(spec).get_trials()
    complete = [trial for trial in trials if outcome(trial) == "complete"]
    best = sorted((-trial.values[0], trial.number) for trial in complete)[:20]
    assert [int(row.split()[0]) for row in trial_lines(lines)[:20]] == [number for _, number in best]
    at = next(index for index, line in enumerate(lines) if line.startswith("and 180 more; "))
    assert "hpo show --json" in lines[at] and "hpo export --format trials-csv" in lines[at]
    rest = {line.split()[1].rstrip(";"): int(line.split()[0]) for line in lines[at + 1 :]}
    counts = {name: sum(outcome(trial) == name for trial in trials) - 20 * (name == "complete") for name in rest}
    assert rest == counts and sum(rest.values()) == 180
    assert any("for example RuntimeError: CUDA error" in line for line in lines[at + 1 :])


@pytest.mark.parametrize("room", [80, 60])
def test_parameters_that_do_not_fit_are_named(
    made: Made, capsys: pytest.CaptureFixture[str], narrow: Narrow, room: int
) -> None:
    spec = made(40, final=False, parameters=8, classes=20)
    narrow(room)
    lines = print_lines(spec, capsys)
    assert max(map(len, trial_lines(lines))) <= room
    (lost,) = [line for line in lines if line.startswith("no room for ")]
    names = lost.removeprefix("no room for ").split(";")[0].split(", ")
    assert names == list(spec.space.parameters)[-len(names) :]
    assert "topic number 19 and 8 more" in next(line for line in lines if line.startswith("data: "))


def test_in_a_pipe_all_parameters_are_printed_in_one_line(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    lines = print_lines(made(40, final=False, parameters=8, classes=20), capsys)
    assert "constant_with_warmup" in "".join(trial_lines(lines)) and not any("no room" in line for line in lines)
    assert all(len(row.split()) >= 11 for row in trial_lines(lines) if " complete " in row)
    assert lines[1].startswith("state: ") and "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    "options", [{"pruned": True}, {"unfinished": True}, {"objective": "log_loss"}, {"foreign": True}]
)
def test_every_kind_of_study_is_printed(
    made: Made, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    spec = made(30, final=False, **options)
    lines = print_lines(spec, capsys)
    assert len(trial_lines(lines)) == 30
    if "pruned" in options:
        assert not any(line.startswith("best: ") for line in lines)
    if "unfinished" in options:
        assert f"of {spec.search.trials} trials finished" in lines[0] and lines[1].startswith("state: running")
    if "objective" in options:
        values = [float(row.split()[2]) for row in trial_lines(lines) if " complete " in row]
        assert values == sorted(values) and "(minimize)" in "".join(lines)


def test_several_objectives_have_a_column_each_and_a_pareto_front(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = made(30, final=False, foreign=True)
    study = load(spec)
    lines = print_lines(spec, capsys)
    front = [trial.number for trial in study.best_trials]
    assert f"(maximize, minimize): #{min(front)}" in "".join(lines) and "Pareto front of" in "".join(lines)
    assert trial_lines(lines)[4].split()[2:4] == [f"{value:.4f}" for value in study.trials[4].values]
    assert "of None" not in lines[0] and "time" not in "".join(lines[3:6])


def test_all_studies_of_a_store_are_listed(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    for trials, options in ((30, {"foreign": True, "final": False}), (3, {"name": "a" * 70, "seeds": 1})):
        spec = made(trials, **options)
        studies = list_rows(list_studies(open_storage(storage_url(spec))))
        print_studies(studies)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(studies) + 1 and lines[1].split()[0] == spec.name
        if options.get("foreign"):
            assert "2 objectives" in lines[1] and " 30 " in lines[1]
        else:
            assert lines[2].split()[0] == f"{spec.name}/final"
    print_studies([])
    assert capsys.readouterr().out == "the store has no studies\n"


def test_baselines_are_printed_without_test_scores(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    spec = made(12, seeds=2)
    search, companion = load(spec), find_study(load(spec)._storage, companion_name(spec.name))
    assert companion
    best = select_candidates(search, 1)[0].values
    runs = {
        name: [
            RunRecord.from_trial(trial)
            for trial in (find_run(companion, run) for run in BASELINES[name].plan_runs(name, spec, best))
            if trial
        ]
        for name in spec.final.baseline_names
    }
    print_baselines(spec, runs)
    lines = capsys.readouterr().out.splitlines()
    for name, line in zip(runs, lines[1:], strict=False):
        values = [run.value or 0.0 for run in runs[name]]
        assert line.split()[:2] == [name, f"{sum(values) / len(values):.4f}"]
        tested = [run.test.metrics["accuracy"] for run in runs[name] if run.test]
        assert f"{sum(tested) / len(tested):.4f}" not in line
    assert "pretrained: a linear probe on its frozen, mean-pooled embeddings" in lines
    assert any("test scores: hpo compare" in line for line in lines)


def show_in_terminal(spec: StudySpec, **environment: str) -> str:
    """Return what `hpo show` writes to a terminal of 80 columns."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", **environment}
    words = [sys.executable, "-m", "hpo", "show", str(spec.file)]
    with subprocess.Popen(words, stdin=writing, stdout=writing, stderr=writing, env=environment) as process:
        os.close(writing)
        output = b""
        while chunk := _read(reading):
            output += chunk
    os.close(reading)
    assert process.returncode == 0
    return output.decode().replace("\r", "")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]m")


def test_colours_are_printed_in_terminals_that_support_them(made: Made) -> None:
    spec = made(40, final=False)
    coloured = show_in_terminal(spec)
    assert len(COLOUR.findall(coloured)) >= 40 and "\x1b[32mcomplete" in coloured
    plain = show_in_terminal(spec, NO_COLOR="1")
    assert not COLOUR.search(plain) and "complete" in plain
    dumb = show_in_terminal(spec, TERM="dumb")
    assert "\x1b" not in dumb
    assert max(map(len, dumb.splitlines())) <= 80
