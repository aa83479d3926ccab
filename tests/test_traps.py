"""Every trap of the stack below, by number: the plain library walks into it, and ours does not.

Each test shows the plain side going wrong first, so that a new version of transformers or Optuna that closes a trap
makes the test fail and our way around it can go. Numbers 1 to 22 are Trainer's, 23 to 28 we found ourselves.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import sqlite3
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage, RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.storages._heartbeat import HeartbeatThread
from optuna.trial import TrialState
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EarlyStoppingCallback, set_seed
from transformers.trainer_utils import HPSearchBackend

from hpo.errors import ModelError, SpecError, StudyError
from hpo.search.budget import Budget
from hpo.search.engines import choose_engine, run_processes, run_search
from hpo.search.pruners import AshaPruner
from hpo.search.samplers import build_sampler
from hpo.search.search_listener import SearchListener
from hpo.search.worker import Worker, check_spec, open_search, prepare_context
from hpo.store import storage, trial_queue, trial_state
from hpo.study.spec import ModelSpec, load_study
from hpo.training import trainer
from hpo.training.checkpoint import Checkpoint
from hpo.training.context import RunContext
from hpo.training.measurements import RunMeasurements
from hpo.training.metrics import METRICS, evaluate_modules, score_logits
from hpo.training.trainer import RungTrainer
from tests.support import plain_search

pytestmark = [
    # Optuna calls heartbeats and retries experimental, and warns of asking for a trial outside of optimize().
    pytest.mark.filterwarnings(r"ignore:.* is (an )?experimental:optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with Study.optimize:UserWarning"),
]

STUDY = """
name = "small"

[data]
source = "builtin:reviews"
rows = { train = 96, validation = 32, test = 32 }
validation = 32

[model]
checkpoint = "builtin:tiny"
max_length = 32

[space]
parameters.learning_rate = { low = 1e-5, high = 1e-2, log = true }

[search]
trials = 1
pruner = "none"

[training]
per_device_train_batch_size = 16
num_train_epochs = 1
"""
STEPS = 6  # optimizer steps of a run: 96 rows in batches of 16
STILL = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0}


@pytest.fixture(autouse=True, scope="module")
def _light_garbage() -> Iterator[None]:
    """Trainer collects garbage after each run; what the imports left need not be looked at every time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """The small study, in a folder of its own."""
    file = tmp_path / "small.toml"
    file.write_text(STUDY, encoding="utf8")
    return file


@pytest.fixture
def searched(study_file: Path) -> Callable[..., optuna.Study]:
    """Run the small study with `key=value` overrides, as often as a test likes, in one store."""
    url = f"sqlite:///{study_file.parent / 'store.db'}"
    return lambda *overrides: run_search(load_study(study_file, overrides), url, SearchListener())


@pytest.fixture
def refused(study_file: Path) -> Callable[..., str]:
    """What the study with these overrides is refused with, before anything is loaded or stored."""

    def refuse(*overrides: str) -> str:
        with pytest.raises(SpecError) as error:
            check_spec(load_study(study_file, overrides))
        return str(error.value)

    return refuse


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """What the runs of the small study share, made once; single runs with any values can be made of it."""
    return new_task(tmp_path_factory.mktemp("task"))


def new_task(folder: Path, *overrides: str) -> RunContext:
    file = folder / "small.toml"
    file.write_text(STUDY, encoding="utf8")
    return prepare_context(load_study(file, overrides), SearchListener())[0]


def axis(name: str, low: float, high: float, log: bool = False) -> str:
    """An override that replaces the whole space by one range."""
    return f"space.parameters={{ {name} = {{ low = {low!r}, high = {high!r}, log = {str(log).lower()} }} }}"


def run(task: RunContext, values: Mapping[str, Any], seed: int = 0) -> RunMeasurements:
    return RungTrainer(task).run(values, seed)


def rates(task: RunContext, values: Mapping[str, Any]) -> list[float]:
    """The live learning rate after each step of one of our runs."""
    seen: list[float] = []
    made = RungTrainer(task)
    made.pulse = lambda step, steps, loss: seen.extend([] if loss is None else made.lr_scheduler.get_last_lr()[:1])
    made.run(values, seed=0)
    return seen


def in_memory(**options: Any) -> tuple[dict[str, Any], optuna.Study]:
    """A study that Trainer.hyperparameter_search will find, and the arguments by which it does."""
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="plain", **options)
    return {"storage": storage, "study_name": "plain", "load_if_exists": True}, study


# --- Trainer.hyperparameter_search ------------------------------------------------------------------------------------


def test_trap_01_warmup_ratio_is_searched(
    tmp_path: Path, task: RunContext, searched: Callable[..., optuna.Study]
) -> None:
    watch = plain_search.Watch()
    plain_search.search(
        plain_search.trainer(tmp_path, watch), lambda trial: {"warmup_ratio": trial.suggest_float("r", 0.5, 0.5)}
    )
    assert watch.rates[0] == sorted(watch.rates[0], reverse=True)  # it falls from the first step on: no warmup

    values = {"learning_rate": 6e-4, "warmup_ratio": 0.5}
    assert rates(task, values) == pytest.approx([2e-4, 4e-4, 6e-4, 4e-4, 2e-4, 0.0])
    trial = searched(axis("warmup_ratio", 0.2, 0.8)).best_trial
    assert trial.user_attrs["effective"]["warmup_steps"] == math.ceil(STEPS * trial.params["warmup_ratio"]) > 0


