"""Splits from every source, the errors for unusable data, and notices."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpo.data.splits import TextData, load_splits
from hpo.errors import DataError
from hpo.store.study_record import DataSummary
from hpo.study.spec_tables import DataSpec

Rows = list[tuple[Any, Any]]
GOOD: Rows = [(f"text {row}", row % 2) for row in range(40)]
MORE: Rows = [(f"other {row}", row % 2) for row in range(10)]


def read(folder: Path, **spec: Any) -> TextData:
    return load_splits(DataSpec.model_validate(spec), folder)


def write(path: Path, rows: Rows, text: str = "text", label: str = "label") -> str:
    """Write rows in the format of the suffix; return the name of the file."""
    import pandas

    path.parent.mkdir(parents=True, exist_ok=True)
    objects = [{text: row_text, label: row_label} for row_text, row_label in rows]
    if path.suffix == ".json":
        path.write_text(json.dumps(objects))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, objects)) + "\n")
    elif path.suffix == ".parquet":
        pandas.DataFrame(objects).to_parquet(path)
    else:
        pandas.DataFrame(objects).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path.name


def read_error(folder: Path, **spec: Any) -> str:
    """The message of the error that loading the splits raises."""
    with pytest.raises(DataError) as caught:
        read(folder, **spec)
    message = str(caught.value)
    assert "\n" not in message
    return message


def train_error(folder: Path, train_rows: Rows, suffix: str = ".jsonl", **spec: Any) -> str:
    return read_error(folder, train=write(folder / f"train{suffix}", train_rows), **spec)


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    "make_label", [lambda row: row, lambda row: ["bad", "good"][row], bool], ids=["int", "str", "bool"]
)
def test_files_of_every_format_give_texts_and_labels(tmp_path: Path, suffix: str, make_label: Any) -> None:
    more = [(text, make_label(label)) for text, label in MORE]
    rows = [(f'text "{row}", caf\u00e9\nNA', make_label(row % 2)) for row in range(40)]
    files = {"train": write(tmp_path / f"a{suffix}", rows), "test": write(tmp_path / f"b{suffix}", more)}
    data = read(tmp_path, **files, quoting="csv")  # pandas quotes fields of TSV files too
    assert data.label_names == tuple(map(str, sorted({label for _, label in rows})))
    assert data.rows() == {"train": 32, "validation": 8, "test": 10}
    for split in (data.train, data.validation):
        assert [(split.texts[i], split.labels[i]) for i in range(len(split))] == [
            (rows[i][0], i % 2) for i in split.ids
        ]
    assert data.test is not None and data.test.ids == list(range(10)) and data.test.texts[3] == "other 3"


def test_files_can_be_globs_lists_and_paths_relative_to_the_study_file(tmp_path: Path) -> None:
    for part in range(3):
        write(tmp_path / "data" / f"part-{part}.csv", GOOD[part * 10 : part * 10 + 10])
    write(tmp_path / "last.jsonl", GOOD[30:])
    write(tmp_path / "held[1].csv", MORE)
    (tmp_path / "study").mkdir()
    data = read(tmp_path / "study", train=["../data/*.csv", "../last.jsonl"], validation=str(tmp_path / "held[1].csv"))
    assert data.train.texts == [text for text, _ in GOOD] and data.train.ids == list(range(40))
    assert data.validation.texts == [text for text, _ in MORE] and data.test is None


def test_source_can_be_a_file(tmp_path: Path) -> None:
    write(tmp_path / "all.csv", GOOD, "review", "stars")
    data = read(tmp_path, source="all.csv", text="review", label="stars", test=0.25, validation=5)
    assert data.rows() == {"train": 25, "validation": 5, "test": 10}
    assert "leave one out" in read_error(tmp_path, source="all.csv", train="all.csv")


def test_words_that_pandas_takes_for_null_stay_words(tmp_path: Path) -> None:
    rows = [(word, row % 2) for row, word in enumerate(["NA", "null", "None", "nan", "123", "1.50", "True", "n/a"] * 3)]
    data = read(tmp_path, train=write(tmp_path / "train.csv", rows), validation=write(tmp_path / "v.csv", MORE))
    assert data.train.texts == [word for word, _ in rows]


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    for suffix in (".csv", ".json", ".jsonl"):
        path = tmp_path / write(tmp_path / f"train{suffix}", GOOD)
        path.write_text(path.read_text(), encoding="utf-8-sig")
        assert read(tmp_path, train=path.name).label_names == ("0", "1")


def test_json_can_have_one_object_per_line(tmp_path: Path) -> None:
    (tmp_path / write(tmp_path / "train.jsonl", GOOD)).rename(tmp_path / "train.json")
    assert read(tmp_path, train="train.json").rows()["train"] == 32


def write_label_folder(root: Path, split: str, label: str, count: int) -> None:
    (root / split / label).mkdir(parents=True)
    for row in range(count):
        (root / split / label / f"{row}_7.txt").write_text(f"{split} {label} {row} caf\u00e9", encoding="utf-8")


def test_folder_of_text_files_is_read_as_aclimdb(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_label_folder(tmp_path / "aclImdb", split, "pos", 20)
        write_label_folder(tmp_path / "aclImdb", split, "neg", 20)
    write_label_folder(tmp_path / "aclImdb", "train", "unsup", 5)
    data = read(tmp_path, source="aclImdb")
    assert data.label_names == ("neg", "pos") and data.rows() == {"train": 32, "validation": 8, "test": 40}
    assert all(
        f" {data.label_names[label]} " in text for text, label in zip(data.train.texts, data.train.labels, strict=True)
    )
    assert read(Path("/"), source=str(tmp_path / "aclImdb")).fingerprint == data.fingerprint


def test_label_folders_named_by_numbers_are_sorted_numerically(tmp_path: Path) -> None:
    for label in ("10", "2", "1"):
        write_label_folder(tmp_path, "train", label, 10)
    assert read(tmp_path, source=".").label_names == ("1", "2", "10")


def test_folder_can_have_files_named_after_the_splits(tmp_path: Path) -> None:
    write(tmp_path / "d" / "train-00000-of-00002.parquet", GOOD[:20])
    write(tmp_path / "d" / "train-00001-of-00002.parquet", GOOD[20:])
    write(tmp_path / "d" / "dev.csv", MORE)
    data = read(tmp_path, source="d", validation="dev")
    assert data.rows() == {"train": 40, "validation": 10} and data.test is None
    assert "no folder test/ and no test.csv" in read_error(tmp_path, source="d", test="test")
    write(tmp_path / "d" / "dev.tsv", MORE)
    assert "both dev.csv and dev.tsv" in read_error(tmp_path, source="d", validation="dev")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the hub by data sets in memory; return the list of requests to it."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["pos", "neg"])})
    rows = {"train": GOOD, "unsupervised": [("x", -1)], "validation": MORE, "test": [("y", 0), ("z", 1)]}
    tables = {
        split: datasets.Dataset.from_dict(
            {"text": [text for text, _ in pairs], "label": [label for _, label in pairs]}, features=features
        )
        for split, pairs in rows.items()
    }
    requests: list[Any] = []

    def load_dataset(*names: Any, **options: Any) -> Any:
        requests.append((names, options))
        return datasets.DatasetDict(tables)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return requests


def test_hub_splits_are_loaded_with_config_and_revision(tmp_path: Path, hub: list[Any]) -> None:
    data = read(tmp_path, source="owner/name", config="plain", revision="v1")
    assert hub == [(("owner/name", "plain"), {"revision": "v1"})]
    assert data.label_names == ("pos", "neg") and data.rows() == {"train": 32, "validation": 8, "test": 2}
    data = read(tmp_path, source="owner/name", validation="validation", test=10)
    assert data.rows() == {"train": 30, "validation": 10, "test": 10} and data.validation.texts[0] == "other 0"


def test_hub_errors_name_split_label_and_column(tmp_path: Path, hub: list[Any]) -> None:
    assert "did you mean validation?" in read_error(tmp_path, source="name", validation="validatoin")
    assert "first -1 in row 1" in read_error(tmp_path, source="name", test="unsupervised")
    assert "column 'sentence' (data.text)" in read_error(tmp_path, source="name", text="sentence")


def test_unreachable_hub_and_missing_path_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = read_error(tmp_path, source="nobody/nothing")  # the tests run with HF_HUB_OFFLINE
    assert "nobody/nothing" in message and "no such folder" in message and "hub" in message
    for path in ("./nothing", "/no/where", "a/b/c", "train.csv"):
        assert "no such file or folder" in read_error(tmp_path, source=path)


def test_parquet_keeps_class_names_that_datasets_wrote(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["yes", "no"])})
    columns = {"text": [text for text, _ in GOOD], "label": [label for _, label in GOOD]}
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "train.parquet")
    assert read(tmp_path, train="train.parquet").label_names == ("yes", "no")


def test_parquet_keeps_the_order_of_categories(tmp_path: Path) -> None:
    import pandas

    labels = pandas.Categorical(["low", "high"] * 20, categories=["low", "high"])
    pandas.DataFrame({"text": [text for text, _ in GOOD], "label": labels}).to_parquet(tmp_path / "train.parquet")
    data = read(tmp_path, train="train.parquet")
    assert data.label_names == ("low", "high") and data.train.texts[0] == "text 0" and data.train.labels[0] == 0


def test_builtin_corpus_has_default_sizes_and_no_notices() -> None:
    data = read(Path(), source="builtin:reviews")
    assert data.rows() == {"train": 3200, "validation": 800, "test": 2000}
    assert data.label_names == ("negative", "positive") and data.notices == ()
    assert read(Path(), source="builtin:reviews", seed=1).fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("spec", "rows"),
    [
        ({"rows": {"train": 300, "validation": 200, "test": 100}}, {"train": 300, "validation": 200, "test": 100}),
        ({"rows": {"train": 300, "validation": 20}, "test": 0.1}, {"train": 300, "validation": 20}),
        ({"rows": {"train": 300, "test": 50}, "validation": 70}, {"train": 300, "validation": 70, "test": 50}),
        ({"rows": {"validation": 1200}}, {"train": 4800, "validation": 1200, "test": 2000}),
        ({"rows": {"test": 10}, "validation": 500}, {"train": 3500, "validation": 500, "test": 10}),
    ],
)
def test_builtin_corpus_has_enough_rows_for_every_limit(spec: dict[str, Any], rows: dict[str, int]) -> None:
    built = read(Path(), source="builtin:reviews", **spec).rows()
    assert built | rows == built


def test_unknown_builtin_corpus_is_an_error() -> None:
    assert "builtin:review is unknown; did you mean builtin:reviews?" in read_error(Path(), source="builtin:review")


# --- splitting and row limits -----------------------------------------------------------------------------------------

FOUR_CLASSES: Rows = [(f"row {row}", "abcd"[min(row % 10, 3)]) for row in range(1000)]  # shares 1 1 1 7


def count_classes(split: Any, names: tuple[str, ...]) -> dict[str, int]:
    return dict(Counter(names[label] for label in split.labels))


def test_splitting_is_stratified_seeded_and_in_order(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", FOUR_CLASSES)
    data = read(tmp_path, train=train, test=100, validation=0.2)
    assert data.test is not None
    assert count_classes(data.validation, data.label_names) == {"a": 20, "b": 20, "c": 20, "d": 140}
    assert count_classes(data.test, data.label_names) == {"a": 10, "b": 10, "c": 10, "d": 70}
    ids = [data.train.ids, data.validation.ids, data.test.ids]
    assert sorted(sum(ids, [])) == list(range(1000)) and all(rows == sorted(rows) for rows in ids)
    assert read(tmp_path, train=train, test=100, validation=0.2) == data
    assert read(tmp_path, train=train, test=100, validation=0.2, seed=1).validation.ids != data.validation.ids


def test_row_limits_are_stratified_and_met_exactly_after_splitting(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.csv", FOUR_CLASSES), write(tmp_path / "test.csv", FOUR_CLASSES[:500])
    data = read(tmp_path, train=train, test=test, rows={"train": 600, "validation": 50, "test": 5000})
    assert data.rows() == {"train": 600, "validation": 50, "test": 500}
    assert count_classes(data.train, data.label_names) == {"a": 60, "b": 60, "c": 60, "d": 420}
    assert data.train.ids == sorted(data.train.ids) and not set(data.train.ids) & set(data.validation.ids)


def test_row_limit_keeps_every_class(tmp_path: Path) -> None:
    rows = [(f"row {row}", row if row < 2 else 2) for row in range(100)] + [("again", 0), ("once more", 1)]
    data = read(tmp_path, train=write(tmp_path / "train.csv", rows), validation=3, rows={"train": 3})
    assert Counter(data.validation.labels) == Counter(data.train.labels) == {0: 1, 1: 1, 2: 1}


def test_splitting_off_most_rows_leaves_every_class_in_train(tmp_path: Path) -> None:
    rows = [(f"row {row}", "rare" if row < 3 else "often") for row in range(33)]
    data = read(tmp_path, train=write(tmp_path / "train.csv", rows), validation=0.9)
    assert count_classes(data.train, data.label_names) == {"rare": 1, "often": 2}


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"validation": 1000}, "data.validation"),
        ({"validation": 997}, "data.validation"),
        ({"validation": 3}, "data.validation"),
        ({"test": 3}, "data.test"),
        ({"rows": {"train": 3}}, "data.rows.train"),
    ],
)
def test_number_that_cannot_be_stratified_is_an_error(tmp_path: Path, spec: dict[str, Any], key: str) -> None:
    assert train_error(tmp_path, FOUR_CLASSES, **spec).startswith(f"{key}: ")


def test_class_with_one_row_cannot_be_split(tmp_path: Path) -> None:
    assert "(the rarest, 'z', has 1)" in train_error(tmp_path, [*FOUR_CLASSES, ("last", "z")])


# --- errors -----------------------------------------------------------------------------------------------------------


def test_missing_file_and_unknown_suffix_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", GOOD)
    assert read_error(tmp_path, train="no.csv") == f"{tmp_path}/no.csv: no such file (data.train)"
    assert "*.jsonl: no such file (data.test)" in read_error(tmp_path, train="train.csv", test="*.jsonl")
    (tmp_path / "train.xlsx").touch()
    assert "suffix .xlsx is unknown" in read_error(tmp_path, train="train.xlsx")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_missing_column_is_an_error(tmp_path: Path, suffix: str) -> None:
    message = train_error(tmp_path, GOOD, suffix, text="txt")
    assert "column 'txt' (data.text) is unknown; did you mean text? (columns: text, label)" in message
    assert "column 'zz' (data.label) is unknown; known: label, text" in train_error(tmp_path, GOOD, suffix, label="zz")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_nulls_are_counted_and_located(tmp_path: Path, suffix: str) -> None:
    rows = [*GOOD[:6], (None, 1), *GOOD[7:20], (None, 1)]
    assert "2 texts are empty or null, first in row 7;" in train_error(tmp_path, rows, suffix)
    rows = [*GOOD[:6], ("text", None), *GOOD[7:20]]
    assert "1 label is empty or null, first in row 7;" in train_error(tmp_path, rows, suffix)


def test_nulls_are_found_in_every_split(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [*MORE, ("  \n", 1)])
    assert "test.jsonl: 1 text is empty or null, first in row 11" in train_error(tmp_path, GOOD, test="test.jsonl")


def test_text_that_is_empty_after_cleaning_is_an_error(tmp_path: Path) -> None:
    rows = [*GOOD, ("<br>", 0)]
    assert "1 text is empty after cleaning, first in row 41" in train_error(tmp_path, rows, clean=["strip_html"])
    assert read(tmp_path, train="train.jsonl").rows()["train"] == 33


def test_unusable_labels_are_errors(tmp_path: Path) -> None:
    assert "all 20 labels are '0'" in train_error(tmp_path, GOOD[::2])
    mixed: Rows = [*GOOD, ("odd", "good")]
    assert "mixed types: 0 in row 1, 'good' in row 41" in train_error(tmp_path, mixed)
    assert "mixed types: 0 in row 1, 1.0 in row 41" in train_error(tmp_path, [*GOOD, ("one", 1.0)])
    assert "label 0.5 in row 41 is of type float" in train_error(tmp_path, [*GOOD, ("half", 0.5)])
    assert "label [0, 1] in row 41 is a list; several labels per text are not supported" in train_error(
        tmp_path, [*GOOD, ("both", [0, 1])]
    )
    assert "text in row 41 is of type int" in train_error(tmp_path, [*GOOD, (7, 1)])


def test_integral_float_labels_are_integers(tmp_path: Path) -> None:
    data = read(tmp_path, train=write(tmp_path / "a.parquet", [(text, float(label)) for text, label in GOOD]))
    assert data.label_names == ("0", "1")


def test_label_that_train_lacks_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [*MORE, ("new", 2), ("new", 2)])
    message = train_error(tmp_path, GOOD, test="test.jsonl")
    assert "2 rows have a label that is no class of train, first '2' in row 11; the classes of" in message
    assert message.endswith("train.jsonl are '0', '1'")
    write(tmp_path / "test.jsonl", [("true", True)])
    assert "first 'True' in row 1" in train_error(tmp_path, GOOD, test="test.jsonl")


def test_class_without_a_row_in_train_is_an_error(tmp_path: Path) -> None:
    import pandas

    labels = pandas.Categorical(["low", "high"] * 20, categories=["low", "middle", "high"])
    pandas.DataFrame({"text": [text for text, _ in GOOD], "label": labels}).to_parquet(tmp_path / "train.parquet")
    assert "class 'middle' has no row in train" in read_error(tmp_path, train="train.parquet")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.csv", b"text,label\ngood, film,1\nbad, film,0\n"),
        ("a.csv", b"text,label\ngood,1\nbad,0,3,4\n"),
        ("a.csv", b'text,label\n"good,1\nbad,0\n'),
        ("a.csv", b"text,label\n\xff\xfe\x00,1\n"),
        ("a.json", b'[{"text": '),
        ("a.json", b"[1, 2]"),
        ("a.jsonl", b'{"text": "good", "label": 1}\n{"text": \n'),
        ("a.jsonl", b"\xff\n"),
        ("a.jsonl", b""),
        ("a.parquet", b"no parquet at all"),
    ],
)
def test_unreadable_file_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_error(tmp_path, train=name).startswith(f"{tmp_path / name}: ")


def test_jsonl_error_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good", "label": 1}\n{"text": \n')
    assert "line 2" in read_error(tmp_path, train="a.jsonl")


def test_unknown_cleaning_step_is_an_error(tmp_path: Path) -> None:
    assert train_error(tmp_path, GOOD, clean=["strip_htm"]) == (
        "data.clean: strip_htm is unknown; did you mean strip_html?"
    )


# --- notices ----------------------------------------------------------------------------------------------------------


def test_repeats_and_leaks_of_cleaned_texts_are_notices(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", [*GOOD, ("Text 0", 0), ("OTHER 1", 1), ("other 1", 1)])
    test = write(tmp_path / "test.csv", [*MORE, ("Other 1", 1)])
    held_out = write(tmp_path / "v.csv", [("fresh", 0), ("also fresh", 1)])
    notices = read(tmp_path, train=train, test=test, validation=held_out, clean=["lowercase"]).notices
    assert notices == (
        "train: 2 of 43 texts are repeats of another (all exact)",
        "test: 2 of 11 texts also occur in train (all exact); data.drop_leaks = true removes them from train",
    )
    kinds = "(1 exact, 1 but for case, white space or punctuation)"
    assert f"test: 2 of 11 texts also occur in train {kinds}" in str(
        read(tmp_path, train=train, test=test, validation=held_out).notices
    )


def test_drop_leaks_keeps_the_row_limit_of_train(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.csv", GOOD + MORE), write(tmp_path / "test.csv", MORE)
    spec = {"train": train, "test": test, "validation": 4, "drop_leaks": True, "rows": {"train": 30}}
    data = read(tmp_path, **spec)
    assert data.rows() == {"train": 30, "validation": 4, "test": 10} and max(data.train.ids) < 40
    (leaks,) = (notice for notice in data.notices if "drop_leaks" in notice)
    dropped = 10 - sum(row >= 40 for row in data.validation.ids)
    assert leaks == (
        f"train: drop_leaks removed {dropped} of 46 rows, because their texts also occur in validation or test"
    )


def test_drop_leaks_compares_with_the_rows_that_other_splits_keep(tmp_path: Path) -> None:
    train, test = write(tmp_path / "train.csv", GOOD + MORE), write(tmp_path / "test.csv", MORE)
    held_out = write(tmp_path / "v.csv", [("fresh", 0), ("also fresh", 1)])
    data = read(tmp_path, train=train, test=test, validation=held_out, drop_leaks=True, rows={"test": 2})
    assert data.rows() == {"train": 48, "validation": 2, "test": 2}


def test_drop_leaks_that_empties_a_class_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", [row for row in GOOD if row[1]])
    held_out = write(tmp_path / "v.jsonl", MORE)
    message = train_error(tmp_path, GOOD, test="test.jsonl", validation=held_out, drop_leaks=True)
    assert "leaves train without a row of class '1'; add rows or set it to false" in message
    message = train_error(tmp_path, GOOD, test="test.jsonl", validation="test.jsonl", drop_leaks=True)
    assert message == "data.drop_leaks: leaves validation without a row; choose another data.validation"


def test_imbalance_is_a_notice(tmp_path: Path) -> None:
    rows: Rows = [(f"row {row}", "rare" if row % 5 == 0 else "often") for row in range(100)]
    (imbalance,) = read(tmp_path, train=write(tmp_path / "train.csv", rows)).notices
    assert imbalance == "train: classes are imbalanced: 64 rows of 'often', 16 of 'rare', 4.0 times as many"


def test_fingerprint_depends_on_texts_labels_names_and_splits(tmp_path: Path) -> None:
    fingerprints = set()
    names = ["0", "1"]
    for rows in (GOOD, [*GOOD[:-1], ("else", 1)], [(text, 1 - label) for text, label in GOOD]):
        fingerprints.add(read(tmp_path, train=write(tmp_path / "a.csv", rows)).fingerprint)
    renamed = [(text, f"class {names[label]}") for text, label in GOOD]
    fingerprints.add(read(tmp_path, train=write(tmp_path / "a.csv", renamed)).fingerprint)
    fingerprints.add(read(tmp_path, train="a.csv", seed=5).fingerprint)
    assert len(fingerprints) == 5
    assert all(len(fingerprint) == 16 and int(fingerprint, 16) >= 0 for fingerprint in fingerprints)


def test_stored_summary_has_the_fields_of_its_record(tmp_path: Path) -> None:
    data = read(tmp_path, train=write(tmp_path / "a.csv", GOOD))
    stored = data.about()
    assert json.loads(json.dumps(stored)) == stored
    assert DataSummary(**stored) == DataSummary(data.fingerprint, {"train": 32, "validation": 8}, ["0", "1"])


# --- real data and imports --------------------------------------------------------------------------------------------


def test_imdb_is_cleaned_and_its_leaks_are_counted(shared: Path) -> None:
    spec = {"train": "train.parquet", "validation": "test.parquet", "clean": ["strip_html"]}
    data = read(shared / "data" / "imdb", **spec)
    assert data.rows() == {"train": 25000, "validation": 12500}
    assert data.notices[0].startswith("train: 99 of 25,000 texts") and "(96 exact, 3 but for" in data.notices[0]
    assert data.notices[1].startswith("validation: 68 of 12,500 texts also occur in train (all exact)")
    assert not any("<br" in text for text in data.train.texts)


def test_sst2_folder_is_limited_without_leaks(shared: Path) -> None:
    data = read(shared / "data", source="sst2", validation="validation", rows={"train": 500}, drop_leaks=True)
    assert data.rows() == {"train": 500, "validation": 872, "test": 1821}
    assert "removed 4 of 6,920 rows" in data.notices[0]


def test_importing_the_data_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "datasets", "sklearn", "pandas", "pyarrow"}
    code = f"import sys, hpo.data.splits, hpo.data.token_cache; print(*({heavy!r} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
