"""Whole searches: the same trials whatever interrupts them, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.errors import HpoError, SpecError, TrainingError
from hpo.results.study_status import study_status
from hpo.search.budget import spent_seconds
from hpo.search.engines import run_search
from hpo.search.engines.base import SearchRun, WorkerRequest
from hpo.search.search_listener import SearchListener
from hpo.store import database, storage, trial_state
from hpo.store.optuna_internals import storage_of, trial_id
from hpo.study.spec import load_study
from hpo.training.trainer import RungTrainer

KNOWN = '[[space.known_good]]\nsource = "paper"\nlearning_rate = 1e-3\n'


def run(small: Path, store: str, *overrides: str) -> optuna.Study:
    return run_search(load_study(small, overrides), f"sqlite:///{small.parent}/{store}", SearchListener())


def results(study: optuna.Study) -> dict[int, Any]:
    """Return, by replay index, everything about a finished trial that no interruption may change."""
    return {
        trial.user_attrs["place"]: (
            trial.state.name,
            trial.params,
            trial.value,
            trial.user_attrs["seed"],
            trial.user_attrs["metrics"],
            trial.user_attrs["effective"],
        )
        for trial in study.get_trials()
        if trial_state.is_finished(trial)
    }


@contextmanager
def start_search(small: Path, store: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `hpo search` in a process of its own, which ends with the test."""
    command = [sys.executable, "-m", "hpo", "search", str(small), "--storage", f"sqlite:///{small.parent}/{store}"]
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_trials(store: Path, evaluated: int) -> None:
    """Wait until so many trials, including unfinished ones, have passed their first rung."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.05)
        with (
            contextlib.suppress(sqlite3.OperationalError),  # the file or its tables do not exist yet
            contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as reader,
        ):
            query = "SELECT count(DISTINCT trial_id) FROM trial_intermediate_values"
            if reader.execute(query).fetchone()[0] >= evaluated:
                return
    raise AssertionError("the search did not evaluate enough trials in time")


LONG = ("training.num_train_epochs=12", "search.pruner='asha'")  # seconds long, so that a signal arrives during a trial


@pytest.mark.long
def test_an_interrupted_and_killed_search_gives_the_same_trials_bit_for_bit(small: Path) -> None:
    small.write_text(small.read_text() + KNOWN)
    store = small.parent / "broken.db"
    arguments = [word for override in LONG for word in ("--set", override)] + ["--trials", "4"]

    with start_search(small, "broken.db", *arguments) as interrupted:
        wait_for_trials(store, 1)
        interrupted.send_signal(signal.SIGINT)
        _, errors = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130 and "interrupted; all finished work is saved" in errors
    stopped = optuna.load_study(study_name="small", storage=f"sqlite:///{store}").get_trials()
    assert [trial_state.outcome(trial) for trial in stopped][-1] == trial_state.PAUSED
    assert not any(trial.state == TrialState.RUNNING for trial in stopped)

    with start_search(small, "broken.db", *arguments) as killed:
        wait_for_trials(store, 3)
        killed.kill()

    with start_search(small, "broken.db", *arguments) as continued:
        _, errors = continued.communicate(timeout=240)
    assert continued.returncode == 0, errors
    assert "continuing" in errors
    whole = run(small, "whole.db", *LONG, "search.trials=4")
    broken = optuna.load_study(study_name="small", storage=f"sqlite:///{store}")
    assert len(broken.get_trials()) == len(results(broken)) == 4
    assert results(broken) == results(whole)
    assert [trial.user_attrs.get("source") for trial in whole.get_trials()] == ["paper", None, None, None]


def test_three_sessions_draw_the_same_trials_as_one(small: Path) -> None:
    for total in (1, 2, 3):
        sessions = run(small, "three.db", f"search.trials={total}")
    assert results(sessions) == results(run(small, "one.db", "search.trials=3"))
    assert len({trial.params["learning_rate"] for trial in sessions.get_trials()}) == 3


def test_sigterm_ends_a_search_like_ctrl_c(small: Path) -> None:
    with start_search(small, "term.db", "--set", LONG[0]) as process:
        wait_for_trials(small.parent / "term.db", 1)
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Continue with" in errors


def test_workers_in_processes_share_one_study_and_fill_the_budget_exactly(small: Path) -> None:
    study = run(small, "two.db", "search.workers=2", "search.trials=4", "search.sampler='random'")
    trials = study.get_trials()
    assert len(results(study)) == 4 and sum(map(trial_state.is_finished, trials)) == 4
    assert len({trial.user_attrs["worker"]["pid"] for trial in trials} - {os.getpid()}) == 2
    assert all(trial.user_attrs["effective"]["learning_rate"] == trial.params["learning_rate"] for trial in trials)


def test_a_failing_worker_raises_its_error(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = WorkerRequest("/no/such/study.toml", [], "", os.getpid())
    monkeypatch.setattr(SearchRun, "worker_request", lambda self: request)
    with pytest.raises(TrainingError, match="2 of 2 workers failed; the last one: .*no such file"):
        run(small, "fail.db", "search.workers=2")


@pytest.mark.long
def test_workers_on_ray(small: Path) -> None:
    pytest.importorskip("ray")
    study = run(small, "ray.db", "search.workers=2", "search.engine='ray'", "search.trials=3")
    assert sum(map(trial_state.is_finished, study.get_trials())) == 3


def test_a_timeout_pauses_the_running_trial(small: Path) -> None:
    study = run(small, "time.db", "training.num_train_epochs=800", "search.timeout=6", "search.trials=1")
    stopped = study.get_trials()[0]
    assert trial_state.outcome(stopped) == trial_state.PAUSED and not trial_state.is_finished(stopped)
    # Loading counts towards the timeout of a session, but not towards what later sessions have left.
    spent = spent_seconds(study.get_trials())
    assert 0 < spent < 12
    before = len(study.get_trials())
    again = run(small, "time.db", "training.num_train_epochs=800", f"search.timeout={spent}")
    assert len(again.get_trials()) == before


def test_divergence_fails_the_trial_at_once_and_the_search_continues(small: Path) -> None:
    axis = "space.parameters.learning_rate={choices=[1e30, 1e-3]}"
    study = run(small, "nan.db", axis, "search.sampler='grid'", "search.trials=2", "training.max_grad_norm=0.0")
    by_rate = {trial.params["learning_rate"]: trial for trial in study.get_trials()}
    assert (
        trial_state.outcome(by_rate[1e30]) == trial_state.DIVERGED and "at step" in by_rate[1e30].user_attrs["reason"]
    )
    assert by_rate[1e30].user_attrs["steps"] < by_rate[1e-3].user_attrs["steps"]
    assert by_rate[1e-3].state == TrialState.COMPLETE
    assert sum(map(trial_state.is_finished, study.get_trials())) == 2


def test_a_grid_ends_when_every_point_was_tried(small: Path) -> None:
    axis = "space.parameters.learning_rate={choices=[1e-4, 1e-3]}"
    study = run(small, "grid.db", axis, "search.sampler='grid'", "search.trials=9")
    assert sorted(trial.params["learning_rate"] for trial in study.get_trials()) == [1e-4, 1e-3]


def test_errors_in_a_row_end_the_search_with_the_reason(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = RungTrainer.training_step

    def broken(trainer: RungTrainer, *inputs: Any, **options: Any) -> Any:
        if trainer.run_trial is None:  # the smoke test before the first trial
            return step(trainer, *inputs, **options)
        raise RuntimeError("the machine is on fire")

    monkeypatch.setattr(RungTrainer, "training_step", broken)
    with pytest.raises(TrainingError, match="3 trials in a row failed; .*RuntimeError: the machine is on fire"):
        run(small, "fire.db", "search.trials=9")
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{small.parent}/fire.db")
    assert [trial_state.outcome(trial) for trial in study.get_trials()] == [trial_state.ERROR] * 3
    assert "training_step" in study.get_trials()[0].user_attrs["traceback"]


def test_the_best_weights_are_kept_and_score_what_the_trial_scored(small: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from hpo.data.splits import load_splits

    study = run(small, "best.db", "search.trials=3", "training.num_train_epochs=6")
    folder = small.parent / "small"
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["best"]
    stored = json.loads((folder / "best" / "trial.json").read_text())
    assert (stored["trial"], stored["value"]) == (study.best_trial.number, study.best_value)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "best").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "best")
    rows = load_splits(load_study(small).data, small.parent).validation
    batch = tokenizer(rows.texts, truncation=True, max_length=32, padding=True, return_tensors="pt")
    predicted = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1)
    assert float((predicted.numpy() == rows.labels).mean()) == pytest.approx(study.best_value)


def test_the_value_of_a_trial_can_be_its_best_rung(small: Path) -> None:
    study = run(small, "rung.db", "search.value='best'", "training.num_train_epochs=6", "search.trials=2")
    for trial in study.get_trials():
        curve = trial.intermediate_values
        assert trial.value == max(curve.values()) == curve[trial.user_attrs["best_rung"]]
        assert trial.user_attrs["last"] == curve[max(curve)]


def test_a_trial_stores_its_scores_costs_and_provenance(small: Path) -> None:
    trial = run(small, "cost.db", "search.trials=1").get_trials()[0]
    stored = trial.user_attrs
    assert set(stored["metrics"]) == {"250", "500", "1000"} == {str(rung) for rung in trial.intermediate_values}
    assert {"accuracy", "f1", "f1_macro", "roc_auc", "log_loss", "mcc", "loss"} <= set(stored["metrics"]["1000"])
    assert stored["examples"] == 96 and 96 * 5 < stored["tokens"] <= 96 * 32 and stored["steps"] == 6
    assert stored["seconds"]["wall"] == pytest.approx(stored["seconds"]["train"] + stored["seconds"]["evaluation"])
    assert stored["peak_memory"] > 1e8
    assert set(stored["provenance"]) == {"spec_hash", "git", "versions", "device", "data"}
    assert stored["effective"]["learning_rate"] == trial.params["learning_rate"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.sampler='tep'", 'search.sampler is "tep"; did you mean tpe?'),
        ("search.sampler={name='tpe', n_startup=3}", "search.sampler was refused: .*unexpected keyword.*n_startup"),
        ("search.sampler='grid'", "search.sampler was refused: grid needs a step or choices for learning_rate"),
        ("search.pruner='ashe'", 'search.pruner is "ashe"; did you mean asha?'),
        ("search.pruner={name='patient', wrapped='x'}", 'search.pruner was refused: wrapped is "x"'),
        ("search.sampler={name='tpe', n_startup_trials='5'}", "search.sampler was refused"),
        ("search.sampler={name='tpe', seed=5}", "all draws follow from search.seed"),
        ("training.num_train_epochs=0", "num_train_epochs is 0; must be at least"),
        ("training.prediction_loss_only=true", "without predictions there is no score"),
        ("space.parameters.lr_scheduler_type={choices=['cosine_with_min_lr']}", "is refused by the library"),
        ('space.parameters."model.hidden_dropout_prob"={low=0.0,high=1.5}', "holds 1.5: dropout probability"),
        ("space.parameters.per_device_train_batch_size={low=8,high=128}", "fixed in .training."),
        ("objective='acuracy'", 'objective is "acuracy"; did you mean accuracy?'),
        ("search.engine='cloud'", 'search.engine is "cloud"'),
        ("training.learnig_rate=1", "training.learnig_rate is unknown; did you mean learning_rate?"),
        ("training.seed=1", "training.seed is set by the search"),
        ("training.learning_rate=1e-4", "is fixed in .training. as learning_rate too"),
        ("training.per_device_train_batch_size=1.5", "per_device_train_batch_size is 1.5; must be int"),
        ("training.optim='adam'", 'training.optim is "adam"; did you mean'),
        ("space.parameters.weight_decai={low=0.0,high=0.1}", "weight_decai is unknown; did you mean weight_decay?"),
        ("space.parameters.seed={low=0,high=9}", "cannot be searched: a seed is noise"),
        ("space.parameters.max_steps={low=1.0,high=9.5}", "holds 1.0, which is 1.0; must be int"),
        ("space.parameters.warmup_ratio={low=0.0,high=1.0}", "must be a share of the steps"),
        ("space.parameters.logging_steps={low=1,high=9}", "no trained model would differ by it"),
        ("model.checkpoint='./nowhere'", "no folder"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_written(small: Path, override: str, message: str) -> None:
    before = sorted(small.parent.iterdir())
    with pytest.raises(HpoError, match=message) as caught:
        run(small, "none.db", override)
    assert "\n" not in str(caught.value)
    assert sorted(small.parent.iterdir()) == before


def test_a_space_can_have_model_fields_and_fields_that_trainer_reads_early(small: Path) -> None:
    study = run(
        small,
        "wide.db",
        'space.parameters={"model.hidden_dropout_prob"={low=0.0,high=0.3}, label_smoothing_factor={low=0.1,high=0.2},'
        ' neftune_noise_alpha={low=1.0,high=5.0}, lr_scheduler_type={choices=["cosine"]}}',
        "search.trials=2",
    )
    for trial in study.get_trials():
        assert trial.state == TrialState.COMPLETE
        for name, value in trial.params.items():
            assert trial.user_attrs["effective"][name] == value


def test_engine_inline_runs_one_worker(small: Path) -> None:
    with pytest.raises(SpecError, match="engine inline runs one worker"):
        run(small, "many.db", "search.engine='inline'", "search.workers=2")


def test_a_grid_survives_an_interruption_and_known_good_starts(small: Path) -> None:
    axis = "space.parameters.learning_rate={choices=[1e-4, 1e-3]}"
    start = 'space.known_good=[{source="paper", learning_rate=1e-3}]'
    overrides = (axis, start, "search.sampler='grid'", "search.trials=9")
    study = run(small, "grid.db", *overrides, "search.timeout=0.001")  # creates the study and runs nothing
    broken = optuna.create_study(storage=storage_of(study), study_name="small", load_if_exists=True)
    broken.enqueue_trial({"learning_rate": 1e-4})
    with pytest.warns(UserWarning, match="Heartbeat"):
        trial = broken.ask()
    trial.suggest_categorical("learning_rate", [1e-4, 1e-3])
    trial.set_user_attr("reason", trial_state.INTERRUPTED)
    broken.tell(trial, state=TrialState.FAIL)
    study = run(small, "grid.db", *overrides)
    rates = [trial.params["learning_rate"] for trial in study.get_trials() if trial_state.is_finished(trial)]
    assert {1e-4, 1e-3} == set(rates)
    assert not any(trial.state == TrialState.WAITING for trial in study.get_trials())


def test_a_trial_lost_on_another_host_continues_after_its_heartbeats_stop(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "GRACE_PERIOD", 2)
    monkeypatch.setattr(database, "HEARTBEAT_INTERVAL", 1)
    run(small, "lost.db", "search.trials=1")
    opened = storage.open_storage(f"sqlite:///{small.parent}/lost.db")
    study = optuna.load_study(study_name="small", storage=opened)
    with pytest.warns(UserWarning, match="Heartbeat"):
        lost = study.ask()
    lost.set_user_attr("worker", {"host": "gone", "pid": 1, "started": 1.0})
    opened.record_heartbeat(trial_id(lost))  # type: ignore[attr-defined]
    study = run(small, "lost.db", "search.trials=2")
    assert [trial_state.outcome(trial) for trial in study.get_trials()] == ["complete", "complete"]
    assert study.get_trials()[lost.number].user_attrs["worker"]["pid"] == os.getpid()


def test_a_larger_budget_is_stored(small: Path) -> None:
    run(small, "more.db", "search.trials=1")
    study = run(small, "more.db", "search.trials=2")
    status = study_status(study)
    assert (status.finished, status.wanted, status.state) == (2, 2, "finished")
    assert not any(trial.state == TrialState.WAITING for trial in study.get_trials())
