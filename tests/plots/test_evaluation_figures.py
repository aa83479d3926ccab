"""Figures of the final runs: they show the comparison's own numbers, for any number of classes and seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly
import pytest
from sklearn.metrics import roc_auc_score

from hpo.evaluation.scores import CALIBRATION_BINS, expected_calibration_error
from hpo.evaluation.verdict import format_difference
from hpo.plots import FIGURES
from hpo.plots.gain_figures import DIFFERENCE_MARKS, rank_differences
from hpo.results.study_results import StudyResults
from tests.plots.test_plots import contrast, describe, draw, traces_by_name
from tests.support.drawn_results import (
    make_compared_results,
    make_results,
    sample_probabilities,
    write_study,
)

FINAL = ["intervals", "generalization", "confusion", "roc", "calibration"]


def make_two_classes(folder: Path, objective: str = "accuracy", seeds: int = 4) -> StudyResults:
    """A winner that is better than majority and forest, worse than svm, and as good as recipe; rerun is itself."""
    labels = np.random.default_rng(9).integers(2, size=600)
    ours = [sample_probabilities(labels, 2, 1.6, seed) for seed in range(seeds)]
    systems = {
        "winner": ours,
        "majority": [np.tile([0.5 - 1e-9, 0.5 + 1e-9], (600, 1))],
        "bow-forest": [sample_probabilities(labels, 2, 0.8, 20)],
        "nb-svm": [sample_probabilities(labels, 2, 2.6, 21)],
        "recipe": [sample_probabilities(labels, 2, 1.6, seed) for seed in range(30, 30 + seeds)],
        "rerun": [sample_probabilities(labels, 2, 1.6, seed) for seed in range(40, 40 + seeds)],
    }
    return make_compared_results(write_study(folder, objective), systems, labels, ["bad", "good <b>"])


def make_many_classes(folder: Path, classes: int) -> StudyResults:
    """A winner over many classes, of which the last has no texts."""
    labels = np.arange(40 * classes) % (classes - 1)  # no text of the last class
    runs = [sample_probabilities(labels, classes, 2.5, seed) for seed in range(2)]
    names = [f"a topic with a rather long name, number {index}" for index in range(classes)]
    return make_compared_results(write_study(folder), {"winner": runs}, labels, names)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return make_two_classes(tmp_path_factory.mktemp("final"))


@pytest.mark.parametrize("name", FINAL)
def test_figures_have_alt_texts_and_are_missing_without_final_runs(name: str, results: StudyResults) -> None:
    figure = draw(name, results)
    assert plotly.io.from_json(figure.to_json()) == figure and "color" not in figure.layout.font.to_plotly_json()
    assert describe(name, results).endswith(".")
    assert "<b>" not in figure.to_json()  # the one in a label is escaped
    assert FIGURES[name](make_results(results.spec, [])) is None


def test_gains_are_those_of_the_comparison(results: StudyResults) -> None:
    figure = draw("intervals", results)
    rows = rank_differences(results)
    assert [row.against for row in rows] == ["nb-svm", "recipe", "bow-forest", "majority", "rerun"]
    assert figure.layout.yaxis.ticktext == tuple(row.against for row in rows)
    points = {int(row): (trace, point) for trace in figure.data for point, row in enumerate(trace.y)}
    for index, row in enumerate(rows):
        trace, point = points[index]
        name, mark = DIFFERENCE_MARKS[row.outcome]
        assert trace.x[point] == pytest.approx(100 * row.difference, rel=1e-5)
        assert trace.x[point] + trace.error_x.array[point] == pytest.approx(100 * row.high, rel=1e-4)
        assert trace.x[point] - trace.error_x.arrayminus[point] == pytest.approx(100 * row.low, rel=1e-4)
        assert trace.name == name and trace.marker.symbol == mark.symbol
        assert format_difference(row.low, "accuracy") in trace.text[point]
    assert {trace.name for trace in figure.data} == {
        name for key, (name, _) in DIFFERENCE_MARKS.items() if key not in {"same", "untested"}
    }
    assert figure.layout.xaxis.title.text == "Gain in accuracy (points), 95 % confidence interval"
    assert describe("intervals", results).startswith(
        "The winner is better than 2 of 4 baselines; its smallest gain is over nb-svm: -"
    )
    for _, mark in DIFFERENCE_MARKS.values():
        assert contrast(mark.color, "#ffffff") >= 3 and contrast(mark.color, "#14171a") >= 3


def test_losses_have_no_unit_and_one_seed_has_no_mean(tmp_path: Path) -> None:
    results = make_two_classes(tmp_path, "log_loss", seeds=1)
    figure = draw("intervals", results)
    assert figure.layout.xaxis.title.text == "Gain in log_loss, 95 % confidence interval"
    rows = rank_differences(results)
    gains = [x for trace in figure.data for x in trace.x]
    assert sorted(gains) == pytest.approx(sorted(row.difference for row in rows), rel=1e-5)
    assert [len(trace.x) for trace in draw("generalization", results).data] == [1, 1, 1]


def test_generalization_shows_the_search_score_and_every_seed(results: StudyResults) -> None:
    figure = draw("generalization", results)
    assert results.comparison
    scores = results.comparison.generalization
    assert scores.validation
    traces = traces_by_name(figure)
    assert traces["best trial of the search"].x == pytest.approx([0.9])
    assert traces["fresh seeds, test"].x == pytest.approx(scores.test.values)
    assert traces["fresh seeds, test"].text == ("seed 0", "seed 1", "seed 2", "seed 3")
    assert [trace.x[0] for trace in figure.data if trace.name is None] == pytest.approx(
        [scores.validation.mean, scores.test.mean]
    )
    assert describe("generalization", results) == (
        f"The best trial of the search scores 0.9000; fresh seeds score {scores.validation.mean:.4f} on validation and "
        f"{scores.test.mean:.4f} on test on average."
    )


def test_confusion_matrix_has_true_labels_as_rows(results: StudyResults) -> None:
    cells, texts = draw("confusion", results).data
    assert results.comparison
    counts = np.array(results.comparison.winner_system.confusion)
    assert cells.z == pytest.approx(counts / counts.sum(axis=1, keepdims=True))
    text_of_cell = {(y, x): text for x, y, text in zip(texts.x, texts.y, texts.text, strict=True)}
    assert text_of_cell[0, 1] == f"{counts[0, 1]:,.0f}" and text_of_cell[1, 1] == f"{counts[1, 1]:,.0f}"
    assert draw("confusion", results).layout.yaxis.ticktext == ("bad", "good &lt;b&gt;")
    share = counts[1, 0] / counts[1].sum()
    mistake = (
        ("good <b>", "bad", share) if share > counts[0, 1] / counts[0].sum() else ("bad", "good <b>", 1 - cells.z[0, 0])
    )
    worst = f"{mistake[0]} predicted as {mistake[1]} ({mistake[2]:.1%} of its texts)"
    assert worst in describe("confusion", results)


def test_many_classes_have_colors_without_counts(tmp_path: Path) -> None:
    results = make_many_classes(tmp_path, 14)
    (cells,) = draw("confusion", results).data
    assert (cells.z[-1] == 0).all() and cells.z[:-1].sum(axis=1) == pytest.approx(np.ones(13))
    assert draw("confusion", results).layout.yaxis.ticktext[0] == "a topic …umber 0"
    assert FIGURES["intervals"](results) is None and FIGURES["generalization"](results) is not None
    curves = [trace.name for trace in draw("roc", results).data if trace.name]
    assert len(curves) == 6 and "number 13" not in " ".join(curves)
    areas = [float(name[-6:-1]) for name in curves]
    assert areas == sorted(areas)
    assert draw("calibration", results).layout.xaxis.range[0] < 0.2


def test_roc_curves_are_the_deployed_run_and_the_hardest_baseline(results: StudyResults) -> None:
    curves = [trace for trace in draw("roc", results).data if trace.name]
    assert results.comparison_runs
    winner, rival = results.comparison_runs.systems[0], results.comparison_runs.systems[3]
    for trace, table, name in ((curves[0], winner.tables[3], "winner, seed 3"), (curves[1], rival.tables[0], "nb-svm")):
        area = roc_auc_score(table["label"], table["probability_1"])
        assert trace.name == f"{name} (AUC {area:.3f})" and len(trace.x) <= 200
        assert np.trapezoid(trace.y, trace.x) == pytest.approx(area, abs=5e-3)
        assert (trace.x[0], trace.y[0], trace.x[-1], trace.y[-1]) == (0, 0, 1, 1)
    assert f"{float(curves[0].name[-6:-1]):.3f} for winner, seed 3 and " in describe("roc", results)


def test_roc_needs_two_labels(tmp_path: Path) -> None:
    labels = np.zeros(50, dtype=int)
    results = make_compared_results(
        write_study(tmp_path), {"winner": [sample_probabilities(labels, 2, 1.0, 0)]}, labels, ["bad", "good"]
    )
    assert FIGURES["roc"](results) is None
    assert all(describe(name, results) for name in ("confusion", "calibration"))


def test_calibration_has_the_bins_of_its_error(results: StudyResults) -> None:
    _, points, bars = draw("calibration", results).data
    assert sum(bars.y) == 600 == sum(points.customdata)
    assert ((bars.x * CALIBRATION_BINS) % 1) == pytest.approx(np.full(len(bars.x), 0.5), abs=1e-4)
    gaps = np.abs(np.asarray(points.x) - points.y) * points.customdata
    assert results.comparison_runs
    table = results.comparison_runs.deployed(results.comparison_runs.systems[0])
    expected = expected_calibration_error(table["label"].to_numpy(), table.filter(like="probability_").to_numpy())
    assert gaps.sum() / 600 == pytest.approx(expected, rel=1e-4)
    assert (np.asarray(points.error_y.array) >= 0).all() and (np.asarray(points.error_y.arrayminus) >= 0).all()
    assert f"its expected calibration error {expected:.3f}." in describe("calibration", results)
