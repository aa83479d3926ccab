"""A baseline that cannot run is refused before anything is written, with advice that can be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.api import Study
from hpo.errors import HpoError
from hpo.evaluation.run_listener import RunListener


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rerun", "no study 'small' in the store; `hpo search "),
        (
            "recipe",
            r"baseline recipe needs a known_good start, .*; add a table \[\[space.known_good\]\], or leave recipe",
        ),
        ("tf-idf-logreg", "baseline 'tf-idf-logreg' is unknown; did you mean tfidf-logreg?"),
    ],
)
def test_baseline_that_cannot_run_is_refused_before_anything_is_written(name: str, message: str, small: Path) -> None:
    with pytest.raises(HpoError, match=message):
        Study(small).baselines("majority", name, listener=RunListener())
    assert [path.name for path in small.parent.iterdir()] == ["small.toml"]


def test_named_start_makes_the_baseline_possible(small: Path) -> None:
    start = '[[space.known_good]]\nsource = "a paper"\nlearning_rate = 1e-3\n'
    text = small.read_text().replace("[search]\n", f"{start}[search]\n", 1)
    small.write_text(text)
    runs = Study(small, "final.seeds=1").baselines("recipe", listener=RunListener())
    assert [run.is_complete for run in runs["recipe"]] == [True]
