"""Pitfalls of transformers, Optuna, tokenizers and evaluate, by number, and how hpo avoids each.

Each test first shows that the plain library goes wrong. If a new version fixes a pitfall, its test fails and the
workaround can be removed. Numbers 1 to 22 are known pitfalls of Trainer; 23 to 28 were found in this project.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import evaluate
import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import BaseDistribution, FloatDistribution
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
from hpo.search.engines import choose_engine, run_search
from hpo.search.engines.processes import run_processes
from hpo.search.preflight import check_spec
from hpo.search.pruners import AshaPruner
from hpo.search.samplers import ReplayingSampler, build_sampler
from hpo.search.search_listener import SearchListener
from hpo.search.setup import open_search, prepare_context
from hpo.search.worker import Worker
from hpo.store import database, storage, trial_queue, trial_state
from hpo.store.dead_trials import release_dead_trials
from hpo.store.worker_lock import hold_worker_lock
from hpo.study.spec import load_study
from hpo.study.spec_tables import ModelSpec
from hpo.training import rung_callback
from hpo.training.checkpoint import Checkpoint
from hpo.training.context import RunContext
from hpo.training.measurements import RunMeasurements
from hpo.training.metrics import METRICS, evaluate_module, score_logits
from hpo.training.trainer import RungTrainer
from tests.conftest import SMALL
from tests.support import plain_search

pytestmark = [
    # Optuna marks heartbeats and retries as experimental, and warns about trials that are asked for outside optimize().
    pytest.mark.filterwarnings(r"ignore:.* is (an )?experimental:optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with Study.optimize:UserWarning"),
]

STEPS = 6  # optimizer steps of a run: 96 rows in batches of 16
NO_DROPOUT = {"model.hidden_dropout_prob": 0.0, "model.attention_probs_dropout_prob": 0.0}


@pytest.fixture(autouse=True, scope="module")
def _frozen_gc() -> Iterator[None]:
    """Keep the garbage collector, which Trainer calls after each run, from walking through the imports each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """The small study, in its own folder."""
    file = tmp_path / "small.toml"
    file.write_text(SMALL.replace("trials = 3", "trials = 1"), encoding="utf8")
    return file


@pytest.fixture
def searched(study_file: Path) -> Callable[..., optuna.Study]:
    """A function that runs the small study with `key=value` overrides, each time in the same store."""
    url = f"sqlite:///{study_file.parent / 'store.db'}"
    return lambda *overrides: run_search(load_study(study_file, overrides), url, SearchListener())


@pytest.fixture
def refused(study_file: Path) -> Callable[..., str]:
    """A function that returns the error of the study with overrides, raised before anything is loaded or stored."""

    def refuse(*overrides: str) -> str:
        with pytest.raises(SpecError) as error:
            check_spec(load_study(study_file, overrides))
        return str(error.value)

    return refuse


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """The context of the small study's runs, built once; tests run it with any values."""
    return new_context(tmp_path_factory.mktemp("context"))


def new_context(folder: Path, *overrides: str) -> RunContext:
    file = folder / "small.toml"
    file.write_text(SMALL.replace("trials = 3", "trials = 1"), encoding="utf8")
    return prepare_context(load_study(file, overrides), SearchListener())[0]


def axis(name: str, low: float, high: float, log: bool = False) -> str:
    """Return an override that replaces the whole search space by one range."""
    return f"space.parameters={{ {name} = {{ low = {low!r}, high = {high!r}, log = {str(log).lower()} }} }}"


def run(context: RunContext, values: Mapping[str, Any], seed: int = 0) -> RunMeasurements:
    return RungTrainer(context).run(values, seed)


def rates(context: RunContext, values: Mapping[str, Any]) -> list[float]:
    """Return the live learning rate after each step of a run."""
    seen: list[float] = []
    ours: Any = RungTrainer(context)  # transformers is untyped: mypy takes its schedule for None
    ours.on_progress = lambda step, steps, loss: seen.extend(
        [] if loss is None else ours.lr_scheduler.get_last_lr()[:1]
    )
    ours.run(values, seed=0)
    return seen


def in_memory(**options: Any) -> tuple[dict[str, Any], optuna.Study]:
    """Return the arguments by which Trainer.hyperparameter_search finds a study in memory, and that study."""
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="plain", **options)
    return {"storage": storage, "study_name": "plain", "load_if_exists": True}, study


# --- Trainer.hyperparameter_search ------------------------------------------------------------------------------------


def test_pitfall_01_warmup_ratio_takes_effect(
    tmp_path: Path, context: RunContext, searched: Callable[..., optuna.Study]
) -> None:
    watch = plain_search.Watch()
    plain_search.search(
        plain_search.trainer(tmp_path, watch), lambda trial: {"warmup_ratio": trial.suggest_float("r", 0.5, 0.5)}
    )
    assert watch.rates[0] == sorted(watch.rates[0], reverse=True)  # falls from the first step on: no warmup

    values = {"learning_rate": 6e-4, "warmup_ratio": 0.5}
    assert rates(context, values) == pytest.approx([2e-4, 4e-4, 6e-4, 4e-4, 2e-4, 0.0])
    trial = searched(axis("warmup_ratio", 0.2, 0.8)).best_trial
    assert trial.user_attrs["effective"]["warmup_steps"] == math.ceil(STEPS * trial.params["warmup_ratio"]) > 0


