"""Predictions equal those of the model on texts prepared as in training; they keep the order and are not delayed."""

from __future__ import annotations

import json
import math
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import hpo
from hpo import predict
from hpo.cli import main
from hpo.data.builtin_corpus import generate_reviews
from hpo.errors import DataError, ModelError, SpecError
from hpo.predict import Predictor, locate_model
from hpo.study.spec_tables import ModelSpec
from hpo.training.checkpoint import Checkpoint
from hpo.training.model_folder import ModelInfo, write_model_folder
from tests.support.model_checksums import renew_checksums

TEXTS = [text if row % 3 else text[:20] for row, text in enumerate(generate_reviews(90, 0)[0])]
MAX_LENGTH = 24
STUDY = """\
name = "small"
[data]
source = "builtin:reviews"
[model]
checkpoint = "builtin:tiny"
[space.parameters.learning_rate]
low = 1e-5
high = 1e-2
"""


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as `hpo retrain` creates it, with a large head, so that predictions differ between texts."""
    folder = tmp_path_factory.mktemp("retrained") / "model"
    folder.mkdir()
    checkpoint = Checkpoint(
        ModelSpec(checkpoint="builtin:tiny", max_length=MAX_LENGTH), TEXTS, ("bad", "good", "so-so")
    )
    torch.manual_seed(0)
    model = checkpoint.fresh()
    with torch.no_grad():
        model.classifier.weight.mul_(500)
        logits = model.eval()(**checkpoint.tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits
        model.classifier.bias.sub_(logits.mean(0))
    steps: list[Any] = ["strip_html", "lowercase"]
    labels = ["bad", "good", "so-so"]
    info = ModelInfo(study="small", text="review", clean=steps, max_length=MAX_LENGTH, labels=labels)
    write_model_folder(folder, model, checkpoint.tokenizer, info)
    return folder


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Predictor:
    return hpo.load(model_folder)


@pytest.fixture
def study(model_folder: Path, tmp_path: Path) -> Path:
    """A study file with its model folder."""
    shutil.copytree(model_folder, tmp_path / "small" / "model")
    (tmp_path / "small.toml").write_text(STUDY)
    return tmp_path / "small.toml"


def probabilities(predictions: Any) -> np.ndarray[Any, Any]:
    """The probabilities of all labels, one row per prediction."""
    return np.array([list(prediction.probabilities.values()) for prediction in predictions])


# --- predictions ------------------------------------------------------------------------------------------------------


def test_predictions_equal_those_of_single_texts_in_order(model: Predictor) -> None:
    expected = [model.predict([text])[0] for text in TEXTS]
    assert len({prediction.label for prediction in expected}) > 1
    assert len(np.unique(probabilities(expected).round(3), axis=0)) > 50
    for predictions in (model.predict(TEXTS), list(model.stream(iter(TEXTS)))):
        assert [prediction.label for prediction in predictions] == [prediction.label for prediction in expected]
        np.testing.assert_allclose(probabilities(predictions), probabilities(expected), atol=1e-5)


def test_prediction_is_frozen_and_has_the_most_probable_label(model: Predictor) -> None:
    (prediction,) = model.predict(["A fine film."])
    assert tuple(prediction.probabilities) == model.labels == ("bad", "good", "so-so")
    assert math.isclose(sum(prediction.probabilities.values()), 1)
    assert prediction.probability == max(prediction.probabilities.values())
    assert prediction.probability == prediction.probabilities[prediction.label]
    with pytest.raises(FrozenInstanceError):
        prediction.label = "bad"  # type: ignore[misc]
    assert model.predict([]) == []


def test_texts_are_cleaned_and_truncated_as_in_training(model: Predictor) -> None:
    plain, marked_up, longer = model.predict(["a fine film", "A <b>fine</b> FILM", "a fine film " * 50])
    assert probabilities([plain]) == pytest.approx(probabilities([marked_up]), abs=1e-5)
    cut = " ".join(("a fine film " * 50).split()[: MAX_LENGTH - 2])
    long_ids, cut_ids = model._classifier.encode(["a fine film " * 50, cut])
    assert long_ids == cut_ids
    assert probabilities([longer]) == pytest.approx(probabilities(model.predict([cut])), abs=1e-5)


def test_texts_can_be_numpy_arrays_and_pandas_series(model: Predictor) -> None:
    import pandas

    assert model.predict(np.array(TEXTS[:3])) == model.predict(pandas.Series(TEXTS[:3])) == model.predict(TEXTS[:3])


class CountingTexts:
    """Texts that count how many of them were read."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, 0

    def __iter__(self) -> Iterator[str]:
        for row in range(self.count):
            self.read += 1
            yield TEXTS[row % len(TEXTS)]


