"""The best configuration says what ran: pasted into a study file or run with plain transformers it does the same."""

from __future__ import annotations

import json
import tomllib
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
from hpo.evaluation.retraining import retrain, retraining_runs, train_and_predict, train_run
from hpo.evaluation.run_listener import RunListener
from hpo.results.best_config import (
    best_config_dict,
    best_config_json,
    best_config_python,
    best_config_toml,
    best_config_yaml,
)
from hpo.results.study_results import StudyResults
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.storage import open_storage, storage_url
from hpo.study.spec import load_study
from tests.conftest import SMALL
from tests.support.evaluated_study import judged, record, record_of

__all__ = ["judged", "record"]
# Plain transformers asks for pinned memory where there is no accelerator to pin it for.
pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")


def run_plainly(snippet: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a snippet defines, run in a folder; it must not know of hpo."""
    monkeypatch.chdir(folder)
    assert "import hpo" not in snippet and "from hpo" not in snippet
    names: dict[str, Any] = {}
    exec(compile(snippet, "best.py", "exec"), names)
    return names


def test_it_is_the_winner_with_its_scores(record: StudyResults) -> None:
    told = best_config_dict(record)
    assert record.comparison
    assert told["trial"] == record.comparison.best.trial
    assert told["values"] == record.comparison.best.values
    assert told["value"] == record.trials[told["trial"]].value
    ours = record.comparison.about()["systems"][0]
    for split in ("validation", "test"):
        assert told[split] == {**ours[split]["accuracy"], "seeds": [0, 1]}
    assert told["training"] == {
        "per_device_train_batch_size": 16,
        "num_train_epochs": 1,
        "train_sampling_strategy": "group_by_length",
        "learning_rate": told["effective"]["learning_rate"],
    }
    assert told["data"] == record.search.user_attrs["data"]["fingerprint"]


def test_every_form_says_the_same(record: StudyResults) -> None:
    told = best_config_dict(record)
    assert json.loads(best_config_json(record)) == told
    assert yaml.safe_load(best_config_yaml(record)) == told
    assert tomllib.loads(best_config_toml(record))["training"] == told["training"] | {"speed": "exact"}
    first = best_config_toml(record).splitlines()[0]
    assert first.startswith(f'# The best configuration of study "small": trial #{told["trial"]}, 20')
    assert f"accuracy {told['test']['mean']:.4f} +/- {told['test']['sd']:.4f} on test" in best_config_toml(record)


def test_the_seed_is_that_of_the_deployed_model(judged: Path) -> None:
    spec = load_study(judged)
    for seed in (0, 1):
        with open_final_runs(spec, storage_url(spec), RunListener(), searched=True) as final:
            retrain(final, seed)
        assert best_config_dict(record_of(judged))["seed"] == seed


def test_the_toml_fixes_the_values_in_another_study(judged: Path) -> None:
    """Pasted into a study file of the same data, nothing is left to search, and its runs are the same bit for bit."""
    first = record_of(judged)
    pasted, raw = tomllib.loads(best_config_toml(first)), tomllib.loads(judged.read_text())
    raw |= {"name": "other", "model": raw["model"] | pasted["model"], "training": raw["training"] | pasted["training"]}
    raw["space"] = {"parameters": {"weight_decay": {"low": 0.0, "high": 0.0}}}
    other = judged.with_name("other.toml")
    other.write_text(tomli_w.dumps(raw))
    spec = load_study(other)
    with open_final_runs(spec, storage_url(spec), RunListener()) as final:
        made = [
            final.make(run, "fixed", partial(train_and_predict, final, run, "fixed")).value
            for run in retraining_runs(spec, {})
        ]
    assert made == best_config_dict(first)["validation"]["values"]


def test_the_snippet_trains_with_the_effective_values(record: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    told = best_config_dict(record)
    names = run_plainly(best_config_python(record), record.spec.file.parent, monkeypatch)
    texts, labels = generate_reviews(96, 0)
    trainer = names["train"](texts, labels)
    effective = told["effective"]
    assert trainer.state.max_steps == effective["max_steps"]
    assert trainer.lr_scheduler.base_lrs[0] == effective["learning_rate"]
    assert trainer.args.per_device_train_batch_size == effective["per_device_train_batch_size"]
    assert trainer.args.num_train_epochs == effective["num_train_epochs"]
    assert trainer.args.lr_scheduler_type == effective["lr_scheduler_type"]
    assert trainer.args.get_warmup_steps(trainer.state.max_steps) == effective["warmup_steps"]
    assert trainer.args.optim == effective["optim"]
    assert trainer.args.seed == told["seed"]
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
    """A search over warmup, a model's own field and a loss, with accumulation, from a checkpoint in a folder."""
    return searched(tmp_path, RICH, saved_checkpoint)


def searched(folder: Path, text: str, checkpoint: Path) -> StudyResults:
    """One trial of a study, from a checkpoint beside it."""
    file = folder / "small.toml"
    text = text.replace('"builtin:tiny"', f'"{checkpoint.name}"')
    file.write_text(text.replace("trials = 3", "trials = 1").replace("[model]", 'clean = ["lowercase"]\n[model]'))
    spec = load_study(file)
    run_search(spec, storage_url(spec), SearchListener())
    return record_of(file)


@pytest.fixture
def saved_checkpoint(tmp_path: Path) -> Path:
    """A checkpoint in a folder beside the study file, in half precision as many on the hub are."""
    from hpo.study.spec import ModelSpec
    from hpo.training.checkpoint import Checkpoint, save_model

    made = Checkpoint(
        ModelSpec(checkpoint="builtin:tiny", max_length=32), generate_reviews(90, 0)[0], ("negative", "positive")
    )
    torch.manual_seed(0)
    save_model(made.fresh().half(), made.tokenizer, tmp_path / "weights")
    return tmp_path / "weights"


def test_the_snippet_has_warmup_dropout_loss_and_checkpoint(
    rich: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = best_config_dict(rich)
    assert "warmup_ratio" in told["values"] and told["training"]["warmup_steps"] == told["values"]["warmup_ratio"]
    assert told["model"] == {"hidden_dropout_prob": 0.25} and told["clean"] == ["lowercase"]
    assert told["validation"] is None and told["test"] is None
    names = run_plainly(best_config_python(rich), rich.spec.file.parent, monkeypatch)
    model = names["model"]
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.config.hidden_dropout_prob == 0.25 and model.bert.encoder.layer[0].output.dropout.p == 0.25
    trainer = names["train"](*generate_reviews(96, 0))
    effective = told["effective"]
    assert trainer.state.max_steps == effective["max_steps"] == 6
    assert trainer.args.get_warmup_steps(6) == effective["warmup_steps"] > 1
    assert trainer.args.lr_scheduler_type == effective["lr_scheduler_type"] == "cosine"
    assert trainer.args.gradient_accumulation_steps == effective["gradient_accumulation_steps"] == 2
    assert trainer.args.adam_beta2 == 0.99 and trainer.args.max_grad_norm == float("inf")
    # The loss that goes with accumulation is the mean over all rows of the step, smoothed as in the search.
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    wanted = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=told["values"]["label_smoothing_factor"])
    found = names["mean_loss"]({"logits": logits}, labels, 8) + names["mean_loss"]({"logits": logits}, labels, 8)
    torch.testing.assert_close(found, wanted)


def test_the_snippet_ends_with_the_weights_of_the_search(
    tmp_path: Path, saved_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither order nor dropout differ: a step is all rows, in two batches whose gradients are accumulated."""
    text = RICH.replace("choices = [0.25]", "choices = [0.0]").replace("train_batch_size = 16", "train_batch_size = 48")
    # Adam would forgive a gradient of any length, and plain transformers gets a smoothed loss right.
    text = text.replace("low=0.1\nhigh=0.1", "low=0.0\nhigh=0.0")
    text = text.replace("max_grad_norm = inf", 'optim = "sgd"\nmax_grad_norm = inf').replace("low = 1e-5", "low = 5e-3")
    rich = searched(tmp_path, text, saved_checkpoint)
    told, names = best_config_dict(rich), run_plainly(best_config_python(rich), tmp_path, monkeypatch)
    with open_final_runs(rich.spec, rich.url, RunListener(), searched=True) as final:
        rows = final.data.train
        plain = names["train"](rows.texts, rows.labels).model
        train_run(final, RunKey(FINE_TUNE, told["seed"], "train", told["values"]))
        ours = final.trainer.settled()
        start = final.checkpoint.fresh()
    moved = 0.0
    for (name, theirs), weight in zip(plain.state_dict().items(), ours.state_dict().values(), strict=True):
        torch.testing.assert_close(theirs, weight, atol=1e-6, rtol=1e-4, msg=name)
        moved = max(moved, float((weight - start.state_dict()[name]).abs().max()))
    assert moved > 1e-4


def test_a_models_own_field_is_fixed_too(rich: StudyResults, tmp_path: Path) -> None:
    text = best_config_toml(rich) + "[space.parameters.adam_beta1]\nchoices = [0.9]\n"
    other = tmp_path / "other.toml"
    other.write_text(
        'name = "other"\n' + text.replace("[data]", '[data]\nsource = "builtin:reviews"\nrows = {train = 96}')
    )
    spec = load_study(other)
    assert spec.training["model.hidden_dropout_prob"] == 0.25 and rich.levers
    assert spec.training == {**rich.spec.training, **rich.levers, **best_config_dict(rich)["values"], "speed": "exact"}
    assert spec.model == rich.spec.model and spec.data.clean == rich.spec.data.clean


def test_what_was_split_is_told(rich: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rich.best
    rich.best.user_attrs["batch_split"] = 4  # as a run out of memory would have left it
    snippet = best_config_python(rich)
    assert "per_device_train_batch_size=4, gradient_accumulation_steps=8" in snippet
    assert run_plainly(snippet, rich.spec.file.parent, monkeypatch)["arguments"].per_device_train_batch_size == 16


def test_what_has_no_best_says_so(judged: Path, small: Path) -> None:
    spec = load_study(judged)
    storage = open_storage(storage_url(spec))
    optuna.delete_study(study_name="small", storage=storage)
    study = optuna.create_study(study_name="small", storage=storage)
    with pytest.raises(StudyError, match="was not made by hpo"):
        best_config_dict(record_of(judged))
    assert study.user_attrs == {}
