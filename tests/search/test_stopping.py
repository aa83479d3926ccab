"""`hpo stop`: a search, or one of its trials, is ended by another process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

import hpo
from hpo.cli import app
from hpo.errors import StoreError, StudyError
from hpo.search import requested_stop
from hpo.search.budget import Budget
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.stop_requests import request_stop
from hpo.study.spec import load_study

TIMEOUT = 120


def url(small: Path) -> str:
    return f"sqlite:///{small.parent}/store.db"


class Stopper(SearchListener):
    """Asks for a stop at a trial's third step: of the trial itself, or of the search."""

    def __init__(self, number: int, is_search: bool) -> None:
        self.number, self.is_search = number, is_search
        self.running = -1
        self.notices: list[str] = []

    def opens(self, study: optuna.Study) -> None:
        self.study = study

    def begins(self, number: int, values: Mapping[str, Any], budget: Budget) -> None:
        self.running = number

    def step(self, step: int, steps: int, loss: float | None) -> None:
        if self.running == self.number and step == 3 and loss is not None:
            request_stop(self.study, None if self.is_search else self.number)

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requested_stop, "POLL_SECONDS", 0.0)


@pytest.mark.usefixtures("_every_step")
def test_a_stopped_trial_counts_and_is_not_continued(small: Path) -> None:
    study = run_search(load_study(small), url(small), Stopper(1, is_search=False))
    first, stopped, last = study.get_trials()
    assert (first.state, stopped.state, last.state) == (TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE)
    assert stopped.user_attrs["reason"] == "stopped: by `hpo stop`" and stopped.user_attrs["steps"] == 3
    with pytest.raises(StudyError, match="trial #1 of study 'small' has ended: stopped"):
        hpo.Study(small).stop(1)


@pytest.mark.usefixtures("_every_step")
def test_a_stopped_search_continues_with_the_next_command(small: Path) -> None:
    stopper = Stopper(1, is_search=True)
    with pytest.raises(KeyboardInterrupt):
        run_search(load_study(small), url(small), stopper)
    assert "`hpo stop` has asked this search to end" in stopper.notices
    shown = CliRunner().invoke(app, ["stop", str(small), "1"]).stdout
    assert shown == f"#1 paused: it ends when a worker takes it up\nnext: hpo search {small}\n"
    as_json = json.loads(CliRunner().invoke(app, ["stop", str(small), "1", "--json"]).stdout)
    assert as_json == {"study": "small", "trials": [{"trial": 1, "outcome": "paused", "reason": "interrupted"}]}
    study = run_search(load_study(small), url(small), SearchListener())
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert study.trials[1].user_attrs["reason"] == "stopped: by `hpo stop`"


def test_what_cannot_be_stopped_is_an_error(small: Path) -> None:
    with pytest.raises(StoreError, match="no store at"):
        hpo.Study(small).stop()
    run_search(load_study(small, ("search.trials=1",)), url(small), SearchListener())
    with pytest.raises(StudyError, match="no trial #7"):
        hpo.Study(small).stop(7)
    assert hpo.Study(small).stop() == []


def test_workers_are_stopped_from_another_process_and_their_parent_is_light(small: Path) -> None:
    command = [sys.executable, "-m", "hpo", "search", str(small), "--workers", "2"]
    command += ["--set", "training.num_train_epochs=5000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for_running_trials(small, 2)
            maps = Path(f"/proc/{process.pid}/maps")
            if maps.exists():
                assert "libtorch" not in maps.read_text()
            (stopped,) = hpo.Study(small).stop(0)
            assert (stopped.outcome, stopped.reason) == ("stopped", "stopped: by `hpo stop`")
            wait_for_running_trials(small, 2)
            assert [record.outcome for record in hpo.Study(small).stop()] == ["paused", "paused"]
            _, messages = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "`hpo stop` has asked this search to end" in messages and "Continue with: hpo search" in messages


def wait_for_running_trials(small: Path, count: int) -> None:
    """Wait until so many trials make steps."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if (small.parent / "store.db").exists():
            rows = hpo.Study(small).status().trials if has_study(small) else []
            if sum(row.outcome == "running" for row in rows) == count:
                return
        time.sleep(0.2)
    raise AssertionError(f"no {count} trials were running")


def has_study(small: Path) -> bool:
    try:
        hpo.Study(small).status()
    except (StoreError, StudyError):
        return False
    return True
