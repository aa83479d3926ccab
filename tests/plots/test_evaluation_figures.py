"""Figures of the final runs: they show the comparison's own numbers, for any number of classes and seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import plotly
import pytest
from sklearn.metrics import roc_auc_score

from hpo.evaluation.scores import CALIBRATION_BINS, expected_calibration_error
from hpo.evaluation.verdict import format_difference
from hpo.plots import FIGURES, alt_text
from hpo.plots.alt_texts import ALT_TEXTS
from hpo.plots.evaluation_figures import OUTCOMES, hardest_first
from hpo.results.study_results import StudyResults
from tests.plots.test_plots import contrast, figure, traces
from tests.support.drawn_results import answers, compared, searched, spec_of

FINAL = ["intervals", "optimism", "confusion", "roc", "calibration"]


def two_classes(folder: Path, objective: str = "accuracy", seeds: int = 4) -> StudyResults:
    """A winner that beats majority and forest, loses to svm, and cannot be told from recipe; rerun is itself."""
    labels = np.random.default_rng(9).integers(2, size=600)
    ours = [answers(labels, 2, 1.6, seed) for seed in range(seeds)]
    systems = {
        "winner": ours,
        "majority": [np.tile([0.5 - 1e-9, 0.5 + 1e-9], (600, 1))],
        "bow-forest": [answers(labels, 2, 0.8, 20)],
        "nb-svm": [answers(labels, 2, 2.6, 21)],
        "recipe": [answers(labels, 2, 1.6, seed) for seed in range(30, 30 + seeds)],
        "rerun": [answers(labels, 2, 1.6, seed) for seed in range(40, 40 + seeds)],
    }
    return compared(spec_of(folder, objective), systems, labels, ["bad", "good <b>"])


def many_classes(folder: Path, classes: int) -> StudyResults:
    """A winner that tells the last class from none, and the last but one badly."""
    labels = np.arange(40 * classes) % (classes - 1)  # no text of the last class
    shares = [answers(labels, classes, 2.5, seed) for seed in range(2)]
    names = [f"a topic with a rather long name, number {place}" for place in range(classes)]
    return compared(spec_of(folder), {"winner": shares}, labels, names)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return two_classes(tmp_path_factory.mktemp("final"))


def test_every_figure_has_its_words() -> None:
    assert list(FIGURES) == list(ALT_TEXTS)


@pytest.mark.parametrize("name", FINAL)
def test_figures_and_their_words(name: str, record: StudyResults) -> None:
    shown = figure(name, record)
    assert plotly.io.from_json(shown.to_json()) == shown and "color" not in shown.layout.font.to_plotly_json()
    assert alt_text(name, record).endswith(".")
    assert "<b>" not in shown.to_json()  # but for the label's own, which shows as text
    assert FIGURES[name](searched(record.spec, [])) is None


def test_intervals_are_those_of_the_comparison(record: StudyResults) -> None:
    shown = figure("intervals", record)
    rows = hardest_first(record)
    assert [row["against"] for row in rows] == ["nb-svm", "recipe", "bow-forest", "majority", "rerun"]
    assert shown.layout.yaxis.ticktext == tuple(row["against"] for row in rows)
    drawn = {int(place): (trace, each) for trace in shown.data for each, place in enumerate(trace.y)}
    for place, row in enumerate(rows):
        trace, each = drawn[place]
        assert trace.x[each] == pytest.approx(100 * row["difference"], rel=1e-5)
        assert trace.x[each] + trace.error_x.array[each] == pytest.approx(100 * row["high"], rel=1e-4)
        assert trace.x[each] - trace.error_x.arrayminus[each] == pytest.approx(100 * row["low"], rel=1e-4)
        assert trace.name == OUTCOMES[row["outcome"]][0] and trace.marker.symbol == OUTCOMES[row["outcome"]][1].symbol
        assert format_difference(row["low"], "accuracy") in trace.text[each]
    assert {trace.name for trace in shown.data} == {name for key, (name, _) in OUTCOMES.items() if key != "same"}
    assert shown.layout.xaxis.title.text == "Gain in accuracy (points), 95 % interval"
    assert alt_text("intervals", record).startswith(
        "The winner is better than 2 of 4 baselines; its smallest gain is over nb-svm: -"
    )
    for _, look in OUTCOMES.values():
        assert contrast(look.color, "#ffffff") >= 3 and contrast(look.color, "#14171a") >= 3


def test_losses_have_no_points_and_one_seed_no_mean(tmp_path: Path) -> None:
    record = two_classes(tmp_path, "log_loss", seeds=1)
    shown = figure("intervals", record)
    assert shown.layout.xaxis.title.text == "Gain in log_loss, 95 % interval"
    rows = hardest_first(record)
    drawn = [x for trace in shown.data for x in trace.x]
    assert sorted(drawn) == pytest.approx(sorted(row["difference"] for row in rows), rel=1e-5)
    assert [len(trace.x) for trace in figure("optimism", record).data] == [1, 1, 1]


def test_optimism_has_every_seed_beside_what_was_promised(record: StudyResults) -> None:
    shown = figure("optimism", record)
    kept = record.found["optimism"]
    found = traces(shown)
    assert found["promised by the search"].x == pytest.approx([0.9])
    assert found["fresh seeds, test"].x == pytest.approx(kept["test"]["values"])
    assert found["fresh seeds, test"].text == ("seed 0", "seed 1", "seed 2", "seed 3")
    assert [trace.x[0] for trace in shown.data if trace.name is None] == pytest.approx(
        [kept["validation"]["mean"], kept["test"]["mean"]]
    )
    assert alt_text("optimism", record) == (
        f"The search promised 0.9000; fresh seeds have {kept['validation']['mean']:.4f} on validation and "
        f"{kept['test']['mean']:.4f} on test on average."
    )


def test_the_confusion_matrix_has_true_labels_as_rows(record: StudyResults) -> None:
    cells, texts = figure("confusion", record).data
    counts = np.array(record.found["systems"][0]["confusion"])
    assert cells.z == pytest.approx(counts / counts.sum(axis=1, keepdims=True))
    by_place = {(y, x): text for x, y, text in zip(texts.x, texts.y, texts.text, strict=True)}
    assert by_place[0, 1] == f"{counts[0, 1]:,.0f}" and by_place[1, 1] == f"{counts[1, 1]:,.0f}"
    assert figure("confusion", record).layout.yaxis.ticktext == ("bad", "good &lt;b&gt;")
    share = counts[1, 0] / counts[1].sum()
    wrong = (
        ("good <b>", "bad", share) if share > counts[0, 1] / counts[0].sum() else ("bad", "good <b>", 1 - cells.z[0, 0])
    )
    assert f"{wrong[0]} is taken for {wrong[1]} ({wrong[2]:.1%} of its texts)" in alt_text("confusion", record)


def test_many_classes_have_colours_alone(tmp_path: Path) -> None:
    record = many_classes(tmp_path, 14)
    (cells,) = figure("confusion", record).data
    assert (cells.z[-1] == 0).all() and cells.z[:-1].sum(axis=1) == pytest.approx(np.ones(13))
    assert figure("confusion", record).layout.yaxis.ticktext[0] == "a topic …umber 0"
    assert FIGURES["intervals"](record) is None and FIGURES["optimism"](record) is not None
    curves = [trace.name for trace in figure("roc", record).data if trace.name]
    assert len(curves) == 6 and "number 13" not in " ".join(curves)
    areas = [float(name[-6:-1]) for name in curves]
    assert areas == sorted(areas)
    assert figure("calibration", record).layout.xaxis.range[0] < 0.2


def test_the_roc_curve_is_the_deployed_run_beside_the_best_baseline(record: StudyResults) -> None:
    shown = [trace for trace in figure("roc", record).data if trace.name]
    winner, rival = record.comparison.systems[0], record.comparison.systems[3]
    for trace, table, name in ((shown[0], winner.tables[3], "winner, seed 3"), (shown[1], rival.tables[0], "nb-svm")):
        area = roc_auc_score(table["label"], table["probability_1"])
        assert trace.name == f"{name} (AUC {area:.3f})" and len(trace.x) <= 200
        assert np.trapezoid(trace.y, trace.x) == pytest.approx(area, abs=5e-3)
        assert (trace.x[0], trace.y[0], trace.x[-1], trace.y[-1]) == (0, 0, 1, 1)
    assert f"{float(shown[0].name[-6:-1]):.3f} for winner, seed 3 and " in alt_text("roc", record)


def test_one_label_alone_has_no_curve(tmp_path: Path) -> None:
    labels = np.zeros(50, dtype=int)
    record = compared(spec_of(tmp_path), {"winner": [answers(labels, 2, 1.0, 0)]}, labels, ["bad", "good"])
    assert FIGURES["roc"](record) is None
    assert all(FIGURES[name](record) and alt_text(name, record) for name in ("confusion", "calibration"))


def test_the_bins_of_calibration_are_those_of_its_error(record: StudyResults) -> None:
    _, points, bars = figure("calibration", record).data
    assert sum(bars.y) == 600 == sum(points.customdata)
    assert ((bars.x * CALIBRATION_BINS) % 1) == pytest.approx(np.full(len(bars.x), 0.5), abs=1e-4)
    gaps = np.abs(np.asarray(points.x) - points.y) * points.customdata
    table = record.comparison.deployed(record.comparison.systems[0])
    expected = expected_calibration_error(table["label"].to_numpy(), table.filter(like="probability_").to_numpy())
    assert gaps.sum() / 600 == pytest.approx(expected, rel=1e-4)
    assert (np.asarray(points.error_y.array) >= 0).all() and (np.asarray(points.error_y.arrayminus) >= 0).all()
    assert f"its expected calibration error {expected:.3f}." in alt_text("calibration", record)