def test_pitfall_02_warmup_steps_below_1_is_a_share(tmp_path: Path, context: RunContext) -> None:
    watch = plain_search.Watch()
    plain = plain_search.trainer(tmp_path, watch)
    plain_search.search(plain, lambda trial: {"warmup_steps": trial.suggest_float("warmup_steps", 0.5, 0.5)})
    assert plain.args.warmup_steps == 0
    assert watch.rates[0] == sorted(watch.rates[0], reverse=True)

    assert rates(context, {"learning_rate": 6e-4, "warmup_steps": 0.5}) == pytest.approx(
        [2e-4, 4e-4, 6e-4, 4e-4, 2e-4, 0.0]
    )


def test_pitfall_03_values_are_not_cast_to_another_type(tmp_path: Path, refused: Callable[..., str]) -> None:
    plain = plain_search.trainer(tmp_path)
    best = plain_search.search(
        plain,
        lambda trial: {
            "gradient_accumulation_steps": trial.suggest_float("gradient_accumulation_steps", 1.9, 1.9),
            "dataloader_drop_last": trial.suggest_categorical("dataloader_drop_last", ["False"]),
        },
    )
    assert best.hyperparameters == {"gradient_accumulation_steps": 1.9, "dataloader_drop_last": "False"}
    assert plain.args.gradient_accumulation_steps == 1
    assert plain.args.dataloader_drop_last is True

    message = refused(axis("gradient_accumulation_steps", 1.0, 4.0))
    assert "gradient_accumulation_steps holds 1.0, which is 1.0; must be int" in message
    message = refused('space.parameters={ dataloader_drop_last = { choices = ["True", "False"] } }')
    assert "dataloader_drop_last" in message and "must be bool" in message


