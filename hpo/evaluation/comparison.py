"""Runs -> paired differences, intervals, corrected p-values, a verdict; from the store alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import mean
from typing import Any

import numpy as np
import optuna
import pandas
from numpy.typing import NDArray
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from hpo.errors import DataError, StoreError, StudyError
from hpo.evaluation.baselines import BASELINES, baseline_names
from hpo.evaluation.final_runs import find_run
from hpo.evaluation.predictions import read_predictions
from hpo.evaluation.retraining import Candidate, choose_deployed_run, find_winner, retraining_runs, select_candidates
from hpo.evaluation.scores import summarize_seeds
from hpo.evaluation.sealed_split import count_uses_elsewhere, list_uses, record_use
from hpo.evaluation.statistics import holm_correction, mcnemar_test, paired_difference, resample_scores
from hpo.evaluation.verdict import describe_comparison, describe_difference
from hpo.search.budget import count_finished
from hpo.store.storage import check_same_spec, companion_name, find_study, open_artifact_store, open_storage
from hpo.store.trial_state import wall_seconds
from hpo.study.spec import StudySpec
from hpo.training.metrics import METRICS

WINNER = "winner"
ALPHA = 0.05
ComparisonProgress = Callable[[float, str], None]  # the share of a comparison that is done, and what is at it


@dataclass
class SystemRuns:
    """The winner or a baseline: its complete runs with their test predictions."""

    name: str
    runs: list[FrozenTrial]
    failed: list[str]  # why its other runs did not come to their end
    tables: list[pandas.DataFrame]

    @property
    def probabilities(self) -> list[NDArray[Any]]:
        """One array (rows, classes) per run."""
        return [table.filter(like="probability_").to_numpy() for table in self.tables]

    @property
    def seconds(self) -> float:
        """Device seconds that a fit takes, on average over the runs."""
        return float(mean(run.user_attrs["seconds"]["fit"] for run in self.runs))

    def about(self, cost: float) -> dict[str, Any]:
        """Everything that is told of the system, as JSON values."""
        attributes = [run.user_attrs for run in self.runs]
        return {
            "system": self.name,
            "as": (attributes[0].get("effective") or {}).get("as"),
            "values": self.runs[0].user_attrs["run"]["values"],
            "runs": [run.number for run in self.runs],
            "seeds": [each["seed"] for each in attributes],
            "failed": self.failed,
            "validation": _over_seeds([each["validation"]["metrics"] for each in attributes])
            if attributes[0]["trained_on"] == "train"
            else None,  # it was trained on
            "test": _over_seeds([each["test"]["metrics"] for each in attributes]),
            "per_class": {
                label: _over_seeds([each["test"]["per_class"][label] for each in attributes])
                for label in attributes[0]["test"]["per_class"]
            },
            "confusion": np.mean([each["test"]["confusion"] for each in attributes], axis=0).tolist(),
            "cost_seconds": cost,
            "texts_per_second": mean(each["predicted_per_second"] for each in attributes),
        }


@dataclass
class Comparison:
    """The winner of a study against its baselines, on the test split."""

    spec: StudySpec
    search: optuna.Study
    companion: optuna.Study
    best: Candidate
    systems: list[SystemRuns]  # the winner first
    missing: list[str]  # baselines of the study that have no runs yet
    failed: dict[str, str]  # baselines none of whose runs came to its end -> why
    tell: ComparisonProgress

    @property
    def sign(self) -> int:
        """What makes a difference in the objective positive where it is a gain."""
        return 1 if METRICS[self.spec.objective].direction == "maximize" else -1

    @cached_property
    def costs(self) -> list[float]:
        """Device seconds that it takes to come by each system, in order: one fit, and the search for the winner.

        The other seeds' runs are what the comparison costs, on either side, and are left out; where top_k > 1 the
        runs of all candidates are part of choosing the winner.
        """
        searched = sum(wall_seconds(trial) for trial in self.search.get_trials(deepcopy=False))
        wanted = [
            run
            for each in select_candidates(self.search, self.spec.final.top_k)
            for run in retraining_runs(self.spec, each.values)
        ]
        chosen = sum(wall_seconds(made) for made in (find_run(self.companion, run) for run in wanted) if made)
        ours = searched + (chosen if self.spec.final.top_k > 1 else self.systems[0].seconds)
        return [ours, *(system.seconds for system in self.systems[1:])]

    @cached_property
    def differences(self) -> list[dict[str, Any]]:
        """The winner against each baseline: difference, interval, p-values, and a verdict on each."""
        ours, *others = self.systems
        if not others:
            return []
        labels = ours.tables[0]["label"].to_numpy()
        every = [array for system in self.systems for array in system.probabilities]
        resampled = resample_scores(self.spec.objective, labels, every, seed=self.spec.search.seed, tell=self.tell)
        ends = np.cumsum([0, *(len(system.runs) for system in self.systems)])
        places = [list(range(start, end)) for start, end in zip(ends, ends[1:], strict=False)]
        rows = []
        for system, place in zip(others, places[1:], strict=True):
            found = paired_difference(resampled, places[0], place, self.sign)
            exact = mcnemar_test(labels, _labels(self.deployed(ours)), _labels(system.tables[0]))
            single = len(ours.runs) == len(system.runs) == 1 and self.spec.objective == "accuracy"
            is_same = {run.number for run in ours.runs} == {run.number for run in system.runs}
            rows.append(
                {
                    "against": system.name,
                    "same_runs": is_same,
                    **(asdict(found) if not is_same else _NO_DIFFERENCE),
                    "p": 1.0 if is_same else exact.p if single else found.p,
                    "test": "exact McNemar" if single else "paired bootstrap over rows and seeds",
                    "seeds_are_in_it": len(ours.runs) > 1,
                    "mcnemar": asdict(exact),
                }
            )
        family = [row for row in rows if not row["same_runs"]]
        for row, corrected in zip(family, holm_correction([row["p"] for row in family]), strict=True):
            row["p_holm"] = corrected
        for row in rows:
            corrected = row.setdefault("p_holm", 1.0)
            row["outcome"] = "none" if corrected >= ALPHA else "better" if row["difference"] > 0 else "worse"
        return rows

    def deployed(self, system: SystemRuns) -> pandas.DataFrame:
        """The predictions of the one run whose model people take away, if no seed is named."""
        run = choose_deployed_run(self.spec, system.runs, self.companion.direction.name.lower(), None)
        return system.tables[system.runs.index(run)] if run else system.tables[0]

    def optimism(self) -> dict[str, Any]:
        """What the search promised, and what fresh seeds keep of it on validation and on test."""
        runs, objective = self.systems[0].runs, self.spec.objective
        fresh = [float(run.value) for run in runs if run.value is not None]
        seen = self.spec.final.train_on != "train"
        promised = select_candidates(self.search, 1)[0].value  # the highest, whichever of the k best won
        kept = {
            "validation": None if seen else summarize_seeds(fresh),
            "test": summarize_seeds([run.user_attrs["test"]["metrics"][objective] for run in runs]),
        }
        lost = {split: None if held is None else self.sign * (promised - held["mean"]) for split, held in kept.items()}
        return {"search": promised, "chosen_among": self.spec.final.top_k, **kept, "optimism": lost}

    def about(self) -> dict[str, Any]:
        """The whole comparison as JSON values, sentences included."""
        data = self.companion.user_attrs["data"]
        found: dict[str, Any] = {
            "study": self.spec.name,
            "objective": self.spec.objective,
            "direction": METRICS[self.spec.objective].direction,
            "labels": data["labels"],
            "rows": data["rows"],
            "trained_on": self.spec.final.train_on,
            "winner": {"trial": self.best.trial, "values": dict(self.best.values)},
            "search": {
                "finished": count_finished(self.search.get_trials(deepcopy=False)),
                "wanted": self.search.user_attrs["spec"]["search"]["trials"],
            },
            "systems": [each.about(cost) for each, cost in zip(self.systems, self.costs, strict=True)],
            "differences": self.differences,
            "missing": self.missing,
            "failed": self.failed,
            "make": self.spec.command("baseline"),
            "optimism": self.optimism(),
            "test_uses": _uses(self.companion),
        }
        for row in found["differences"]:
            row["verdict"] = describe_difference(row, found)
        found["verdict"] = describe_comparison(found)
        return found


_NO_DIFFERENCE = {"difference": 0.0, "low": 0.0, "high": 0.0, "standard_error": 0.0, "df": None}


def no_progress(share: float, what: str) -> None:
    """Tells nobody how far a comparison is."""


def compare_study(spec: StudySpec, url: str, tell: ComparisonProgress = no_progress) -> dict[str, Any]:
    """The comparison of a study's winner with its baselines, as JSON values; see `weigh`."""
    return build_comparison(spec, url, tell).about()


