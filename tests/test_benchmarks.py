"""Replayed searches give the figures calculated by hand for synthetic configurations; finished runs are reused."""

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

from benchmarks.ranks import correlations
from benchmarks.recorded import Curves, Replay, Replayed, study
from benchmarks.results import kept
from benchmarks.simulate import Measures

ROWS, TRAIN = 10, 60
# Configuration: values, and for each seed how many of the ten rows are correct at rungs 250, 500 and 1000.
FAST = {"learning_rate": 1e-4, "warmup_ratio": 0.1, "num_train_epochs": 2, "weight_decay": 0.1}
LATE = {"learning_rate": 3e-5, "warmup_ratio": 0.1, "num_train_epochs": 4, "weight_decay": 0.1}
POOR = {"learning_rate": 2e-6, "warmup_ratio": 0.1, "num_train_epochs": 3, "weight_decay": 0.1}
CONFIGURATIONS: list[tuple[dict[str, float], list[tuple[int, ...]]]] = [
    (FAST, [(7, 8, 8), (7, 7, 9)]),
    (LATE, [(5, 8, 10), (5, 8, 9)]),
    (POOR, [(5, 5, 5), (6,)]),
]
UNIT = 60 * 3 + 10 / 3  # cost of a complete trial of average length: three epochs, and one evaluation at a third


@pytest.fixture
def curves() -> Curves:
    lines = [
        {"configuration": index, "seed": seed, "rung": rung, **values, "loss": 1.0, "correct": pack_rows(correct)}
        for index, (values, seeds) in enumerate(CONFIGURATIONS)
        for seed, curve in enumerate(seeds)
        for rung, correct in zip((250, 500, 1000), curve, strict=False)
    ]
    return Curves(pandas.DataFrame(lines), study().space, TRAIN, ROWS)


def test_finished_run_is_reused_unless_a_repetition_is_requested(tmp_path: Path) -> None:
    file, scores = tmp_path / "runs.jsonl", iter(range(9))

    def run(seed: int, again: bool = False) -> int:
        key = {"seed": seed, "values": {"learning_rate": 0.1}}
        return int(kept(file, key, lambda: {"score": next(scores)}, again)["score"])

    assert [run(0), run(1), run(0), run(1)] == [0, 1, 0, 1]
    assert [run(0, again=True), run(0), run(1)] == [2, 2, 1]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["score"] for line in lines] == [0, 1, 2] and all(line["commit"] and line["day"] for line in lines)


def test_time_during_which_a_measurement_is_paused_does_not_count(tmp_path: Path) -> None:
    code = "import signal, sys, time; from pathlib import Path; from benchmarks.opponents import Diary\n"
    code += f"diary = Diary(Path({str(tmp_path / 'diary')!r})); signal.signal(signal.SIGTSTP, diary.pause)\n"
    code += "print('ready', flush=True); sys.stdin.readline(); diary.write(paused=diary.paused)"
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
    entry = json.loads((tmp_path / "diary").read_text())
    assert entry["paused"] >= 2 and entry["at"] <= time.time() - started - entry["paused"] + 0.1


def pack_rows(correct: int) -> str:
    return np.packbits(np.arange(ROWS) < correct).tobytes().hex()


def replay_search(
    curves: Curves, pruner: str, configurations: list[dict[str, float]], rows: int | None = None
) -> list[Replayed]:
    """Replay a search whose trials are these configurations, in this order."""
    tables = [
        "{ " + ", ".join(['source = "synthetic"', *(f"{name} = {value}" for name, value in values.items())]) + " }"
        for values in configurations
    ]
    overrides = (
        f'search.pruner="{pruner}"',
        "search.rungs=[0.25, 0.5, 1.0]",
        f"space.known_good=[{', '.join(tables)}]",
    )
    return Replay(curves, study(*overrides), seed=0, rows=rows).run(len(configurations))


