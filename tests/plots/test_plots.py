"""Figures of a search: they show what the trials say, whatever the trials are, and cost little."""

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

from hpo.plots import FIGURES, alt_text, importance, importance_warning, sampling_note
from hpo.plots.parameter_figures import kernel_regression
from hpo.plots.style import GRID_COLOR, OUTCOME_MARKS, outcome_mark, wrap_label
from hpo.plots.trial_selection import BEST, sample_trials
from hpo.results.study_results import StudyResults
from hpo.store import trial_state
from tests.support.drawn_results import AXES, drawn_values, searched, spec_of, trial

SEARCH = [name for name in FIGURES if name not in {"intervals", "optimism", "confusion", "roc", "calibration"}]


def figure(name: str, record: StudyResults) -> Any:
    """The figure of that name as a page gets it, which is not None."""
    found = FIGURES[name](record)
    assert found is not None
    return found


def traces(figure: Any) -> dict[str, Any]:
    """Name -> trace, the first of its name."""
    return {trace.name: trace for trace in reversed(figure.data) if trace.name}


def several(random: np.random.Generator, count: int, pruned: float = 0.5) -> list[Any]:
    """Trials whose value hangs on the learning rate alone; the worse ones are pruned."""
    drawn = [drawn_values(random) for _ in range(count)]
    values = [0.9 - 0.1 * abs(np.log10(each["learning_rate"]) + 4) + random.normal(0, 0.002) for each in drawn]
    limit = sorted(values)[min(int(pruned * count), count - 1)] + (pruned == 1)
    return [
        trial(value, {250: value - 0.1, 1000: value}, params, start=90.0 * place, pid=1 + place % 3)
        if value >= limit
        else trial(None, {250: value - 0.1}, params, "pruned: at rung 250", start=90.0 * place, pid=1 + place % 3)
        for place, (value, params) in enumerate(zip(values, drawn, strict=True))
    ]


@pytest.fixture
def record(tmp_path: Path) -> StudyResults:
    """Sixty trials, half of them pruned, and one each that ended otherwise or runs."""
    random = np.random.default_rng(0)
    others = ["diverged: the loss is nan", "infeasible: out of memory", "error: KeyError: 'x'", "killed", "interrupted"]
    made = several(random, 60) + [trial(params=drawn_values(random), reason=reason, start=5400) for reason in others]
    return searched(spec_of(tmp_path), [*made, trial(None, {250: 0.7}, drawn_values(random), "running", start=5400)])


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb by WCAG 2."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """From 1, the same, to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_ending_has_a_look_of_its_own_that_reads_on_light_and_dark() -> None:
    named_there = {value for name, value in vars(trial_state).items() if name.isupper() and isinstance(value, str)}
    assert named_there | {"complete", "running"} == set(OUTCOME_MARKS)
    assert len({(each.color, each.symbol) for each in OUTCOME_MARKS.values()}) == len(OUTCOME_MARKS)
    assert len({(each.color, each.pattern) for each in OUTCOME_MARKS.values()}) == len(OUTCOME_MARKS)
    for each in [*OUTCOME_MARKS.values(), outcome_mark("what another program wrote")]:
        assert contrast(each.color, "#ffffff") >= 3 and contrast(each.color, "#14171a") >= 3


