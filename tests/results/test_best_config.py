"""The best configuration reproduces the trial, in another study file or with plain transformers."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import tomli_w
import torch
import yaml

from hpo.data.builtin_corpus import generate_reviews
from hpo.errors import StudyError
from hpo.evaluation.final_runs import FINE_TUNE, RunKey, open_final_runs
from hpo.evaluation.retraining import retrain, train_and_predict, train_run
from hpo.evaluation.run_listener import RunListener
from hpo.evaluation.winner import retraining_runs
from hpo.results.best_config import (
    best_config_dict,
    best_config_json,
    best_config_python,
    best_config_toml,
    best_config_yaml,
    stored_data,
)
from hpo.results.study_results import StudyResults
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.storage import open_storage, storage_url
from hpo.study.spec import load_study
from tests.conftest import SMALL
from tests.support.evaluated_study import open_results, results, study_file

__all__ = ["results", "study_file"]
# Plain transformers requests pinned memory even without an accelerator.
pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")


def run_snippet(snippet: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a snippet in a folder and return the names that it defines; it must not import hpo."""
    monkeypatch.chdir(folder)
    assert "import hpo" not in snippet and "from hpo" not in snippet
    names: dict[str, Any] = {}
    exec(compile(snippet, "best.py", "exec"), names)
    return names


def test_best_config_is_the_winner_with_its_scores(results: StudyResults) -> None:
    config = best_config_dict(results)
    comparison = results.compare()
    assert comparison
    assert config["trial"] == comparison.winner.trial
    assert config["values"] == comparison.winner.values
    assert config["value"] == results.trials[config["trial"]].value
    winner = comparison.winner_system
    assert winner.validation
    for split, scores in (("validation", winner.validation), ("test", winner.test)):
        assert config[split] == {**scores["accuracy"].model_dump(), "seeds": [0, 1]}
    assert config["training"] == {
        "per_device_train_batch_size": 16,
        "num_train_epochs": 1,
        "train_sampling_strategy": "group_by_length",
        "learning_rate": config["effective"]["learning_rate"],
    }
    assert config["data"] == stored_data(results).fingerprint


def test_all_formats_hold_the_same_values(results: StudyResults) -> None:
    config = best_config_dict(results)
    assert json.loads(best_config_json(results)) == config
    assert yaml.safe_load(best_config_yaml(results)) == config
    assert tomllib.loads(best_config_toml(results))["training"] == config["training"] | {"speed": "exact"}
    first = best_config_toml(results).splitlines()[0]
    assert first.startswith(f'# The best configuration of study "small": trial #{config["trial"]}, 20')
    assert f"accuracy {config['test']['mean']:.4f} +/- {config['test']['sd']:.4f} on test" in best_config_toml(results)


def test_seed_is_that_of_the_deployed_model(study_file: Path) -> None:
    spec = load_study(study_file)
    for seed in (0, 1):
        with open_final_runs(spec, storage_url(spec), RunListener(), searched=True) as final:
            retrain(final, seed)
        assert best_config_dict(open_results(study_file))["seed"] == seed


def test_toml_fixes_the_values_in_another_study(study_file: Path) -> None:
    """In a study file with the same data nothing is left to search, and its runs are equal bit for bit."""
    original = open_results(study_file)
    pasted, raw = tomllib.loads(best_config_toml(original)), tomllib.loads(study_file.read_text())
    raw |= {"name": "other", "model": raw["model"] | pasted["model"], "training": raw["training"] | pasted["training"]}
    raw["space"] = {"parameters": {"weight_decay": {"low": 0.0, "high": 0.0}}}
    other = study_file.with_name("other.toml")
    other.write_text(tomli_w.dumps(raw))
    spec = load_study(other)
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        values = [
            final.make(run, "fixed", partial(train_and_predict, final, run, "fixed")).value
            for run in retraining_runs(spec, {})
        ]
    assert values == best_config_dict(original)["validation"]["values"]


