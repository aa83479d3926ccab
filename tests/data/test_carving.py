"""Carved splits: unchanged draws, equal texts and groups that stay together, and the latest rows."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas
import pytest

from hpo.data.splits import TextData
from hpo.data.stratified_draw import draw_units
from tests.data.test_splits import FOUR_CLASSES, GOOD, read, read_error, write, write_label_folder

SUFFIXES = [".csv", ".tsv", ".json", ".jsonl", ".parquet"]


def write_columns(file: Path, **columns: list[Any]) -> str:
    """Write columns in the format of the suffix; return the name of the file."""
    table = pandas.DataFrame(columns)
    if file.suffix == ".parquet":
        table.to_parquet(file)
    elif file.suffix in (".json", ".jsonl"):
        table.to_json(file, orient="records", lines=file.suffix == ".jsonl", date_format="iso")
    else:
        table.to_csv(file, index=False, sep="\t" if file.suffix == ".tsv" else ",")
    return file.name


def make_columns(count: int = 60, **columns: list[Any]) -> dict[str, list[Any]]:
    return {"text": [f"text {row}" for row in range(count)], "label": [row % 2 for row in range(count)], **columns}


def select(data: TextData, values: list[Any]) -> dict[str, list[Any]]:
    """The values of a column in each carved split."""
    return {name: [values[row] for row in split.ids] for name, split in data.splits().items()}


@pytest.mark.parametrize(
    ("spec", "fingerprint"),
    [
        ({}, "f43655f1d4f96126"),
        ({"test": 100, "validation": 0.1}, "ab62d6905fb09994"),
        ({"test": 0.3, "validation": 50, "seed": 7}, "98c7002c08e2bac5"),
        (
            {"test": 0.3, "validation": 50, "seed": 7, "rows": {"train": 200, "test": 90, "validation": 20}},
            "84c04e33ce24f4ce",
        ),
        ({"source": "builtin:reviews", "test": 0.25}, "9d93958e170e7ae1"),
        (
            {
                "source": "builtin:reviews",
                "rows": {"train": 300, "test": 50},
                "validation": 70,
                "test": 0.2,
                "seed": 3,
            },
            "a90e72c790ecaa80",
        ),
    ],
)
def test_draws_of_texts_that_all_differ_are_those_of_version_0_1_0(
    tmp_path: Path, spec: dict[str, Any], fingerprint: str
) -> None:
    train = {} if "source" in spec else {"train": write(tmp_path / "train.csv", FOUR_CLASSES)}
    assert read(tmp_path, **train, **spec).fingerprint == fingerprint


# --- equal texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_equal_texts_stay_in_one_split_and_numbers_are_met(tmp_path: Path, seed: int) -> None:
    rows = [(["Thanks!", "thanks", "THANKS ."][row % 3], row % 2) for row in range(12)]
    rows += [(f"text {row // 2}" + "!" * (row % 2), "abab"[row % 4] == "a") for row in range(60)]
    rows = [(text, int(label)) for text, label in [*rows, *((f"single {row}", row % 2) for row in range(128))]]
    train = write(tmp_path / "train.csv", rows)
    data = read(tmp_path, train=train, test=50, validation=0.2, seed=seed)
    assert data.rows() == {"train": 110, "validation": 40, "test": 50}
    assert all(Counter(split.labels)[0] in (split.labels.count(1) + gap for gap in (-2, 0, 2)) for split in
               data.splits().values())  # fmt: skip
    assert not [notice for notice in data.notices if "also occur" in notice]
    apart = read(tmp_path, train=train, test=50, validation=0.2, seed=seed, split_equal_texts=True)
    assert [notice for notice in apart.notices if "also occur" in notice] and apart.rows() == data.rows()


def test_equal_texts_are_drawn_as_often_as_others() -> None:
    """Half of the rows are repeated four times: they must not all be kept in train, or all be drawn."""
    units = [row // 4 for row in range(200)] + list(range(1000, 1200))
    drawn = [
        row < 200 for seed in range(40) for row in draw_units([0, 1] * 200, units, 100, "ab", "data.test", seed=seed)
    ]
    assert len(drawn) == 40 * 100 and 0.42 < sum(drawn) / len(drawn) < 0.58


def test_class_with_a_single_text_stays_in_train(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", [*GOOD, ("spam", 2), ("Spam!", 2)])
    data = read(tmp_path, train=train)
    assert data.train.labels.count(2) == 2
    assert data.notices[0] == "validation: 7 rows instead of 8, because equal texts stay together"
    assert "validation: no row of class '2', so its scores do not cover it; it has 4 rows of '0', 3 of '1'" in (
        data.notices
    )


def test_a_few_repeated_texts_are_divided_and_reported(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", [("good", 1), ("bad", 0)] * 20)
    data = read(tmp_path, train=train)
    assert Counter(data.validation.labels) == {0: 4, 1: 4}
    assert "validation: 8 of 8 texts also occur in train (all exact)" in data.notices[1]


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_group_is_in_two_carved_splits(tmp_path: Path, suffix: str) -> None:
    customers = [f"customer {row * row % 17}" for row in range(300)]
    train = write_columns(tmp_path / f"train{suffix}", **make_columns(300, customer=customers))
    data = read(tmp_path, train=train, group="customer", test=0.2, validation=0.2)
    groups = {name: set(values) for name, values in select(data, customers).items()}
    assert sum(map(len, groups.values())) == len(set(customers)) == len(set.union(*groups.values()))
    assert all(30 <= len(split) <= 90 for split in (data.validation, data.test) if split)
    assert any("rows instead of 60, because groups stay together (data.group)" in notice for notice in data.notices)
    assert read(tmp_path, train=train, group="customer", test=0.2, validation=0.2) == data


def test_groups_are_stratified_and_any_group_can_be_drawn(tmp_path: Path) -> None:
    columns = make_columns(400, customer=[row // 10 for row in range(400)])
    columns["label"] = [int(row // 10 % 4 == 0) for row in range(400)]  # each customer has one class
    train = write_columns(tmp_path / "train.parquet", **columns)
    drawn: Counter[int] = Counter()
    for seed in range(30):
        data = read(tmp_path, train=train, group="customer", seed=seed)
        assert Counter(data.validation.labels) == {0: 60, 1: 20}
        drawn.update(set(select(data, columns["customer"])["validation"]))
    assert len(drawn) == 40


def test_groups_too_large_to_split_are_an_error(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.csv", **make_columns(60, customer=["a", "b"] * 30))
    assert read_error(tmp_path, train=train, group="customer", validation=5).startswith(
        "data.validation: 5 of 60 rows cannot be drawn in whole groups (data.group): each is too large"
    )


def test_groups_of_given_splits_are_reported_and_dropped(tmp_path: Path) -> None:
    """Numbers of a parquet file are the same groups as the digits of a csv file."""
    train = write_columns(tmp_path / "train.csv", **make_columns(40, customer=[row // 4 for row in range(40)]))
    more: dict[str, list[Any]] = {"text": [f"other {row}" for row in range(6)], "label": [0, 1] * 3}
    test = write_columns(tmp_path / "test.parquet", **more, customer=[1.0, 1.0, 2.0, 77.0, 78.0, 79.0])
    held_out = write_columns(tmp_path / "v.jsonl", text=["x", "y", "z"], label=[0, 1, 1], customer=["78", "9", "80"])
    spec = {"train": train, "validation": held_out, "test": test, "group": "customer"}
    assert read(tmp_path, **spec).notices == (
        "validation: 1 of 3 rows belong to 1 group (data.group) that train has too; "
        "data.drop_leaks = true removes their rows from train",
        "test: 3 of 6 rows belong to 2 groups (data.group) that train has too; "
        "data.drop_leaks = true removes their rows from train",
        "test: 1 of 6 rows belong to 1 group (data.group) that validation has too; "
        "data.drop_leaks = true removes their rows from validation",
    )
    data = read(tmp_path, **spec, drop_leaks=True)
    assert data.rows() == {"train": 28, "validation": 2, "test": 6}
    assert data.notices[:2] == (
        "validation: drop_leaks removed 1 of 3 rows, because their texts or groups also occur in test",
        "train: drop_leaks removed 12 of 40 rows, because their texts or groups also occur in validation or test",
    )


# --- order ------------------------------------------------------------------------------------------------------------


def draw_days(count: int) -> list[int]:
    return random.Random(0).sample(range(1000), count)


ORDERS: dict[str, Any] = {
    "numbers": lambda day: day - 500,
    "decimal numbers": lambda day: day / 7,
    "dates": lambda day: str(date(2024, 1, 1) + timedelta(day)),
    "times": lambda day: (datetime(2024, 1, 1) + timedelta(hours=day)).isoformat(),
    # As text, the order of these differs from that of time.
    "times with zones": lambda day: (
        (datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=day))
        .astimezone(datetime(2024, 1, 1, tzinfo=UTC).tzinfo if day % 2 else None)
        .isoformat()
    ),
    "digits": lambda day: str(day),
    "months": lambda day: f"{2000 + day // 12}-{day % 12 + 1:02}",
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ORDERS)
def test_test_has_the_latest_rows_and_validation_those_before(tmp_path: Path, suffix: str, kind: str) -> None:
    days = draw_days(60)
    train = write_columns(tmp_path / f"train{suffix}", **make_columns(60, sent=[ORDERS[kind](day) for day in days]))
    data = read(tmp_path, train=train, order="sent", test=0.25, validation=10)
    latest_first = sorted(range(60), key=lambda row: -days[row])
    assert data.test and data.test.ids == sorted(latest_first[:15])
    assert data.validation.ids == sorted(latest_first[15:25])
    assert data.train.ids == sorted(latest_first[25:]) and data.notices == ()


def test_dates_of_parquet_files_are_read(tmp_path: Path) -> None:
    days = draw_days(60)
    for number, make in enumerate(
        (lambda day: date(2024, 1, 1) + timedelta(day), lambda day: pandas.Timestamp(day, unit="s"))
    ):
        train = write_columns(tmp_path / f"{number}.parquet", **make_columns(60, sent=[make(day) for day in days]))
        data = read(tmp_path, train=train, order="sent", validation=1)
        assert data.validation.ids == [days.index(max(days))]


def test_of_equal_values_the_last_rows_are_the_latest(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.csv", **make_columns(40, sent=["2024-02-01"] * 20 + ["2024-01-01"] * 20))
    data = read(tmp_path, train=train, order="sent", test=5, validation=18)
    assert data.test and data.test.ids == [15, 16, 17, 18, 19]
    assert data.validation.ids == [*range(15), 37, 38, 39]


def test_equal_texts_are_divided_by_order_and_dropped_from_the_earlier_split(tmp_path: Path) -> None:
    columns = make_columns(40, sent=list(range(40)))
    columns["text"][3] = columns["text"][30].upper() + "!"
    train = write_columns(tmp_path / "train.csv", **columns)
    data = read(tmp_path, train=train, order="sent", validation=0.5)
    assert "validation: 1 of 20 texts also occur in train (0 exact, 1 but for" in data.notices[0]
    data = read(tmp_path, train=train, order="sent", validation=0.5, drop_leaks=True)
    assert data.train.ids == [row for row in range(20) if row != 3] and len(data.validation) == 20


def test_classes_that_order_leaves_out(tmp_path: Path) -> None:
    columns = make_columns(40, sent=list(range(40)))
    columns["label"] = ["old"] * 10 + ["a", "b"] * 10 + ["a"] * 10
    train = write_columns(tmp_path / "train.csv", **columns)
    assert read(tmp_path, train=train, order="sent", validation=0.25).notices[0] == (
        "validation: no row of classes 'b', 'old', so its scores do not cover them; it has 10 rows of 'a'"
    )
    columns["label"] = ["a", "b"] * 15 + ["new"] * 10
    train = write_columns(tmp_path / "train.csv", **columns)
    message = "data.order: leaves train without a row of class 'new'; add rows or leave it out"
    assert read_error(tmp_path, train=train, order="sent", test=5, validation=5) == message


def test_group_and_order_leave_out_earlier_rows_of_later_groups(tmp_path: Path) -> None:
    customers = [row % 5 for row in range(20)] + [9] * 10 + [row % 3 for row in range(10)]
    train = write_columns(tmp_path / "train.csv", **make_columns(40, sent=list(range(40)), customer=customers))
    data = read(tmp_path, train=train, order="sent", group="customer", test=10, validation=2)
    assert data.test and data.test.ids == list(range(30, 40)) and data.validation.ids == [28, 29]
    assert data.train.ids == [row for row in range(20) if row % 5 in (3, 4)]
    assert data.notices[0] == (
        "train: 20 of 28 rows are left out, because validation or test has later rows of their groups "
        "(data.group, data.order)"
    )


def test_given_split_that_is_not_later_is_a_notice(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.csv", **make_columns(40, sent=list(range(40))))
    test = write_columns(tmp_path / "test.csv", text=["x", "y"], label=[0, 1], sent=[50, 27])
    assert read(tmp_path, train=train, order="sent", test=test, validation=10).notices == (
        "train: 2 of 30 rows are later (data.order) than the first row of test, so scores on test are not those of "
        "later texts",
        "validation: 10 of 10 rows are later (data.order) than the first row of test, so scores on test are not those "
        "of later texts",
    )


# --- errors -----------------------------------------------------------------------------------------------------------

ACCEPTED = "cannot be ordered; expected numbers or ISO 8601 dates such as 2024-01-31"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2.1.2024"] * 6, f"'2.1.2024' in row 1 (data.order) {ACCEPTED}"),
        (["2024-01-02"] * 5 + ["01/02/2024"], f"'01/02/2024' in row 6 (data.order) {ACCEPTED}"),
        (["2024-01-02"] * 5 + ["2024-13-02"], f"'2024-13-02' in row 6 (data.order) {ACCEPTED}"),
        (["1e999"] * 6, f"'1e999' in row 1 (data.order) {ACCEPTED}"),
        (["9" * 5000] * 6, f"(data.order) {ACCEPTED}"),
        ([1, 2, 3, True, 4, 5], f"True in row 4 (data.order) {ACCEPTED}"),
        ([1, 2, 3, [4], 4, 5], f"[4] in row 4 (data.order) {ACCEPTED}"),
        ([1, 2, None, 3, 4, 5], "1 value of data.order is empty or null, first in row 3"),
        ([2023, "2024-01-02", 3, 4, 5, 6], "has numbers (2023 in row 1 of"),
        (["2024-01-02", "2024-01-02T00:00Z"] * 3, "and dates with a time zone ('2024-01-02T00:00Z' in row 2 of"),
    ],
)
def test_order_that_is_not_clear_is_an_error(tmp_path: Path, values: list[Any], message: str) -> None:
    rows = [{"text": f"text {row}", "label": row % 2, "sent": value} for row, value in enumerate(values)]
    pandas.Series(rows).to_json(tmp_path / "train.json", orient="values")
    assert message in read_error(tmp_path, train="train.json", order="sent")


@pytest.mark.parametrize(("value", "message"), [(None, "1 group (data.group) is empty"), ([1], "is a list; expected")])
def test_row_without_a_group_is_an_error(tmp_path: Path, value: Any, message: str) -> None:
    rows = [{"text": f"text {row}", "label": row % 2, "customer": value if row == 3 else row} for row in range(20)]
    pandas.Series(rows).to_json(tmp_path / "train.json", orient="values")
    assert message in read_error(tmp_path, train="train.json", group="customer")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("key", ["group", "order"])
def test_missing_split_column_is_an_error(tmp_path: Path, suffix: str, key: str) -> None:
    train = write(tmp_path / f"train{suffix}", GOOD)
    assert f"column 'sent' (data.{key}) is unknown" in read_error(tmp_path, train=train, **{key: "sent"})


@pytest.mark.parametrize("key", ["group", "order"])
def test_sources_without_columns_are_an_error(tmp_path: Path, key: str) -> None:
    write_label_folder(tmp_path, "train", "pos", 10)
    write_label_folder(tmp_path, "train", "neg", 10)
    for source in (".", "builtin:reviews"):
        message = f"has no columns, so no 'sent' (data.{key}); leave data.{key} out, or use files"
        assert message in read_error(tmp_path, source=source, **{key: "sent"})


def test_order_that_leaves_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.csv", **make_columns(10, sent=list(range(10))))
    message = "data.validation: 7 of 7 rows leave none to train on; change the number or add rows"
    assert read_error(tmp_path, train=train, order="sent", test=3, validation=7) == message


def test_saved_data_sets_and_files_without_header_have_split_columns(tmp_path: Path) -> None:
    import datasets

    columns = make_columns(40, sent=list(range(40)), customer=[row // 2 for row in range(40)])
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
    pandas.DataFrame(columns).to_csv(tmp_path / "rows.csv", index=False, header=False)
    named: dict[str, Any] = {"order": "sent", "group": "customer", "validation": 11}
    numbered = {"text": 1, "label": 2, "order": 3, "group": 4, "validation": 11, "header": False}
    saved, plain = read(tmp_path, train="saved", **named), read(tmp_path, train="rows.csv", **numbered)
    assert saved.validation.ids == plain.validation.ids == list(range(29, 40))
    assert saved.train.ids == plain.train.ids == list(range(28))
