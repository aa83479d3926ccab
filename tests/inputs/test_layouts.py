"""JSON in pandas' orientations and under a key, and folders that `save_to_disk` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from hpo.data.readers import read_texts
from tests.data.test_splits import GOOD, MORE, read, read_error

OBJECTS = [{"text": text, "label": label} for text, label in GOOD]
TABLE = pandas.DataFrame(OBJECTS)


@pytest.mark.parametrize(
    "content",
    [
        *(json.loads(TABLE.to_json(orient=orient)) for orient in ("columns", "index", "split", "records", "table")),
        TABLE.to_dict(orient="list"),
        {"version": "1.0", "size": 40, "data": OBJECTS},
        {"meta": {"source": "shop"}, "tags": ["a", "b"], "rows": OBJECTS},
    ],
    ids=["columns", "index", "split", "records", "table", "list", "nested", "nested beside others"],
)
def test_json_layouts_give_the_rows(tmp_path: Path, content: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    data = read(tmp_path, train="a.json")
    rows = list(zip(data.train.texts + data.validation.texts, data.train.labels + data.validation.labels, strict=True))
    assert sorted(rows) == sorted(GOOD)
    assert list(read_texts(tmp_path / "a.json")) == [text for text, _ in GOOD]


def test_row_with_a_list_of_objects_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"text": "good", "label": 1, "spans": [{"start": 0}, {"start": 2}]}))
    assert list(read_texts(tmp_path / "a.json")) == ["good"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"first": OBJECTS, "other": OBJECTS}, "column 'text' (data.text) is unknown; known: first, other"),
        ({"text": ["a", "b"], "label": [1]}, "columns have different lengths: {'text': 2, 'label': 1}"),
        ({"columns": ["text", "label"], "data": [["a"]]}, "a row under 'data' has not 2 values"),
        ({"text": {"0": "a", "1": "b"}, "label": {"0": 1}}, "1 label is empty or null, first in row 2"),
    ],
)
def test_layout_without_clear_rows_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert message in read_error(tmp_path, train="a.json")


def build_dataset(rows: list[tuple[str, int]]) -> Any:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["yes", "no"])})
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    return datasets.Dataset.from_dict(columns, features=features)


def test_saved_dataset_dict_gives_its_splits(tmp_path: Path) -> None:
    import datasets

    splits = {"train": build_dataset(GOOD), "held_out": build_dataset(MORE), "test": build_dataset(MORE[:4])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    for spec in ({"source": "saved"}, {"train": "saved"}):
        data = read(tmp_path, **spec)
        assert data.rows() == {"train": 32, "validation": 8, "test": 4} and data.label_names == ("yes", "no")
    assert read(tmp_path, source="saved", validation="held_out").validation.texts[0] == "other 0"
    assert "split 'dev' (data.validation) is unknown" in read_error(tmp_path, source="saved", validation="dev")
    message = read_error(tmp_path, train="saved", test="other.csv")
    assert message.endswith("saved: is a folder with several splits; name it as data.source")


def test_saved_dataset_is_one_split(tmp_path: Path) -> None:
    build_dataset(GOOD).with_format("numpy").save_to_disk(tmp_path / "rows")
    build_dataset(MORE).save_to_disk(tmp_path / "more")
    assert read(tmp_path, source="rows").label_names == ("yes", "no")
    data = read(tmp_path, train="rows", test="more")
    assert data.rows() == {"train": 32, "validation": 8, "test": 10}


def test_damaged_saved_dataset_is_an_error(tmp_path: Path) -> None:
    build_dataset(GOOD).save_to_disk(tmp_path / "rows")
    next((tmp_path / "rows").glob("*.arrow")).write_bytes(b"no arrow at all")
    assert read_error(tmp_path, source="rows").startswith(f"{tmp_path / 'rows'}: cannot be read: ")
