"""`hpo predict --file` reads a file as the files of training were read, unless the shell says otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.data.columns import ReadOptions
from hpo.errors import DataError
from hpo.terminal.prediction_input import choose_input, parse_read_options
from hpo.training.model_folder import INFO_FILE, read_model_info
from tests.support.command_line import Ended, run_hpo

__all__ = ["run_hpo"]
MODEL = Path(__file__).parent.parent / "compatibility" / "model"
TEXTS = ["a fine film", "a dull café", "so-so"]
NOTHING = (None, None, None, None)
Given = tuple[str | None, str | None, str | None, bool | None]


def trained_with(folder: Path, **kept: object) -> Path:
    """A folder with the info of a model that was trained on files of this kind."""
    info = json.loads((MODEL / INFO_FILE).read_text(encoding="utf8"))
    folder.mkdir(exist_ok=True)
    (folder / INFO_FILE).write_text(json.dumps(info | kept), encoding="utf8")
    return folder


def read(model: Path, file: Path, given: Given = NOTHING, column: str | None = None) -> list[str | DataError]:
    return list(choose_input(model, None, file, column, parse_read_options(*given)).texts)


def read_each(file: Path, column: str | None = None) -> list[str | DataError]:
    """What --skip-bad reads."""
    return list(choose_input(MODEL, None, file, column, skip_bad=True).texts)


@pytest.mark.parametrize(
    ("name", "kept", "lines", "encoding"),
    [
        ("a.csv", {"header": False, "text": "1"}, [f"{text},good" for text in TEXTS], "utf-8"),
        ("a.csv", {"separator": ";"}, ["text;label", *(f"{text};good" for text in TEXTS)], "utf-8"),
        ("a.tsv", {"quoting": "csv"}, ["text\tlabel", *(f'"{text}"\tgood' for text in TEXTS)], "utf-8"),
        ("a.csv", {"encoding": "cp1252"}, ["text,label", *(f"{text},good" for text in TEXTS)], "cp1252"),
        ("a.txt", {"encoding": "cp1252"}, TEXTS, "cp1252"),
        ("a.jsonl", {"encoding": "utf-16-le"}, [json.dumps({"text": text}) for text in TEXTS], "utf-16-le"),
    ],
)
def test_reading_options_of_training_are_the_defaults(
    name: str, kept: dict[str, object], lines: list[str], encoding: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("\n".join([*lines, ""]), encoding=encoding)
    assert read(trained_with(tmp_path / "model", **kept), tmp_path / name) == TEXTS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("trained", ["cp1252", "gb18030", "utf-16-le"])
def test_file_that_is_unicode_is_read_so_whatever_the_encoding_of_training(
    trained: str, encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS), encoding=encoding)
    assert read(trained_with(tmp_path / "model", encoding=trained), tmp_path / "a.txt") == TEXTS


def test_damaged_line_does_not_make_a_file_one_of_the_encoding_of_training(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("café\nété\n".encode() + b"caf\xe9\n")
    model = trained_with(tmp_path / "model", encoding="cp1252")
    texts = iter(choose_input(model, None, tmp_path / "a.txt", None, skip_bad=True).texts)
    assert [next(texts), next(texts)] == ["café", "été"]
    assert "line 3 is not UTF-8; " in str(next(texts))


def test_each_option_of_the_shell_replaces_that_of_training(tmp_path: Path) -> None:
    kept = {"separator": ";", "quoting": "none", "encoding": "cp1251", "header": False, "text": "1"}
    model = trained_with(tmp_path / "model", **kept)
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *(f'"{text}",good' for text in TEXTS)]), encoding="cp1252")
    assert read(model, tmp_path / "a.csv", (",", "csv", "cp1252", True), "text") == TEXTS
    assert read(model, tmp_path / "a.csv", (",", "csv", "cp1252", None)) == ["text", *TEXTS]
    assert read(model, tmp_path / "a.csv", (",", None, "cp1252", True), "text") == [f'"{text}"' for text in TEXTS]
    assert read(model, tmp_path / "a.csv", (",", "csv", None, True), "text") != TEXTS
    assert read(model, tmp_path / "a.csv", (None, None, "cp1252", None))[1] == f'"{TEXTS[0]}",good'


def test_message_names_the_option_of_training_that_does_not_fit(tmp_path: Path) -> None:
    model = trained_with(tmp_path / "model", encoding="ascii", header=False, text="1")
    (tmp_path / "a.csv").write_bytes("text,label\ncafé,good\n".encode("cp1252"))
    with pytest.raises(DataError, match="the files of training had none, set --header if this one has"):
        read(model, tmp_path / "a.csv", column="text")
    with pytest.raises(DataError, match="line 2 is not ascii; check --encoding ascii, as in training"):
        read(model, tmp_path / "a.csv")


def test_folder_of_an_earlier_version_has_the_defaults(tmp_path: Path) -> None:
    assert "header" not in json.loads((MODEL / INFO_FILE).read_text(encoding="utf8"))
    assert read_model_info(MODEL).read_options == ReadOptions()


def test_search_retrain_and_predict_read_the_same_file(run_hpo: Callable[..., Ended], tmp_path: Path) -> None:
    rows = [
        f"{word} été {number};{label}" for number in range(20) for word, label in (("fine", "oui"), ("dull", "non"))
    ]
    (tmp_path / "train.csv").write_text("\n".join(rows), encoding="cp1252")
    study = """\
