"""What is predicted is what the model says of the text as in training, in order, soon; what cannot be is told."""

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
from hpo.study.spec import ModelSpec
from hpo.training.checkpoint import Checkpoint
from hpo.training.model_folder import ModelInfo, write_model_folder

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
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as `hpo retrain` leaves it; its head is large, so that each text has an answer of its own."""
    folder = tmp_path_factory.mktemp("made") / "model"
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
    recipe = ModelInfo(study="small", text="review", clean=steps, max_length=MAX_LENGTH, labels=labels)
    write_model_folder(folder, model, checkpoint.tokenizer, recipe)
    return folder


@pytest.fixture(scope="module")
def model(made: Path) -> Predictor:
    return hpo.load(made)


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """A study file with its model."""
    shutil.copytree(made, tmp_path / "small" / "model")
    (tmp_path / "small.toml").write_text(STUDY)
    return tmp_path / "small.toml"


def shares(found: Any) -> np.ndarray[Any, Any]:
    return np.array([list(each.probabilities.values()) for each in found])


# --- answers ----------------------------------------------------------------------------------------------------------


def test_answers_are_those_of_each_text_alone_and_in_order(model: Predictor) -> None:
    alone = [model.predict([text])[0] for text in TEXTS]
    assert len({each.label for each in alone}) > 1 and len(np.unique(shares(alone).round(3), axis=0)) > 50
    for found in (model.predict(TEXTS), list(model.stream(iter(TEXTS)))):
        assert [each.label for each in found] == [each.label for each in alone]
        np.testing.assert_allclose(shares(found), shares(alone), atol=1e-5)


def test_a_prediction(model: Predictor) -> None:
    (found,) = model.predict(["A fine film."])
    assert tuple(found.probabilities) == model.labels == ("bad", "good", "so-so")
    assert math.isclose(sum(found.probabilities.values()), 1)
    assert found.probability == max(found.probabilities.values()) == found.probabilities[found.label]
    with pytest.raises(FrozenInstanceError):
        found.label = "bad"  # type: ignore[misc]
    assert model.predict([]) == []


def test_texts_are_cleaned_and_cut_as_in_training(model: Predictor) -> None:
    plain, dressed, longer = model.predict(["a fine film", "A <b>fine</b> FILM", "a fine film " * 50])
    assert shares([plain]) == pytest.approx(shares([dressed]), abs=1e-5)
    cut = " ".join(("a fine film " * 50).split()[: MAX_LENGTH - 2])
    whole, start = model._tokenizer(["a fine film " * 50, cut], truncation=True, max_length=MAX_LENGTH)["input_ids"]
    assert whole == start
    assert shares([longer]) == pytest.approx(shares(model.predict([cut])), abs=1e-5)


def test_numpy_and_pandas_texts(model: Predictor) -> None:
    import pandas

    assert model.predict(np.array(TEXTS[:3])) == model.predict(pandas.Series(TEXTS[:3])) == model.predict(TEXTS[:3])


class Source:
    """Texts that know how far they were read."""

    def __init__(self, count: int) -> None:
        self.count, self.read = count, 0

    def __iter__(self) -> Iterator[str]:
        for row in range(self.count):
            self.read += 1
            yield TEXTS[row % len(TEXTS)]


def test_a_stream_reads_only_a_chunk_ahead(model: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "MAX_CHUNK", 8)
    source = Source(100)
    told: list[int] = []
    found = model.stream(source, told.append)
    assert source.read == 0
    next(found)
    assert source.read == 1  # the first answer waits for nothing
    ahead = [source.read - done for done, _ in enumerate(found, start=2)]
    assert max(ahead) == 7 and len(ahead) == 99
    assert told == sorted(told) and told[-1] == 100


@pytest.mark.parametrize("slow", ["texts", "answers", "unready"])
def test_where_texts_or_answers_are_slow_none_is_read_ahead(
    model: Predictor, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    limit = {"texts": "PATIENCE", "answers": "PAUSE"}.get(slow)
    if limit:
        monkeypatch.setattr(predict, limit, -1.0)
    source = Source(5)
    assert [source.read for _ in model.stream(source, ready=lambda: slow != "unready")] == [1, 2, 3, 4, 5]


def test_all_before_an_unusable_text_are_answered(model: Predictor) -> None:
    found = model.stream([*TEXTS[:40], " ", *TEXTS])
    assert len(list(islice(found, 40))) == 40
    with pytest.raises(DataError, match="^text 41 is empty or null; fill or remove it$"):
        next(found)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "text 2 is empty or null"),
        (None, "text 2 is empty or null"),
        (float("nan"), "text 2 is empty or null"),
        ("<br />", r"text 2 is empty after cleaning \(strip_html, lowercase\)"),
        (5, "text 2 is a int, 5; expected a string"),
        ("&#xd800; \ud800", "text 2 holds half a character"),
    ],
)
def test_unusable_texts(model: Predictor, text: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        model.predict(["good", text])


@pytest.mark.parametrize("text", ["good", b"good"])
def test_a_string_is_no_list_of_texts(model: Predictor, text: Any) -> None:
    for ask in (model.predict, model.stream):
        with pytest.raises(TypeError, match=r"put it in a list, \[text\]"):
            ask(text)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_study_file_stands_for_its_model(study: Path, made: Path, model: Predictor) -> None:
    assert hpo.load(str(study)).predict(TEXTS[:2]) == model.predict(TEXTS[:2])
    assert locate_model(study) == (study.parent / "small" / "model", False)
    (study.parent / "small").rename(study.parent / "other")
    assert locate_model(study, ["name=other"])[0] == study.parent / "other" / "model"


def test_only_the_study_file_trusts_code(study: Path) -> None:
    assert locate_model(study, ["model.trust_remote_code=true"])[1]
    assert not locate_model(study.parent / "small" / "model")[1]


def reshaped(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def told(folder: Path, **changes: Any) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    (folder / "recipe.json").write_text(json.dumps(recipe | changes))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "recipe.json").unlink(), "no recipe.json, so hpo retrain did not make this folder"),
        (lambda folder: (folder / "recipe.json").write_text("{"), "recipe.json: "),
        (lambda folder: told(folder, labels=["bad", "good"]), "recipe.json names 2 labels, the weights have 3"),
        (lambda folder: told(folder, clean=["stripp"]), "recipe.json: clean: stripp is unknown"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no file named model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "header too small"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON file"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "hpo retrain makes it anew"),
        (lambda folder: [file.unlink() for file in folder.glob("tokenizer*")], "no tokenizer beside the weights"),
        (
            lambda folder: reshaped(folder, lambda weights: weights["classifier.bias"].fill_(math.nan)),
            "answers are no numbers; its weights are damaged",
        ),
    ],
)
def test_damaged_folders(made: Path, tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    folder = shutil.copytree(made, tmp_path / "model")
    damage(folder)
    with pytest.raises(ModelError) as caught:
        hpo.load(folder).predict(["good"])
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "overrides", "says"),
    [
        ("none", [], "none: no such study file or model folder"),
        ("none.toml", [], "none.toml: no such file; `hpo init DIR` writes a starter study"),
        ("texts.csv", [], "hpo predict STUDY --file texts.csv reads texts"),
        (
            "small.toml",
            ["name=other"],
            "other/model: no model folder; hpo retrain {}small.toml --set name=other makes it",
        ),
        ("small", [], "small: no model folder; did you mean {}small/model?"),
        ("small/best", [], "weights of a search, not yet retrained; hpo retrain STUDY makes {}small/model"),
        ("small/model", ["name=other"], "--set: name=other changes a study file"),
    ],
)
def test_what_is_no_model(study: Path, path: str, overrides: list[str], says: str) -> None:
    (study.parent / "small" / "best").mkdir()
    (study.parent / "small" / "best" / "trial.json").write_text("{}")
    (study.parent / "texts.csv").write_text("text\ngood\n")
    with pytest.raises((ModelError, SpecError)) as caught:
        locate_model(study.parent / path, overrides)
    assert says.format(f"{study.parent}/") in str(caught.value)


def test_import_is_light() -> None:
    code = "import sys, hpo; hpo.load; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "pandas", "numpy", "pydantic", "typer"} & set(eval(done.stdout))


# --- the shell --------------------------------------------------------------------------------------------------------


@contextmanager
def shell(*words: str) -> Iterator[Any]:
    """A process of its own; killed where an answer does not come."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "hpo", "predict", *words]
    # A shell without job control starts what is in the background with Ctrl-C ignored, and children inherit that.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=heard) as run:
        late = threading.Timer(120, run.kill)
        late.start()
        yield run
        late.cancel()