def build_comparison(
    spec: StudySpec,
    url: str,
    tell: ComparisonProgress = no_progress,
    use: str = "compare",
    storage: BaseStorage | None = None,
) -> Comparison:
    """The winner of a study and its baselines, ready to be compared; the ledger has an entry of it, as this `use`.

    `storage` is the store at the URL, where it is open already. Raises StudyError where the winner's runs are not
    there, or there is no test split, or its predictions are gone.
    """
    storage = storage or open_storage(url, create=False)
    search, companion = _studies(spec, storage)
    best, runs = find_winner(spec, search, companion)
    files = open_artifact_store(url, spec)

    def system(name: str, made: Sequence[FrozenTrial]) -> SystemRuns:
        complete = [run for run in made if run.state == TrialState.COMPLETE]
        failed = [str(run.user_attrs["reason"]) for run in made if run.state != TrialState.COMPLETE]
        return SystemRuns(name, complete, failed, [read_predictions(run, storage, files) for run in complete])

    wanted = [run for run in (find_run(companion, run) for run in retraining_runs(spec, best.values)) if run]
    systems = [system(WINNER, wanted)]
    if any(spec.objective not in run.user_attrs["test"]["metrics"] for run in runs):
        raise DataError(f"{spec.objective} is undefined on the test split: too few labels; set another data.test")
    asked, missing, failed = baseline_names(spec), [], {}
    for name in dict.fromkeys([*asked, *BASELINES]):  # also what was made without being in the file
        made = _made(name, spec, companion, best.values)
        if name not in asked and made == wanted:
            continue  # the winner's own runs, which nobody asked for under this name
        if made and any(run.state == TrialState.COMPLETE for run in made):
            systems.append(system(name, made))
        elif made:
            failed[name] = str(made[0].user_attrs["reason"])
        elif name in asked:
            missing.append(name)
    fingerprint = list_uses(companion)[0]["test"]
    try:
        record_use(companion, spec, f"{use}: {len(systems)} systems", fingerprint)
    except (StorageInternalError, SQLAlchemyError):
        raise StoreError(
            "the store cannot be written, and each look at the test split is entered there; "
            "make it writable, or look at a copy of it"
        ) from None
    return Comparison(spec, search, companion, best, systems, missing, failed, tell)