@pytest.mark.parametrize("name", [name for name in SEARCH if name != "pareto"])
def test_a_figure_takes_its_text_colour_and_its_ground_from_the_page(name: str, record: StudyResults) -> None:
    layout = figure(name, record).to_plotly_json()["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert "color" not in layout["font"] and "layout" not in layout["template"] and "title" not in layout
    assert "width" not in layout and layout["autosize"] and layout["dragmode"] is False
    assert all(
        axis.get("gridcolor") == GRID_COLOR for key, axis in layout.items() if key.startswith(("xaxis", "yaxis"))
    )
    again = plotly.io.from_json(figure(name, record).to_json())
    assert again == figure(name, record)
    words = alt_text(name, record)
    assert words.endswith(".") and "nan" not in words and "None" not in words


def test_history_has_every_trial_and_the_best_so_far(record: StudyResults) -> None:
    shown = figure("history", record)
    found = traces(shown)
    assert sum(len(trace.x) for trace in shown.data) == len(record.trials) + len(found["best so far"].x)
    line = found["best so far"]
    assert all(before < after for before, after in pairwise(line.y[:-1]))
    assert line.x[-1] == 65 and line.y[-1] == np.float32(record.best.value)
    assert found["pruned"].y[0] == np.float32(
        next(iter(record.trials[found["pruned"].x[0]].intermediate_values.values()))
    )
    lowest = min(min(found[name].y) for name in ("complete", "pruned", "running"))
    assert found["diverged"].y[0] == found["killed"].y[0] < lowest
    first = record.complete[0].value
    assert alt_text("history", record) == (
        f"The best accuracy so far rises from {first:.4f} to {record.best.value:.4f} over 66 trials."
    )


def test_where_less_is_better_the_best_so_far_falls(tmp_path: Path) -> None:
    values = [0.7, 0.9, 0.4, 0.5, 0.3]
    spec = spec_of(tmp_path, "log_loss")
    record = searched(spec, [trial(value, {1000: value}) for value in values], directions=["minimize"])
    line = traces(figure("history", record))["best so far"]
    assert list(line.x) == [0, 2, 4, 4] and line.y == pytest.approx([0.7, 0.4, 0.3, 0.3])
    assert "falls from 0.7000 to 0.3000" in alt_text("history", record)
    assert "best, trial 4" in traces(figure("curves", record))


def test_over_time_a_trial_counts_at_its_end(tmp_path: Path) -> None:
    made = [
        trial(0.8, start=0, wall=300, pid=1),  # ends last
        trial(0.7, start=0, wall=60, pid=2),
        trial(None, {250: 0.1}, None, "pruned: at rung 250", start=60, wall=30, pid=2),
        trial(0.75, start=90, wall=90, pid=2),
    ]
    record = searched(spec_of(tmp_path), made)
    line, points = figure("history_by_time", record).data
    assert list(points.customdata) == [1, 3, 0] and points.x == pytest.approx([1, 3, 8])  # minutes
    assert line.x == pytest.approx([1, 3, 8, 8]) and line.y == pytest.approx([0.7, 0.75, 0.8, 0.8])
    assert alt_text("history_by_time", record) == "The best accuracy, 0.8000, is reached after 8.0 of 8.0 minutes."


def test_curves_are_one_line_per_ending_with_gaps(record: StudyResults) -> None:
    shown = figure("curves", record)
    lines = [trace for trace in shown.data if trace.mode == "lines"]
    best = lines[-1]
    assert best.line.width > 2 * lines[0].line.width and list(best.x[:-1]) == pytest.approx([0.25, 1.0])
    assert sum(np.isnan(line.y).sum() for line in lines) == 61  # curves, one of them still running
    ends = traces(shown)
    assert (ends["pruned"].x == 0.25).all() and (ends["complete"].x == 1).all()
    assert shown.layout.xaxis.tickformat == ".0%"


def test_curves_over_examples_and_of_other_programs_have_their_own_axis(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, search="rungs = { every_examples = 64 }")
    made = [trial(0.8, {64 * place: 0.5 + place / 1000 for place in range(1, 301)})]
    shown = figure("curves", searched(spec, made))
    assert shown.layout.xaxis.title.text == "Training examples seen"
    assert len(shown.data[0].x) == 41 and shown.data[0].x[-2] == 19_200  # thinned, but for the end, and a gap
    assert figure("curves", searched(spec, made, ours=False)).layout.xaxis.title.text == "Step, as reported"


def test_of_many_trials_the_best_and_a_sample_are_drawn(tmp_path: Path) -> None:
    record = searched(spec_of(tmp_path), [])
    record.__dict__["trials"] = numbered(several(np.random.default_rng(1), 1000, pruned=0.3))
    chosen = sample_trials(record, record.trials, 300)
    best = sorted(record.complete, key=lambda each: -each.value)[:BEST]
    assert len(chosen) == 300 and {each.number for each in best} <= {each.number for each in chosen}
    assert chosen == sorted(chosen, key=lambda each: each.number) == sample_trials(record, record.trials, 300)
    ends = [trace for trace in figure("curves", record).data if trace.mode == "markers"]
    assert sum(len(trace.x) for trace in ends) == 300
    assert sampling_note(record) == (
        "Not all trials are drawn, but the 50 best and others by chance: rung curves 300 of 1,000, "
        "slices 500 of 1,000, lines through values 300 of 700."
    )


def numbered(made: list[Any]) -> list[Any]:
    for number, each in enumerate(made):
        each.number = each._trial_id = number
    return made


def test_small_studies_are_drawn_whole(record: StudyResults) -> None:
    assert sampling_note(record) == ""


def test_all_figures_of_ten_thousand_trials_are_small_and_quick(tmp_path: Path) -> None:
    record = searched(spec_of(tmp_path), [])
    record.__dict__["trials"] = numbered(several(np.random.default_rng(2), 10_000))
    started = time.process_time()
    size = sum(len(found.to_json()) for name in SEARCH if (found := FIGURES[name](record)))
    assert size < 500_000 and time.process_time() - started < 5


def test_importance_finds_what_matters_though_the_worse_are_pruned(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    found = importance(searched(spec_of(tmp_path), several(random, 80, pruned=0.7)))
    assert list(found) and set(found) == set(AXES) and sum(found.values()) == pytest.approx(1)
    assert found["learning_rate"] > 0.6 and list(found)[0] == "learning_rate"
    assert importance_warning(searched(spec_of(tmp_path), several(random, 80))) == ""


RATES = [{"learning_rate": rate} for rate in (1e-5, 1e-4, 1e-3)]
FIRST = trial(0.95, params=RATES[2])


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([], "No trial is complete"),
        ([trial(0.8, params=RATES[0])], "too few"),
        ([trial(0.8, params=rate) for rate in RATES], "too much alike"),
        ([trial(0.8), trial(0.9)], "Nothing was searched"),
        ([trial(None, {250: 0.5}, rate, "pruned: at rung 250") for rate in RATES], "No trial is complete"),
        ([trial(0.8, params=RATES[0]), trial(0.9, params={"warmup_ratio": 0.1})], "too few"),
        ([*(trial(0.1 * place, params={**RATES[0], "warmup_ratio": 0.01 * place}) for place in range(9)), FIRST], ""),
        ([trial(float("inf"), params=rate) for rate in RATES], "No trial is complete"),
    ],
)
def test_without_importance_there_is_a_reason_and_no_figure(made: list[Any], why: str, tmp_path: Path) -> None:
    record = searched(spec_of(tmp_path), made)
    if why:
        assert importance(record) == {} and FIGURES["importances"](record) is None
        assert why in importance_warning(record)
    else:
        assert importance(record) and "few for 2 parameters" in importance_warning(record)
    for name in SEARCH:  # whatever there is, none of them fails
        if FIGURES[name](record):
            assert alt_text(name, record)


