"""Workers in processes of their own: killed ones are replaced, and one command fills the budget."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from hpo import errors
from hpo.errors import HpoError, ModelError, SpecError, TrainingError
from hpo.search.engines import processes, run_search
from hpo.search.engines.base import SearchRun
from hpo.search.engines.messages import describe_error, parse_message, restore_error
from hpo.search.engines.supervisor import Supervisor
from hpo.search.engines.worker_process import WorkerEnd, WorkerReport
from hpo.search.search_listener import SearchListener
from hpo.store.trial_state import outcome
from hpo.study.spec import load_study, restore_study
from tests.search.test_continuation import results

ROOT = Path(__file__).resolve().parents[2]
LONG = "training.num_train_epochs=30"  # 180 steps, so that a kill hits a trial between its rungs


class Killer(SearchListener):
    """Kills the worker of each of these trials once, when the trial has reached its first rung."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = set(numbers)
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def runs(self, study: optuna.Study) -> None:
        for trial in study.get_trials():
            if trial.number in self.numbers and outcome(trial) == "running" and trial.intermediate_values:
                self.numbers.remove(trial.number)
                os.kill(trial.user_attrs["worker"]["pid"], signal.SIGKILL)


def search(small: Path, store: str, listener: SearchListener, *overrides: str) -> optuna.Study:
    return run_search(load_study(small, (LONG, *overrides)), f"sqlite:///{small.parent}/{store}", listener)


@pytest.mark.long
def test_killed_worker_is_replaced_and_the_results_are_those_without_a_kill(small: Path) -> None:
    killer = Killer(1)
    study = search(small, "killed.db", killer, "search.engine='processes'")
    assert results(study) == results(search(small, "whole.db", SearchListener()))
    replaced = "worker 1 was killed by SIGKILL (out of memory?); another one takes its place (restart 1 of 10)"
    assert replaced in killer.notices
    assert len({trial.user_attrs["worker"]["pid"] for trial in study.get_trials()} - {os.getpid()}) == 2


def test_last_trial_is_finished_although_its_worker_is_killed_when_the_other_has_ended(small: Path) -> None:
    killer = Killer(2)
    study = search(small, "two.db", killer, "search.workers=2")
    assert any("was killed by SIGKILL (out of memory?); another one takes its place" in text for text in killer.notices)
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 3


class EndedWorker:
    """A worker that has ended; without a reason, because running trials fill the budget."""

    is_waiting = False

    def __init__(self, reason: str | None = None, *lines: str) -> None:
        self.end = WorkerEnd(reason, last_lines=lines)

    def poll(self) -> WorkerReport:
        return WorkerReport(end=self.end)

    def stop(self) -> None:
        raise AssertionError("it has ended")

    kill = stop


def test_no_more_workers_are_replaced_than_allowed_and_their_last_lines_are_shown(small: Path) -> None:
    killer = Killer()
    spec = load_study(small, ("search.workers=2", "search.max_restarts=1"))
    run = SearchRun(spec, optuna.create_study(), "", killer)
    with pytest.raises(TrainingError, match="2 of 2 workers failed; .* crashed, and search.max_restarts = 1 .*a . b"):
        Supervisor(run, lambda index: EndedWorker("crashed", "a", "b")).run()
    assert killer.notices == ["worker 1 crashed; another one takes its place (restart 1 of 1); its last lines: a | b"]


def test_another_worker_starts_as_long_as_this_finishes_trials(small: Path) -> None:
    """Both workers have ended when the process of a trial that another command runs dies."""
    study = optuna.create_study()
    started: list[int] = []

    def start(index: int) -> EndedWorker:
        started.append(index)
        if len(started) == 3:
            study.tell(study.ask(), 1.0)
        return EndedWorker()

    spec = load_study(small, ("search.workers=2", "search.trials=2"))
    Supervisor(SearchRun(spec, study, "", SearchListener()), start).run()
    assert started == [0, 1, 0, 0], "the last one has finished nothing"


@pytest.mark.parametrize(
    ("index", "workers", "devices", "environment", "threads", "device"),
    [
        (0, 2, 0, {}, "4", None),
        (0, 3, 1, {}, "2", None),
        (0, 9, 0, {}, "1", None),
        (1, 2, 0, {"OMP_NUM_THREADS": "7"}, "7", None),
        (1, 2, 2, {}, "4", "1"),
        (2, 4, 2, {}, "2", "0"),  # two workers on each device
        (3, 4, 2, {"CUDA_VISIBLE_DEVICES": "5,7"}, "2", "7"),
    ],
)
def test_threads_and_devices_of_a_worker(
    index: int,
    workers: int,
    devices: int,
    environment: dict[str, str],
    threads: str,
    device: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "count_processors", lambda: 8)
    changed = processes.worker_environment(index, workers, devices, environment)
    assert (changed["OMP_NUM_THREADS"], changed.get("CUDA_VISIBLE_DEVICES")) == (threads, device)


def test_processors_are_those_of_the_affinity_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.count_processors() == len(psutil.Process().cpu_affinity() or range(os.cpu_count() or 1))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert processes.count_processors() == 1


ERROR_KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HpoError)]


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_an_error_of_a_worker_is_restored(kind: Callable[..., HpoError]) -> None:
    error = kind("x.toml", "name", "is bad") if kind is SpecError else kind("some text")
    restored = restore_error(json.loads(json.dumps(describe_error(error))))
    assert (type(restored), str(restored), vars(restored)) == (kind, str(error), vars(error))


@pytest.mark.parametrize("line", ["", "{", '{"kind": "notice"', '"text"', '{"kind": "notice"}'])
def test_a_message_that_a_killed_worker_has_not_completed_is_ignored(line: str) -> None:
    assert parse_message(line) is None


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda file: file.stem)
def test_a_study_travels_without_its_file(file: Path) -> None:
    spec = load_study(file, ("search.timeout='2h'", "final.baselines=['recipe', {name='old', predictions='old.csv'}]"))
    restored = restore_study(json.loads(json.dumps(spec.resolved())), spec.file, spec.overrides)
    assert restored == spec and restored.hash() == spec.hash()


def test_an_error_that_needs_the_data_or_the_model_has_its_type_in_the_parent(small: Path) -> None:
    (small.parent / "empty").mkdir()
    with pytest.raises(ModelError, match="empty"):
        search(small, "x.db", SearchListener(), "search.workers=2", f"model.checkpoint='{small.parent}/empty'")
    assert not (small.parent / "x.db").exists()