def test_stream_reads_at_most_a_chunk_ahead(model: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "MAX_CHUNK", 8)
    texts = CountingTexts(100)
    progress: list[int] = []
    predictions = model.stream(texts, progress.append)
    assert texts.read == 0
    next(predictions)
    assert texts.read == 1  # the first prediction does not wait for a second text
    ahead = [texts.read - done for done, _ in enumerate(predictions, start=2)]
    assert max(ahead) == 7 and len(ahead) == 99
    assert progress == sorted(progress) and progress[-1] == 100


@pytest.mark.parametrize("slow", ["texts", "predictions", "unready"])
def test_stream_reads_nothing_ahead_if_texts_or_predictions_are_slow(
    model: Predictor, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    limit = {"texts": "WAIT_SECONDS", "predictions": "MAX_PAUSE"}.get(slow)
    if limit:
        monkeypatch.setattr(predict, limit, -1.0)
    texts = CountingTexts(5)
    assert [texts.read for _ in model.stream(texts, is_ready=lambda: slow != "unready")] == [1, 2, 3, 4, 5]


def test_all_texts_before_an_unusable_one_are_predicted(model: Predictor) -> None:
    predictions = model.stream([*TEXTS[:40], " ", *TEXTS])
    assert len(list(islice(predictions, 40))) == 40
    with pytest.raises(DataError, match="^text 41 is empty or null; fill or remove it$"):
        next(predictions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text 2 is empty or null"),
        (None, "text 2 is empty or null"),
        (float("nan"), "text 2 is empty or null"),
        ("<br />", r"text 2 is empty after cleaning \(strip_html, lowercase\)"),
        (5, "text 2 is of type int, 5; expected a string"),
        ("&#xd800; \ud800", "text 2 contains half a character"),
    ],
)
def test_unusable_text_is_an_error(model: Predictor, text: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        model.predict(["good", text])


@pytest.mark.parametrize("text", ["good", b"good"])
def test_string_instead_of_a_list_is_an_error(model: Predictor, text: Any) -> None:
    for predict_texts in (model.predict, model.stream):
        with pytest.raises(TypeError, match=r"put it in a list, \[text\]"):
            predict_texts(text)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_study_file_loads_its_model_folder(study: Path, model: Predictor) -> None:
    assert hpo.load(str(study)).predict(TEXTS[:2]) == model.predict(TEXTS[:2])
    assert locate_model(study) == (study.parent / "small" / "model", False)
    (study.parent / "small").rename(study.parent / "other")
    assert locate_model(study, ["name=other"])[0] == study.parent / "other" / "model"


def test_remote_code_is_trusted_only_by_the_study_file(study: Path) -> None:
    assert locate_model(study, ["model.trust_remote_code=true"])[1]
    assert not locate_model(study.parent / "small" / "model")[1]


def change_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_info(folder: Path, **changes: Any) -> None:
    info = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(info | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "recipe.json").unlink(), "no recipe.json, so hpo retrain did not make this folder"),
        (lambda folder: (folder / "recipe.json").write_text("{"), "recipe.json: "),
        (
            lambda folder: change_info(folder, labels=["bad", "good"]),
            "recipe.json names 2 labels, but the weights have 3; delete the folder, and hpo retrain STUDY",
        ),
        (lambda folder: change_info(folder, clean=["stripp"]), "recipe.json: clean: stripp is unknown"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "header too small"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON file"),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{"),
            "delete the folder, and hpo retrain STUDY writes it again",
        ),
        (
            lambda folder: [file.unlink() for file in folder.glob("tokenizer*")],
            "contains no tokenizer; delete the folder, and hpo retrain STUDY writes it again",
        ),
        (
            lambda folder: change_weights(folder, lambda weights: weights["classifier.bias"].fill_(math.nan)),
            "probabilities are not finite: the model's weights are damaged",
        ),
    ],
)
def test_damaged_model_folder_is_an_error(
    model_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    damage(folder)
    renew_checksums(folder)
    with pytest.raises(ModelError) as caught:
        hpo.load(folder).predict(["good"])
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_changed_file_of_a_model_folder_is_an_error(name: str, model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-9] + content[-9:].upper() + b" ")
    with pytest.raises(ModelError, match=f"{name}: is damaged, or was changed after it was written; delete the folder"):
        hpo.load(folder)