def test_equal_values_are_told_from_what_was_pruned(tmp_path: Path) -> None:
    made = [trial(0.8, params=RATES[1]) for _ in range(3)]
    made += [trial(None, {250: 0.5}, RATES[2], "pruned: at rung 250") for _ in range(9)]
    record = searched(spec_of(tmp_path), made)
    assert importance(record) == {"learning_rate": 1.0}
    assert "only 3 of 12 trials are complete" in importance_warning(record)


def test_slices_follow_the_space(record: StudyResults) -> None:
    layout = figure("slices", record).layout
    assert layout.xaxis.type == "log" and layout.xaxis.range == pytest.approx((-6.12, -1.88))
    assert layout.xaxis2.type == "linear" and layout.xaxis3.dtick == 1
    assert layout.xaxis4.ticktext == ("adamw_torch", "adafactor") and layout.xaxis5.ticktext == ("True", "False")
    assert layout.xaxis5.title.text == "model.use_bias"
    shown = figure("slices", searched(record.spec, [trial(0.8, params=RATES[0])]))
    assert [list(trace.y) for trace in shown.data] == [[pytest.approx(0.8)]]


def test_parallel_lines_run_from_end_to_end(record: StudyResults) -> None:
    found = traces(figure("parallel", record))
    best = found["best 3"]
    assert len(found["other complete trials"].x) == 27 * 6 and len(best.x) == 3 * 6
    places = best.x.reshape(3, 6)
    assert np.isnan(places[:, -1]).all() and ((places[:, :-1] >= 0) & (places[:, :-1] <= 1)).all()
    rate = (np.log10(record.best.params["learning_rate"]) + 6) / 4
    assert places[-1, 0] == pytest.approx(rate, rel=1e-5)


def test_the_contour_takes_learning_rate_and_warmup_or_what_matters_most(record: StudyResults) -> None:
    ground, points = figure("contour", record).data
    assert figure("contour", record).layout.yaxis.title.text == "warmup_ratio"
    assert ground.z.shape == (40, 40) and len(points.x) == 30
    assert np.nanmin(ground.z) > 0.7 and np.nanmax(ground.z) < 0.9
    few = searched(record.spec, record.complete[:5])
    assert [trace.type for trace in figure("contour", few).data] == ["scatter"]
    kept = [{name: each.params[name] for name in AXES if name != "warmup_ratio"} for each in record.complete]
    made = [trial(each.value, params=values) for each, values in zip(record.complete, kept, strict=True)]
    others = searched(record.spec, made)
    assert figure("contour", others).layout.yaxis.title.text == "num_train_epochs"
    one = searched(record.spec, [trial(0.8, params=rate) for rate in RATES])
    assert FIGURES["contour"](one) is None and FIGURES["parallel"](one) is None


