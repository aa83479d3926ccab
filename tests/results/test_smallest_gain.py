"""The smallest gain that can be found: the promised power is the one that simulated comparisons have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpo.evaluation.statistics import Difference
from hpo.results.smallest_gain import DISAGREEMENT, SEED_SD, describe_smallest_gain, smallest_gain
from hpo.study.spec import StudySpec, load_study


@pytest.mark.parametrize(("rows", "seeds"), [(500, 2), (2000, 2), (2000, 5), (10_000, 5)])
def test_the_gain_is_found_in_about_80_percent_of_comparisons(rows: int, seeds: int) -> None:
    random, gain, count = np.random.default_rng(5), smallest_gain(rows, seeds), 400
    row_error = np.sqrt(DISAGREEMENT / rows)
    runs = SEED_SD * random.standard_normal((count, 2, seeds))
    differences = gain + row_error * random.standard_normal(count) + np.subtract(*runs.mean(axis=2).T)
    variances = runs.var(axis=2, ddof=1) / seeds
    found = [
        Difference(difference, row_error, float(np.sqrt(own.sum())), own.sum() ** 2 / (own**2 / (seeds - 1)).sum()).p
        < 0.05
        for difference, own in zip(differences, variances, strict=True)
    ]
    assert 0.74 <= np.mean(found) <= 0.86


def test_more_rows_and_more_seeds_find_smaller_gains() -> None:
    assert smallest_gain(2000, 5) < smallest_gain(500, 5) < smallest_gain(500, 2)


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (
            1,
            "with final.seeds = 1 no gain can be told from the luck of a seed; final.seeds = 5, which take 8 min more: "
            "3.0 points with 5 seeds and 2,000 test rows (in 80 % of studies, assuming seeds that differ by 1.0 "
            "points)",
        ),
        (
            2,
            "the final runs find gains from about 10.0 points with 2 seeds and 2,000 test rows; final.seeds = 5, which "
            "take 6 min more: 3.0 points with 5 seeds and 2,000 test rows (in 80 % of studies, assuming seeds that "
            "differ by 1.0 points)",
        ),
        (
            5,
            "the final runs find gains from about 3.0 points with 5 seeds and 2,000 test rows (in 80 % of studies, "
            "assuming seeds that differ by 1.0 points)",
        ),
    ],
)
def test_the_sentence_names_what_more_seeds_would_find(
    study_of_seeds: dict[int, StudySpec], seeds: int, expected: str
) -> None:
    assert describe_smallest_gain(study_of_seeds[seeds], 2000, run_seconds=60) == expected


def test_nothing_is_foretold_of_a_loss_or_without_test_rows(study_of_seeds: dict[int, StudySpec]) -> None:
    spec = study_of_seeds[5]
    assert describe_smallest_gain(spec, None) is None
    assert describe_smallest_gain(spec.model_copy(update={"objective": "log_loss"}), 2000) is None


@pytest.fixture(scope="module")
def study_of_seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[int, StudySpec]:
    file = Path(tmp_path_factory.mktemp("study")) / "study.toml"
    file.write_text(
        'name = "s"\nobjective = "accuracy"\n[data]\nsource = "builtin:reviews"\nvalidation = 0.2\n'
        '[model]\ncheckpoint = "builtin:tiny"\n[space.parameters.learning_rate]\nlow = 1e-5\nhigh = 1e-3\n',
        encoding="utf8",
    )
    return {seeds: load_study(file, (f"final.seeds={seeds}",)) for seeds in (1, 2, 5)}