name = "kept"
[data]
train = "train.csv"
test = 0.2
separator = ";"
encoding = "cp1252"
header = false
text = 1
label = 2
[model]
checkpoint = "builtin:tiny"
max_length = 8
[search]
trials = 1
[final]
seeds = 1
[training]
max_steps = 2
[space.parameters.learning_rate]
low = 1e-4
high = 1e-3
"""
    (tmp_path / "kept.toml").write_text(study)
    for command in ("search", "retrain"):
        assert (ended := run_hpo(command, tmp_path / "kept.toml")).code == 0, ended.errors
    ended = run_hpo("predict", tmp_path / "kept.toml", "--file", tmp_path / "train.csv")
    assert ended.code == 0 and len(ended.output.splitlines()) == len(rows)
    texts = read(tmp_path / "kept" / "model", tmp_path / "train.csv")
    assert texts == [row.split(";")[0] for row in rows]


# --- rows that cannot be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [1, 2, 3])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_line_that_is_not_utf8_is_one_empty_answer(name: str, bad: int, tmp_path: Path) -> None:
    lines = [json.dumps({"text": text}, ensure_ascii=False) if name == "a.jsonl" else text for text in TEXTS]
    content = [line.encode() for line in lines]
    content[bad - 1] = b"\xe9" + content[bad - 1]
    content.append(content[bad - 1])
    (tmp_path / name).write_bytes(b"\n".join(content))
    answers = read_each(tmp_path / name)
    errors = [str(answer) for answer in answers if isinstance(answer, DataError)]
    assert [isinstance(answer, DataError) for answer in answers] == [number in (bad, 4) for number in (1, 2, 3, 4)]
    assert [answer for answer in answers if isinstance(answer, str)] == [*TEXTS[: bad - 1], *TEXTS[bad:]]
    assert [f"line {number} is not UTF-8; " in error for number, error in zip((bad, 4), errors, strict=True)] == [
        True,
        True,
    ]
    with pytest.raises(DataError, match=f"line {bad} is not UTF-8; the file seems to need --encoding"):
        read(MODEL, tmp_path / name)


def test_wide_encoding_that_is_broken_stays_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="line 1 is not UTF-8; the file seems to need --encoding utf-16-le"):
        read_each(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes("one\ntwo\n".encode("utf-16") + b"x")
    with pytest.raises(DataError, match="the file is not UTF-16"):
        read_each(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_first_row_without_the_text_is_one_empty_answer(name: str, tmp_path: Path) -> None:
    rows = [{"id": 1}, {"id": 2}, *({"text": text} for text in TEXTS), {"id": 3}]
    content = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(content)
    answers = read_each(tmp_path / name)
    assert [answer for answer in answers if isinstance(answer, str)] == TEXTS
    assert [str(answers[row - 1]).partition(": ")[2] for row in (1, 2, 6)] == [
        f"text in row {row} is empty or null; fill or remove it" for row in (1, 2, 6)
    ]
    with pytest.raises(DataError, match="text in row 1 is empty or null"):
        read(MODEL, tmp_path / name)
    with pytest.raises(DataError, match=r"column 'titel' \(--text\) is unknown; known: id, text"):
        read_each(tmp_path / name, "titel")


def test_json_lines_are_still_streamed(tmp_path: Path) -> None:
    rows = [json.dumps({"text": TEXTS[0]}), "no json"]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    texts = iter(choose_input(MODEL, None, tmp_path / "a.jsonl", None, skip_bad=True).texts)
    assert next(texts) == TEXTS[0]
    with pytest.raises(DataError, match="line 2: Expecting value"):
        next(texts)