def test_pitfall_04_unknown_name_is_an_error(
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
    assert best.run_id == "0"  # the search succeeds, and the name is only a line in the log
    assert "no corresponding field" in caplog.text

    assert "did you mean learning_rate?" in refused(axis("learning_rat", 1e-5, 1e-3))
    assert "known: adam_beta1" in refused(axis("zzz", 1e-5, 1e-3))


def test_pitfall_05_values_that_trainer_reads_early_take_effect(tmp_path: Path, context: RunContext) -> None:
    plain = plain_search.trainer(tmp_path)
    plain_search.search(
        plain,
        lambda trial: {
            "label_smoothing_factor": trial.suggest_float("label_smoothing_factor", 0.5, 0.5),
            "neftune_noise_alpha": trial.suggest_float("neftune_noise_alpha", 5.0, 5.0),
        },
    )
    assert plain.args.label_smoothing_factor == 0.5 and plain.label_smoother is None  # what is set,
    assert plain.args.neftune_noise_alpha == 5.0 and plain.neftune_noise_alpha is None  # and what it trains with

    default = run(context, NO_DROPOUT)
    for name, value in {"label_smoothing_factor": 0.5, "neftune_noise_alpha": 5.0}.items():
        changed = run(context, {**NO_DROPOUT, name: value})
        assert changed.effective[name] == value
        assert changed.curve[1000]["log_loss"] != default.curve[1000]["log_loss"]


def test_pitfall_06_values_do_not_leak_into_the_next_trial(tmp_path: Path, context: RunContext) -> None:
    watch = plain_search.Watch()
    plain = plain_search.trainer(tmp_path, watch)

    def first_trial_only(trial: optuna.Trial) -> dict[str, float]:
        return {"weight_decay": trial.suggest_float("weight_decay", 0.3, 0.3)} if trial.number == 0 else {}

    plain_search.search(plain, first_trial_only, trials=2)
    assert watch.decays == [0.3, 0.3]  # the second trial sampled none
    assert plain.args.weight_decay == 0.3  # and neither does any later training

    ours = RungTrainer(context)
    assert ours.run({"weight_decay": 0.3}, seed=0).effective["weight_decay"] == 0.3
    assert ours.run({}, seed=0).effective["weight_decay"] == 0.0


def test_pitfall_07_trial_can_be_repeated_by_its_seed(
    tmp_path: Path, context: RunContext, searched: Callable[..., optuna.Study]
) -> None:
    options, study = in_memory()
    for seed in (11, 22):
        study.enqueue_trial({"seed": seed})
    watch = plain_search.Watch()
    plain_search.search(
        plain_search.trainer(tmp_path, watch), lambda trial: {"seed": trial.suggest_int("seed", 1, 99)}, 2, **options
    )
    assert torch.equal(watch.heads[0], plain_search.head_of_seed(42))  # the default seed, not 11
    assert torch.equal(watch.heads[1], plain_search.head_of_seed(11))  # the seed of the previous trial
    assert not torch.equal(watch.heads[1], plain_search.head_of_seed(22))

    second = searched("search.trials=2").trials[1]
    alone = run(context, second.params, second.user_attrs["seed"])
    assert {str(rung): scores for rung, scores in alone.curve.items()} == second.user_attrs["metrics"]
    other = run(context, second.params, second.user_attrs["seed"] + 1)
    assert other.curve != alone.curve  # otherwise the seed would show nothing


def test_pitfall_08_objective_is_one_metric_with_its_direction(
    tmp_path: Path, searched: Callable[..., optuna.Study], refused: Callable[..., str]
) -> None:
    scores = iter([{"accuracy": 0.9, "f1": 0.8}, {"accuracy": 0.5, "f1": 0.4}])
    plain = plain_search.trainer(tmp_path, compute_metrics=lambda prediction: next(scores))
    best = plain.hyperparameter_search(n_trials=2, backend="optuna")  # all defaults
    assert best.objective == pytest.approx(0.5 + 0.4)  # the sum of both metrics, and the worse trial
    assert "seed" in best.hyperparameters

    study = searched("search.trials=2")
    assert study.direction.name == "MAXIMIZE"
    for trial in study.trials:
        assert trial.value == trial.user_attrs["metrics"]["1000"]["accuracy"]
    assert METRICS["log_loss"].direction == "minimize"
    assert "a seed is noise" in refused("space.parameters={ seed = { low = 1, high = 40 } }")


def score_kept_weights(folder: Path, context: RunContext, metric: str) -> float:
    """Return the validation score of the weights in a study's folder."""
    model = AutoModelForSequenceClassification.from_pretrained(folder / "best").eval()
    rows = [context.validation[index] for index in range(len(context.validation))]
    batch = context.checkpoint.tokenizer.pad([{"input_ids": row["input_ids"]} for row in rows])
    with torch.no_grad():
        logits = model(**{name: torch.tensor(np.array(column)) for name, column in batch.items()}).logits
    return score_logits(context.metrics, logits.numpy(), context.validation.labels)[metric]


@pytest.mark.parametrize("search_value", ["last", "best"])
def test_pitfall_09_value_and_weights_belong_together(
    tmp_path: Path, context: RunContext, searched: Callable[..., optuna.Study], search_value: str
) -> None:
    plain = plain_search.trainer(
        tmp_path / "plain",
        compute_metrics=plain_search.scripted([0.9, 0.5]),
        num_train_epochs=2,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
    )
    best = plain_search.search(plain, lambda trial: {}, direction="maximize")
    assert best.objective == 0.5  # the score of the second epoch, but the weights of the first
    assert plain.state.best_metric == 0.9 and plain.state.best_model_checkpoint.endswith(
        "checkpoint-4"
    )  # are those of the first

    # A high constant learning rate, so that the loss goes up and down.
    study = searched(
        f"search.value={search_value}",
        "objective=log_loss",
        "search.rungs=6",
        axis("learning_rate", 0.1, 0.1),
        'training.lr_scheduler_type="constant"',
    )
    (trial,) = study.trials
    curve = {rung: scores["log_loss"] for rung, scores in trial.user_attrs["metrics"].items()}
    assert trial.user_attrs["best"] == min(curve.values()) != trial.user_attrs["last"] == curve["1000"]
    assert curve[str(trial.user_attrs["best_rung"])] == trial.user_attrs["best"]
    assert trial.value == trial.user_attrs[search_value]
    assert score_kept_weights(tmp_path / "small", context, "log_loss") == pytest.approx(trial.value, rel=1e-5)


def test_pitfall_10_one_model_is_in_memory(
    tmp_path: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[Any]] = []
    alive_before: list[int] = []  # models that still exist when the next one is built

    def counted(build: Callable[..., Any]) -> Callable[..., Any]:
        def count_and_build(*arguments: Any) -> Any:
            gc.collect()
            alive_before.append(sum(each() is not None for each in models))
            model = build(*arguments)
            models.append(weakref.ref(model))
            return model

        return count_and_build

    def prune(prediction: Any) -> NoReturn:
        raise optuna.TrialPruned

    def init() -> Any:
        return counted(plain_search.classifier)()

    plain_search.search(plain_search.trainer(tmp_path, model_init=init), lambda trial: {}, trials=2)
    assert alive_before == [0, 1, 1]  # the model of the finished trial, in addition to the next
    models.clear()
    alive_before.clear()
    with pytest.raises(ValueError, match="No trials are completed"):
        plain_search.search(
            plain_search.trainer(tmp_path, model_init=init, compute_metrics=prune), lambda trial: {}, trials=2
        )
    assert alive_before == [0, 1, 1]  # the model of the pruned trial

    models.clear()
    alive_before.clear()
    monkeypatch.setattr(Checkpoint, "_build", counted(Checkpoint._build))
    ours = RungTrainer(new_context(tmp_path))
    ours.run({}, seed=0)
    ours.on_rung = lambda rung, scores, is_last: prune(scores)
    with pytest.raises(optuna.TrialPruned):
        ours.run({}, seed=1)
    assert ours.optimizer is None and ours.callback_handler.optimizer is None and ours.callback_handler.model is None
    ours.on_rung = lambda rung, scores, is_last: None
    ours.run({}, seed=2)
    assert alive_before == [0]  # a single model was ever built


def test_pitfall_10_one_model_is_in_memory_if_its_config_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[Any]] = []
    alive_before: list[int] = []
    build = Checkpoint._build

    def counted(checkpoint: Checkpoint, changes: Mapping[str, Any]) -> Any:
        gc.collect()
        alive_before.append(sum(each() is not None for each in models))
        model = build(checkpoint, changes)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(Checkpoint, "_build", counted)
    ours = RungTrainer(new_context(tmp_path))
    for dropout in (0.1, 0.2):
        ours.run({"model.hidden_dropout_prob": dropout}, seed=0)
    assert max(alive_before) == 0