def test_trap_02_a_share_of_warmup_steps_stays_a_share(tmp_path: Path, task: RunContext) -> None:
    watch = plain_search.Watch()
    made = plain_search.trainer(tmp_path, watch)
    plain_search.search(made, lambda trial: {"warmup_steps": trial.suggest_float("warmup_steps", 0.5, 0.5)})
    assert made.args.warmup_steps == 0
    assert watch.rates[0] == sorted(watch.rates[0], reverse=True)

    assert rates(task, {"learning_rate": 6e-4, "warmup_steps": 0.5}) == pytest.approx(
        [2e-4, 4e-4, 6e-4, 4e-4, 2e-4, 0.0]
    )


def test_trap_03_no_value_is_cast_to_another_type(tmp_path: Path, refused: Callable[..., str]) -> None:
    made = plain_search.trainer(tmp_path)
    best = plain_search.search(
        made,
        lambda trial: {
            "gradient_accumulation_steps": trial.suggest_float("gradient_accumulation_steps", 1.9, 1.9),
            "dataloader_drop_last": trial.suggest_categorical("dataloader_drop_last", ["False"]),
        },
    )
    assert best.hyperparameters == {"gradient_accumulation_steps": 1.9, "dataloader_drop_last": "False"}
    assert made.args.gradient_accumulation_steps == 1
    assert made.args.dataloader_drop_last is True

    message = refused(axis("gradient_accumulation_steps", 1.0, 4.0))
    assert "gradient_accumulation_steps holds 1.0, which is 1.0; must be int" in message
    message = refused('space.parameters={ dataloader_drop_last = { choices = ["True", "False"] } }')
    assert "dataloader_drop_last" in message and "must be bool" in message