@pytest.mark.parametrize(
    ("path", "overrides", "message"),
    [
        ("none", [], "none: no such study file or model folder"),
        ("none.toml", [], "none.toml: no such file; `hpo init DIR` writes a starter study"),
        ("texts.csv", [], "to predict its texts, run hpo predict STUDY --file {}texts.csv"),
        (
            "small.toml",
            ["name=other"],
            "other/model: no such model folder; hpo retrain {}small.toml --set name=other creates it",
        ),
        ("small", [], "small: is not a model folder; did you mean {}small/model?"),
        ("small/best", [], "weights of a search, which are not retrained yet; hpo retrain STUDY creates {}small/model"),
        ("small/model", ["name=other"], "--set: name=other changes a study file, but {}small/model is a folder"),
    ],
)
def test_path_without_a_model_is_an_error(study: Path, path: str, overrides: list[str], message: str) -> None:
    (study.parent / "small" / "best").mkdir()
    (study.parent / "small" / "best" / "trial.json").write_text("{}")
    (study.parent / "texts.csv").write_text("text\ngood\n")
    with pytest.raises((ModelError, SpecError)) as caught:
        locate_model(study.parent / path, overrides)
    assert message.format(f"{study.parent}/") in str(caught.value)


def test_import_of_hpo_imports_nothing_heavy() -> None:
    code = "import sys, hpo; hpo.load; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "pandas", "numpy", "pydantic", "typer"} & set(eval(done.stdout))


# --- the shell --------------------------------------------------------------------------------------------------------


