"""Tests of rungs as steps of a run's own schedule."""

from __future__ import annotations

from hpo.study.spec_tables import EveryExamples
from hpo.training.rungs import examples_after_steps, rung_steps


def test_rung_steps_from_shares_and_from_numbers_of_examples() -> None:
    examples = [min(step * 16, 100) for step in range(8)]  # 7 steps of 16, the last one smaller
    assert rung_steps([0.25, 0.5, 1.0], examples) == {2: 250, 4: 500, 7: 1000}
    assert rung_steps(4, examples) == {2: 250, 4: 500, 6: 750, 7: 1000}
    assert rung_steps(EveryExamples(every_examples=40), examples) == {3: 40, 5: 80, 7: 100}
    assert rung_steps(EveryExamples(every_examples=50), examples) == {4: 50, 7: 100}
    assert rung_steps([0.125, 0.25, 0.5, 1.0], [0, 8, 16]) == {1: 500, 2: 1000}


def test_examples_after_steps_of_whole_and_of_dropped_batches() -> None:
    # 20 rows in batches of 8: the last batch of an epoch has 4 rows, or is dropped.
    assert examples_after_steps(6, steps_per_epoch=3, batch=8, epoch_examples=20) == [0, 8, 16, 20, 28, 36, 40]
    assert examples_after_steps(4, steps_per_epoch=2, batch=8, epoch_examples=16) == [0, 8, 16, 24, 32]
