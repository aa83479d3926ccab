"""Figures of a search: they show the trials' own values, for any kind of trials, in little time and space."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import plotly
import pytest
from optuna.trial import create_trial

from hpo.plots import FIGURES, importance, importance_warning, sampling_note
from hpo.plots.contour_figure import kernel_regression
from hpo.plots.style import GRID_COLOR, OUTCOME_MARKS, outcome_mark, wrap_label
from hpo.plots.trial_selection import ALWAYS_DRAWN, sample_trials
from hpo.results.study_results import StudyResults
from hpo.store import trial_state
from tests.support.drawn_results import (
    DISTRIBUTIONS,
    make_large_results,
    make_results,
    make_trial,
    results_of_study,
    sample_params,
    write_study,
)

SEARCH = [name for name in FIGURES if name not in {"intervals", "generalization", "confusion", "roc", "calibration"}]


def draw(name: str, results: StudyResults) -> Any:
    """The figure of that name, which is not None."""
    drawing = FIGURES[name](results)
    assert drawing is not None
    return drawing.figure


def describe(name: str, results: StudyResults) -> str:
    """The alt text of the figure of that name."""
    drawing = FIGURES[name](results)
    assert drawing is not None
    return drawing.alt


def traces_by_name(figure: Any) -> dict[str, Any]:
    """Name -> the first trace of that name."""
    return {trace.name: trace for trace in reversed(figure.data) if trace.name}


def make_trials(random: np.random.Generator, count: int, pruned: float = 0.5) -> list[Any]:
    """Trials whose value depends on the learning rate alone; this share of them, the worst, is pruned."""
    samples = [sample_params(random) for _ in range(count)]
    values = [0.9 - 0.1 * abs(np.log10(params["learning_rate"]) + 4) + random.normal(0, 0.002) for params in samples]
    limit = sorted(values)[min(int(pruned * count), count - 1)] + (pruned == 1)
    return [
        make_trial(value, {250: value - 0.1, 1000: value}, params, start=90.0 * index, pid=1 + index % 3)
        if value >= limit
        else make_trial(None, {250: value - 0.1}, params, "pruned: at rung 250", start=90.0 * index, pid=1 + index % 3)
        for index, (value, params) in enumerate(zip(values, samples, strict=True))
    ]


@pytest.fixture
def results(tmp_path: Path) -> StudyResults:
    """Sixty trials, half of them pruned, and one each of other outcomes."""
    random = np.random.default_rng(0)
    reasons = [
        "diverged: the loss is nan",
        "infeasible: out of memory",
        "error: KeyError: 'x'",
        "killed",
        "interrupted",
    ]
    trials = make_trials(random, 60)
    trials += [make_trial(params=sample_params(random), reason=reason, start=5400) for reason in reasons]
    trials.append(make_trial(None, {250: 0.7}, sample_params(random), "running", start=5400))
    return make_results(write_study(tmp_path), trials)


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb by WCAG 2."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio by WCAG 2, from 1 (equal) to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_outcome_marks_are_distinct_and_have_contrast_on_light_and_dark() -> None:
    outcomes = {value for name, value in vars(trial_state).items() if name.isupper() and isinstance(value, str)}
    assert outcomes | {"complete", "running"} == set(OUTCOME_MARKS)
    assert len({(mark.color, mark.symbol) for mark in OUTCOME_MARKS.values()}) == len(OUTCOME_MARKS)
    assert len({(mark.color, mark.pattern) for mark in OUTCOME_MARKS.values()}) == len(OUTCOME_MARKS)
    for mark in [*OUTCOME_MARKS.values(), outcome_mark("written by another program")]:
        assert contrast(mark.color, "#ffffff") >= 3 and contrast(mark.color, "#14171a") >= 3


@pytest.mark.parametrize("name", [name for name in SEARCH if name != "pareto"])
def test_figures_inherit_text_color_and_background_from_the_page(name: str, results: StudyResults) -> None:
    layout = draw(name, results).to_plotly_json()["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert "color" not in layout["font"] and "layout" not in layout["template"] and "title" not in layout
    assert "width" not in layout and layout["autosize"] and layout["dragmode"] is False
    assert all(
        axis.get("gridcolor") == GRID_COLOR for key, axis in layout.items() if key.startswith(("xaxis", "yaxis"))
    )
    again = plotly.io.from_json(draw(name, results).to_json())
    assert again == draw(name, results)
    alt = describe(name, results)
    assert alt.endswith(".") and "nan" not in alt and "None" not in alt


def test_history_shows_every_trial_and_the_best_so_far(results: StudyResults) -> None:
    assert results.best is not None
    figure = draw("history", results)
    traces = traces_by_name(figure)
    assert sum(len(trace.x) for trace in figure.data) == len(results.trials) + len(traces["best so far"].x)
    line = traces["best so far"]
    assert all(before < after for before, after in pairwise(line.y[:-1]))
    assert line.x[-1] == 65 and line.y[-1] == np.float32(results.best.value)
    assert traces["pruned"].y[0] == np.float32(next(iter(results.trials[traces["pruned"].x[0]].rungs.values())))
    lowest = min(min(traces[name].y) for name in ("complete", "pruned", "running"))
    assert traces["diverged"].y[0] == traces["killed"].y[0] < lowest
    first = results.complete[0].value
    assert describe("history", results) == (
        f"The best accuracy so far rises from {first:.4f} to {results.best.value:.4f} over 66 trials."
    )


def test_best_so_far_falls_if_the_objective_is_minimized(tmp_path: Path) -> None:
    values = [0.7, 0.9, 0.4, 0.5, 0.3]
    spec = write_study(tmp_path, "log_loss")
    results = make_results(spec, [make_trial(value, {1000: value}) for value in values], directions=["minimize"])
    line = traces_by_name(draw("history", results))["best so far"]
    assert list(line.x) == [0, 2, 4, 4] and line.y == pytest.approx([0.7, 0.4, 0.3, 0.3])
    assert "falls from 0.7000 to 0.3000" in describe("history", results)
    assert "best, trial 4" in traces_by_name(draw("curves", results))


def test_history_by_time_counts_a_trial_when_it_ends(tmp_path: Path) -> None:
    trials = [
        make_trial(0.8, start=0, wall=300, pid=1),  # ends last
        make_trial(0.7, start=0, wall=60, pid=2),
        make_trial(None, {250: 0.1}, None, "pruned: at rung 250", start=60, wall=30, pid=2),
        make_trial(0.75, start=90, wall=90, pid=2),
    ]
    results = make_results(write_study(tmp_path), trials)
    line, points = draw("history_by_time", results).data
    assert list(points.customdata) == [1, 3, 0] and points.x == pytest.approx([1, 3, 8])  # minutes
    assert line.x == pytest.approx([1, 3, 8, 8]) and line.y == pytest.approx([0.7, 0.75, 0.8, 0.8])
    assert describe("history_by_time", results) == "The best accuracy, 0.8000, is reached after 8.0 of 8.0 minutes."


def test_curves_have_one_trace_per_outcome_with_gaps(results: StudyResults) -> None:
    figure = draw("curves", results)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    best = lines[-1]
    assert best.line.width > 2 * lines[0].line.width and list(best.x[:-1]) == pytest.approx([0.25, 1.0])
    assert sum(np.isnan(line.y).sum() for line in lines) == 61  # one gap per curve, including that of the running trial
    ends = traces_by_name(figure)
    assert (ends["pruned"].x == 0.25).all() and (ends["complete"].x == 1).all()
    assert figure.layout.xaxis.tickformat == ".0%"


def test_curves_have_their_own_axis_for_examples_and_for_other_programs(tmp_path: Path) -> None:
    spec = write_study(tmp_path, search="rungs = { every_examples = 64 }")
    trials = [make_trial(0.8, {64 * rung: 0.5 + rung / 1000 for rung in range(1, 301)})]
    figure = draw("curves", make_results(spec, trials))
    assert figure.layout.xaxis.title.text == "Training examples seen"
    assert len(figure.data[0].x) == 41 and figure.data[0].x[-2] == 19_200  # thinned except for the end, and a gap
    assert draw("curves", make_results(spec, trials, is_ours=False)).layout.xaxis.title.text == "Step, as reported"


def test_sampling_keeps_the_best_trials(tmp_path: Path) -> None:
    results = make_large_results(write_study(tmp_path), make_trials(np.random.default_rng(1), 1000, pruned=0.3))
    sample = sample_trials(results, results.trials, 300)
    best = sorted(results.complete, key=lambda trial: -(trial.value or 0.0))[:ALWAYS_DRAWN]
    assert len(sample) == 300 and {trial.number for trial in best} <= {trial.number for trial in sample}
    assert sample == sorted(sample, key=lambda trial: trial.number) == sample_trials(results, results.trials, 300)
    ends = [trace for trace in draw("curves", results).data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in ends) == 300
    assert sampling_note(results) == (
        "These figures draw the 50 best trials and a random sample of the others: learning curves 300 of 1,000, "
        "slices 500 of 1,000, parallel coordinates 300 of 700."
    )


def test_small_studies_are_not_sampled(results: StudyResults) -> None:
    assert sampling_note(results) == ""


def test_figures_of_ten_thousand_trials_are_small_and_fast(tmp_path: Path) -> None:
    results = make_large_results(write_study(tmp_path), make_trials(np.random.default_rng(2), 10_000))
    started = time.process_time()
    size = sum(len(drawing.figure.to_json()) for name in SEARCH if (drawing := FIGURES[name](results)))
    assert size < 500_000 and time.process_time() - started < 5


def test_importance_counts_pruned_trials(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    shares = importance(make_results(write_study(tmp_path), make_trials(random, 80, pruned=0.7)))
    assert list(shares) and set(shares) == set(DISTRIBUTIONS) and sum(shares.values()) == pytest.approx(1)
    assert shares["learning_rate"] > 0.6 and list(shares)[0] == "learning_rate"
    assert importance_warning(make_results(write_study(tmp_path), make_trials(random, 80))) == ""


RATES = [{"learning_rate": rate} for rate in (1e-5, 1e-4, 1e-3)]
FIRST = make_trial(0.95, params=RATES[2])


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        ([], "No trial is complete"),
        ([make_trial(0.8, params=RATES[0])], "too few"),
        ([make_trial(0.8, params=rate) for rate in RATES], "too similar"),
        ([make_trial(0.8), make_trial(0.9)], "No parameter was searched"),
        ([make_trial(None, {250: 0.5}, rate, "pruned: at rung 250") for rate in RATES], "No trial is complete"),
        ([make_trial(0.8, params=RATES[0]), make_trial(0.9, params={"warmup_ratio": 0.1})], "too few"),
        (
            [
                *(make_trial(0.1 * index, params={**RATES[0], "warmup_ratio": 0.01 * index}) for index in range(9)),
                FIRST,
            ],
            "",
        ),
        ([make_trial(float("inf"), params=rate) for rate in RATES], "No trial is complete"),
    ],
)
def test_missing_importance_has_a_reason_and_no_figure(trials: list[Any], reason: str, tmp_path: Path) -> None:
    results = make_results(write_study(tmp_path), trials)
    if reason:
        assert importance(results) == {} and FIGURES["importances"](results) is None
        assert reason in importance_warning(results)
    else:
        assert importance(results) and "trials for 2 parameters" in importance_warning(results)
    for name in SEARCH:  # none of them fails
        if drawing := FIGURES[name](results):
            assert drawing.alt


def test_importance_compares_equal_values_with_pruned_trials(tmp_path: Path) -> None:
    trials = [make_trial(0.8, params=RATES[1]) for _ in range(3)]
    trials += [make_trial(None, {250: 0.5}, RATES[2], "pruned: at rung 250") for _ in range(9)]
    results = make_results(write_study(tmp_path), trials)
    assert importance(results) == {"learning_rate": 1.0}
    assert "only 3 of 12 trials are complete" in importance_warning(results)


def test_slice_axes_follow_the_search_space(results: StudyResults) -> None:
    layout = draw("slices", results).layout
    assert layout.xaxis.type == "log" and layout.xaxis.range == pytest.approx((-6.12, -1.88))
    assert layout.xaxis2.type == "linear" and layout.xaxis3.dtick == 1
    assert layout.xaxis4.ticktext == ("adamw_torch", "adafactor") and layout.xaxis5.ticktext == ("True", "False")
    assert layout.xaxis5.title.text == "model.use_bias"
    figure = draw("slices", make_results(results.spec, [make_trial(0.8, params=RATES[0])]))
    assert [list(trace.y) for trace in figure.data] == [[pytest.approx(0.8)]]


def test_parallel_coordinates_are_scaled_from_end_to_end(results: StudyResults) -> None:
    assert results.best is not None
    traces = traces_by_name(draw("parallel", results))
    best = traces["best 3"]
    assert len(traces["other complete trials"].x) == 27 * 6 and len(best.x) == 3 * 6
    positions = best.x.reshape(3, 6)
    assert np.isnan(positions[:, -1]).all() and ((positions[:, :-1] >= 0) & (positions[:, :-1] <= 1)).all()
    rate = (np.log10(results.best.params["learning_rate"]) + 6) / 4
    assert positions[-1, 0] == pytest.approx(rate, rel=1e-5)


def test_contour_uses_learning_rate_and_warmup_or_the_most_important(results: StudyResults) -> None:
    ground, points = draw("contour", results).data
    assert draw("contour", results).layout.yaxis.title.text == "warmup_ratio"
    assert ground.z.shape == (40, 40) and len(points.x) == 30
    assert np.nanmin(ground.z) > 0.7 and np.nanmax(ground.z) < 0.9
    few = make_results(results.spec, [results.frozen_trials[trial.number] for trial in results.complete[:5]])
    assert [trace.type for trace in draw("contour", few).data] == ["scatter"]
    without_warmup = [name for name in DISTRIBUTIONS if name != "warmup_ratio"]
    trials = [
        make_trial(trial.value, params={name: trial.params[name] for name in without_warmup})
        for trial in results.complete
    ]
    others = make_results(results.spec, trials)
    assert draw("contour", others).layout.yaxis.title.text == "num_train_epochs"
    one = make_results(results.spec, [make_trial(0.8, params=rate) for rate in RATES])
    assert FIGURES["contour"](one) is None and FIGURES["parallel"](one) is None


def test_kernel_regression_averages_nearby_values() -> None:
    random = np.random.default_rng(0)
    positions, grid = random.uniform(0, 0.5, (40, 2)), np.linspace(0, 1, 11)
    level = kernel_regression(positions, np.full(40, 0.7), grid)
    assert np.nanmin(level) == pytest.approx(0.7) and np.nanmax(level) == pytest.approx(0.7)
    assert np.isnan(level[-1, -1]) and np.isfinite(level[2, 2])
    slope = kernel_regression(positions, positions[:, 0], grid)  # grows along the first axis, which is the columns
    assert slope[2, 4] - slope[2, 1] > 0.1 > abs(slope[4, 2] - slope[1, 2])


def test_timeline_has_a_row_per_worker_and_no_long_breaks(tmp_path: Path) -> None:
    trials = [
        make_trial(0.8, start=0, wall=600, pid=7),
        make_trial(0.8, start=0, wall=300, pid=8),
        make_trial(None, None, None, "killed", start=300, wall=60, pid=8),
        make_trial(0.8, start=90_000, wall=600, pid=9),  # the next day
        make_trial(None, {250: 0.5}, None, "running", start=90_300, wall=0, pid=9),
    ]
    results = make_results(write_study(tmp_path), trials)
    figure = draw("timeline", results)
    assert figure.layout.yaxis.ticktext == ("node, process<br>7", "node, process<br>8", "node, process<br>9")
    bars = traces_by_name(figure)
    assert bars["complete"].base == pytest.approx([0, 0, 10]) and bars["complete"].x == pytest.approx([10, 5, 10])
    assert bars["running"].base == pytest.approx([15]) and bars["running"].x == pytest.approx([5])
    assert list(bars["complete"].y) == [0, 1, 2] and len(figure.layout.shapes) == 1
    assert figure.layout.shapes[0].x0 == pytest.approx(10)
    assert {trace.width for trace in figure.data} == {0.75}  # plotly's default depends on which rows an outcome is in
    assert describe("timeline", results).endswith("run by 3 workers, in 31.0 minutes of device time.")


def test_figures_of_a_study_without_complete_trials(tmp_path: Path) -> None:
    results = make_results(write_study(tmp_path), make_trials(np.random.default_rng(4), 20, pruned=1))
    drawn = [name for name in SEARCH if FIGURES[name](results)]
    assert drawn == ["history", "curves", "slices", "timeline"]
    assert describe("history", results) == "No trial is complete: 20 pruned trials."
    assert describe("curves", results) == "The values of 20 pruned trials at their rungs."


def test_figures_of_two_objectives(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    trials = [
        create_trial(values=list(random.random(2)), params=sample_params(random), distributions=DISTRIBUTIONS)
        for _ in range(50)
    ]
    results = make_results(write_study(tmp_path), trials, is_ours=False, directions=["maximize", "minimize"])
    assert [name for name in SEARCH if FIGURES[name](results)] == ["pareto", "history", "importances"]
    front = traces_by_name(draw("pareto", results))["Pareto front"]
    assert set(front.customdata) == {trial.number for trial in results.search.best_trials}
    figure = draw("history", results)
    assert figure.layout.yaxis.title.text == "objective 0" and figure.layout.yaxis2.title.text == "objective 1"
    assert "rises" in describe("history", results) and "falls" in describe("history", results)
    assert describe("pareto", results).startswith(f"{len(front.x)} of 50 complete trials are on the Pareto front")


def test_pareto_front_may_be_empty(tmp_path: Path) -> None:
    infeasible = create_trial(values=[0.1, 0.2], system_attrs={"constraints": [1.0]})
    results = make_results(write_study(tmp_path), [infeasible], is_ours=False, directions=["maximize", "minimize"])
    assert describe("pareto", results) == "0 of 1 complete trials are on the Pareto front."
    assert list(traces_by_name(draw("pareto", results))["other trials"].x) == [np.float32(0.1)]


def test_figures_of_a_study_that_hpo_did_not_make(tmp_path: Path) -> None:
    """It has infinite values, NaN reports and a trial without parameters, none of which hpo stores."""

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 3:
            raise optuna.TrialPruned
        if trial.number == 4:
            return float("inf")
        size = trial.suggest_float("size <b>", -1, 1)
        trial.report(float("nan") if trial.number == 5 else size, 1)
        if trial.number % 5 == 0:
            raise optuna.TrialPruned
        return size * trial.suggest_int("steps", 1, 100, log=True)

    study = optuna.create_study(study_name="plain", sampler=optuna.samplers.RandomSampler(0))
    study.optimize(objective, n_trials=30)
    study.enqueue_trial({"size <b>": 0.5})
    results = results_of_study(write_study(tmp_path), study)
    drawings = {name: drawing for name in SEARCH if (drawing := FIGURES[name](results))}
    assert set(drawings) == set(SEARCH) - {"pareto"}
    assert all(drawing.alt for drawing in drawings.values())
    assert draw("slices", results).layout.xaxis.title.text == "size &lt;b&gt;"


def test_wrap_label_escapes_and_shortens_names() -> None:
    assert wrap_label("<script>alert(1)</script>", 60) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert wrap_label("per_device_train_batch_size") == "per_device_train_<br>batch_size"
    assert wrap_label("first " + "x" * 99 + " last", 10, 2) == "first<br>xx…xx last"
    assert wrap_label("line\nbreak") == r"line\nbreak" and wrap_label("") == "" and wrap_label(0.05) == "0.05"
