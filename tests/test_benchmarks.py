"""Tests of the benchmarks: replays of three configurations that can be added up by hand, stored runs, and tests of
significance."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import psutil
import pytest

from benchmarks import significance_tests
from benchmarks.ranks import correlations
from benchmarks.recorded import Curves, Replay, ReplayedTrial, load_recorded_study
from benchmarks.results import load_or_run
from benchmarks.significance_tests import METHODS
from benchmarks.simulate import Measures
from benchmarks.size_and_power import POWERS, SIZES, describe_cell, format_share
from benchmarks.vs_stock import best_until
from benchmarks.winners import average_searches
from hpo.evaluation.statistics import ResampledScores, Side
from tests.support.simulated_systems import Cell, World

ROWS, TRAIN = 10, 60
# configuration: values, and per seed how many of the ten rows are right at rungs 250, 500 and 1000
QUICK = {"learning_rate": 1e-4, "warmup_ratio": 0.1, "num_train_epochs": 2, "weight_decay": 0.1}
LATE = {"learning_rate": 3e-5, "warmup_ratio": 0.1, "num_train_epochs": 4, "weight_decay": 0.1}
POOR = {"learning_rate": 2e-6, "warmup_ratio": 0.1, "num_train_epochs": 3, "weight_decay": 0.1}
RECORDED: list[tuple[dict[str, float], list[tuple[int, ...]]]] = [
    (QUICK, [(7, 8, 8), (7, 7, 9)]),
    (LATE, [(5, 8, 10), (5, 8, 9)]),
    (POOR, [(5, 5, 5), (6,)]),
]
UNIT = 60 * 3 + 10 / 3  # an average of three epochs, and one evaluation


@pytest.fixture
def curves() -> Curves:
    lines = [
        {"configuration": index, "seed": seed, "rung": rung, **values, "loss": 1.0, "correct": packed(right)}
        for index, (values, seeds) in enumerate(RECORDED)
        for seed, counts in enumerate(seeds)
        for rung, right in zip((250, 500, 1000), counts, strict=False)
    ]
    return Curves(pandas.DataFrame(lines), load_recorded_study().space, TRAIN, ROWS)


def test_stored_run_is_repeated_only_on_request(tmp_path: Path) -> None:
    file, scores = tmp_path / "runs.jsonl", iter(range(9))

    def run(seed: int, again: bool = False) -> int:
        key = {"seed": seed, "values": {"learning_rate": 0.1}}
        return int(load_or_run(file, key, lambda: {"score": next(scores)}, again)["score"])

    assert [run(0), run(1), run(0), run(1)] == [0, 1, 0, 1]
    assert [run(0, again=True), run(0), run(1)] == [2, 2, 1]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["score"] for line in lines] == [0, 1, 2] and all(line["commit"] and line["day"] for line in lines)


def test_time_of_a_pause_is_not_counted(tmp_path: Path) -> None:
    code = "import signal, sys, time; from pathlib import Path; from benchmarks.opponents import ScoreLog\n"
    code += f"log = ScoreLog(Path({str(tmp_path / 'log')!r})); signal.signal(signal.SIGTSTP, log.pause)\n"
    code += "print('ready', flush=True); sys.stdin.readline(); log.write(paused=log.paused)"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1], **pipes) as child:
        assert child.stdout and child.stdout.readline() == "ready\n"
        started = psutil.Process(child.pid).create_time()
        child.send_signal(signal.SIGTSTP)
        while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0.01)
        time.sleep(2)
        child.send_signal(signal.SIGCONT)
        child.communicate("\n")
    entry = json.loads((tmp_path / "log").read_text())
    assert entry["paused"] >= 2 and entry["at"] <= time.time() - started - entry["paused"] + 0.1


def packed(right: int) -> str:
    return np.packbits(np.arange(ROWS) < right).tobytes().hex()


def replay(curves: Curves, pruner: str, starts: list[dict[str, float]], rows: int | None = None) -> list[ReplayedTrial]:
    points = [
        "{ " + ", ".join(['source = "made up"', *(f"{name} = {value}" for name, value in each.items())]) + " }"
        for each in starts
    ]
    changes = (f'search.pruner="{pruner}"', "search.rungs=[0.25, 0.5, 1.0]", f"space.known_good=[{', '.join(points)}]")
    return Replay(curves, load_recorded_study(*changes), seed=0, rows=rows).run(len(starts))


def test_configuration_is_scored_by_its_mean_over_seeds(curves: Curves) -> None:
    # The run that diverged counts as the worst end in the table, 0.5.
    assert curves.mean == pytest.approx([0.85, 0.95, 0.5])
    assert curves.regret == pytest.approx([10, 0, 45])
    assert np.isnan(curves.accuracy()[2, 1]).tolist() == [False, True, True]
    assert curves.accuracy([0, 9])[1, 0].tolist() == [0.5, 0.5, 1.0]


def test_whole_trials_cost_their_epochs_and_evaluations(curves: Curves) -> None:
    done = replay(curves, "none", [QUICK, LATE])
    assert [each.configuration for each in done] == [0, 1]
    assert [each.cost for each in done] == pytest.approx([(120 + 30 / 3) / UNIT, (240 + 30 / 3) / UNIT])
    assert done[0].value in (0.8, 0.9) and done[1].value in (1.0, 0.9) and not any(each.pruned for each in done)


def test_pruned_trial_costs_its_part_and_can_be_the_best(curves: Curves) -> None:
    done = replay(curves, "asha", [QUICK, LATE])
    assert (done[1].configuration, done[1].value, done[1].pruned) == (1, None, True)
    assert done[1].cost == pytest.approx((60 + 10 / 3) / UNIT)
    measures = Measures.of(curves, [done, replay(curves, "none", [QUICK, LATE])])
    assert measures.lost == 0.5
    assert measures.regrets.tolist()[0] == pytest.approx([10, 10])
    assert np.isinf(measures.cost_until_found()[0])


def test_few_validation_rows_cost_less_before_the_last_rung(curves: Curves) -> None:
    assert replay(curves, "none", [QUICK], rows=4)[0].cost == pytest.approx((120 + 18 / 3) / UNIT)


def test_run_is_not_used_twice_in_a_study(curves: Curves) -> None:
    done = replay(curves, "none", [QUICK] * 4 + [POOR] * 2)
    # Both runs of QUICK are used, so its nearest neighbor is taken; one of the six runs diverged.
    assert sorted(each.configuration for each in done) == [0, 0, 1, 1, 2, 2]
    assert sorted(each.value or 0.0 for each in done) == [0.0, 0.5, 0.8, 0.9, 0.9, 1.0]
    assert next(each.cost for each in done if each.value is None) == pytest.approx((90 + 10 / 3) / UNIT)


def test_diverged_trial_is_not_retried(curves: Curves) -> None:
    assert [each.configuration for each in replay(curves, "none", [POOR, POOR, QUICK])] == [2, 2, 0]


def test_measures_of_a_study(curves: Curves) -> None:
    trials = [
        ReplayedTrial(2, 1.0, 0.5),
        ReplayedTrial(1, 0.5, 0.9),
        ReplayedTrial(0, 3.0, 0.95),
        ReplayedTrial(1, 0.25, None, pruned=True),
    ]
    measures = Measures.of(curves, [trials, trials[::-1]])
    assert measures.regrets.tolist() == [pytest.approx([45, 0, 10, 10]), pytest.approx([45, 10, 10, 10])]
    assert measures.costs[0].tolist() == [1.0, 1.5, 4.5, 4.75]
    assert measures.cost_until_found().tolist() == [1.5, np.inf]
    assert measures.at_cost(2.0).tolist() == [pytest.approx(0), pytest.approx(45)]
    assert measures.lost == 1.0


def test_rank_correlations_are_computed_within_groups() -> None:
    early = np.array([[1.0, 4.0], [2.0, 6.0], [7.0, np.nan], [8.0, 1.0]])
    end = np.array([[4.0, 4.0], [3.0, 3.0], [2.0, np.nan], [1.0, 1.0]])
    # The first seed's order is reversed; of the second's three, one pair of three is in order: 1 - 6 * 2 / (3 * 8).
    assert correlations(early, end, np.zeros(4))[0] == pytest.approx((-1 + 0.5) / 2)
    # Means are 2.5 and 4 against 4 and 3; then 7 and 4.5 against 2 and 1.
    assert correlations(early, end, np.array([1, 1, 2, 2]))[1] == pytest.approx((-1 + 1) / 2)


def test_best_score_at_equal_time_ignores_later_ones() -> None:
    run = {"scores": [{"at": 10.0, "value": 0.8}, {"at": 20.0, "value": 0.7}, {"at": 30.0, "value": 0.9}]}
    assert [best_until(run, seconds) for seconds in (9, 10, 29, 30)] == [None, 0.8, 0.8, 0.9]


def test_average_over_searches_counts_a_recipe_that_all_share_once() -> None:
    observed = np.array([0.90, 0.92, 0.94, 0.96, 0.80, 0.84, 0.80, 0.84])  # ours twice, the recipe twice
    sides = {"ours": [Side([0, 1]), Side([2, 3])], "recipe": [Side([4, 5]), Side([6, 7])]}
    difference = average_searches(ResampledScores(observed, np.tile(observed, (50, 1))), sides)["recipe"]
    assert difference.difference == pytest.approx(0.93 - 0.82)
    assert difference.seeds**2 == pytest.approx(np.var([0.91, 0.95], ddof=1) / 2 + np.var([0.80, 0.84], ddof=1) / 2)


# ---- methods that decide whether one system is better


def world_of(correct: np.ndarray, ours: int) -> World:
    """Return a world in which the first runs (rows, runs) are ours, and resamples agree with what was observed."""
    scores = correct.mean(axis=0)
    runs = [np.column_stack([run, 1 - run]) for run in correct.T]
    resampled = ResampledScores(scores, np.tile(scores, (100, 1)))
    return World(runs, resampled, Side(range(ours)), Side(range(ours, len(scores))))


def right_counts(*counts: int, rows: int = 100) -> np.ndarray:
    return (np.arange(rows)[:, None] < np.array(counts)).astype(float)


def decide(method: str, world: World) -> int | None:
    return METHODS[method](world, np.random.default_rng(0))


@pytest.mark.parametrize("method", METHODS)
def test_method_finds_a_large_difference_in_both_directions(method: str) -> None:
    better = right_counts(90, 91, 92, 93, 94, 60, 61, 62, 63, 64)
    assert [decide(method, world_of(runs, 5)) for runs in (better, better[:, ::-1])] == [1, -1]


@pytest.mark.parametrize("method", [name for name in METHODS if not name.startswith(("ASO", "P("))])
def test_method_finds_no_difference_between_equal_scores(method: str) -> None:
    assert decide(method, world_of(right_counts(90, 90, 90, 90), 2)) == 0


@pytest.mark.parametrize(("method", "decision"), [("hpo", None), ("hpo 0.1.0", -1), ("t-test of seeds", None)])
def test_methods_differ_on_single_runs(method: str, decision: int | None) -> None:
    world = next(Cell((1, 1), rows=2000, gap=-0.05).simulate(1))
    assert decide(method, world) == decision


def test_earlier_intervals_count_the_interaction_of_rows_and_seeds_twice() -> None:
    world = next(Cell((3, 3)).simulate(1))
    expected = sum(world.resampled.observed[list(side.columns)].var(ddof=1) / 3 for side in (world.ours, world.theirs))
    assert significance_tests.measure_as_hpo_0_1(world).seeds ** 2 == pytest.approx(expected)


@pytest.mark.parametrize(("rows", "decision"), [(4, 0), (8, 1)])  # p is 2 / 2^rows
def test_swapping_systems_within_rows_needs_more_than_a_few_rows_of_one_sign(rows: int, decision: int) -> None:
    assert decide("permutation within rows", world_of(right_counts(80 + rows, 80), 1)) == decision


@pytest.mark.parametrize(("wins", "decision"), [(5, 1), (4, 0), (1, 0), (0, -1)])
def test_win_rate_of_five_pairs_needs_five_wins(wins: int, decision: int) -> None:
    ours = [81 if pair < wins else 79 for pair in range(5)]
    assert decide("P(A > B)", world_of(right_counts(*ours, *[80] * 5), 5)) == decision


def test_violation_ratio_is_the_violated_share_of_the_squared_distance() -> None:
    ratio = significance_tests._violation_ratio(np.array([[0.0, 3.0], [2.0, 2.0]]), np.array([[1.0, 1.0], [2.0, 2.0]]))
    assert ratio == pytest.approx([1 / (1 + 4), 0.5], abs=0.01)  # systems without any distance are even


def test_cells_of_the_table_are_distinct_and_their_worlds_have_the_accuracy_they_name() -> None:
    names = [describe_cell(cell) for cell in [*SIZES, *POWERS]]
    assert len(set(names)) == len(names)
    cell = next(cell for cell in SIZES if cell.failure_rate)
    scores = np.array([world.resampled.observed for world in cell.simulate(150, draws=2)])
    assert scores[:, :5].mean() == pytest.approx(0.9, abs=0.015)  # with the failures
    assert (scores[:, :5] < 0.6).mean() == pytest.approx(0.1, abs=0.03) and (scores[:, 5] > 0.85).all()
    assert format_share(50, 1000) == "5.0 ± 0.7"