def test_pitfall_11_best_model_is_kept_after_the_search(
    tmp_path: Path, context: RunContext, searched: Callable[..., optuna.Study]
) -> None:
    plain = plain_search.trainer(tmp_path / "plain")
    plain_search.search(plain, lambda trial: {})
    assert plain.model is None
    with pytest.raises((AttributeError, TypeError)):
        plain.evaluate()

    def fail(trial: optuna.Trial) -> dict[str, Any]:
        raise RuntimeError("an error")

    with pytest.raises(RuntimeError, match="an error"):
        plain_search.search(plain, fail)
    assert plain.hp_search_backend is HPSearchBackend.OPTUNA  # as if the search were still running

    study = searched("search.trials=2")
    trial = json.loads((tmp_path / "small/best/trial.json").read_text(encoding="utf8"))
    assert (trial["trial"], trial["value"]) == (study.best_trial.number, study.best_value)
    assert score_kept_weights(tmp_path / "small", context, "accuracy") == study.best_value


def test_pitfall_12_callbacks_keep_no_state_between_trials(tmp_path: Path, context: RunContext) -> None:
    counts: list[int] = []  # the counter when a trial begins

    class Counting(EarlyStoppingCallback):
        def on_train_begin(self, *arguments: Any, **live: Any) -> None:
            counts.append(self.early_stopping_patience_counter)
            super().on_train_begin(*arguments, **live)

    plain = plain_search.trainer(
        tmp_path,
        Counting(2),
        compute_metrics=plain_search.scripted([0.9, 0.8, 0.7] * 2),
        num_train_epochs=3,
        eval_strategy="epoch",
        metric_for_best_model="accuracy",
    )
    plain_search.search(plain, lambda trial: {}, trials=2)
    assert counts == [0, 2]  # the second trial continues with the count of the first

    ours = RungTrainer(context)
    callbacks: list[Any] = []
    curves = []
    for _ in range(2):
        curves.append(ours.run({}, seed=0).curve)
        callbacks += ours.callback_handler.callbacks
    assert curves[0] == curves[1]
    assert len({id(callback) for callback in callbacks}) == len(callbacks)


def test_pitfall_13_rungs_are_comparable_between_batch_sizes(
    tmp_path: Path, searched: Callable[..., optuna.Study], study_file: Path
) -> None:
    options, study = in_memory(direction="maximize")
    for batch in (4, 16):
        study.enqueue_trial({"per_device_train_batch_size": batch})
    plain = plain_search.trainer(
        tmp_path / "plain",
        compute_metrics=plain_search.scripted([0.9, 0.9, 0.1, 0.1]),
        num_train_epochs=2,
        eval_strategy="epoch",
    )
    name = "per_device_train_batch_size"
    plain_search.search(
        plain,
        lambda trial: {name: trial.suggest_categorical(name, [4, 16])},
        trials=2,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0),
        **options,
    )
    assert [list(trial.intermediate_values) for trial in study.trials] == [[4, 8], [1, 2]]
    assert study.trials[1].state is TrialState.COMPLETE  # far below the median, but at steps that no other trial has

    study_file.write_text(SMALL.replace("per_device_train_batch_size = 16\n", ""), encoding="utf8")
    study = searched(
        "search.trials=2",
        "objective=log_loss",
        'search.pruner={ name = "median", n_startup_trials = 1 }',
        "space.parameters={ learning_rate = { low = 1e-5, high = 1.0, log = true }, "
        "per_device_train_batch_size = { choices = [8, 16] } }",
        'space.known_good=[{ source = "good", learning_rate = 1e-4, per_device_train_batch_size = 16 },'
        ' { source = "bad", learning_rate = 0.5, per_device_train_batch_size = 8 }]',
    )
    good, bad = study.trials
    assert bad.user_attrs["effective"]["per_device_train_batch_size"] == 8
    assert bad.state is TrialState.PRUNED
    assert set(bad.intermediate_values) < set(good.intermediate_values) == {250, 500, 1000}


def test_pitfall_14_trials_are_compared_at_the_same_share_of_their_schedule(
    tmp_path: Path, context: RunContext
) -> None:
    options, study = in_memory()
    for epochs in (1, 4):
        study.enqueue_trial({"num_train_epochs": epochs})
    watch = plain_search.Watch()
    plain = plain_search.trainer(tmp_path, watch, eval_strategy="epoch")
    plain_search.search(
        plain, lambda trial: {"num_train_epochs": trial.suggest_int("num_train_epochs", 1, 4)}, 2, **options
    )
    short, long = study.trials
    assert min(short.intermediate_values) == min(long.intermediate_values) == 4  # compared at this step,
    assert [watch.rates[trial][3] / 5e-5 for trial in (0, 1)] == pytest.approx([0.0, 0.75])  # one has finished

    shares: list[dict[int, float]] = []
    for number in (1, 4):
        ours, rate_at = RungTrainer(context), dict[int, float]()

        def record_rate(
            rung: int, scores: Any, is_last: bool, ours: Any = ours, rate_at: dict[int, float] = rate_at
        ) -> None:
            rate_at[rung] = ours.lr_scheduler.get_last_lr()[0] / 1e-3

        ours.on_rung = record_rate
        ours.run({"learning_rate": 1e-3, "num_train_epochs": number}, seed=0)
        shares.append(rate_at)
    assert shares[0][500] == shares[1][500] == pytest.approx(0.5)
    assert shares[0][1000] == shares[1][1000] == 0.0