@pytest.fixture
def asked(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Any]]:
    """A run of the shell in this process, where study and files are: exit code, standard output, standard error."""
    monkeypatch.chdir(study.parent)
    transformers.utils.logging.disable_progress_bar()

    def run(*words: str, stdin: int | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hpo", "predict", *words])
        with open(os.devnull if stdin is None else stdin) as handle, pytest.raises(SystemExit) as left:
            monkeypatch.setattr(sys, "stdin", handle)
            main()
        return int(left.value.code or 0), *capsys.readouterr()

    yield run
    transformers.utils.logging.enable_progress_bar()


def test_a_file_becomes_json_lines_and_nothing_else(asked: Callable[..., Any], model: Predictor) -> None:
    rows = [json.dumps({"review": text}) for text in TEXTS]
    Path("texts.jsonl").write_text("\n".join(rows))
    code, out, err = asked("small.toml", "--file", "texts.jsonl", "--json")
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    expected = model.predict(TEXTS)
    assert [list(row) for row in found] == [["label", "probability", "probabilities"]] * len(TEXTS)
    assert [row["label"] for row in found] == [each.label for each in expected]
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in found], shares(expected), atol=1e-5)


def test_standard_input_is_answered_while_it_stays_open_and_ctrl_c_is_quiet(made: Path) -> None:
    with shell(str(made), "--json") as run:
        for text in ("a fine film", "a dull film"):
            run.stdin.write(f"{text}\n")
            run.stdin.flush()
            found = json.loads(run.stdout.readline())
            assert found["probabilities"][found["label"]] == found["probability"] > 1 / 3
        run.send_signal(signal.SIGINT)
        assert (*run.communicate(), run.returncode) == ("", "", 130)


