"""The verdict's tables: whole at 80 columns, and narrower ones say what they left out."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.evaluation.comparison import compare_study
from hpo.results.formatting import classes_table, gains_table, scores_table
from hpo.store.storage import storage_url
from hpo.terminal.comparison_tables import print_comparison
from tests.terminal.conftest import Made
from tests.terminal.test_tables import Narrow


def found(made: Made, **sort: Any) -> dict[str, Any]:
    spec = made(12, seeds=2, **sort)
    return compare_study(spec, storage_url(spec))


def test_at_80_columns_nothing_is_left_out(made: Made, capsys: pytest.CaptureFixture[str], narrow: Narrow) -> None:
    weighed = found(made)
    narrow(80)
    print_comparison(weighed)
    lines = capsys.readouterr().out.splitlines()
    for table in (gains_table(weighed), scores_table(weighed), classes_table(weighed)):
        for row in table.rows:
            cells = [cell for cell in row if cell]
            assert any(all(cell in line for cell in cells) and len(line.rstrip()) <= 80 for line in lines), row
    assert not any(line.startswith("no room") for line in lines)
    assert lines[-1] == f"verdict: {weighed['verdict']}"


def test_narrower_the_missing_columns_are_named(made: Made, capsys: pytest.CaptureFixture[str], narrow: Narrow) -> None:
    weighed = found(made, classes=3)
    narrow(60)
    print_comparison(weighed)
    lines = capsys.readouterr().out.splitlines()
    tables = [line for line in lines if line.startswith(("winner", "majority", "tfidf", "recipe", "  "))]
    assert max(len(line.rstrip()) for line in tables) <= 60
    lost = [line.split(";")[0] for line in lines if line.startswith("no room for ")]
    assert lost == [
        "no room for cost, texts/s",
        "no room for log loss, Brier, ECE",
        "no room for as positive, as undecided",
    ]


def test_of_many_classes_the_way_to_see_them_is_told(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(found(made, classes=20))
    assert "20 classes: scores of each and the confusion are in hpo compare --json" in capsys.readouterr().out