@contextmanager
def start_shell(*arguments: str) -> Iterator[Any]:
    """Start `hpo predict` in another process, which is killed if it does not end in time."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "hpo", "predict", *arguments]
    # A shell without job control starts background processes with SIGINT ignored, and children inherit that.
    restore_sigint = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=restore_sigint) as run:
        timeout = threading.Timer(120, run.kill)
        timeout.start()
        yield run
        timeout.cancel()


@pytest.fixture
def run_predict(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Any]]:
    """Run `hpo predict` in this process, in the folder of the study: exit code, standard output, standard error."""
    monkeypatch.chdir(study.parent)
    transformers.utils.logging.disable_progress_bar()

    def run(*arguments: str, stdin: int | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hpo", "predict", *arguments])
        with open(os.devnull if stdin is None else stdin) as handle, pytest.raises(SystemExit) as exited:
            monkeypatch.setattr(sys, "stdin", handle)
            main()
        return int(exited.value.code or 0), *capsys.readouterr()

    yield run
    transformers.utils.logging.enable_progress_bar()


def test_json_output_is_one_object_per_text(run_predict: Callable[..., Any], model: Predictor) -> None:
    rows = [json.dumps({"review": text}) for text in TEXTS]
    Path("texts.jsonl").write_text("\n".join(rows))
    code, out, err = run_predict("small.toml", "--file", "texts.jsonl", "--json")
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    expected = model.predict(TEXTS)
    assert [list(line) for line in lines] == [["label", "probability", "probabilities"]] * len(TEXTS)
    assert [line["label"] for line in lines] == [prediction.label for prediction in expected]
    printed = [list(line["probabilities"].values()) for line in lines]
    np.testing.assert_allclose(printed, probabilities(expected), atol=1e-5)


def test_lines_are_predicted_while_standard_input_stays_open_and_ctrl_c_is_quiet(model_folder: Path) -> None:
    with start_shell(str(model_folder), "--json") as run:
        for text in ("a fine film", "a dull film"):
            run.stdin.write(f"{text}\n")
            run.stdin.flush()
            line = json.loads(run.stdout.readline())
            assert line["probabilities"][line["label"]] == line["probability"] > 1 / 3
        run.send_signal(signal.SIGINT)
        assert (*run.communicate(), run.returncode) == ("", "", 130)


def test_closed_standard_output_ends_the_program_quietly(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a fine film\n" * 3000)
    with start_shell(str(model_folder), "--file", str(tmp_path / "texts.txt")) as run:
        assert "\t" in run.stdout.readline()
        run.stdout.close()
        assert (run.stderr.read(), run.wait()) == ("", 0)


@pytest.mark.parametrize("live", [False, True])
def test_progress_is_on_standard_error_only(
    run_predict: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    from rich.console import Console

    from hpo.terminal import progress

    monkeypatch.setattr(progress, "PLAIN_INTERVAL", -1)
    monkeypatch.setattr(progress, "err", Console(stderr=True, force_terminal=live, width=80))
    Path("texts.txt").write_text("\n".join(TEXTS))
    code, out, err = run_predict("small.toml", "--file", "texts.txt")
    assert code == 0 and out.count("\t") == out.count("\n") == len(TEXTS) and "\x1b" not in out
    assert "90 texts" in err and ("\x1b" in err) == live


def test_single_text_prints_label_and_probability(run_predict: Callable[..., Any], model: Predictor) -> None:
    (prediction,) = model.predict(["A fine film"])
    assert run_predict("small.toml", "A fine film")[:2] == (0, f"{prediction.label}  {prediction.probability:.3f}\n")
    assert run_predict("small/model", "A fine film", "--json")[1].startswith(
        f'{{"label": "{prediction.label}", "probability'
    )
    assert "Example: hpo predict" in run_predict("--help")[1]


def test_texts_can_be_lines_or_a_column(run_predict: Callable[..., Any], model: Predictor) -> None:
    Path("texts.csv").write_text("title,review\n" + "".join(f'a title,"{text}"\n' for text in TEXTS[:9]))
    Path("texts.txt").write_text("\n".join(TEXTS[:9]))
    expected = "".join(f"{prediction.label}\t{prediction.probability:.3f}\n" for prediction in model.predict(TEXTS[:9]))
    assert run_predict("small.toml", stdin=os.open("texts.txt", os.O_RDONLY))[1] == expected
    assert run_predict("small.toml", "--file", "texts.csv")[1] == expected
    titles = run_predict("small.toml", "--file", "texts.csv", "--text", "title")[1].splitlines()
    assert len(titles) == 9 and len(set(titles)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small.toml", "good", "--file", "texts.csv"], "TEXT and --file are both given; leave one out"),
        (["small.toml", "good", "--text", "review"], "--text names a column of --file, which is not given"),
        (["small.toml", "texts.csv"], "TEXT is the name of a file; to read its texts, use --file texts.csv"),
        (["small.toml", " "], "TEXT is empty or null"),
        (["small.toml", "<br>"], "text 1 is empty after cleaning"),
        (["small.toml", "--file", "none.csv"], "none.csv: no such file (--file)"),
        (["small.toml", "--file", "texts.csv"], "texts.csv: column 'review' (--text) is unknown; known: text"),
        (["small.toml", "--set", "name=other"], "other/model: no such model folder; hpo retrain"),
        (["small.toml"], "standard input: no texts"),
    ],
)
def test_input_error_is_one_line_with_exit_code_2(
    run_predict: Callable[..., Any], arguments: list[str], message: str
) -> None:
    Path("texts.csv").write_text("text\ngood\n")
    code, out, err = run_predict(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("hpo: ") and message in err and err.count("\n") == 1


def test_terminal_input_starts_with_a_hint_and_skips_empty_lines(run_predict: Callable[..., Any]) -> None:
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"a fine film\n\na dull film\n\x04")
    code, out, err = run_predict("small.toml", stdin=terminal)
    os.close(keyboard)
    assert code == 0 and out.count("\t") == out.count("\n") == 2
    assert err == "reading texts from the terminal, one per line; Ctrl-D ends the input\n"