def _studies(spec: StudySpec, storage: BaseStorage) -> tuple[optuna.Study, optuna.Study]:
    """The search and its companion of final runs. Raises StudyError where one is missing, or there is no test split."""
    search = find_study(storage, spec.name)
    companion = find_study(storage, companion_name(spec.name))
    for study, verb in ((search, "search"), (companion, "retrain")):
        if study is None:
            raise StudyError(f"study {spec.name!r} has nothing to compare yet; `{spec.command(verb)}` comes first")
        check_same_spec(study, spec)
    assert search and companion
    if "test" not in companion.user_attrs["data"]["rows"]:
        raise StudyError(
            f"{spec.file}: without a test split there is no verdict: the winner was chosen on validation; "
            "set data.test (files, a share, a number of rows), and start another study with --force-new NAME"
        )
    return search, companion


def _made(name: str, spec: StudySpec, companion: optuna.Study, best: Mapping[str, Any]) -> list[FrozenTrial] | None:
    """A baseline's runs, where all of them are there."""
    if name == "recipe" and not spec.space.known_good:
        return None
    runs = [find_run(companion, run) for run in BASELINES[name](name, spec, best)]
    return [run for run in runs if run] if all(runs) else None


def _uses(companion: optuna.Study) -> dict[str, Any]:
    """How often, since when and by what the test split was used; in other studies of the store too."""
    entries = list_uses(companion)
    now = entries[-1]["test"]
    return {
        "count": len(entries),
        "first": entries[0]["when"],
        "studies": sorted({entry["spec_hash"] for entry in entries}),
        "elsewhere": count_uses_elsewhere(companion, now),
        "entries": entries,
    }


def _over_seeds(measured: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Metric -> mean and spread over the runs, for what every run has."""
    shared = [name for name in measured[0] if all(name in each for each in measured)]
    return {name: summarize_seeds([float(each[name]) for each in measured]) for name in shared}


def _labels(table: pandas.DataFrame) -> NDArray[Any]:
    labels: NDArray[Any] = table["predicted"].to_numpy()
    return labels