def test_value_of_a_configuration_is_its_mean_over_seeds(curves: Curves) -> None:
    # The diverged run counts as the worst final accuracy in the table, 0.5.
    assert curves.mean == pytest.approx([0.85, 0.95, 0.5])
    assert curves.regret == pytest.approx([10, 0, 45])
    assert np.isnan(curves.accuracy()[2, 1]).tolist() == [False, True, True]
    assert curves.accuracy([0, 9])[1, 0].tolist() == [0.5, 0.5, 1.0]


def test_complete_trial_costs_its_epochs_and_evaluations(curves: Curves) -> None:
    trials = replay_search(curves, "none", [FAST, LATE])
    assert [trial.configuration for trial in trials] == [0, 1]
    assert [trial.cost for trial in trials] == pytest.approx([(120 + 30 / 3) / UNIT, (240 + 30 / 3) / UNIT])
    assert trials[0].value in (0.8, 0.9) and trials[1].value in (1.0, 0.9) and not any(t.pruned for t in trials)


def test_pruned_trial_costs_its_steps_and_counts_as_lost_if_it_was_the_best(curves: Curves) -> None:
    trials = replay_search(curves, "asha", [FAST, LATE])
    assert (trials[1].configuration, trials[1].value, trials[1].pruned) == (1, None, True)
    assert trials[1].cost == pytest.approx((60 + 10 / 3) / UNIT)
    measures = Measures.of(curves, [trials, replay_search(curves, "none", [FAST, LATE])])
    assert measures.lost == 0.5
    assert measures.regrets.tolist()[0] == pytest.approx([10, 10])
    assert np.isinf(measures.found()[0])


def test_fewer_validation_rows_cost_less_before_the_last_rung(curves: Curves) -> None:
    assert replay_search(curves, "none", [FAST], rows=4)[0].cost == pytest.approx((120 + 18 / 3) / UNIT)


def test_study_replays_no_run_twice(curves: Curves) -> None:
    trials = replay_search(curves, "none", [FAST] * 4 + [POOR] * 2)
    # FAST has two runs; after that its nearest neighbour is replayed. One of the six runs diverged.
    assert sorted(trial.configuration for trial in trials) == [0, 0, 1, 1, 2, 2]
    assert sorted(trial.value or 0.0 for trial in trials) == [0.0, 0.5, 0.8, 0.9, 0.9, 1.0]
    assert next(trial.cost for trial in trials if trial.value is None) == pytest.approx((90 + 10 / 3) / UNIT)


def test_diverged_trial_is_not_run_again(curves: Curves) -> None:
    assert [trial.configuration for trial in replay_search(curves, "none", [POOR, POOR, FAST])] == [2, 2, 0]


def test_measures_of_a_study_are_those_calculated_by_hand(curves: Curves) -> None:
    trials = [
        Replayed(2, 1.0, 0.5),
        Replayed(1, 0.5, 0.9),
        Replayed(0, 3.0, 0.95),
        Replayed(1, 0.25, None, pruned=True),
    ]
    measures = Measures.of(curves, [trials, trials[::-1]])
    assert measures.regrets.tolist() == [pytest.approx([45, 0, 10, 10]), pytest.approx([45, 10, 10, 10])]
    assert measures.costs[0].tolist() == [1.0, 1.5, 4.5, 4.75]
    assert measures.found().tolist() == [1.5, np.inf]
    assert measures.at_cost(2.0).tolist() == [pytest.approx(0), pytest.approx(45)]
    assert measures.lost == 1.0


def test_rank_correlation_is_computed_within_groups() -> None:
    early = np.array([[1.0, 4.0], [2.0, 6.0], [7.0, np.nan], [8.0, 1.0]])
    end = np.array([[4.0, 4.0], [3.0, 3.0], [2.0, np.nan], [1.0, 1.0]])
    # The order of the first seed is reversed. Of the three pairs of the second, one is in order: 1 - 6 * 2 / (3 * 8).
    assert correlations(early, end, np.zeros(4))[0] == pytest.approx((-1 + 0.5) / 2)
    # Means are 2.5 and 4 against 4 and 3; then 7 and 4.5 against 2 and 1.
    assert correlations(early, end, np.array([1, 1, 2, 2]))[1] == pytest.approx((-1 + 1) / 2)