def test_a_reader_that_has_had_enough_ends_it_quietly(made: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a fine film\n" * 3000)
    with shell(str(made), "--file", str(tmp_path / "texts.txt")) as run:
        assert "\t" in run.stdout.readline()
        run.stdout.close()
        assert (run.stderr.read(), run.wait()) == ("", 0)


@pytest.mark.parametrize("live", [False, True])
def test_progress_is_on_standard_error_and_leaves_the_answers_alone(
    asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    from rich.console import Console

    from hpo.terminal import progress

    monkeypatch.setattr(progress, "PLAIN_EVERY", -1)
    monkeypatch.setattr(progress, "err", Console(stderr=True, force_terminal=live, width=80))
    Path("texts.txt").write_text("\n".join(TEXTS))
    code, out, err = asked("small.toml", "--file", "texts.txt")
    assert code == 0 and out.count("\t") == out.count("\n") == len(TEXTS) and "\x1b" not in out
    assert "90 texts" in err and ("\x1b" in err) == live


def test_one_text(asked: Callable[..., Any], model: Predictor) -> None:
    (found,) = model.predict(["A fine film"])
    assert asked("small.toml", "A fine film")[:2] == (0, f"{found.label}  {found.probability:.3f}\n")
    assert asked("small/model", "A fine film", "--json")[1].startswith(f'{{"label": "{found.label}", "probability')
    assert "Example: hpo predict" in asked("--help")[1]


def test_lines_and_columns(asked: Callable[..., Any], model: Predictor) -> None:
    Path("texts.csv").write_text("title,review\n" + "".join(f'a title,"{text}"\n' for text in TEXTS[:9]))
    Path("texts.txt").write_text("\n".join(TEXTS[:9]))
    expected = "".join(f"{each.label}\t{each.probability:.3f}\n" for each in model.predict(TEXTS[:9]))
    assert asked("small.toml", stdin=os.open("texts.txt", os.O_RDONLY))[1] == expected
    assert asked("small.toml", "--file", "texts.csv")[1] == expected
    titles = asked("small.toml", "--file", "texts.csv", "--text", "title")[1].splitlines()
    assert len(titles) == 9 and len(set(titles)) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["small.toml", "good", "--file", "texts.csv"], "TEXT and --file are both given; leave one out"),
        (["small.toml", "good", "--text", "review"], "--text names a column of --file, which is not given"),
        (["small.toml", "texts.csv"], "TEXT is the name of a file; --file texts.csv reads it"),
        (["small.toml", " "], "TEXT is empty or null"),
        (["small.toml", "<br>"], "text 1 is empty after cleaning"),
        (["small.toml", "--file", "none.csv"], "none.csv: no such file (--file)"),
        (["small.toml", "--file", "texts.csv"], "texts.csv: column 'review' (--text) is unknown; known: text"),
        (["small.toml", "--set", "name=other"], "other/model: no model folder; hpo retrain"),
        (["small.toml"], "standard input: no texts"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(asked: Callable[..., Any], words: list[str], says: str) -> None:
    Path("texts.csv").write_text("text\ngood\n")
    code, out, err = asked(*words)
    assert (code, out) == (2, "")
    assert err.startswith("hpo: ") and says in err and err.count("\n") == 1


def test_on_a_terminal_it_says_that_it_reads_and_an_empty_line_ends_nothing(asked: Callable[..., Any]) -> None:
    person, program = pty.openpty()
    os.write(person, b"a fine film\n\na dull film\n\x04")
    code, out, err = asked("small.toml", stdin=program)
    os.close(person)
    assert code == 0 and out.count("\t") == out.count("\n") == 2
    assert err == "reading texts from the terminal, one a line; Ctrl-D ends\n"