def find_files(folder: Path, name: str) -> list[Path]:
    return sorted(folder.rglob(name))


def disk_use(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_pitfall_15_disk_use_does_not_grow_with_the_number_of_trials(
    tmp_path: Path, searched: Callable[..., optuna.Study]
) -> None:
    folder = tmp_path / "plain"
    for _ in range(2):  # two studies with one output_dir
        plain = plain_search.trainer(folder, num_train_epochs=2, save_strategy="epoch")
        plain_search.search(plain, lambda trial: {}, trials=2)
        assert [each.name for each in sorted(folder.iterdir())] == ["run-0", "run-1"]
    assert len(find_files(folder, "model.safetensors")) == len(find_files(folder, "optimizer.pt")) == 4

    searched("search.trials=1", "training.num_train_epochs=2")
    after_one = disk_use(tmp_path / "small")
    searched("search.trials=3", "training.num_train_epochs=2")
    assert disk_use(tmp_path / "small") == pytest.approx(after_one, rel=0.01)
    assert find_files(tmp_path / "small", "model.safetensors") == [tmp_path / "small/best/model.safetensors"]
    assert not find_files(tmp_path / "small", "optimizer.pt")
    searched('name="other"')
    assert [each.parent.parent.name for each in find_files(tmp_path, "trial.json")] == ["other", "small"]


def test_pitfall_16_study_is_created_before_the_search(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    with pytest.raises(TypeError, match="callbacks"):
        plain_search.search(
            plain_search.trainer(tmp_path / "plain"), lambda trial: {}, callbacks=[lambda study, trial: None]
        )

    start = 'space.known_good=[{ source = "a paper", learning_rate = 3e-4 }]'
    study = searched(start)
    assert study.user_attrs["spec"]["name"] == "small" and "versions" in study.user_attrs
    assert study.trials[0].params == {"learning_rate": 3e-4}
    assert study.trials[0].user_attrs["source"] == "a paper"


def test_pitfall_17_number_of_trials_is_a_total(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    options, study = in_memory()
    for _ in range(2):
        plain_search.search(plain_search.trainer(tmp_path / "plain"), lambda trial: {}, trials=2, **options)
    assert len(study.trials) == 4

    for _ in range(2):
        assert len(searched("search.trials=2").trials) == 2
    assert len(searched("search.trials=3").trials) == 3


def test_pitfall_17_timeout_ends_a_running_trial(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    options, study = in_memory()
    plain_search.search(
        plain_search.trainer(tmp_path / "plain", max_steps=50), lambda trial: {}, timeout=0.01, **options
    )
    (trial,) = study.trials
    assert trial.state is TrialState.COMPLETE and trial.duration is not None and trial.duration.total_seconds() > 0.01

    ours = searched("search.timeout=3", "training.num_train_epochs=2000").trials[0]
    assert trial_state.outcome(ours) == trial_state.PAUSED  # with a longer timeout it continues
    assert ours.user_attrs["steps"] < 2000 * STEPS


def test_pitfall_18_workers_are_processes(tmp_path: Path, study_file: Path) -> None:
    plain = plain_search.trainer(tmp_path / "plain")
    both_have_set = threading.Barrier(2, timeout=30)
    sampled: list[float] = []
    used: list[float] = []

    def space(trial: optuna.Trial) -> dict[str, float]:
        sampled.append(trial.suggest_float("learning_rate", 1e-5, 1e-3))
        return {"learning_rate": sampled[-1]}

    def loop(args: Any, **_: Any) -> None:
        both_have_set.wait()
        used.append(args.learning_rate)
        plain.objective = 0.0

    plain._inner_training_loop = loop  # only the arguments at the start of training matter here
    plain_search.search(plain, space, trials=2, n_jobs=2)
    assert len(set(sampled)) == 2 and len(set(used)) == 1  # two trials share one TrainingArguments

    # test_workers_in_processes_share_one_study_and_fill_the_budget_exactly runs such a search.
    spec = load_study(study_file, ("search.workers=2",))
    assert choose_engine(spec) is run_processes
    with pytest.raises(SpecError, match="inline runs one worker, processes runs many"):
        choose_engine(load_study(study_file, ("search.workers=2", 'search.engine="inline"')))


def test_pitfall_19_search_without_a_complete_trial_does_not_fail(
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


def out_of_memory_above(limit: int, after: int, heads: list[torch.Tensor]) -> Callable[..., Any]:
    """Return a wrapper of training_step that runs out of memory with more than `limit` rows, from step `after` on.

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


def test_pitfall_20_out_of_memory_keeps_the_effective_batch(
    tmp_path: Path, searched: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[torch.Tensor] = []
    plain = plain_search.trainer(tmp_path / "plain", auto_find_batch_size=True, learning_rate=0.01)
    monkeypatch.setattr(type(plain), "training_step", out_of_memory_above(4, 1, heads)(type(plain).training_step))
    name = "per_device_train_batch_size"
    best = plain_search.search(plain, lambda trial: {name: trial.suggest_categorical(name, [6])})
    assert best.hyperparameters == {name: 6} and plain._train_batch_size < 6  # what is recorded, and what is used
    assert not torch.equal(heads[0], heads[-1])  # the second attempt continues from the weights of the first
    monkeypatch.undo()

    heads.clear()
    step = RungTrainer.training_step
    monkeypatch.setattr(RungTrainer, "training_step", out_of_memory_above(4, 2, heads)(step))
    (trial,) = searched("search.trials=1").trials
    monkeypatch.undo()
    assert trial.user_attrs["batch_split"] == 4
    assert trial.user_attrs["effective"]["per_device_train_batch_size"] == 16
    assert trial.user_attrs["steps"] == STEPS and trial.user_attrs["examples"] == 96
    assert len(heads) == 1 + 2 + 4 and all(torch.equal(heads[0], each) for each in heads)  # from the same start


def test_pitfall_20_below_batch_1_is_infeasible(
    tmp_path: Path, searched: Callable[..., optuna.Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = plain_search.trainer(tmp_path / "plain", auto_find_batch_size=True)
    monkeypatch.setattr(type(plain), "training_step", out_of_memory_above(0, 0, [])(type(plain).training_step))
    with pytest.raises(RuntimeError, match="No executable batch size found"):
        plain_search.search(plain, lambda trial: {}, trials=2)  # the whole search ends
    monkeypatch.undo()

    monkeypatch.setattr(RungTrainer, "training_step", out_of_memory_above(0, 0, [])(RungTrainer.training_step))
    study = searched("search.trials=2")
    assert trial_state.count_outcomes(study.trials) == {trial_state.INFEASIBLE: 2}
    assert all(trial_state.is_finished(trial) for trial in study.trials)


def test_pitfall_21_distributed_launch_is_refused(
    tmp_path: Path, study_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=0.5))
    plain = plain_search.trainer(tmp_path)
    plain.hp_search_backend = HPSearchBackend.OPTUNA
    plain.compute_objective = lambda scores: scores["eval_accuracy"]
    trial = study.ask({"learning_rate": FloatDistribution(1e-5, 1e-3)})
    with pytest.raises(optuna.TrialPruned):
        plain._report_to_hp_search(trial, 1, {"eval_accuracy": 0.1})  # in the first process,
    fixed = optuna.trial.FixedTrial(trial.params, trial.number)
    plain._report_to_hp_search(fixed, 1, {"eval_accuracy": 0.1})  # all others train on and wait for it

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StudyError, match="torchrun"):
        check_spec(load_study(study_file))


def save_checkpoint(folder: Path, context: RunContext, dtype: torch.dtype) -> None:
    """Save a tiny checkpoint with its tokenizer in another dtype."""
    set_seed(0)
    context.checkpoint.fresh().to(dtype).save_pretrained(folder)
    context.checkpoint._resident = None  # its dtype has changed
    context.checkpoint.tokenizer.save_pretrained(folder)


def test_pitfall_22_weights_are_float32(tmp_path: Path, context: RunContext) -> None:
    save_checkpoint(tmp_path, context, torch.float16)
    half = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert {each.dtype for each in half.parameters()} == {torch.float16}

    ours = Checkpoint(ModelSpec(checkpoint=str(tmp_path), max_length=32), [], ("LABEL_0", "LABEL_1"))
    full = ours.fresh()
    assert {each.dtype for each in full.parameters()} == {torch.float32}
    assert torch.equal(full.bert.embeddings.word_embeddings.weight, half.bert.embeddings.word_embeddings.weight.float())


# --- found in this project --------------------------------------------------------------------------------------------

SPLITS = ((16, 1), (8, 2), (4, 4))  # device batch and accumulation: always 16 rows per step


def test_pitfall_23_accumulation_does_not_scale_the_gradient(
    tmp_path: Path, context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = plain_search.Watch()
    for batch, accumulation in SPLITS:
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
        rung_callback.RungCallback,
        "on_pre_optimizer_step",
        lambda self, args, state, control, model, **_: norms.append(plain_search.gradient_norm(model)),
    )
    for batch, accumulation in SPLITS:
        run(
            context,
            {**NO_DROPOUT, "max_steps": 1, "max_grad_norm": 0.0}
            | {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation},
        )
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_pitfall_24_checkpoint_without_tokenizer_is_an_error(tmp_path: Path, context: RunContext) -> None:
    context.checkpoint.fresh().save_pretrained(tmp_path)
    made_up = AutoTokenizer.from_pretrained(tmp_path)
    assert len(made_up) == 5  # only special tokens: every word is unknown
    assert set(made_up("a very good film")["input_ids"][1:-1]) == {made_up.unk_token_id}

    with pytest.raises(ModelError, match="no tokenizer next to the weights"):
        Checkpoint(ModelSpec(checkpoint=str(tmp_path), max_length=32), [], ("negative", "positive"))


def test_pitfall_25_resident_model_runs_in_the_precision_of_each_run(tmp_path: Path) -> None:
    """accelerate wraps the model's forward pass once, marks the model, and never checks it again."""

    def precisions(model: Callable[[], Any], train: Callable[[bool], Any]) -> list[bool]:
        """Return whether the model computed in bf16, in runs with bf16, without it, and with it again."""
        in_bf16 = []
        for bf16 in (True, False, True):
            seen: set[torch.dtype] = set()
            query = model().bert.encoder.layer[0].attention.self.query
            hook = query.register_forward_hook(
                lambda module, inputs, out, seen=seen: seen.add(out.dtype) if module.training else None
            )
            train(bf16)
            hook.remove()
            in_bf16.append(seen == {torch.bfloat16})
        return in_bf16

    resident = plain_search.classifier()
    in_bf16 = precisions(
        lambda: resident, lambda bf16: plain_search.trainer(tmp_path, model_init=lambda: resident, bf16=bf16).train()
    )
    assert in_bf16 == [True, True, True]  # the second run should be in float32

    ours = RungTrainer(new_context(tmp_path, "training.use_cpu=true"))
    assert precisions(lambda: ours.model, lambda bf16: ours.run({"bf16": bf16}, seed=0)) == [True, False, True]
    forward, wraps = ours.model.forward, 0
    while (forward := getattr(forward, "model_forward", None) or getattr(forward, "__wrapped__", None)) is not None:
        wraps += hasattr(forward, "model_forward")
    assert wraps == 1  # and wrappers do not accumulate


def passed_a_rung(pruner: type[optuna.pruners.SuccessiveHalvingPruner]) -> tuple[optuna.Study, optuna.Trial]:
    """Return a study in which two trials passed the first rung, and the first of them, which then died."""
    study = optuna.create_study(direction="maximize", pruner=pruner(min_resource=1, reduction_factor=2))
    first, second = (study.ask({"x": FloatDistribution(0.0, 1.0)}) for _ in range(2))
    for trial, score in ((first, 0.9), (second, 0.95)):
        trial.report(score, 1)
        assert not trial.should_prune()
    study.tell(second, 0.95)
    return study, first


def test_pitfall_26_retried_trial_is_pruned_like_any_other(study_file: Path) -> None:
    def is_pruned(study: optuna.Study) -> bool:
        """Return whether the queued trial is pruned at the first rung with a score far below the other trial's."""
        again = study.ask({"x": FloatDistribution(0.0, 1.0)})
        again.report(0.1, 1)
        return again.should_prune()

    study, dead = passed_a_rung(optuna.pruners.SuccessiveHalvingPruner)
    study.tell(dead, state=TrialState.FAIL)
    RetryHeartbeatStaleTrialCallback()(study, study.trials[dead.number])
    assert any(name.startswith("completed_rung") for name in study.trials[-1].system_attrs)
    assert not is_pruned(study)

    study, dead = passed_a_rung(AshaPruner)
    dead.set_user_attr("reason", trial_state.KILLED)
    study.tell(dead, state=TrialState.FAIL)
    trial_queue.enqueue_next(study, load_study(study_file).space)
    assert study.trials[-1].user_attrs["retry_of"] == dead.number
    assert not any(name.startswith("completed_rung") for name in study.trials[-1].system_attrs)
    assert is_pruned(study)


@pytest.mark.parametrize(("pruner", "is_pruned"), [(optuna.pruners.SuccessiveHalvingPruner, False), (AshaPruner, True)])
def test_pitfall_26_retried_trial_does_not_compete_with_its_first_attempt(
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
    # Second of three: half of them continue, so it is pruned unless its first attempt counts as a fourth trial.
    assert at_first_rung(0.5)[1] is is_pruned


def dead_worker(study_folder: Path) -> dict[str, Any]:
    """Return the identity of a worker that has ended, whose folder of locks is still there."""
    (study_folder / "workers").mkdir(parents=True)
    (study_folder / "workers" / "kept").touch()
    with hold_worker_lock(study_folder) as lock:
        return asdict(lock.identity)


@pytest.mark.parametrize("has_worker", [True, False])
def test_pitfall_27_trial_that_died_before_its_first_heartbeat_continues(study_file: Path, has_worker: bool) -> None:
    opened = storage.open_storage(f"sqlite:///{study_file.parent / 'store.db'}")
    study = optuna.create_study(storage=opened, study_name="small")
    dead = study.ask({"learning_rate": FloatDistribution(1e-5, 1e-3)})
    if has_worker:
        dead.set_user_attr("worker", dead_worker(study_file.parent / "small"))
    began = datetime.now() - timedelta(days=1)
    with opened.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.exec_driver_sql("UPDATE trials SET datetime_start = ?", (str(began),))
    fail_stale_trials(study)
    assert study.trials[0].state is TrialState.RUNNING  # after a day without a heartbeat

    release_dead_trials(study, study_file.parent / "small")
    (again,) = study.trials
    assert trial_state.outcome(again) == trial_state.PAUSED and again.params == dead.params


def test_pitfall_28_tiny_tokenizer_is_the_same_each_time(context: RunContext) -> None:
    """The vocabulary that tokenizers trains depends on the order of a hash map, which differs between runs."""
    texts = context.checkpoint.tokenizer.batch_decode(
        [context.train[index]["input_ids"] for index in range(len(context.train))], skip_special_tokens=True
    )

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


def test_optuna_restart_does_not_draw_the_same_values_again(study_file: Path) -> None:
    def draw(sampler: Callable[[], optuna.samplers.BaseSampler], restarts: int) -> list[float]:
        """Return the values of six trials, in this number of restarts of the process."""
        storage = InMemoryStorage()
        for _ in range(restarts):
            study = optuna.create_study(
                storage=storage, study_name="drawn", load_if_exists=True, sampler=sampler(), direction="maximize"
            )
            study.optimize(lambda trial: -trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True), 6 // restarts)
        return [trial.params["learning_rate"] for trial in study.trials]

    again = draw(lambda: optuna.samplers.TPESampler(seed=0), restarts=3)
    assert again[0:2] == again[2:4] == again[4:6]

    spec = load_study(study_file, ("search.trials=6", 'search.sampler={ name = "tpe", n_startup_trials = 3 }'))
    ours = draw(lambda: build_sampler(spec), restarts=3)
    assert len(set(ours)) == 6
    assert ours == draw(lambda: build_sampler(spec), restarts=1)


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
    context, opened, study = open_search(spec, f"sqlite:///{study_file.parent / 'store.db'}", SearchListener())
    worker = Worker(context, opened, study, SearchListener(), Budget.of(spec.search, study))
    assert isinstance(worker.sampler, ReplayingSampler)
    assert isinstance(worker.sampler._inner, optuna.samplers.RandomSampler)
    assert isinstance(worker.pruner, AshaPruner)


def pragma(storage: Any, name: str) -> Any:
    with storage.engine.connect() as connection:
        return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


def test_optuna_sqlite_is_opened_for_many_processes(tmp_path: Path) -> None:
    default = RDBStorage(f"sqlite:///{tmp_path / 'plain.db'}")
    assert (pragma(default, "journal_mode"), pragma(default, "busy_timeout")) == ("delete", 5000)

    ours = storage.open_storage(f"sqlite:///{tmp_path / 'ours.db'}")
    assert (pragma(ours, "journal_mode"), pragma(ours, "busy_timeout")) == ("wal", 1000 * database.BUSY_TIMEOUT)


def count_heartbeats(storage: Any) -> int:
    with storage.engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT COUNT(*) FROM trial_heartbeats").scalar())


def heartbeats_survive_a_lock(storage: Any, file: Path) -> bool:
    """Return whether the heartbeat thread is alive after the database was locked for a while."""
    study = optuna.create_study(storage=storage)
    beating = HeartbeatThread(study.ask()._trial_id, storage)
    lock = sqlite3.connect(file, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    beating.start()
    time.sleep(0.5)
    lock.execute("ROLLBACK")
    lock.close()
    deadline = time.monotonic() + 10
    while beating._thread is not None and beating._thread.is_alive() and not count_heartbeats(storage):
        assert time.monotonic() < deadline, "the thread is alive but writes no heartbeat"
        time.sleep(0.05)
    alive = beating._thread is not None and beating._thread.is_alive()
    beating.join()
    return alive


def test_optuna_heartbeats_survive_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", died.append)  # the thread is expected to die here
    default = RDBStorage(
        f"sqlite:///{tmp_path / 'plain.db'}",
        engine_kwargs={"connect_args": {"timeout": 0.1}},
        heartbeat_interval=1,
    )
    assert not heartbeats_survive_a_lock(default, tmp_path / "plain.db") and len(died) == 1

    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.1)
    monkeypatch.setattr(database, "HEARTBEAT_INTERVAL", 1)
    assert heartbeats_survive_a_lock(storage.open_storage(f"sqlite:///{tmp_path / 'ours.db'}"), tmp_path / "ours.db")
    assert len(died) == 1


def test_optuna_every_trial_sends_heartbeats(tmp_path: Path, searched: Callable[..., optuna.Study]) -> None:
    default = RDBStorage(f"sqlite:///{tmp_path / 'plain.db'}", heartbeat_interval=1)
    study = optuna.create_study(storage=default)
    study.tell(study.ask(), 0.0)
    assert count_heartbeats(default) == 0  # ask and tell send none

    searched("search.trials=2")
    assert count_heartbeats(storage.open_storage(f"sqlite:///{tmp_path / 'store.db'}")) == 2


def test_optuna_retry_can_set_its_own_constraints(study_file: Path) -> None:
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
    trial_queue.enqueue_next(study, load_study(study_file).space)
    again = study.ask({"x": FloatDistribution(0.0, 1.0)})
    again.set_constraint("memory", -1.0)
    assert study.trials[1].constraints == {"memory": -1.0} and again.params == first.params


def test_optuna_dead_trial_does_not_influence_the_sampler(study_file: Path) -> None:
    axes: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}

    def next_draw(study: optuna.Study) -> Any:
        return optuna.samplers.TPESampler(seed=1).sample_independent(study, study.trials[0], "x", axes["x"])

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: (trial.suggest_float("x", 0.0, 1.0) - 0.5) ** 2, n_trials=20)
    without = next_draw(study)
    study.enqueue_trial({"x": without})
    dead = study.ask(axes)
    dead.set_user_attr("worker", dead_worker(study_file.parent / "small"))
    fail_stale_trials(study)  # the default storage has no heartbeats
    assert study.trials[dead.number].state is TrialState.RUNNING
    assert next_draw(study) != without

    release_dead_trials(study, study_file.parent / "small")
    assert study.trials[dead.number].state is TrialState.WAITING
    assert next_draw(study) == without


def test_evaluate_metrics_need_no_hub() -> None:
    with pytest.raises((FileNotFoundError, ConnectionError)):
        evaluate.load("accuracy")

    accuracy = evaluate_module("accuracy")
    assert isinstance(accuracy, evaluate.Metric)
    assert accuracy.compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0]) == {"accuracy": 0.75}