def test_trap_04_an_unknown_name_is_an_error(
    tmp_path: Path, refused: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("transformers.trainer")
    log.addHandler(caplog.handler)
    try:
        best = plain_search.search(
            plain_search.trainer(tmp_path), lambda trial: {"learning_rat": trial.suggest_float("x", 0, 1)}
        )
    finally:
        log.removeHandler(caplog.handler)
    assert best.run_id == "0"  # it ended well, and the name is a line in the log
    assert "no corresponding field" in caplog.text

    assert "did you mean learning_rate?" in refused(axis("learning_rat", 1e-5, 1e-3))
    assert "known: adam_beta1" in refused(axis("zzz", 1e-5, 1e-3))


def test_trap_05_what_is_read_early_still_takes_effect(tmp_path: Path, task: RunContext) -> None:
    made = plain_search.trainer(tmp_path)
    plain_search.search(
        made,
        lambda trial: {
            "label_smoothing_factor": trial.suggest_float("label_smoothing_factor", 0.5, 0.5),
            "neftune_noise_alpha": trial.suggest_float("neftune_noise_alpha", 5.0, 5.0),
        },
    )
    assert made.args.label_smoothing_factor == 0.5 and made.label_smoother is None  # what is set, and
    assert made.args.neftune_noise_alpha == 5.0 and made.neftune_noise_alpha is None  # what it trains with

    usual = run(task, STILL)
    for name, value in {"label_smoothing_factor": 0.5, "neftune_noise_alpha": 5.0}.items():
        changed = run(task, {**STILL, name: value})
        assert changed.effective[name] == value
        assert changed.curve[1000]["log_loss"] != usual.curve[1000]["log_loss"]


def test_trap_06_no_value_stays_for_the_next_trial(tmp_path: Path, task: RunContext) -> None:
    watch = plain_search.Watch()
    made = plain_search.trainer(tmp_path, watch)

    def only_at_first(trial: optuna.Trial) -> dict[str, float]:
        return {"weight_decay": trial.suggest_float("weight_decay", 0.3, 0.3)} if trial.number == 0 else {}

    plain_search.search(made, only_at_first, trials=2)
    assert watch.decays == [0.3, 0.3]  # the second trial asked for none
    assert made.args.weight_decay == 0.3  # nor did whoever trains next

    ours = RungTrainer(task)
    assert ours.run({"weight_decay": 0.3}, seed=0).effective["weight_decay"] == 0.3
    assert ours.run({}, seed=0).effective["weight_decay"] == 0.0


def test_trap_07_a_trial_can_be_repeated_alone(
    tmp_path: Path, task: RunContext, searched: Callable[..., optuna.Study]
) -> None:
    options, study = in_memory()
    for seed in (11, 22):
        study.enqueue_trial({"seed": seed})
    watch = plain_search.Watch()
    plain_search.search(
        plain_search.trainer(tmp_path, watch), lambda trial: {"seed": trial.suggest_int("seed", 1, 99)}, 2, **options
    )
    assert torch.equal(watch.heads[0], plain_search.head_of_seed(42))  # the default, not 11
    assert torch.equal(watch.heads[1], plain_search.head_of_seed(11))  # the seed of the trial before
    assert not torch.equal(watch.heads[1], plain_search.head_of_seed(22))

    second = searched("search.trials=2").trials[1]
    alone = run(task, second.params, second.user_attrs["seed"])
    assert {str(rung): scores for rung, scores in alone.curve.items()} == second.user_attrs["metrics"]
    other = run(task, second.params, second.user_attrs["seed"] + 1)
    assert other.curve != alone.curve  # or the seed would prove nothing


def test_trap_08_one_named_metric_whose_direction_is_known(
    tmp_path: Path, searched: Callable[..., optuna.Study], refused: Callable[..., str]
) -> None:
    coming = iter([{"accuracy": 0.9, "f1": 0.8}, {"accuracy": 0.5, "f1": 0.4}])
    made = plain_search.trainer(tmp_path, compute_metrics=lambda prediction: next(coming))
    best = made.hyperparameter_search(n_trials=2, backend="optuna")  # all defaults, as a first try would have it
    assert best.objective == pytest.approx(0.5 + 0.4)  # the sum, and the worse of the two
    assert "seed" in best.hyperparameters

    study = searched("search.trials=2")
    assert study.direction.name == "MAXIMIZE"
    for trial in study.trials:
        assert trial.value == trial.user_attrs["metrics"]["1000"]["accuracy"]
    assert METRICS["log_loss"].direction == "minimize"
    assert "a seed is noise" in refused("space.parameters={ seed = { low = 1, high = 40 } }")


def kept_score(folder: Path, task: RunContext, metric: str) -> float:
    """What the weights in a study's folder score on validation."""
    model = AutoModelForSequenceClassification.from_pretrained(folder / "best").eval()
    batch = task.checkpoint.tokenizer.pad([{"input_ids": row["input_ids"]} for row in task.validation])
    with torch.no_grad():
        logits = model(**{name: torch.tensor(np.array(column)) for name, column in batch.items()}).logits
    return score_logits(task.modules, logits.numpy(), task.validation.labels)[metric]


@pytest.mark.parametrize("meant", ["last", "best"])
def test_trap_09_value_and_weights_are_of_the_same_moment(
    tmp_path: Path, task: RunContext, searched: Callable[..., optuna.Study], meant: str
) -> None:
    made = plain_search.trainer(
        tmp_path / "plain",
        compute_metrics=plain_search.scripted([0.9, 0.5]),
        num_train_epochs=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
    )
    best = plain_search.search(made, lambda trial: {}, direction="maximize")
    assert best.objective == 0.5  # of the second epoch, where the weights that are kept
    assert made.state.best_metric == 0.9 and made.state.best_model_checkpoint.endswith("checkpoint-4")

    # A high and steady rate, so that the loss goes up and down on the way.
    study = searched(
        f"search.value={meant}",
        "objective=log_loss",
        "search.rungs=6",
        axis("learning_rate", 0.1, 0.1),
        'training.lr_scheduler_type="constant"',
    )
    (trial,) = study.trials
    curve = {rung: scores["log_loss"] for rung, scores in trial.user_attrs["metrics"].items()}
    assert trial.user_attrs["best"] == min(curve.values()) != trial.user_attrs["last"] == curve["1000"]
    assert curve[str(trial.user_attrs["best_rung"])] == trial.user_attrs["best"]
    assert trial.value == trial.user_attrs[meant]
    assert kept_score(tmp_path / "small", task, "log_loss") == pytest.approx(trial.value, rel=1e-5)


def test_trap_10_one_model_is_in_memory(tmp_path: Path, task: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    alive_before: list[int] = []  # models that live on when another is about to be made

    def counted(build: Callable[..., Any]) -> Callable[..., Any]:
        def count_and_build(*arguments: Any) -> Any:
            gc.collect()
            alive_before.append(sum(each() is not None for each in made))
            model = build(*arguments)
            made.append(weakref.ref(model))
            return model

        return count_and_build

    def prune(prediction: Any) -> dict[str, float]:
        raise optuna.TrialPruned

    def init() -> Any:
        return counted(plain_search.classifier)()

    plain_search.search(plain_search.trainer(tmp_path, model_init=init), lambda trial: {}, trials=2)
    assert alive_before == [0, 1, 1]  # the finished trial's model, beside that of the next
    made.clear()
    alive_before.clear()
    with pytest.raises(ValueError, match="No trials are completed"):
        plain_search.search(
            plain_search.trainer(tmp_path, model_init=init, compute_metrics=prune), lambda trial: {}, trials=2
        )
    assert alive_before == [0, 1, 1]  # the pruned trial's

    made.clear()
    alive_before.clear()
    monkeypatch.setattr(Checkpoint, "_build", counted(Checkpoint._build))
    ours = RungTrainer(new_task(tmp_path))
    ours.run({}, seed=0)
    ours.at_rung = lambda rung, scores, is_last: prune(scores)
    with pytest.raises(optuna.TrialPruned):
        ours.run({}, seed=1)
    assert ours.optimizer is None and ours.callback_handler.optimizer is None and ours.callback_handler.model is None
    ours.at_rung = lambda rung, scores, is_last: None
    ours.run({}, seed=2)
    assert alive_before == [0]  # one model was ever made


def test_trap_10_one_model_is_in_memory_where_its_config_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Any]] = []
    alive_before: list[int] = []
    build = Checkpoint._build

    def counted(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> Any:
        gc.collect()
        alive_before.append(sum(each() is not None for each in made))
        model = build(checkpoint, changes)
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(Checkpoint, "_build", counted)
    ours = RungTrainer(new_task(tmp_path))
    for dropout in (0.1, 0.2):
        ours.run({"model.hidden_dropout_prob": dropout}, seed=0)
    assert max(alive_before) == 0


def test_trap_11_the_best_model_is_there_after_the_search(
    tmp_path: Path, task: RunContext, searched: Callable[..., optuna.Study]
) -> None:
    made = plain_search.trainer(tmp_path / "plain")
    plain_search.search(made, lambda trial: {})
    assert made.model is None
    with pytest.raises((AttributeError, TypeError)):
        made.evaluate()

    def fail(trial: optuna.Trial) -> dict[str, Any]:
        raise RuntimeError("a bad day")

    with pytest.raises(RuntimeError, match="a bad day"):
        plain_search.search(made, fail)
    assert made.hp_search_backend is HPSearchBackend.OPTUNA  # as if the search still ran

    study = searched("search.trials=2")
    about = json.loads((tmp_path / "small/best/trial.json").read_text(encoding="utf8"))
    assert (about["trial"], about["value"]) == (study.best_trial.number, study.best_value)
    assert kept_score(tmp_path / "small", task, "accuracy") == study.best_value


def test_trap_12_no_callback_counts_on_in_the_next_trial(tmp_path: Path, task: RunContext) -> None:
    counts: list[int] = []  # where the counter stands when a trial begins

    class Counting(EarlyStoppingCallback):
        def on_train_begin(self, *arguments: Any, **live: Any) -> None:
            counts.append(self.early_stopping_patience_counter)
            super().on_train_begin(*arguments, **live)

    made = plain_search.trainer(
        tmp_path,
        Counting(2),
        compute_metrics=plain_search.scripted([0.9, 0.8, 0.7] * 2),
        num_train_epochs=3,
        eval_strategy="epoch",
        metric_for_best_model="accuracy",
    )
    plain_search.search(made, lambda trial: {}, trials=2)
    assert counts == [0, 2]  # the same callback goes on from where the first trial left it

    ours = RungTrainer(task)
    callbacks: list[Any] = []
    curves = []
    for _ in range(2):
        curves.append(ours.run({}, seed=0).curve)
        callbacks += ours.callback_handler.callbacks
    assert curves[0] == curves[1]
    assert len({id(callback) for callback in callbacks}) == len(callbacks)


def test_trap_13_a_rung_means_the_same_for_every_batch_size(
    tmp_path: Path, searched: Callable[..., optuna.Study], study_file: Path
) -> None:
    options, study = in_memory(direction="maximize")
    for batch in (4, 16):
        study.enqueue_trial({"per_device_train_batch_size": batch})
    made = plain_search.trainer(
        tmp_path / "plain",
        compute_metrics=plain_search.scripted([0.9, 0.9, 0.1, 0.1]),
        num_train_epochs=2,
        eval_strategy="epoch",
    )
    name = "per_device_train_batch_size"
    plain_search.search(
        made,
        lambda trial: {name: trial.suggest_categorical(name, [4, 16])},
        trials=2,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0),
        **options,
    )
    assert [list(trial.intermediate_values) for trial in study.trials] == [[4, 8], [1, 2]]
    assert study.trials[1].state is TrialState.COMPLETE  # far below the median, at steps that no other trial has

    study_file.write_text(STUDY.replace("per_device_train_batch_size = 16\n", ""), encoding="utf8")  # searched now
    found = searched(
        "search.trials=2",
        "objective=log_loss",
        'search.pruner={ name = "median", n_startup_trials = 1 }',
        "space.parameters={ learning_rate = { low = 1e-5, high = 1.0, log = true }, "
        "per_device_train_batch_size = { choices = [8, 16] } }",
        'space.known_good=[{ source = "good", learning_rate = 1e-4, per_device_train_batch_size = 16 },'
        ' { source = "bad", learning_rate = 0.5, per_device_train_batch_size = 8 }]',
    )
    good, bad = found.trials
    assert bad.user_attrs["effective"]["per_device_train_batch_size"] == 8
    assert bad.state is TrialState.PRUNED
    assert set(bad.intermediate_values) < set(good.intermediate_values) == {250, 500, 1000}


