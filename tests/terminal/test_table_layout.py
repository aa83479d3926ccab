"""Tables fit the width of a line, and say what was cut or left out."""

from __future__ import annotations

import pytest

from hpo.terminal.table_layout import Column, print_columns

WIDE = [
    Column("#", ["1", "22"], is_required=True),
    Column("ending", ["complete", "pruned"], is_text=True, is_required=True),
    Column("learning_rate", ["3.92e-05", "0.0001"]),
    Column("lr_scheduler_type", ["constant_with_warmup_and_restarts", "linear"]),
    Column("weight_decay", ["0.1", "0.25"]),
]


def print_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: list[Column], room: int | None
) -> list[str]:
    """Print columns in lines of this width, or in a pipe if it is None, and return the lines."""
    if room is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(room))
    print_columns(columns)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_a_table_that_fits_is_unchanged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert print_lines(capsys, monkeypatch, WIDE[:3], 80) == [
        " #  ending    learning_rate",
        " 1  complete       3.92e-05",
        "22  pruned           0.0001",
    ]


def test_headings_are_stacked_then_cells_cut_then_columns_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked = print_lines(capsys, monkeypatch, WIDE, 70)
    assert "constant_with_warmup_and_restarts" in stacked[3] and len(stacked) == 5
    cut = print_lines(capsys, monkeypatch, WIDE, 50)
    assert cut[3] == " 1 complete 3.92e-05 constant_with_warmu…    0.1"
    assert cut[-1] == "… marks a cell that was cut; --json shows all of it"
    left = print_lines(capsys, monkeypatch, WIDE, 30)
    assert left[1:] == [
        " # ending       rate",
        " 1 complete 3.92e-05",
        "22 pruned     0.0001",
        "no room for lr_scheduler_type, weight_decay; a wider window or --json shows more",
    ]


@pytest.mark.parametrize("room", [100, 80, 60, 45, 30])
def test_no_line_of_a_table_is_too_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    notices = ("no room for", "… marks")
    table = [line for line in print_lines(capsys, monkeypatch, WIDE, room) if not line.startswith(notices)]
    assert max(map(len, table)) <= room


def test_in_a_pipe_nothing_is_lost(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    many = [*WIDE, *(Column(f"parameter_{number}", ["0.123456789", "1"]) for number in range(12))]
    printed = print_lines(capsys, monkeypatch, many, None)
    assert len(printed[-1]) > 160 and "constant_with_warmup_and_restarts" in printed[-2]
    assert printed[-2].count("0.123456789") == 12


def test_required_columns_are_printed_even_if_they_do_not_fit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a-study-with-a-very-long-name-of-more-than-sixty-letters-in-all"
    printed = print_lines(
        capsys, monkeypatch, [Column("study", [name], is_text=True, is_required=True), Column("best", ["0.9"])], 30
    )
    assert name in printed and "no room for best" in printed[-1]


def test_wide_characters_take_two_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    printed = print_lines(capsys, monkeypatch, [Column("", ["正面", "ab"], is_text=True), Column("n", ["1", "22"])], 80)
    assert printed == ["       n", "正面   1", "ab    22"]


def test_markup_is_printed_as_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    printed = print_lines(capsys, monkeypatch, [Column("[bold]", ["[red]x[/red]", "\\["], is_text=True)], 80)
    assert printed == ["[bold]", "[red]x[/red]", "\\["]