def test_around_is_a_mean_of_what_is_near() -> None:
    random = np.random.default_rng(0)
    places, grid = random.uniform(0, 0.5, (40, 2)), np.linspace(0, 1, 11)
    level = kernel_regression(places, np.full(40, 0.7), grid)
    assert np.nanmin(level) == pytest.approx(0.7) and np.nanmax(level) == pytest.approx(0.7)
    assert np.isnan(level[-1, -1]) and np.isfinite(level[2, 2])
    slope = kernel_regression(places, places[:, 0], grid)  # grows along the first axis, which is the columns
    assert slope[2, 4] - slope[2, 1] > 0.1 > abs(slope[4, 2] - slope[1, 2])


def test_the_timeline_has_a_row_per_worker_and_no_long_breaks(tmp_path: Path) -> None:
    made = [
        trial(0.8, start=0, wall=600, pid=7),
        trial(0.8, start=0, wall=300, pid=8),
        trial(None, None, None, "killed", start=300, wall=60, pid=8),
        trial(0.8, start=90_000, wall=600, pid=9),  # the next day
        trial(None, {250: 0.5}, None, "running", start=90_300, wall=0, pid=9),
    ]
    record = searched(spec_of(tmp_path), made)
    shown = figure("timeline", record)
    assert shown.layout.yaxis.ticktext == ("node, process<br>7", "node, process<br>8", "node, process<br>9")
    bars = traces(shown)
    assert bars["complete"].base == pytest.approx([0, 0, 10]) and bars["complete"].x == pytest.approx([10, 5, 10])
    assert bars["running"].base == pytest.approx([15]) and bars["running"].x == pytest.approx([5])
    assert list(bars["complete"].y) == [0, 1, 2] and len(shown.layout.shapes) == 1
    assert shown.layout.shapes[0].x0 == pytest.approx(10)
    assert {trace.width for trace in shown.data} == {0.75}  # by default it follows from which rows an ending is in
    assert alt_text("timeline", record).endswith("by 3 workers, in 31.0 minutes of device time.")


def test_all_trials_pruned_is_shown_as_that(tmp_path: Path) -> None:
    record = searched(spec_of(tmp_path), several(np.random.default_rng(4), 20, pruned=1))
    drawn = [name for name in SEARCH if FIGURES[name](record)]
    assert drawn == ["history", "curves", "slices", "timeline"]
    assert alt_text("history", record) == "No trial is complete: 20 pruned trials."
    assert alt_text("curves", record) == "The values of 20 pruned trials at their rungs."


def test_two_objectives_of_another_program(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    made = [
        create_trial(values=list(random.random(2)), params=drawn_values(random), distributions=AXES) for _ in range(50)
    ]
    record = searched(spec_of(tmp_path), made, ours=False, directions=["maximize", "minimize"])
    assert [name for name in SEARCH if FIGURES[name](record)] == ["pareto", "history", "importances"]
    front = traces(figure("pareto", record))["Pareto front"]
    assert set(front.customdata) == {each.number for each in record.search.best_trials}
    shown = figure("history", record)
    assert shown.layout.yaxis.title.text == "objective 0" and shown.layout.yaxis2.title.text == "objective 1"
    assert "rises" in alt_text("history", record) and "falls" in alt_text("history", record)
    assert alt_text("pareto", record).startswith(f"{len(front.x)} of 50 trials are beaten by no other")


def test_a_study_of_plain_optuna_is_drawn(tmp_path: Path) -> None:
    """With what hpo never stores: values that are no numbers, reports that are none, one trial without parameters."""

    def objective(asked: optuna.Trial) -> float:
        if asked.number == 3:
            raise optuna.TrialPruned
        if asked.number == 4:
            return float("inf")
        size = asked.suggest_float("size <b>", -1, 1)
        asked.report(float("nan") if asked.number == 5 else size, 1)
        if asked.number % 5 == 0:
            raise optuna.TrialPruned
        return size * asked.suggest_int("steps", 1, 100, log=True)

    study = optuna.create_study(study_name="plain", sampler=optuna.samplers.RandomSampler(0))
    study.optimize(objective, n_trials=30)
    study.enqueue_trial({"size <b>": 0.5})
    record = StudyResults(spec_of(tmp_path), "", study._storage, study, None)
    drawn = {name for name in SEARCH if FIGURES[name](record)}
    assert drawn == set(SEARCH) - {"pareto"}
    assert all(alt_text(name, record) for name in drawn)
    assert figure("slices", record).layout.xaxis.title.text == "size &lt;b&gt;"


def test_names_are_plain_text_in_short_lines() -> None:
    assert wrap_label("<script>alert(1)</script>", 60) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert wrap_label("per_device_train_batch_size") == "per_device_train_<br>batch_size"
    assert wrap_label("first " + "x" * 99 + " last", 10, 2) == "first<br>xx…xx last"
    assert wrap_label("line\nbreak") == "line break" and wrap_label("") == "" and wrap_label(0.05) == "0.05"
