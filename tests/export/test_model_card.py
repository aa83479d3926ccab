"""The card is what the hub can read, says what `hpo compare` says, and tells nothing of this machine."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from hpo.data.builtin_corpus import generate_reviews
from hpo.errors import StudyError
from hpo.evaluation.final_runs import open_final_runs
from hpo.evaluation.retraining import retrain
from hpo.evaluation.run_listener import RunListener
from hpo.export.formats import export_format
from hpo.export.model_card import hub_id, model_card, strip_folders
from hpo.results.formatting import classes_table, gains_table, generalization_sentences, scores_table
from hpo.results.study_results import StudyResults
from hpo.search.engines import run_search
from hpo.search.search_listener import SearchListener
from hpo.store.storage import storage_url
from hpo.study.spec import ModelSpec, load_study
from hpo.training.checkpoint import Checkpoint, save_model
from tests.support.evaluated_study import judged, record, record_of

__all__ = ["judged", "record"]


def rows(text: str) -> list[list[str]]:
    """Every row of every table of a Markdown text."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "]


def test_the_hub_can_read_it(record: StudyResults) -> None:
    data = ModelCard(model_card(record)).data
    assert data.library_name == "transformers" and data.pipeline_tag == "text-classification"
    assert data.license is None, "nobody has said what the license is"
    assert data.base_model is None and data.datasets is None, "neither builtin is on the hub"
    seed = record.comparison and record.comparison.systems[0].runs
    assert seed and data.eval_results
    found = {result.metric_name: result for result in data.eval_results}
    deployed = max(seed, key=lambda run: run.value or 0.0)
    assert found["accuracy"].metric_value == deployed.user_attrs["test"]["metrics"]["accuracy"]
    assert found["mcc"].metric_type == "matthews_correlation" and found["accuracy"].dataset_split == "test"
    assert data.metrics == ["accuracy", "f1", "precision", "recall", "roc_auc", "matthews_correlation"]


def test_its_figures_are_those_of_the_comparison(record: StudyResults) -> None:
    text, found = model_card(record), record.found
    assert found
    shown = rows(text)
    for table in (gains_table(found), scores_table(found), classes_table({**found, "systems": found["systems"][:1]})):
        for row in table.rows:
            assert [cell for cell in row if cell] in [[cell for cell in each if cell] for each in shown], row
    for sentence in [
        found["verdict"],
        *(row["verdict"] for row in found["differences"]),
        *generalization_sentences(found),
    ]:
        assert sentence in text
    uses = found["test_uses"]["count"]
    assert f"The test split was used {uses} times" in text and "cut off after 32 tokens" in text


def test_it_tells_the_whole_search(record: StudyResults) -> None:
    known = dict(row[:2] for row in rows(model_card(record)) if len(row) >= 2)
    assert known["trials"] == "3 complete" and known["budget"] == "3 trials" and known["sampler, pruner"] == "tpe, none"
    assert known["learning_rate"] in {"1e-05 to 0.01, log", "0.001"} and known["seeds of the fresh runs"] == "0, 1"
    stored = record.search.user_attrs
    assert known["fingerprint of the data"] == stored["data"]["fingerprint"]
    assert known["rows"] == "96 train, 32 validation, 400 test"
    assert f"torch={torch.__version__}" in known["versions"] and known["device"] == stored["device"]


def test_its_code_runs(record: StudyResults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    export_format(record, "model", tmp_path / "away" / "small")
    monkeypatch.chdir(tmp_path / "away")
    blocks = re.findall(r"```python\n(.*?)```", (tmp_path / "away" / "small" / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "card", "exec"), {})
    plain, ours = capsys.readouterr().out.strip().splitlines()
    label = re.search(r"label='(\w+)'", ours)
    assert label and f"'label': '{label[1]}'" in plain
    exec(blocks[0].replace('"a text"', '"word " * 2000'), {})  # longer than the model could take


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


def local(folder: Path, test: str) -> StudyResults:
    """A retrained study of files and a checkpoint in folders that are nobody's business, with labels like markup."""
    (folder / "secret-data").mkdir()
    for number, split in enumerate(("train", "test")):
        texts, labels = generate_reviews(120, number)
        table = pandas.DataFrame({"text": texts, "label": [LABELS[label] for label in labels]})
        table.to_csv(folder / "secret-data" / f"{split}.csv", index=False)
    made = Checkpoint(ModelSpec(checkpoint="builtin:tiny", max_length=16), texts, LABELS)
    save_model(made.fresh(), made.tokenizer, folder / "weights" / "tiny")
    (folder / "local.toml").write_text(LOCAL.format(folder=folder, test=test))
    spec = load_study(folder / "local.toml")
    run_search(spec, storage_url(spec), SearchListener())
    with open_final_runs(spec, storage_url(spec), RunListener(), searched=True) as final:
        retrain(final)
    return record_of(folder / "local.toml")


@pytest.mark.parametrize("test", ['test = "secret-data/test.csv"', ""])
def test_it_keeps_this_machine_to_itself(tmp_path: Path, test: str) -> None:
    record = local(tmp_path, test)
    text = model_card(record)
    for private in (tmp_path, tmp_path.name, Path.home(), socket.gethostname(), "secret-data", "weights/", "store.db"):
        assert str(private) not in text, private
    assert "tiny fine-tuned on train.csv" in text and "the only one" in text
    assert "not yet made: majority; hpo baseline STUDY majority" in text if test else "without a test split" in text
    data = yaml.safe_load(text.split("---\n")[1])
    assert "base_model" not in data and "datasets" not in data and ("type: custom" in text) == bool(test)
    assert "<b>" not in text and r"bad \| \*worse\*" in text, "labels are text, not markup"


def test_what_is_on_the_hub_is_named_by_its_id(tmp_path: Path) -> None:
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
    assert hub_id(spec, spec.model.checkpoint) is None, "a folder beside the study file comes first"
    for name in ("builtin:tiny", "../weights", "/weights/tiny", "~/tiny", "data/*.csv", "reviews.csv", None):
        assert hub_id(spec, name) is None


def test_paths_are_cut_down_and_nothing_else_is() -> None:
    assert strip_folders("OSError: /home/me/a b/x.csv: no such file") == "OSError: a b/x.csv: no such file"
    assert strip_folders("`hpo retrain ~/studies/x.toml --set data.train='/d/e.csv'`") == (
        "`hpo retrain x.toml --set data.train='e.csv'`"
    )
    kept = "at 1/4 of the cost, texts/s, https://huggingface.co/docs/hub, stanfordnlp/imdb, 12 / 3, and/or"
    assert strip_folders(kept) == kept


def test_another_model_in_the_folder_is_not_described(judged: Path) -> None:
    spec = load_study(judged)
    recipe = spec.model_folder / "recipe.json"
    recipe.write_text(recipe.read_text().replace('"learning_rate": ', '"learning_rate": 9'))
    with pytest.raises(StudyError, match="is not the winner's model .* `hpo retrain .*small.toml` makes it"):
        model_card(record_of(judged))
