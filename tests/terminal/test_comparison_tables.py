"""The tables of a comparison: complete at 80 columns; narrower ones name the columns that they leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hpo.evaluation.comparison import compare_study
from hpo.evaluation.comparison_result import ComparisonResult
from hpo.results.answers import answer_questions
from hpo.results.formatting import classes_table, gains_table, scores_table
from hpo.store.storage import storage_url
from hpo.terminal.comparison_tables import print_comparison
from tests.terminal.conftest import Made


def compare(made: Made, **options: Any) -> ComparisonResult:
    spec = made(12, seeds=2, **options)
    return compare_study(spec, storage_url(spec))


def test_80_columns_hold_all_tables(
    made: Made, capsys: pytest.CaptureFixture[str], narrow: Callable[[int], None]
) -> None:
    comparison = compare(made)
    narrow(80)
    print_comparison(comparison)
    lines = capsys.readouterr().out.splitlines()
    for table in (gains_table(comparison), scores_table(comparison), classes_table(comparison)):
        for row in table.rows:
            cells = [cell for cell in row if cell]
            assert any(all(cell in line for cell in cells) and len(line.rstrip()) <= 80 for line in lines), row
    assert not any(line.startswith("no room") for line in lines)
    verdict = lines.index(f"verdict: {comparison.verdict}")
    use = answer_questions(comparison)[2]
    assert use.commands
    assert [line.partition("?")[0] for line in lines[verdict + 1 :]] == [
        "Did the search pay",
        "Did fine-tuning pay",
        "What should I use",
        *(f"- {command}" for command in use.commands),
        "Can I trust the result",
    ]


def test_untested_difference_has_no_p_value(made: Made) -> None:
    comparison = compare(made)
    untested = [each.model_copy(update={"outcome": "untested"}) for each in comparison.differences]
    for differences, shown in ((comparison.differences, False), (untested, True)):
        table = gains_table(comparison.model_copy(update={"differences": differences}))
        column = [row[table.heads.index("p")] for row in table.rows if row[table.heads.index("gain")]]
        assert len(column) == len(differences) and [cell == "-" for cell in column] == [shown] * len(column)


def test_columns_left_out_of_narrow_tables_are_named(
    made: Made, capsys: pytest.CaptureFixture[str], narrow: Callable[[int], None]
) -> None:
    comparison = compare(made, classes=3)
    narrow(60)
    print_comparison(comparison)
    lines = capsys.readouterr().out.splitlines()
    tables = [line for line in lines if line.startswith(("winner", "majority", "tfidf", "recipe", "  "))]
    assert max(len(line.rstrip()) for line in tables) <= 60
    missing = [line.split(";")[0] for line in lines if line.startswith("no room for ")]
    assert missing == [
        "no room for cost, texts/s",
        "no room for log loss, Brier, ECE",
        "no room for predicted positive, predicted undecided",
    ]


def test_many_classes_are_left_to_json(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(compare(made, classes=7))
    assert "7 classes: `hpo compare --json` has their scores and the confusion" in capsys.readouterr().out
