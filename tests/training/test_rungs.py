"""Rungs are steps of a run's own schedule."""

from __future__ import annotations

from hpo.study.spec import EveryExamples
from hpo.training.rungs import rung_steps


def test_rungs_are_shares_of_a_schedule_or_numbers_of_examples() -> None:
    examples = [min(step * 16, 100) for step in range(8)]  # 7 steps of 16, the last one smaller
    assert rung_steps([0.25, 0.5, 1.0], examples) == {2: 250, 4: 500, 7: 1000}
    assert rung_steps(4, examples) == {2: 250, 4: 500, 6: 750, 7: 1000}
    assert rung_steps(EveryExamples(every_examples=40), examples) == {3: 40, 5: 80, 7: 100}
    assert rung_steps(EveryExamples(every_examples=50), examples) == {4: 50, 7: 100}
    assert rung_steps([0.125, 0.25, 0.5, 1.0], [0, 8, 16]) == {1: 500, 2: 1000}