def test_snippet_trains_with_the_effective_values(results: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    config = best_config_dict(results)
    names = run_snippet(best_config_python(results), results.spec.file.parent, monkeypatch)
    texts, labels = generate_reviews(96, 0)
    trainer = names["train"](texts, labels)
    effective = config["effective"]
    assert trainer.state.max_steps == effective["max_steps"]
    assert trainer.lr_scheduler.base_lrs[0] == effective["learning_rate"]
    assert trainer.args.per_device_train_batch_size == effective["per_device_train_batch_size"]
    assert trainer.args.num_train_epochs == effective["num_train_epochs"]
    assert trainer.args.lr_scheduler_type == effective["lr_scheduler_type"]
    assert trainer.args.get_warmup_steps(trainer.state.max_steps) == effective["warmup_steps"]
    assert trainer.args.optim == effective["optim"]
    assert trainer.args.seed == config["seed"]
    assert names["model"].config.id2label == {0: "negative", 1: "positive"}
    assert all(len(ids) <= 32 for ids in names["encode"](["long " * 100]))


RICH = SMALL.replace("num_train_epochs = 1", "gradient_accumulation_steps = 2\nlr_scheduler_type = 'cosine'") + (
    "max_grad_norm = inf\nadam_beta2 = 0.99\n[space.parameters.warmup_ratio]\nlow = 0.3\nhigh = 0.4\n"
    '[space.parameters."model.hidden_dropout_prob"]\nchoices = [0.25]\n'
    "[space.parameters.num_train_epochs]\nlow = 2\nhigh = 2\n"
    "[space.parameters.label_smoothing_factor]\nlow=0.1\nhigh=0.1"
)


@pytest.fixture
def rich(tmp_path: Path, saved_checkpoint: Path) -> StudyResults:
    """Results of a search over warmup, a model field and the loss, with accumulation, from a local checkpoint."""
    return run_one_trial(tmp_path, RICH, saved_checkpoint)


def run_one_trial(folder: Path, text: str, checkpoint: Path) -> StudyResults:
    """Run one trial of a study, from a checkpoint in the same folder."""
    file = folder / "small.toml"
    text = text.replace('"builtin:tiny"', f'"{checkpoint.name}"')
    file.write_text(text.replace("trials = 3", "trials = 1").replace("[model]", 'clean = ["lowercase"]\n[model]'))
    spec = load_study(file)
    run_search(spec, storage_url(spec), SearchListener())
    return open_results(file)


@pytest.fixture
def saved_checkpoint(tmp_path: Path) -> Path:
    """A checkpoint in the folder of the study file, in half precision like many on the hub."""
    from hpo.study.spec_tables import ModelSpec
    from hpo.training.checkpoint import Checkpoint, save_model

    checkpoint = Checkpoint(
        ModelSpec(checkpoint="builtin:tiny", max_length=32), generate_reviews(90, 0)[0], ("negative", "positive")
    )
    torch.manual_seed(0)
    save_model(checkpoint.fresh().half(), checkpoint.tokenizer, tmp_path / "weights")
    return tmp_path / "weights"


def test_snippet_has_warmup_dropout_loss_and_checkpoint(rich: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    config = best_config_dict(rich)
    assert "warmup_ratio" in config["values"] and config["training"]["warmup_steps"] == config["values"]["warmup_ratio"]
    assert config["model"] == {"hidden_dropout_prob": 0.25} and config["clean"] == ["lowercase"]
    assert config["validation"] is None and config["test"] is None
    names = run_snippet(best_config_python(rich), rich.spec.file.parent, monkeypatch)
    model = names["model"]
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.config.hidden_dropout_prob == 0.25 and model.bert.encoder.layer[0].output.dropout.p == 0.25
    trainer = names["train"](*generate_reviews(96, 0))
    effective = config["effective"]
    assert trainer.state.max_steps == effective["max_steps"] == 6
    assert trainer.args.get_warmup_steps(6) == effective["warmup_steps"] > 1
    assert trainer.args.lr_scheduler_type == effective["lr_scheduler_type"] == "cosine"
    assert trainer.args.gradient_accumulation_steps == effective["gradient_accumulation_steps"] == 2
    assert trainer.args.adam_beta2 == 0.99 and trainer.args.max_grad_norm == float("inf")
    # The loss for accumulation is the mean over all rows of the step, smoothed as in the search.
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    expected = torch.nn.functional.cross_entropy(
        logits, labels, label_smoothing=config["values"]["label_smoothing_factor"]
    )
    loss = names["mean_loss"]({"logits": logits}, labels, 8) + names["mean_loss"]({"logits": logits}, labels, 8)
    torch.testing.assert_close(loss, expected)


def test_snippet_ends_with_the_weights_of_the_search(
    tmp_path: Path, saved_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step covers all rows in two accumulated batches, and there is no dropout, so no random draw can differ."""
    text = RICH.replace("choices = [0.25]", "choices = [0.0]").replace("train_batch_size = 16", "train_batch_size = 48")
    # SGD, because Adam hides a wrongly scaled gradient; no smoothing, whose loss plain transformers scales correctly.
    text = text.replace("low=0.1\nhigh=0.1", "low=0.0\nhigh=0.0")
    text = text.replace("max_grad_norm = inf\nadam_beta2 = 0.99", 'optim = "sgd"\nmax_grad_norm = inf')
    text = text.replace("low = 1e-5", "low = 5e-3")
    rich = run_one_trial(tmp_path, text, saved_checkpoint)
    config, names = best_config_dict(rich), run_snippet(best_config_python(rich), tmp_path, monkeypatch)
    with open_final_runs(rich.spec, rich.url, RunListener(), searched=True) as final:
        rows = final.data.train
        plain = names["train"](rows.texts, rows.labels).model
        train_run(final, RunKey(FINE_TUNE, config["seed"], "train", config["values"]))
        ours = final.trainer.final_model()
        start = final.checkpoint.fresh()
    largest_change = 0.0
    for (name, plain_weight), weight in zip(plain.state_dict().items(), ours.state_dict().values(), strict=True):
        torch.testing.assert_close(plain_weight, weight, atol=1e-6, rtol=1e-4, msg=name)
        largest_change = max(largest_change, float((weight - start.state_dict()[name]).abs().max()))
    assert largest_change > 1e-4


def test_toml_fixes_a_field_of_the_model(rich: StudyResults, tmp_path: Path) -> None:
    text = best_config_toml(rich) + "[space.parameters.adam_beta1]\nchoices = [0.9]\n"
    other = tmp_path / "other.toml"
    other.write_text(
        'name = "other"\n' + text.replace("[data]", '[data]\nsource = "builtin:reviews"\nrows = {train = 96}')
    )
    spec = load_study(other)
    assert spec.training["model.hidden_dropout_prob"] == 0.25 and rich.accelerations
    assert spec.training == {
        **rich.spec.training,
        **rich.accelerations,
        **best_config_dict(rich)["values"],
        "speed": "exact",
    }
    assert spec.model == rich.spec.model and spec.data.clean == rich.spec.data.clean


def test_snippet_explains_a_split_batch(rich: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rich.best
    rich.ranked[0] = replace(rich.best, batch_split=4)  # as after a trial that did not fit into memory
    snippet = best_config_python(rich)
    assert "per_device_train_batch_size=4, gradient_accumulation_steps=8" in snippet
    assert run_snippet(snippet, rich.spec.file.parent, monkeypatch)["arguments"].per_device_train_batch_size == 16


def test_study_of_another_program_has_no_best_config(study_file: Path, small: Path) -> None:
    spec = load_study(study_file)
    storage = open_storage(storage_url(spec))
    optuna.delete_study(study_name="small", storage=storage)
    study = optuna.create_study(study_name="small", storage=storage)
    with pytest.raises(StudyError, match="was not created by hpo"):
        best_config_dict(open_results(study_file))
    assert study.user_attrs == {}
