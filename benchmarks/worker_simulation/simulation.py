"""Simulate the search of a seed and check it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from benchmarks.worker_simulation.invariants import find_violations
from benchmarks.worker_simulation.scenario import Dangers, Scenario, memory_folder
from benchmarks.worker_simulation.studies import VARIANTS, StudyTemplate, Variant, list_results


@dataclass(frozen=True)
class SimulatedSearch:
    """What has happened in the search of a seed, and what is wrong with it."""

    seed: int
    trace: list[str]
    violations: list[str]
    events: int
    workers: int  # processes


@dataclass
class Simulator:
    """Simulates searches in a folder, where each study is created once."""

    folder: Path
    _templates: dict[Variant, StudyTemplate] = field(default_factory=dict)

    def simulate(self, seed: int) -> SimulatedSearch:
        """Simulate the search of a seed."""
        draw = random.Random(f"scenario {seed}")
        variant, dangers = draw.choice(VARIANTS), Dangers.draw(draw)
        return self._run(seed, self._find_template(variant), dangers)

    def prepare(self) -> None:
        """Run the undisturbed searches of all studies."""
        for variant in VARIANTS:
            self._find_template(variant)

    def _find_template(self, variant: Variant) -> StudyTemplate:
        if variant not in self._templates:
            optuna.logging.set_verbosity(optuna.logging.CRITICAL)
            template = StudyTemplate(variant, self.folder / f"template-{len(self._templates)}")
            self._templates[variant] = template
            calm = Dangers(switch=0.0)
            with memory_folder() as folder:
                scenario = Scenario(0, template, calm, folder)
                scenario.run()
                template.results = list_results(scenario.study)
                if violations := find_violations(scenario):
                    raise AssertionError(f"the undisturbed search of {variant}: {violations}")
        return self._templates[variant]

    def _run(self, seed: int, template: StudyTemplate, dangers: Dangers) -> SimulatedSearch:
        with memory_folder() as folder:
            scenario = Scenario(seed, template, dangers, folder)
            scenario.run()
            violations = find_violations(scenario)
            head = f"seed {seed}: {template.variant}, {dangers}"
            return SimulatedSearch(
                seed, [head, *scenario.kernel.trace], violations, scenario.events, len(scenario.processes)
            )
