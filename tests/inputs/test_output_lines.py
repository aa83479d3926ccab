"""Class names with line breaks or other control characters, outputs that lack characters, and texts without an answer.

Each prints one line where one is expected, and no table is torn.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
import typer

from hpo.cli import main
from hpo.dashboard.confusion_svg import draw_confusion_svg
from hpo.errors import DataError
from hpo.escaping import escape_controls
from hpo.plots.style import wrap_label
from hpo.predict import Prediction, Predictor, load_predictor
from hpo.report.blocks import Table
from hpo.results.formatting import TextTable, join_labels
from hpo.study.spec_tables import ModelSpec
from hpo.terminal.output_encoding import escape_unencodable_output
from hpo.terminal.prediction_output import PredictionPrinter
from hpo.terminal.progress import LiveLine
from hpo.terminal.table_layout import Column, print_columns
from hpo.training.checkpoint import Checkpoint
from hpo.training.model_folder import ModelInfo, write_model_folder

LABELS = ["needs\nwork", "fine\tas is", "red\x1b[31m", "très 好\u2028👍"]
ESCAPED = [r"needs\nwork", r"fine\tas is", r"red\u001b[31m", r"très 好\u2028👍"]
Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model whose classes have odd names."""
    folder = tmp_path_factory.mktemp("odd") / "model"
    folder.mkdir()
    spec = ModelSpec(checkpoint="builtin:tiny", max_length=16)
    checkpoint = Checkpoint(spec, ["a fine film", "a bad film"], tuple(LABELS))
    info = ModelInfo(study="odd", text="text", clean=["strip_html"], max_length=16, labels=LABELS)
    write_model_folder(folder, checkpoint.fresh(), checkpoint.tokenizer, info)
    return folder


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Run a command line with outputs of an encoding; return its exit code and what it printed."""

    def run(*arguments: object, encoding: str = "utf-8") -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        monkeypatch.setattr(sys, "argv", ["hpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        code = exit_.value.code
        assert isinstance(code, int)
        printed = []
        for stream in streams:
            stream.seek(0)
            printed.append(stream.read())
        # Commands silence the bars of transformers, but not in tests, which share one process.
        messages = [line for line in printed[1].splitlines() if line and not line.startswith("Loading weights")]
        return code, printed[0], "\n".join(messages)

    return run


def write_csv(folder: Path, *texts: str) -> Path:
    pandas.DataFrame({"text": texts, "id": range(len(texts))}).to_csv(folder / "texts.csv", index=False)
    return folder / "texts.csv"


def test_controls_are_escaped_and_everything_else_stays() -> None:
    assert [escape_controls(label) for label in LABELS] == ESCAPED
    assert escape_controls("a\r\nb\x85\u202ec\ud800") == r"a\r\nb\u0085\u202ec\ud800"
    for text in (r"\alpha", "👨\u200d👩\u200d👧 ❤️", "क्\u200dष", "a\u00a0b\u3000c", "שלום\u200f"):
        assert escape_controls(text) == text


def test_every_name_of_a_class_is_printed_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        printer = PredictionPrinter(as_json, separator="\t")
        for label in LABELS:
            printer.print_answer(Prediction(label, 0.75, {label: 0.75}))
    lines = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert lines[:4] == [f"{label}\t0.750" for label in ESCAPED]
    assert [json.loads(line)["label"] for line in lines[4:]] == LABELS


def test_prediction_prints_one_line_per_text(model_folder: Path, tmp_path: Path, shell: Shell) -> None:
    file = write_csv(tmp_path, *(f"film {number}" for number in range(12)))
    code, out, _ = shell("predict", model_folder, "--file", file)
    lines = out.removesuffix("\n").split("\n")
    assert code == 0 and len(lines) == 12
    assert all(len(line.split("\t")) == 2 and line.split("\t")[0] in ESCAPED for line in lines)

    code, out, _ = shell("predict", model_folder, "--file", file, "--json")
    assert [json.loads(line)["label"] in LABELS for line in out.splitlines()] == [True] * 12


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", r"très 好\u2028👍"),
        ("ascii", r"tr\u00e8s \u597d\u2028\ud83d\udc4d"),
        ("cp1252", r"très \u597d\u2028\ud83d\udc4d"),
        ("gbk", r"très 好\u2028\ud83d\udc4d"),
    ],
)
def test_characters_that_the_output_lacks_are_escaped(
    encoding: str, expected: str, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    escape_unencodable_output()
    prediction = Prediction(LABELS[3], 0.75, {LABELS[3]: 0.75, LABELS[0]: 0.25})
    PredictionPrinter(as_json=False, separator="\t").print_answer(prediction)
    PredictionPrinter(as_json=True, separator="\t").print_answer(prediction)
    line, fields = stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]
    assert line == f"{expected}\t0.750" and json.loads(fields)["label"] == LABELS[3]

    code, _, error = shell("predict", "好.toml", "film", encoding=encoding)
    assert code == 2 and error.startswith(f"hpo: {'好' if encoding in ('utf-8', 'gbk') else chr(92) + 'u597d'}.toml: ")
    assert shell("--help", encoding=encoding)[0] == 0


def test_table_with_characters_that_the_output_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "40")
    escape_unencodable_output()
    print_columns([Column("好", ["très bien " * 4], is_text=True), Column("b", ["x" * 30], is_text=True)])
    stream.seek(0)
    assert r"\u597d" in stream.read()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_json_is_valid_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    escape_unencodable_output()
    value = {"label": "très 好 👍 " + LABELS[0]}
    typer.echo(json.dumps(value, ensure_ascii=False))
    printed = stream.buffer.getvalue()  # type: ignore[attr-defined]
    assert json.loads(printed.decode(encoding)) == value
    assert (value["label"][:4] in printed.decode(encoding)) == (encoding != "ascii")


def test_error_of_a_name_with_a_line_break_is_one_line(shell: Shell) -> None:
    code, _, error = shell("predict", "no\nsuch.toml", "film")
    assert code == 2 and error.startswith(r"hpo: no\nsuch.toml: ") and "\n" not in error


def test_tables_are_not_torn(capsys: pytest.CaptureFixture[str]) -> None:
    table = TextTable(["class", *LABELS], [[label, "1", "2", "3", "4"] for label in LABELS])
    assert table.heads == ["class", *ESCAPED] and [row[0] for row in table.rows] == ESCAPED
    lines = Table("Confusion", table).markdown().split("\n")
    assert len(lines) == 2 + 2 + len(LABELS) and all(line.count("|") == 6 for line in lines[2:])

    print_columns([Column("class", LABELS, is_text=True, is_required=True), Column("n", ["1", "2", "3", "4"])])
    printed = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(printed) == 1 + len(LABELS)
    assert [line.split("  ")[0].strip() for line in printed[1:3]] == ESCAPED[:2]


def test_names_of_classes_stay_on_one_line_in_sentences_and_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert join_labels(LABELS[:2]) == r"needs\nwork, fine\tas is"
    assert wrap_label(LABELS[0]) == r"needs\nwork"
    svg = draw_confusion_svg([[1, 0], [0, 1]], LABELS[:2], "confusion")
    assert svg is not None and r">needs\nwork<" in svg
    LiveLine().notice("class needs\nwork is rare")
    assert capsys.readouterr().err == "note: class needs\\nwork is rare\n"


def test_advice_names_the_file_as_a_shell_reads_it(
    model_folder: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my data").mkdir()
    write_csv(tmp_path / "my data", "film")
    monkeypatch.chdir(tmp_path)
    for arguments in ((model_folder, "my data/texts.csv"), ("my data/texts.csv", "film")):
        code, _, error = shell("predict", *arguments)
        assert code == 2 and error.endswith("--file 'my data/texts.csv'")


# --- texts without an answer ------------------------------------------------------------------------------------------


def test_bad_rows_are_skipped_if_asked(model_folder: Path, tmp_path: Path, shell: Shell) -> None:
    file = write_csv(tmp_path, "", "film", "  ", "<br/>", "good")
    code, out, error = shell("predict", model_folder, "--file", file, "--skip-bad")
    lines = out.removesuffix("\n").split("\n")
    assert code == 0 and [line == "\t" for line in lines] == [True, False, True, True, False]
    assert error.splitlines() == [
        f"no answer: {file}: text in row 1 is empty or null; fill or remove it",
        f"no answer: {file}: text in row 3 is empty or null; fill or remove it",
        "no answer: text 4 is empty after cleaning (strip_html); fill or remove it",
        "3 of 5 texts have no answer",
    ]
    code, out, _ = shell("predict", model_folder, "--file", file, "--skip-bad", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [answer["label"] is None for answer in answers] == [True, False, True, True, False]
    assert answers[0]["error"].endswith("row 1 is empty or null; fill or remove it") and "error" not in answers[1]


def test_bad_row_is_refused_with_its_number_otherwise(model_folder: Path, tmp_path: Path, shell: Shell) -> None:
    file = write_csv(tmp_path, "film", "good", "")
    code, out, error = shell("predict", model_folder, "--file", file)
    assert code == 2 and len(out.splitlines()) == 2
    assert error == f"hpo: {file}: text in row 3 is empty or null; fill or remove it"
    code, _, error = shell("predict", model_folder, "film", "--skip-bad")
    assert code == 2 and "leave it out" in error


def test_skipping_says_why_for_the_first_texts_only(model_folder: Path, tmp_path: Path, shell: Shell) -> None:
    _, out, error = shell("predict", model_folder, "--file", write_csv(tmp_path, *[""] * 9, "film"), "--skip-bad")
    assert len(out.split("\n")) == 11
    assert len(error.splitlines()) == 6 and error.endswith("9 of 10 texts have no answer")


def test_stream_yields_the_error_in_the_place_of_a_bad_text(model_folder: Path) -> None:
    predictor: Predictor = load_predictor(model_folder)
    texts: list[str | DataError] = ["film", "", "good", DataError("line 4 is not UTF-8"), "\ud800", "film"]
    answers = list(predictor.stream_each(texts))
    assert [str(answer) if isinstance(answer, DataError) else "" for answer in answers] == [
        "",
        "text 2 is empty or null; fill or remove it",
        "",
        "line 4 is not UTF-8",
        "text 5 contains half a character (a lone surrogate); save it as UTF-8",
        "",
    ]
    good = [answer for answer in answers if not isinstance(answer, DataError)]
    assert [answer.label for answer in good] == [answer.label for answer in predictor.predict(["film", "good", "film"])]
    with pytest.raises(DataError, match="line 4"):
        list(predictor.stream(["film", DataError("line 4 is not UTF-8")]))
