"""A table keeps to the room there is, and says what it lost."""

from __future__ import annotations

import pytest

from hpo.terminal.table_layout import Column, print_columns

WIDE = [
    Column("#", ["1", "22"], kept=True),
    Column("ending", ["complete", "pruned"], words=True, kept=True),
    Column("learning_rate", ["3.92e-05", "0.0001"]),
    Column("lr_scheduler_type", ["constant_with_warmup_and_restarts", "linear"]),
    Column("weight_decay", ["0.1", "0.25"]),
]


def lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: list[Column], room: int | None
) -> list[str]:
    """What is printed where a line may take so many columns; None where it is piped."""
    if room is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(room))
    print_columns(columns)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_with_room_nothing_is_changed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(capsys, monkeypatch, WIDE[:3], 80) == [
        " #  ending    learning_rate",
        " 1  complete       3.92e-05",
        "22  pruned           0.0001",
    ]


def test_heads_are_stacked_first_then_cells_cut_and_columns_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked = lines(capsys, monkeypatch, WIDE, 70)
    assert "constant_with_warmup_and_restarts" in stacked[3] and len(stacked) == 5
    cut = lines(capsys, monkeypatch, WIDE, 50)
    assert cut[3] == " 1 complete 3.92e-05 constant_with_warmu…    0.1"
    assert cut[-1] == "… is cut; --json has it whole"
    left = lines(capsys, monkeypatch, WIDE, 30)
    assert left[1:] == [
        " # ending       rate",
        " 1 complete 3.92e-05",
        "22 pruned     0.0001",
        "no room for lr_scheduler_type, weight_decay; a wider window or --json shows more",
    ]


@pytest.mark.parametrize("room", [100, 80, 60, 45, 30])
def test_no_line_of_a_table_is_longer_than_its_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    told = ("no room for", "… is cut")
    table = [line for line in lines(capsys, monkeypatch, WIDE, room) if not line.startswith(told)]
    assert max(map(len, table)) <= room


def test_piped_nothing_is_lost(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    many = [*WIDE, *(Column(f"parameter_{number}", ["0.123456789", "1"]) for number in range(12))]
    found = lines(capsys, monkeypatch, many, None)
    assert len(found[-1]) > 160 and "constant_with_warmup_and_restarts" in found[-2]
    assert found[-2].count("0.123456789") == 12


def test_what_must_be_there_is_there_even_without_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a-study-with-a-very-long-name-of-more-than-sixty-letters-in-all"
    found = lines(capsys, monkeypatch, [Column("study", [name], words=True, kept=True), Column("best", ["0.9"])], 30)
    assert name in found and "no room for best" in found[-1]


def test_wide_letters_take_two_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = lines(capsys, monkeypatch, [Column("", ["正面", "ab"], words=True), Column("n", ["1", "22"])], 80)
    assert found == ["       n", "正面   1", "ab    22"]


def test_marks_of_markup_are_shown_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = lines(capsys, monkeypatch, [Column("[bold]", ["[red]x[/red]", "\\["], words=True)], 80)
    assert found == ["[bold]", "[red]x[/red]", "\\["]
