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