def test_trap_14_trials_are_compared_at_the_same_share_of_their_schedule(tmp_path: Path, task: RunContext) -> None:
    options, study = in_memory()
    for epochs in (1, 4):
        study.enqueue_trial({"num_train_epochs": epochs})
    watch = plain_search.Watch()
    made = plain_search.trainer(tmp_path, watch, eval_strategy="epoch")
    plain_search.search(
        made, lambda trial: {"num_train_epochs": trial.suggest_int("num_train_epochs", 1, 4)}, 2, **options
    )
    short, long = study.trials
    assert min(short.intermediate_values) == min(long.intermediate_values) == 4  # compared at this step,
    assert [watch.rates[trial][3] / 5e-5 for trial in (0, 1)] == pytest.approx([0.0, 0.75])  # but one is at its end

    shares: list[dict[int, float]] = []
    for number in (1, 4):
        ours, at = RungTrainer(task), dict[int, float]()

        def note(rung: int, scores: Any, is_last: bool, ours: RungTrainer = ours, at: dict[int, float] = at) -> None:
            at[rung] = ours.lr_scheduler.get_last_lr()[0] / 1e-3

        ours.at_rung = note
        ours.run({"learning_rate": 1e-3, "num_train_epochs": number}, seed=0)
        shares.append(at)
    assert shares[0][500] == shares[1][500] == pytest.approx(0.5)
    assert shares[0][1000] == shares[1][1000] == 0.0


