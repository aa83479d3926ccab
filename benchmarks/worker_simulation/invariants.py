"""What must hold after every simulated search, whatever has happened to its workers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial

from benchmarks.worker_simulation.scenario import Scenario
from benchmarks.worker_simulation.studies import NAME, PROVENANCE, STEPS, StudyTemplate, list_results
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
    trials, workers = study.get_trials(deepcopy=False), scenario.dangers.workers
    violations = [
        *scenario.failures,
        *check_study(scenario.template, trials, workers),
        *_check_folders(scenario, trials),
    ]
    if workers == 1 and not violations:
        for here, whole in zip(list_results(study), scenario.template.results, strict=True):
            parts = [
                f"{name} is {here[name]}, undisturbed {whole[name]}" for name in whole if here[name] != whole[name]
            ]
            violations += [f"trial #{here['number']}: {'; '.join(parts)}"] if parts else []
    return violations


def check_study(template: StudyTemplate, trials: Sequence[FrozenTrial], workers: int) -> Iterator[str]:
    """Yield what is wrong with the trials of a finished search by this many workers."""
    records = [TrialRecord.from_trial(trial) for trial in trials]
    finished = [record for trial, record in zip(trials, records, strict=True) if is_finished(trial)]
    wanted = template.variant.trials
    if len(finished) != wanted:
        yield f"{len(finished)} of {wanted} trials finished"
    if [record.number for record in records] != list(range(len(records))):
        yield "the numbers of the trials have gaps"
    for record in records:
        if record not in finished and not (record.outcome == SURPLUS and workers > 1):
            yield f"trial #{record.number} is left: {record.outcome}, {record.state}"
    for name in ("replay_index", "starting_point"):
        counts = Counter(getattr(record, name) for record in finished)
        yield from (
            f"{name} {each} is used {count} times" for each, count in counts.items() if each is not None and count > 1
        )
    starts = {record.starting_point for record in finished} - {None}
    if starts != set(range(template.variant.starts)):
        yield f"the starting points {starts} were used"
    draws = Counter(str(sorted(record.params.items())) for record in finished)
    yield from (f"values {values} were tried {count} times" for values, count in draws.items() if count > 1)
    for record in finished:
        yield from (f"trial #{record.number} {text}" for text in _check_trial(template, record))


def _check_trial(template: StudyTemplate, record: TrialRecord) -> Iterator[str]:
    variant = template.variant
    if record.replay_index is None or record.seed is None:
        yield "has no seed"
        return
    if record.seed != trial_seed(variant.seed, record.replay_index):
        yield "has another seed than its index says"
    expected = expected_curve(record.params, record.seed, template.rungs, variant)
    is_lethal = record.params["weight_decay"] > variant.lethal
    reached = {rung: scores["accuracy"] for rung, scores in record.curve.items()}
    if record.rungs != reached:
        yield f"has reported {record.rungs}, stored {reached}"
    if reached != dict(list(expected.items())[: len(reached)]):
        yield f"has the curve {reached}, expected {expected}"
    if record.provenance != PROVENANCE or record.worker is None or record.started is None or record.completed is None:
        yield f"lacks a field: {record}"
    if reached and record.outcome != INFEASIBLE:
        best = max(reached, key=lambda rung: reached[rung])
        if (record.last, record.best, record.best_rung) != (reached[max(reached)], reached[best], best):
            yield f"has a wrong summary: {record}"
        step = next(step for step, rung in template.rungs.items() if rung == max(reached))
        if record.outcome != DIVERGED and (record.steps, record.examples) != (step, 16 * step):
            yield f"has stopped after {record.steps} steps"
        if record.seconds.wall <= 0 or record.effective != {
            "learning_rate": record.params["learning_rate"],
            "max_steps": STEPS,
        }:
            yield f"has wrong measurements: {record}"
    if record.state == "COMPLETE":
        if (
            record.reason
            or is_lethal
            or reached != expected
            or record.values != [reached[1000]]
            or record.last != reached[1000]
        ):
            yield f"is complete with {record.values} and {reached}, {record.reason}"
    elif record.outcome == PRUNED:
        if len(reached) == len(template.rungs) or not reached:
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
