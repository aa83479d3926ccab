"""What must hold after every simulated search, whatever has happened to its workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial

from benchmarks.worker_simulation.scenario import Scenario
from benchmarks.worker_simulation.studies import NAME, list_results
from benchmarks.worker_simulation.trainer import expected_curve
from hpo.atomic import list_leftovers
from hpo.search.samplers import trial_seed
from hpo.store.trial_order import best_first
from hpo.store.trial_record import TrialRecord
from hpo.store.trial_state import DIVERGED, INFEASIBLE, PRUNED, SURPLUS, is_finished
from hpo.store.worker_lock import FOLDER
from hpo.training.state_saver import SAVED


def find_violations(scenario: Scenario) -> list[str]:
    """Return what is wrong with the finished search of a scenario."""
    study = scenario.study
    trials = study.get_trials(deepcopy=False)
    violations = [*scenario.failures, *_check_study(scenario, trials), *_check_folders(scenario, trials)]
    for trial in trials:
        if is_finished(trial):
            violations += [f"trial #{trial.number} {text}" for text in _check_trial(scenario, trial)]
    if scenario.dangers.workers == 1 and not violations:
        for here, whole in zip(list_results(study), scenario.template.results, strict=True):
            parts = [
                f"{name} is {here[name]}, undisturbed {whole[name]}" for name in whole if here[name] != whole[name]
            ]
            violations += [f"trial #{here['number']}: {'; '.join(parts)}"] if parts else []
    return violations


def _check_study(scenario: Scenario, trials: Sequence[FrozenTrial]) -> Iterator[str]:
    records = [TrialRecord.from_trial(trial) for trial in trials]
    finished = [record for trial, record in zip(trials, records, strict=True) if is_finished(trial)]
    wanted = scenario.template.variant.trials
    if len(finished) != wanted:
        yield f"{len(finished)} of {wanted} trials finished"
    if [record.number for record in records] != list(range(len(records))):
        yield "the numbers of the trials have gaps"
    allowed = {"SURPLUS"} if scenario.dangers.workers > 1 else set()
    for record in records:
        if record not in finished and not (record.outcome == SURPLUS and allowed):
            yield f"trial #{record.number} is left: {record.outcome}, {record.state}"
    for name in ("replay_index", "starting_point"):
        counts = Counter(getattr(record, name) for record in finished)
        yield from (f"{name} {each} is used {count} times" for each, count in counts.items() if each and count > 1)
    starts = {record.starting_point for record in finished} - {None}
    if starts != set(range(scenario.template.variant.starts)):
        yield f"the starting points {starts} were used"
    draws = Counter(str(sorted(record.params.items())) for record in finished)
    yield from (f"values {values} were tried {count} times" for values, count in draws.items() if count > 1)


def _check_trial(scenario: Scenario, trial: FrozenTrial) -> Iterator[str]:
    record, variant = TrialRecord.from_trial(trial), scenario.template.variant
    if record.replay_index is None or record.seed is None:
        is_lethal_draw = record.outcome == INFEASIBLE
        yield f"has no seed{' and is infeasible' if is_lethal_draw else ''}"
        return
    if record.seed != trial_seed(variant.seed, record.replay_index):
        yield "has another seed than its index says"
    expected = expected_curve(record.params, record.seed, scenario.template.rungs, variant)
    is_lethal = record.params["weight_decay"] > variant.lethal
    reached = {rung: scores["accuracy"] for rung, scores in record.curve.items()}
    if record.rungs != reached:
        yield f"has reported {record.rungs}, stored {reached}"
    if reached != dict(list(expected.items())[: len(reached)]):
        yield f"has the curve {reached}, expected {expected}"
    if record.state == "COMPLETE":
        if is_lethal or reached != expected or record.values != [reached[1000]] or record.last != reached[1000]:
            yield f"is complete with {record.values} and {reached}"
    elif record.outcome == PRUNED:
        if len(reached) == len(scenario.template.rungs) or not reached:
            yield f"is pruned with {reached}"
    elif record.outcome == DIVERGED:
        if reached != expected or 1000 in reached:
            yield f"is diverged with {reached}"
    elif not (record.outcome == INFEASIBLE and is_lethal):
        yield f"has ended: {record.reason}"


def _check_folders(scenario: Scenario, trials: Sequence[FrozenTrial]) -> Iterator[str]:
    owners = []
    for machine in scenario.machines:
        folder = machine.folder / NAME
        for place in (folder / FOLDER, folder / SAVED):
            if place.exists():
                yield f"{place} is left: {[path.name for path in place.iterdir()]}"
        if leftovers := [path.name for path in list_leftovers(folder)]:
            yield f"{folder} has {leftovers}"
        if (weights := folder / "best" / "trial.json").exists():
            owners.append(json.loads(weights.read_text(encoding="utf8"))["trial"])
    best = best_first(trials, "maximize")
    if best and best[0].number not in owners:
        yield f"best/ belongs to {owners}, and the best trial is #{best[0].number}"