def files(folder: Path, name: str) -> list[Path]:
    return sorted(folder.rglob(name))


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_trap_15_disk_use_does_not_grow_with_the_trials(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    folder = tmp_path / "plain"
    for _ in range(2):  # two studies, one output_dir
        made = plain_search.trainer(folder, num_train_epochs=2, save_strategy="epoch")
        plain_search.search(made, lambda trial: {}, trials=2)
        assert [each.name for each in sorted(folder.iterdir())] == ["run-0", "run-1"]
    assert len(files(folder, "model.safetensors")) == len(files(folder, "optimizer.pt")) == 4

    searched("search.trials=1", "training.num_train_epochs=2")
    after_one = size(tmp_path / "small")
    searched("search.trials=3", "training.num_train_epochs=2")
    assert size(tmp_path / "small") == pytest.approx(after_one, rel=0.01)
    assert files(tmp_path / "small", "model.safetensors") == [tmp_path / "small/best/model.safetensors"]
    assert not files(tmp_path / "small", "optimizer.pt")
    searched('name="other"')
    assert [each.parent.parent.name for each in files(tmp_path, "trial.json")] == ["other", "small"]


def test_trap_16_the_study_is_made_before_the_search(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    with pytest.raises(TypeError, match="callbacks"):
        plain_search.search(
            plain_search.trainer(tmp_path / "plain"), lambda trial: {}, callbacks=[lambda study, trial: None]
        )

    start = 'space.known_good=[{ source = "a paper", learning_rate = 3e-4 }]'
    study = searched(start)
    assert study.user_attrs["spec"]["name"] == "small" and "versions" in study.user_attrs
    assert study.trials[0].params == {"learning_rate": 3e-4}
    assert study.trials[0].user_attrs["source"] == "a paper"


def test_trap_17_trials_is_a_total(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    options, study = in_memory()
    for _ in range(2):
        plain_search.search(plain_search.trainer(tmp_path / "plain"), lambda trial: {}, trials=2, **options)
    assert len(study.trials) == 4

    for _ in range(2):
        assert len(searched("search.trials=2").trials) == 2
    assert len(searched("search.trials=3").trials) == 3


def test_trap_17_timeout_ends_a_running_trial(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    options, study = in_memory()
    plain_search.search(
        plain_search.trainer(tmp_path / "plain", max_steps=50), lambda trial: {}, timeout=0.01, **options
    )
    (trial,) = study.trials
    assert trial.state is TrialState.COMPLETE and trial.duration is not None and trial.duration.total_seconds() > 0.01

    ours = searched("search.timeout=3", "training.num_train_epochs=2000").trials[0]
    assert ours.state is TrialState.FAIL and ours.user_attrs["reason"].startswith(trial_state.OUT_OF_TIME)
    assert ours.user_attrs["steps"] < 2000 * STEPS
    assert not trial_state.is_finished(ours)  # a longer timeout runs it again


def test_trap_18_workers_are_processes(tmp_path: Path, searched: Callable[..., optuna.Study], study_file: Path) -> None:
    made = plain_search.trainer(tmp_path / "plain")
    both_have_set = threading.Barrier(2, timeout=30)
    sampled: list[float] = []
    used: list[float] = []

    def space(trial: optuna.Trial) -> dict[str, float]:
        sampled.append(trial.suggest_float("learning_rate", 1e-5, 1e-3))
        return {"learning_rate": sampled[-1]}

    def loop(args: Any, **_: Any) -> None:
        both_have_set.wait()
        used.append(args.learning_rate)
        made.objective = 0.0

    made._inner_training_loop = loop  # training itself matters not here, only what it is begun with
    plain_search.search(made, space, trials=2, n_jobs=2)
    assert len(set(sampled)) == 2 and len(set(used)) == 1  # two trials, one TrainingArguments

    spec = load_study(study_file, ("search.workers=2",))
    assert choose_engine(spec) is run_processes
    with pytest.raises(SpecError, match="inline runs one, processes runs many"):
        choose_engine(load_study(study_file, ("search.workers=2", 'search.engine="inline"')))
    study = searched("search.workers=2", "search.trials=2")
    for trial in study.trials:
        assert trial.user_attrs["worker"]["pid"] != trial_state.worker_identity()["pid"]
        assert trial.user_attrs["effective"]["learning_rate"] == trial.params["learning_rate"]


def test_trap_19_a_search_without_a_best_trial_ends_clearly(
    tmp_path: Path, searched: Callable[..., optuna.Study]
) -> None:
    def prune(prediction: Any) -> dict[str, float]:
        raise optuna.TrialPruned

    with pytest.raises(ValueError, match="No trials are completed yet"):
        plain_search.search(plain_search.trainer(tmp_path / "plain", compute_metrics=prune), lambda trial: {})

    study = searched("search.trials=2", axis("learning_rate", 1e25, 1e30, log=True))
    assert trial_state.count_outcomes(study.trials) == {trial_state.DIVERGED: 2}
    for trial in study.trials:
        assert "the loss is nan" in trial.user_attrs["reason"] or "not finite" in trial.user_attrs["reason"]
        assert trial.user_attrs["seconds"]["wall"] > 0


def too_much_for(limit: int, after: int, heads: list[torch.Tensor]) -> Callable[..., Any]:
    """A training_step that runs out of memory with more than `limit` rows, from step `after` on.

    `heads` collects the classifier's weights at the beginning of each attempt.
    """

    def wrap(step: Callable[..., Any]) -> Callable[..., Any]:
        def limited(self: Any, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
            if self.state.global_step == 0:
                heads.append(model.classifier.weight.detach().clone())
            if self.state.global_step >= after and len(inputs["labels"]) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return step(self, model, inputs, *rest, **more)

        return limited

    return wrap


def test_trap_20_out_of_memory_keeps_the_effective_batch(
    tmp_path: Path, searched: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[torch.Tensor] = []
    made = plain_search.trainer(tmp_path / "plain", auto_find_batch_size=True, learning_rate=0.01)
    monkeypatch.setattr(type(made), "training_step", too_much_for(4, 1, heads)(type(made).training_step))
    name = "per_device_train_batch_size"
    best = plain_search.search(made, lambda trial: {name: trial.suggest_categorical(name, [6])})
    assert best.hyperparameters == {name: 6} and made._train_batch_size < 6  # recorded, and used
    assert not torch.equal(heads[0], heads[-1])  # the second attempt goes on from what the first one learned
    monkeypatch.undo()

    heads.clear()
    step = RungTrainer.training_step
    monkeypatch.setattr(RungTrainer, "training_step", too_much_for(4, 2, heads)(step))
    (trial,) = searched("search.trials=1").trials
    monkeypatch.undo()
    assert trial.user_attrs["batch_split"] == 4
    assert trial.user_attrs["effective"]["per_device_train_batch_size"] == 16
    assert trial.user_attrs["steps"] == STEPS and trial.user_attrs["examples"] == 96
    assert len(heads) == 1 + 2 + 4 and all(torch.equal(heads[0], each) for each in heads)  # always from the start


def test_trap_20_below_batch_1_is_infeasible(
    tmp_path: Path, searched: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plain_search.trainer(tmp_path / "plain", auto_find_batch_size=True)
    monkeypatch.setattr(type(made), "training_step", too_much_for(0, 0, [])(type(made).training_step))
    with pytest.raises(RuntimeError, match="No executable batch size found"):
        plain_search.search(made, lambda trial: {}, trials=2)  # the search is over
    monkeypatch.undo()

    monkeypatch.setattr(RungTrainer, "training_step", too_much_for(0, 0, [])(RungTrainer.training_step))
    study = searched("search.trials=2")
    assert trial_state.count_outcomes(study.trials) == {trial_state.INFEASIBLE: 2}
    assert all(trial_state.is_finished(trial) for trial in study.trials)


def test_trap_21_one_trial_runs_on_one_device(
    tmp_path: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=0.5))
    made = plain_search.trainer(tmp_path)
    made.hp_search_backend = HPSearchBackend.OPTUNA
    made.compute_objective = lambda scores: scores["eval_accuracy"]
    trial = study.ask({"learning_rate": FloatDistribution(1e-5, 1e-3)})
    with pytest.raises(optuna.TrialPruned):
        made._report_to_hp_search(trial, 1, {"eval_accuracy": 0.1})  # the first process,
    fixed = optuna.trial.FixedTrial(trial.params, trial.number)
    made._report_to_hp_search(fixed, 1, {"eval_accuracy": 0.1})  # and all others, which train on and wait for it

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StudyError, match="torchrun"):
        check_spec(load_study(study_file))


def save_checkpoint(folder: Path, task: RunContext, dtype: torch.dtype) -> None:
    """A tiny checkpoint with its tokenizer, in a dtype of its own."""
    set_seed(0)
    task.checkpoint.fresh().to(dtype).save_pretrained(folder)
    task.checkpoint._resident = None  # it is of another dtype now
    task.checkpoint.tokenizer.save_pretrained(folder)


def test_trap_22_masters_are_float32(tmp_path: Path, task: RunContext) -> None:
    save_checkpoint(tmp_path, task, torch.float16)
    half = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert {each.dtype for each in half.parameters()} == {torch.float16}

    ours = Checkpoint(ModelSpec(checkpoint=str(tmp_path), max_length=32), [], ("LABEL_0", "LABEL_1"))
    full = ours.fresh()
    assert {each.dtype for each in full.parameters()} == {torch.float32}
    assert torch.equal(full.bert.embeddings.word_embeddings.weight, half.bert.embeddings.word_embeddings.weight.float())


# --- found on the way -------------------------------------------------------------------------------------------------

CUTS = ((16, 1), (8, 2), (4, 4))  # device batch, accumulation: always 16 rows a step


def test_trap_23_accumulation_does_not_stretch_the_gradient(
    tmp_path: Path, task: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = plain_search.Watch()
    for batch, accumulation in CUTS:
        plain_search.trainer(
            tmp_path,
            watch,
            model_init=plain_search.classifier_without_dropout,
            max_steps=1,
            max_grad_norm=0.0,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
        ).train()
    whole, halves, quarters = (norms[0] for norms in watch.norms)
    assert [halves / whole, quarters / whole] == pytest.approx([2.0, 4.0], rel=1e-3)

    norms: list[float] = []
    monkeypatch.setattr(
        trainer._Rungs,
        "on_pre_optimizer_step",
        lambda self, args, state, control, model, **_: norms.append(plain_search.gradient_norm(model)),
    )
    for batch, accumulation in CUTS:
        run(
            task,
            {**STILL, "max_steps": 1, "max_grad_norm": 0.0}
            | {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation},
        )
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_trap_24_a_checkpoint_without_tokenizer_is_an_error(tmp_path: Path, task: RunContext) -> None:
    task.checkpoint.fresh().save_pretrained(tmp_path)
    made_up = AutoTokenizer.from_pretrained(tmp_path)
    assert len(made_up) == 5  # special tokens: every word is unknown
    assert set(made_up("a very good film")["input_ids"][1:-1]) == {made_up.unk_token_id}

    with pytest.raises(ModelError, match="no tokenizer beside the weights"):
        Checkpoint(ModelSpec(checkpoint=str(tmp_path), max_length=32), [], ("negative", "positive"))


def test_trap_25_a_resident_model_runs_in_the_precision_that_each_run_asks_for(tmp_path: Path) -> None:
    """accelerate wraps the model's forward once, marks the model, and never looks at it again."""

    def precisions(model: Callable[[], Any], train: Callable[[bool], Any]) -> list[bool]:
        """Whether bf16 was what the model computed in, in runs that ask for it, do not, and do."""
        found = []
        for bf16 in (True, False, True):
            seen = set()
            query = model().bert.encoder.layer[0].attention.self.query
            hook = query.register_forward_hook(
                lambda module, given, out, seen=seen: seen.add(out.dtype) if module.training else None
            )
            train(bf16)
            hook.remove()
            found.append(seen == {torch.bfloat16})
        return found

    resident = plain_search.classifier()
    made = precisions(
        lambda: resident, lambda bf16: plain_search.trainer(tmp_path, model_init=lambda: resident, bf16=bf16).train()
    )
    assert made == [True, True, True]  # the second run asked for float32

    ours = RungTrainer(new_task(tmp_path, "training.use_cpu=true"))
    assert precisions(lambda: ours.model, lambda bf16: ours.run({"bf16": bf16}, seed=0)) == [True, False, True]
    forward, wraps = ours.model.forward, 0
    while (forward := getattr(forward, "model_forward", None) or getattr(forward, "__wrapped__", None)) is not None:
        wraps += hasattr(forward, "model_forward")
    assert wraps == 1  # nor do wrappers pile up


def passed_a_rung() -> tuple[optuna.Study, optuna.Trial]:
    """A study in which two trials passed ASHA's first rung; the first of them, returned, never came back."""
    study = optuna.create_study(direction="maximize", pruner=AshaPruner(min_resource=1, reduction_factor=2))
    first, second = (study.ask({"x": FloatDistribution(0.0, 1.0)}) for _ in range(2))
    for trial, score in ((first, 0.9), (second, 0.95)):
        trial.report(score, 1)
        assert not trial.should_prune()
    study.tell(second, 0.95)
    return study, first


def test_trap_26_a_trial_that_runs_again_is_pruned_like_any_other(study_file: Path) -> None:
    def is_pruned(study: optuna.Study) -> bool:
        """Whether the queued trial is pruned at the first rung with a score that is far below the other trial's."""
        again = study.ask({"x": FloatDistribution(0.0, 1.0)})
        again.report(0.1, 1)
        return again.should_prune()

    study, dead = passed_a_rung()
    study.tell(dead, state=TrialState.FAIL)
    RetryHeartbeatStaleTrialCallback()(study, study.trials[dead.number])
    assert any(name.startswith("completed_rung") for name in study.trials[-1].system_attrs)
    assert not is_pruned(study)

    study, dead = passed_a_rung()
    dead.set_user_attr("reason", trial_state.KILLED)
    study.tell(dead, state=TrialState.FAIL)
    trial_state.fail_dead_trials(study)
    trial_queue.enqueue_next(study, load_study(study_file).space)
    assert study.trials[-1].user_attrs["retry_of"] == dead.number
    assert not any(name.startswith("completed_rung") for name in study.trials[-1].system_attrs)
    assert is_pruned(study)


@pytest.mark.parametrize(("pruner", "is_pruned"), [(optuna.pruners.SuccessiveHalvingPruner, False), (AshaPruner, True)])
def test_trap_26_a_trial_does_not_compete_with_its_first_attempt(
    pruner: type[optuna.pruners.SuccessiveHalvingPruner], is_pruned: bool
) -> None:
    study = optuna.create_study(direction="maximize", pruner=pruner(min_resource=1, reduction_factor=2))

    def at_first_rung(value: float) -> tuple[optuna.Trial, bool]:
        trial = study.ask()
        trial.report(value, 1)
        return trial, trial.should_prune()

    first, _ = at_first_rung(0.5)
    first.set_user_attr("reason", trial_state.INTERRUPTED)
    study.tell(first, state=TrialState.FAIL)
    at_first_rung(0.6)
    at_first_rung(0.4)
    # Second of three: one of two goes on, so it is pruned, unless its first attempt counts as a fourth.
    assert at_first_rung(0.5)[1] is is_pruned


def gone() -> dict[str, Any]:
    """What a trial says of its process, where that process is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return {**trial_state.worker_identity(), "pid": process.pid}


@pytest.mark.parametrize("said_who", [True, False])
def test_trap_27_a_trial_that_died_before_its_first_heartbeat_is_found(study_file: Path, said_who: bool) -> None:
    opened = storage.open_storage(f"sqlite:///{study_file.parent / 'store.db'}")
    study = optuna.create_study(storage=opened, study_name="small")
    dead = study.ask({"learning_rate": FloatDistribution(1e-5, 1e-3)})
    if said_who:
        dead.set_user_attr("worker", gone())
    began = datetime.now() - timedelta(days=1)
    with opened.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE trials SET datetime_start = ?", (str(began),))
    fail_stale_trials(study)
    assert study.trials[0].state is TrialState.RUNNING  # after a day without any sign of life

    trial_state.fail_dead_trials(study)
    trial_queue.enqueue_next(study, load_study(study_file).space)
    found, again = study.trials
    assert found.state is TrialState.FAIL and trial_state.outcome(found) == trial_state.KILLED
    assert again.state is TrialState.WAITING and again.system_attrs["fixed_params"] == dead.params


def test_trap_28_the_tiny_tokenizer_is_the_same_each_time(task: RunContext) -> None:
    """The vocabulary that tokenizers trains hangs on the order of a hash map, which is another one each time."""
    texts = task.checkpoint.tokenizer.batch_decode([row["input_ids"] for row in task.train], skip_special_tokens=True)

    def trained() -> tuple[tuple[str, int], ...]:
        tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = BertPreTokenizer()
        tokenizer.train_from_iterator(texts, WordPieceTrainer(vocab_size=2000, show_progress=False))
        return tuple(sorted(tokenizer.get_vocab().items()))

    assert len({trained() for _ in range(8)}) > 1

    spec = ModelSpec(checkpoint="builtin:tiny", max_length=32)
    ours = [Checkpoint(spec, texts, ("negative", "positive")).tokenizer.get_vocab() for _ in range(8)]
    assert all(vocabulary == ours[0] for vocabulary in ours)


# --- Optuna and evaluate ----------------------------------------------------------------------------------------------


def test_optuna_a_restart_does_not_draw_the_same_values_again(study_file: Path) -> None:
    def drawn(sampler: Callable[[], optuna.samplers.BaseSampler], sittings: int) -> list[float]:
        """The values of six trials, in so many starts of the process."""
        storage = InMemoryStorage()
        for _ in range(sittings):
            study = optuna.create_study(
                storage=storage, study_name="drawn", load_if_exists=True, sampler=sampler(), direction="maximize"
            )
            study.optimize(lambda trial: -trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True), 6 // sittings)
        return [trial.params["learning_rate"] for trial in study.trials]

    again = drawn(lambda: optuna.samplers.TPESampler(seed=0), sittings=3)
    assert again[0:2] == again[2:4] == again[4:6]

    spec = load_study(study_file, ("search.trials=6", 'search.sampler={ name = "tpe", n_startup_trials = 3 }'))
    ours = drawn(lambda: build_sampler(spec), sittings=3)
    assert len(set(ours)) == 6
    assert ours == drawn(lambda: build_sampler(spec), sittings=1)


def test_optuna_sampler_and_pruner_are_rebuilt_on_resume(
    searched: Callable[..., optuna.Study], study_file: Path
) -> None:
    storage = InMemoryStorage()
    optuna.create_study(storage=storage, study_name="kept", sampler=optuna.samplers.RandomSampler(seed=0))
    resumed = optuna.load_study(storage=storage, study_name="kept")
    assert isinstance(resumed.sampler, optuna.samplers.TPESampler)

    chosen = ('search.sampler="random"', 'search.pruner="asha"')
    searched(*chosen)
    spec = load_study(study_file, chosen)
    task, opened, study = open_search(spec, f"sqlite:///{study_file.parent / 'store.db'}", SearchListener())
    worker = Worker(task, opened, study, SearchListener(), Budget.of(spec.search, study))
    assert isinstance(worker.sampler._inner, optuna.samplers.RandomSampler)
    assert isinstance(worker.pruner, AshaPruner)


def pragma(storage: Any, name: str) -> Any:
    with storage.engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_optuna_sqlite_is_opened_for_many_processes(tmp_path: Path) -> None:
    usual = RDBStorage(f"sqlite:///{tmp_path / 'plain_search.db'}")
    assert (pragma(usual, "journal_mode"), pragma(usual, "busy_timeout")) == ("delete", 5000)

    ours = storage.open_storage(f"sqlite:///{tmp_path / 'ours.db'}")
    assert (pragma(ours, "journal_mode"), pragma(ours, "busy_timeout")) == ("wal", 60_000)


def beats(storage: Any) -> int:
    with storage.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT COUNT(*) FROM trial_heartbeats").scalar())


def survives_a_lock(storage: Any, file: Path) -> bool:
    """Whether the thread that gives signs of life is there after the database was locked for a while."""
    study = optuna.create_study(storage=storage)
    beating = HeartbeatThread(study.ask()._trial_id, storage)
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    beating.start()
    time.sleep(0.5)
    lock.execute("ROLLBACK")
    lock.close()
    deadline = time.monotonic() + 10
    while beating._thread is not None and beating._thread.is_alive() and not beats(storage):
        assert time.monotonic() < deadline, "it lives, and gives no sign"
        time.sleep(0.05)
    alive = beating._thread is not None and beating._thread.is_alive()
    beating.join()
    return alive


def test_optuna_heartbeats_survive_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", died.append)  # a thread's death is what is looked for here
    usual = RDBStorage(
        f"sqlite:///{tmp_path / 'plain_search.db'}",
        engine_kwargs={"connect_args": {"timeout": 0.1}},
        heartbeat_interval=1,
    )
    assert not survives_a_lock(usual, tmp_path / "plain.db") and len(died) == 1

    monkeypatch.setattr(storage, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(storage, "HEARTBEAT_INTERVAL", 1)
    assert survives_a_lock(storage.open_storage(f"sqlite:///{tmp_path / 'ours.db'}"), tmp_path / "ours.db")
    assert len(died) == 1


def test_optuna_heartbeats_are_given_by_every_trial(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    usual = RDBStorage(f"sqlite:///{tmp_path / 'plain_search.db'}", heartbeat_interval=1)
    study = optuna.create_study(storage=usual)
    study.tell(study.ask(), 0.0)
    assert beats(usual) == 0  # ask and tell give none

    searched("search.trials=2")
    assert beats(storage.open_storage(f"sqlite:///{tmp_path / 'store.db'}")) == 2


def test_optuna_the_retry_sets_constraints_of_its_own(study_file: Path) -> None:
    def infeasible() -> tuple[optuna.Study, optuna.Trial]:
        study = optuna.create_study()
        first = study.ask({"x": FloatDistribution(0.0, 1.0)})
        first.set_constraint("memory", 1.0)
        first.set_user_attr("reason", trial_state.KILLED)
        study.tell(first, state=TrialState.FAIL)
        return study, first

    study, first = infeasible()
    RetryHeartbeatStaleTrialCallback()(study, study.trials[0])
    again = study.ask()
    with pytest.warns(UserWarning, match="is ignored"):
        again.set_constraint("memory", -1.0)
    assert study.trials[1].constraints == {"memory": 1.0}

    study, first = infeasible()
    trial_state.fail_dead_trials(study)
    trial_queue.enqueue_next(study, load_study(study_file).space)
    again = study.ask({"x": FloatDistribution(0.0, 1.0)})
    again.set_constraint("memory", -1.0)
    assert study.trials[1].constraints == {"memory": -1.0} and again.params == first.params


def test_optuna_a_dead_trial_does_not_repel_the_sampler(study_file: Path) -> None:
    axes = {"x": FloatDistribution(0.0, 1.0)}

    def next_draw(study: optuna.Study) -> Any:
        return optuna.samplers.TPESampler(seed=1).sample_independent(study, study.trials[0], "x", axes["x"])

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: (trial.suggest_float("x", 0.0, 1.0) - 0.5) ** 2, n_trials=20)
    without = next_draw(study)
    study.enqueue_trial({"x": without})
    dead = study.ask(axes)
    dead.set_user_attr("worker", gone())
    fail_stale_trials(study)  # the usual storage has no heartbeats
    assert study.trials[dead.number].state is TrialState.RUNNING
    assert next_draw(study) != without

    trial_state.fail_dead_trials(study)
    trial_queue.enqueue_next(study, load_study(study_file).space)
    assert study.trials[dead.number].state is TrialState.FAIL
    assert next_draw(study) == without


def test_evaluate_metrics_need_no_hub() -> None:
    with pytest.raises((FileNotFoundError, ConnectionError)):
        evaluate.load("accuracy")

    accuracy = evaluate_modules(classes=2)["accuracy"]
    assert isinstance(accuracy, evaluate.Metric)
    assert accuracy.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0]) == {"accuracy": 0.75}
