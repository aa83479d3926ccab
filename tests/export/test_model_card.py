"""The model card is valid for the hub, shows the figures of `hpo compare`, and reveals nothing about this machine."""

from __future__ import annotations

import re
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from hpo.data.builtin_corpus import generate_reviews
from hpo.errors import StudyError
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.export.formats import export_format
from hpo.export.model_card import hub_id, model_card, strip_folders
from hpo.report.error_analysis import select_winner
from hpo.results.best_config import stored_data
from hpo.results.formatting import classes_table, gains_table, generalization_sentences, scores_table
from hpo.results.study_results import StudyResults
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.storage import storage_url
from hpo.study.spec import load_study
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint, save_model
from tests.support.evaluated_study import open_results, results, study_file

__all__ = ["results", "study_file"]


def read_tables(text: str) -> list[list[str]]:
    """Return every row of every table of a Markdown text."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "]


def test_metadata_is_valid_for_the_hub(results: StudyResults) -> None:
    data = ModelCard(model_card(results)).data
    assert isinstance(data, ModelCardData)
    assert data.library_name == "transformers" and data.pipeline_tag == "text-classification"
    assert data.license is None, "the license is unknown"
    assert data.base_model is None and data.datasets is None, "built-in data and models are not on the hub"
    assert results.comparison and data.eval_results
    by_metric = {result.metric_name: result for result in data.eval_results}
    runs = [results.runs[number] for number in results.comparison.winner_system.runs]
    deployed = max(runs, key=lambda run: run.value or 0.0)
    assert deployed.test and by_metric["accuracy"].metric_value == deployed.test.metrics["accuracy"]
    assert by_metric["mcc"].metric_type == "matthews_correlation" and by_metric["accuracy"].dataset_split == "test"
    assert data.metrics == ["accuracy", "f1", "precision", "recall", "roc_auc", "matthews_correlation"]


def test_figures_are_those_of_the_comparison(results: StudyResults) -> None:
    text, comparison = model_card(results), results.comparison
    assert comparison
    rows = read_tables(text)
    for table in (gains_table(comparison), scores_table(comparison), classes_table(select_winner(comparison))):
        for row in table.rows:
            assert [cell for cell in row if cell] in [[cell for cell in other if cell] for other in rows], row
    for sentence in [
        comparison.verdict,
        *(difference.verdict for difference in comparison.differences),
        *generalization_sentences(comparison),
    ]:
        assert sentence in text
    uses = comparison.test_uses.count
    assert f"The test split was used {uses} times" in text and "truncated after 32 tokens" in text


def test_search_settings_are_complete(results: StudyResults) -> None:
    facts = dict(row[:2] for row in read_tables(model_card(results)) if len(row) >= 2)
    assert facts["trials"] == "3 complete" and facts["budget"] == "3 trials" and facts["sampler, pruner"] == "tpe, none"
    assert facts["learning_rate"] in {"1e-05 to 0.01, log", "0.001"} and facts["seeds of the retrained runs"] == "0, 1"
    assert facts["fingerprint of the data"] == stored_data(results).fingerprint
    assert facts["rows"] == "96 train, 32 validation, 400 test"
    assert f"torch={version('torch')}" in facts["versions"] and facts["device"] == results.study.device


def test_code_in_the_card_runs(
    results: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    export_format(results, "model", tmp_path / "elsewhere" / "small")
    monkeypatch.chdir(tmp_path / "elsewhere")
    blocks = re.findall(r"```python\n(.*?)```", (tmp_path / "elsewhere" / "small" / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "card", "exec"), {})
    with_transformers, with_hpo = capsys.readouterr().out.strip().splitlines()
    label = re.search(r"label='(\w+)'", with_hpo)
    assert label and f"'label': '{label[1]}'" in with_transformers
    exec(blocks[0].replace('"a text"', '"word " * 2000'), {})  # longer than the model's positions


LOCAL = """\
name = "local"
[data]
train = "{folder}/secret-data/train.csv"
{test}
validation = 24
[model]
checkpoint = "weights/tiny"
max_length = 16
[space.parameters.learning_rate]
low = 1e-4
high = 1e-3
[search]
trials = 1
[training]
per_device_train_batch_size = 16
num_train_epochs = 1
[final]
seeds = 1
baselines = ["majority"]
"""
LABELS = ("<b>good</b>", "bad | *worse*")


def evaluate_local_study(folder: Path, test: str) -> StudyResults:
    """Return results of files and a checkpoint in private folders; the labels contain markup."""
    (folder / "secret-data").mkdir()
    for number, split in enumerate(("train", "test")):
        texts, labels = generate_reviews(120, number)
        table = pandas.DataFrame({"text": texts, "label": [LABELS[label] for label in labels]})
        table.to_csv(folder / "secret-data" / f"{split}.csv", index=False)
    checkpoint = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=16), texts, LABELS)
    save_model(checkpoint.fresh(), checkpoint.tokenizer, folder / "weights" / "tiny")
    (folder / "local.toml").write_text(LOCAL.format(folder=folder, test=test))
    spec = load_study(folder / "local.toml")
    run_search(spec, storage_url(spec), SearchListener())
    with open_final_runs(spec, storage_url(spec), RunListener(), searched=True) as final:
        retrain(final)
    return open_results(folder / "local.toml")


@pytest.mark.parametrize("test", ['test = "secret-data/test.csv"', ""])
def test_card_reveals_nothing_about_this_machine(tmp_path: Path, test: str) -> None:
    results = evaluate_local_study(tmp_path, test)
    text = model_card(results)
    for private in (tmp_path, tmp_path.name, Path.home(), socket.gethostname(), "secret-data", "weights/", "store.db"):
        assert str(private) not in text, private
    assert "tiny fine-tuned on train.csv" in text and "the only one" in text
    assert (
        "baseline majority has not been run; `hpo baseline STUDY majority` runs it" in text
        if test
        else "a comparison needs a test split" in text
    )
    data = yaml.safe_load(text.split("---\n")[1])
    assert "base_model" not in data and "datasets" not in data and ("type: custom" in text) == bool(test)
    assert "<b>" not in text and r"bad \| \*worse\*" in text, "labels must be escaped"


def test_hub_id_names_what_is_on_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(
        'name = "hub"\n[data]\nsource = "stanfordnlp/imdb"\n'
        '[model]\ncheckpoint = "distilbert-base-uncased"\n'
        "[space.parameters.learning_rate]\nlow = 1e-5\nhigh = 1e-3\n"
    )
    spec = load_study(file)
    assert hub_id(spec, spec.data.source) == "stanfordnlp/imdb"
    assert hub_id(spec, spec.model.checkpoint) == "distilbert-base-uncased"
    (tmp_path / "distilbert-base-uncased").mkdir()
    assert hub_id(spec, spec.model.checkpoint) is None, "a folder next to the study file takes precedence"
    for name in ("builtin:tiny", "../weights", "/weights/tiny", "~/tiny", "data/*.csv", "reviews.csv", None):
        assert hub_id(spec, name) is None


def test_strip_folders_shortens_paths_only() -> None:
    assert strip_folders("OSError: /home/me/a b/x.csv: no such file") == "OSError: a b/x.csv: no such file"
    assert strip_folders("`hpo retrain ~/studies/x.toml --set data.train='/d/e.csv'`") == (
        "`hpo retrain x.toml --set data.train='e.csv'`"
    )
    unchanged = "at 1/4 of the cost, texts/s, https://huggingface.co/docs/hub, stanfordnlp/imdb, 12 / 3, and/or"
    assert strip_folders(unchanged) == unchanged


def test_model_of_other_values_is_refused(study_file: Path) -> None:
    spec = load_study(study_file)
    info = spec.model_folder / "recipe.json"
    info.write_text(info.read_text().replace('"learning_rate": ', '"learning_rate": 9'))
    with pytest.raises(StudyError, match="does not hold the winner's model .* `hpo retrain .*small.toml` writes it"):
        model_card(open_results(study_file))
