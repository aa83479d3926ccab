"""What the shell prints of studies: readable at any width, whole where it is piped, and nothing cut in silence."""

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
from hpo.evaluation.retraining import select_candidates
from hpo.results.study_status import list_rows, study_status
from hpo.store.storage import companion_name, find_study, list_studies, load_stored_study, open_storage, storage_url
from hpo.store.trial_state import outcome
from hpo.study.spec import StudySpec
from hpo.terminal.tables import print_baselines, print_studies, print_study
from tests.terminal.conftest import Made

Narrow = Callable[[int], None]


def stored(spec: StudySpec) -> optuna.Study:
    return load_stored_study(spec, storage_url(spec))


def shown(spec: StudySpec, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_study(study_status(stored(spec)))
    return capsys.readouterr().out.splitlines()


def rows(lines: list[str]) -> list[str]:
    """The lines of the table of trials."""
    return [line for line in lines if re.match(r" *\d+ +[a-z]", line) and "trials finished" not in line]


def test_few_trials_are_all_shown_the_best_first(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    spec = made(40, final=False)
    lines = shown(spec, capsys)
    best = stored(spec).best_trial
    assert len(rows(lines)) == 40 and rows(lines)[0].split()[:3] == [str(best.number), "complete", f"{best.value:.4f}"]
    assert lines[0].startswith(f"synthetic: {spec.search.trials} of {spec.search.trials} trials finished (")
    assert f"best: #{best.number}, accuracy {best.value:.4f} (maximize)" in lines
    assert any(line.startswith("#7 error: RuntimeError: CUDA error") for line in lines)
    assert not any("more;" in line for line in lines)


def test_of_many_trials_the_best_and_a_line_per_ending(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    spec = made(200, final=False)
    lines = shown(spec, capsys)
    trials = stored(spec).get_trials()
    best = sorted((-trial.value, trial.number) for trial in trials if outcome(trial) == "complete")[:20]
    assert [int(row.split()[0]) for row in rows(lines)[:20]] == [number for _, number in best]
    at = next(place for place, line in enumerate(lines) if line.startswith("and 180 more; "))
    assert "hpo show --json" in lines[at] and "hpo export --format trials-csv" in lines[at]
    rest = {line.split()[1].rstrip(";"): int(line.split()[0]) for line in lines[at + 1 :]}
    counted = {name: sum(outcome(trial) == name for trial in trials) - 20 * (name == "complete") for name in rest}
    assert rest == counted and sum(rest.values()) == 180
    assert any("such as RuntimeError: CUDA error" in line for line in lines[at + 1 :])


@pytest.mark.parametrize("room", [80, 60])
def test_many_parameters_keep_to_the_width_and_the_missing_are_named(
    made: Made, capsys: pytest.CaptureFixture[str], narrow: Narrow, room: int
) -> None:
    spec = made(40, final=False, parameters=8, classes=20)
    narrow(room)
    lines = shown(spec, capsys)
    assert max(map(len, rows(lines))) <= room
    (lost,) = [line for line in lines if line.startswith("no room for ")]
    names = lost.removeprefix("no room for ").split(";")[0].split(", ")
    assert names == list(spec.space.parameters)[-len(names) :]
    assert "topic number 19 and 8 more" in next(line for line in lines if line.startswith("data: "))


def test_piped_every_parameter_is_there_and_no_line_is_broken(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(made(40, final=False, parameters=8, classes=20), capsys)
    assert "constant_with_warmup" in "".join(rows(lines)) and not any("no room" in line for line in lines)
    assert all(len(row.split()) >= 11 for row in rows(lines) if " complete " in row)
    assert lines[1].startswith("state: ") and "\x1b" not in "".join(lines)


@pytest.mark.parametrize("sort", [{"pruned": True}, {"unfinished": True}, {"objective": "log_loss"}, {"foreign": True}])
def test_any_sort_of_study_is_shown(made: Made, capsys: pytest.CaptureFixture[str], sort: dict[str, Any]) -> None:
    spec = made(30, final=False, **sort)
    lines = shown(spec, capsys)
    assert len(rows(lines)) == 30
    if "pruned" in sort:
        assert not any(line.startswith("best: ") for line in lines)
    if "unfinished" in sort:
        assert f"of {spec.search.trials} trials finished" in lines[0] and lines[1].startswith("state: running")
    if "objective" in sort:
        values = [float(row.split()[2]) for row in rows(lines) if " complete " in row]
        assert values == sorted(values) and "(minimize)" in "".join(lines)


def test_of_several_objectives_each_is_a_column_and_the_front_is_named(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = made(30, final=False, foreign=True)
    study = stored(spec)
    lines = shown(spec, capsys)
    front = [trial.number for trial in study.best_trials]
    assert f"none beats #{min(front)}" in "".join(lines) and "(maximize, minimize)" in "".join(lines)
    assert rows(lines)[4].split()[2:4] == [f"{value:.4f}" for value in study.trials[4].values]
    assert "of None" not in lines[0] and "time" not in "".join(lines[3:6])


def test_every_study_of_a_store_is_listed(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    for trials, sort in ((30, {"foreign": True, "final": False}), (3, {"name": "a" * 70, "seeds": 1})):
        spec = made(trials, **sort)
        found = list_rows(list_studies(open_storage(storage_url(spec))))
        print_studies(found)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(found) + 1 and lines[1].split()[0] == spec.name
        if sort.get("foreign"):
            assert "2 objectives" in lines[1] and " 30 " in lines[1]
        else:
            assert lines[2].split()[0] == f"{spec.name}/final"
    print_studies([])
    assert capsys.readouterr().out == "no study in the store\n"


def test_baselines_are_told_by_validation_and_cost_alone(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    spec = made(12, seeds=2)
    search, companion = stored(spec), find_study(stored(spec)._storage, companion_name(spec.name))
    assert companion
    best = select_candidates(search, 1)[0].values
    runs = {
        name: [run for run in (find_run(companion, each) for each in BASELINES[name](name, spec, best)) if run]
        for name in spec.final.baselines
    }
    print_baselines(spec, runs)
    lines = capsys.readouterr().out.splitlines()
    for name, line in zip(runs, lines[1:], strict=False):
        values = [run.value or 0.0 for run in runs[name]]
        assert line.split()[:2] == [name, f"{sum(values) / len(values):.4f}"]
        tested = [run.user_attrs["test"]["metrics"]["accuracy"] for run in runs[name]]
        assert f"{sum(tested) / len(tested):.4f}" not in line
    assert "pretrained: a linear probe on its frozen, mean-pooled embeddings" in lines
    assert any("hpo compare scores them on test" in line for line in lines)


def on_a_terminal(spec: StudySpec, **environment: str) -> str:
    """What `hpo show` writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", **environment}
    words = [sys.executable, "-m", "hpo", "show", str(spec.file)]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
    os.close(ours)
    assert process.returncode == 0
    return said.decode().replace("\r", "")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]m")


def test_colours_are_for_terminals_that_want_them(made: Made) -> None:
    spec = made(40, final=False)
    coloured = on_a_terminal(spec)
    assert len(COLOUR.findall(coloured)) >= 40 and "\x1b[32mcomplete" in coloured
    plain = on_a_terminal(spec, NO_COLOR="1")
    assert not COLOUR.search(plain) and "complete" in plain
    dumb = on_a_terminal(spec, TERM="dumb")
    assert "\x1b" not in dumb
    assert max(map(len, dumb.splitlines())) <= 80
